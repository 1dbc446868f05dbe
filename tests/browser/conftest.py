"""A real server on a fresh data folder and a real Chromium; skipped, with the reason, where there is none."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.browser.tablet_site import (
    FACTS,
    PAGE_MS,
    PICTURES,
    Site,
    require_runtime,
    skip_or_fail,
    write_folder,
)
from tests.conftest import MixedDemo

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
NO_BROWSER = "no Chromium found: install one, or name it in CHROMIUM"
# No sandbox: continuous integration runs as root. The rest keeps Chromium from calling home.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@dataclass(frozen=True)
class Server:
    """The application as a person starts it."""

    url: str
    data: Path
    process: subprocess.Popen[bytes]
    seconds_to_answer: float


def start_server(data: Path, log: Path) -> Server:
    """Start Streamlit as the README says, on a free port; returns when it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py"]
    started = time.monotonic()
    process = subprocess.Popen(
        [*command, "--server.port", str(port)],
        cwd=ROOT,
        env={**os.environ, "FAIRQUANT_DATA": str(data)},
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )
    url = f"http://127.0.0.1:{port}"
    while time.monotonic() - started < 60:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                return Server(url, data, process, time.monotonic() - started)
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")


def stop_server(server: Server) -> None:
    """End the server, and the worker that it started for its data folder."""
    server.process.terminate()
    server.process.wait(timeout=20)
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if "dashboard.backend." in command:
            try:
                if process.environ().get("FAIRQUANT_DATA") == str(server.data):
                    process.kill()
            except psutil.Error:
                continue  # it ended by itself in the meantime


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("application")
    running = start_server(folder / "data", folder / "server.log")
    yield running
    stop_server(running)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    path = find_chromium()
    if path is None:
        skip_or_fail(NO_BROWSER)
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def site(mixed_demo: MixedDemo, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The tablet page of the mixed demo classifier, unpacked, with pictures beside it."""
    from fairquant_core.export.onnx.session import OnnxClassifier
    from fairquant_core.export.tablet import tablet_files

    require_runtime()
    folder = tmp_path_factory.mktemp("tablet")
    write_folder(folder, tablet_files(mixed_demo.onnx, FACTS))
    pictures = mixed_demo.pictures(PICTURES)
    for picture in pictures:
        shutil.copy(picture, folder / "tablet" / picture.name)
    return Site(folder / "tablet", OnnxClassifier(mixed_demo.onnx, threads=1), pictures)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page of a tablet's size."""
    context = browser.new_context(viewport={"width": 1024, "height": 768})
    context.set_default_timeout(PAGE_MS)
    yield context.new_page()
    context.close()
