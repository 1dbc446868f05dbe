"""serve.py of the tablet page, started as a person starts it."""

from __future__ import annotations

import importlib
import mimetypes
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairquant_core.export.tablet import SERVER, SOURCE

ADDRESS = re.compile(r"http://localhost:[0-9]+/")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (SERVER, "index.html", "page.js", "manifest.webmanifest"):
        shutil.copy(SOURCE / name, tmp_path)
    (tmp_path / "runtime.mjs").write_text("")
    (tmp_path / "runtime.wasm").write_bytes(b"")
    return tmp_path


@contextmanager
def running(folder: Path, *options: str) -> Iterator[str]:
    """Gives its first line; it runs in another folder than its own."""
    command = [sys.executable, str(folder / SERVER), "--port", "0", *options]
    process = subprocess.Popen(
        command, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_it_serves_its_folder_with_the_right_kinds(folder: Path) -> None:
    expected = {
        "": "text/html",
        "page.js": "text/javascript",
        "runtime.mjs": "text/javascript",
        "runtime.wasm": "application/wasm",
        "manifest.webmanifest": "application/manifest+json",
    }
    with running(folder) as line:
        found = ADDRESS.search(line)
        assert found, line
        for name, kind in expected.items():
            with urllib.request.urlopen(found[0] + name, timeout=60) as answer:
                assert answer.headers.get_content_type() == kind
                assert answer.read() == (folder / (name or "index.html")).read_bytes()


def test_a_machine_that_holds_wrong_kinds_does_not_spoil_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some Windows machines hold text/plain for .js, and browsers then refuse every module."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "serve", raising=False)
    serve = importlib.import_module("serve")
    monkeypatch.setattr(mimetypes, "guess_type", lambda *_: ("text/plain", None))
    handler = serve.Handler.__new__(serve.Handler)
    assert handler.guess_type("page.js") == "text/javascript"


def test_a_taken_port_and_a_bad_certificate_are_told(folder: Path) -> None:
    with running(folder) as line:
        port = line.rstrip("/\n").rpartition(":")[2]
        taken = run(folder, "--port", port)
    assert f"Port {port} is taken" in taken
    assert "cannot be used" in run(folder, "--port", "0", "--certificate", str(folder / "no.pem"))
    assert "cannot be used" in run(
        folder, "--port", "0", "--certificate", str(folder / "index.html")
    )


def run(folder: Path, *options: str) -> str:
    """What it says when it cannot start."""
    command = [sys.executable, str(folder / SERVER), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    return done.stderr
