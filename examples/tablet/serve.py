"""Serve this folder to a browser: python serve.py, then open the address that it prints.

Python alone is enough. By default only this machine can open the page; --network lets others on the same network do so.
Browsers allow the live camera picture and offline use on localhost or over https; for https give --certificate and
--key, PEM files that the tablet trusts.
"""

from __future__ import annotations

import argparse
import functools
import socket
import ssl
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

NO_PORT = "Port {port} is taken or not allowed ({reason}). Choose another one with --port."
NO_CERTIFICATE = "The certificate or its key cannot be used: {reason}."
STOPS = "Stop with Ctrl+C."


class Handler(SimpleHTTPRequestHandler):
    """Names the kinds of files itself: some machines hold wrong ones, and browsers then refuse the page."""

    extensions_map: ClassVar[dict[str, str]] = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
    }


def make_server(
    port: int, *, network: bool = False, certificate: Path | None = None, key: Path | None = None
) -> ThreadingHTTPServer:
    """A server for the folder of this file, listening already."""
    handler = functools.partial(Handler, directory=str(Path(__file__).resolve().parent))
    server = ThreadingHTTPServer(("" if network else "127.0.0.1", port), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(certificate, key)
        except OSError:
            server.server_close()
            raise
        server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def own_address() -> str:
    """This machine's address on its network; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def main() -> None:
    """Serve until Ctrl+C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--network", action="store_true", help="let other devices open the page")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    wanted = parser.parse_args()
    try:
        server = make_server(
            wanted.port,
            network=wanted.network,
            certificate=wanted.certificate,
            key=wanted.key,
        )
    except (ssl.SSLError, FileNotFoundError) as error:
        parser.error(NO_CERTIFICATE.format(reason=error))
    except (OSError, OverflowError) as error:
        parser.error(NO_PORT.format(port=wanted.port, reason=error))
    scheme, port = ("https" if wanted.certificate else "http"), server.server_port
    print(f"On this machine:  {scheme}://localhost:{port}/", flush=True)
    if wanted.network:
        print(f"On other devices: {scheme}://{own_address()}:{port}/", flush=True)
    print(STOPS, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
