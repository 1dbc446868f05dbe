"""The tablet page in a folder, and a server for it that can be switched off."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from fairquant_core.export.tablet import RUNTIME, SOURCE

if TYPE_CHECKING:
    from fairquant_core.export.onnx.session import OnnxClassifier

NO_RUNTIME = "the runtime for browsers is not installed: run 'npm ci' in examples/tablet"
PAGE_MS = 120_000
PICTURES = 100
FACTS = {
    "verdict": "WITHIN",
    "approved_by": "Carla Clinician",
    "approved_role": "Clinician",
    "approved_at": "2026-11-23T10:00:00+00:00",
    "intended_use": "trying out with synthetic pictures",
    "do_not_use": "care of patients",
}


@dataclass(frozen=True)
class Site:
    """The folder that a bundle brings along, and what Python says about its pictures."""

    folder: Path
    onnx: OnnxClassifier
    pictures: list[Path]


def open_page(page: Any, url: str) -> None:
    """Open the page and wait until it takes photos."""
    page.goto(url)
    page.wait_for_selector("body[data-state=ready]")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip where something is not installed; fail where everything has to be."""
    if os.environ.get("FAIRQUANT_REQUIRE_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


def require_runtime() -> None:
    """Skip or fail unless 'npm ci' was run."""
    folder = SOURCE / "node_modules" / "onnxruntime-web" / "dist"
    if not all((folder / name).is_file() for name in RUNTIME):
        skip_or_fail(NO_RUNTIME)


def write_folder(folder: Path, files: Mapping[str, Path | bytes]) -> None:
    """Unpack what :func:`~fairquant_core.export.tablet.tablet_files` gave."""
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())


class Silent(SimpleHTTPRequestHandler):
    """Serves files without writing a log."""

    def log_message(self, format: str, *arguments: object) -> None:
        return


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine only; gives the address, which ends with a slash."""
    handler = functools.partial(Silent, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
