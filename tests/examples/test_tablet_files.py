"""The files of the tablet page: complete, or a sentence that says what to do."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from fairquant_core.errors import ExportError
from fairquant_core.export import tablet
from fairquant_core.export.tablet import LICENCE, NOTICES, PAGE, RUNTIME, SOURCE, tablet_files
from fairquant_core.files import file_hash
from tests.dashboard.made_export import write_small_onnx

Files = dict[str, Path | bytes]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The page with files in the runtime's place; nothing here executes them."""
    folder = tmp_path / "page"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules"))
    dist = folder / "node_modules" / "onnxruntime-web" / "dist"
    dist.mkdir(parents=True)
    for name in RUNTIME:
        (dist / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    write_small_onnx(path, ("benign", "malignant"), "5" * 64)
    return path


def content(files: Files, name: str) -> bytes:
    found = files[f"tablet/{name}"]
    return found if isinstance(found, bytes) else found.read_bytes()


def kept(files: Files) -> dict[str, object]:
    """What the service worker is told to keep."""
    return json.loads(
        content(files, "files.js").decode().removeprefix("self.FILES = ").rstrip(";\n")
    )


def test_everything_that_the_page_asks_for_is_there(source: Path, onnx: Path) -> None:
    files = tablet_files(onnx, {}, source=source)
    for name in (name for name in PAGE if name.endswith((".js", ".html"))):
        text = content(files, name).decode()
        asked = re.findall(r"""(?:from|src=|href=|new URL\()\s*["'](?:\./)?([^"']+)["']""", text)
        for wanted in asked:
            assert f"tablet/{wanted}" in files, f"{name} asks for {wanted}"
    names = kept(files)["names"]
    assert isinstance(names, list)
    assert {"index.html", "model.onnx", "model.json", *PAGE} < set(names)
    assert all(f"tablet/{name}" in files for name in names)


def test_no_address_of_another_place_stands_in_the_page(source: Path, onnx: Path) -> None:
    for name, found in tablet_files(onnx, {}, source=source).items():
        if name.endswith((".js", ".html", ".css", ".webmanifest")):
            text = found.decode() if isinstance(found, bytes) else found.read_text(encoding="utf-8")
            assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {
                "http://ns.adobe.com/xap/1.0/\\0"
            }


def test_the_description_names_the_very_file(source: Path, onnx: Path) -> None:
    facts = {"verdict": "WITHIN", "approved_by": "Carla"}
    about = json.loads(content(tablet_files(onnx, facts, source=source), "model.json"))
    assert about["file"]["sha256"] == file_hash(onnx)
    assert about["facts"] == facts
    assert len(about["check"]["logits"]) == len(about["classes"])


def test_any_changed_byte_is_another_version(source: Path, onnx: Path) -> None:
    before = kept(tablet_files(onnx, {}, source=source))["version"]
    assert kept(tablet_files(onnx, {}, source=source))["version"] == before
    versions = {before, kept(tablet_files(onnx, {"comment": "good"}, source=source))["version"]}
    (source / "style.css").write_text("body {}")
    versions.add(kept(tablet_files(onnx, {}, source=source))["version"])
    assert len(versions) == 3


def test_the_licences_come_along_and_name_the_pinned_version(source: Path, onnx: Path) -> None:
    files = tablet_files(onnx, {}, source=source)
    pinned = json.loads((SOURCE / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    terms = content(files, LICENCE).decode()
    assert f"ONNX Runtime Web {pinned}," in terms
    assert "MIT License" in terms and "Microsoft Corporation" in terms and NOTICES in terms
    notices = content(files, NOTICES).decode(errors="replace")
    assert "THIRD PARTY SOFTWARE NOTICES" in notices and "protobuf" in notices


def test_the_lock_names_no_registry() -> None:
    text = (SOURCE / "package-lock.json").read_text(encoding="utf-8")
    packages = json.loads(text)["packages"]
    assert "resolved" not in text and "://" not in text
    assert all("integrity" in entry for name, entry in packages.items() if name)


def test_without_the_runtime_it_says_what_to_do(source: Path, onnx: Path) -> None:
    shutil.rmtree(source / "node_modules")
    with pytest.raises(ExportError, match="run 'npm ci' in .*, which needs Node and npm"):
        tablet_files(onnx, {}, source=source)


@pytest.mark.parametrize("name", ["guard.js", LICENCE])
def test_a_missing_file_of_the_page_is_named(source: Path, onnx: Path, name: str) -> None:
    (source / name).unlink()
    with pytest.raises(ExportError, match=f"{name} is absent"):
        tablet_files(onnx, {}, source=source)


def test_missing_notices_are_told(
    source: Path, onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tablet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match="may not be handed on"):
        tablet_files(onnx, {}, source=source)


def test_a_damaged_or_absent_classifier_is_refused(source: Path, onnx: Path) -> None:
    damaged = onnx.with_name("damaged.onnx")
    damaged.write_bytes(onnx.read_bytes()[:-20])
    for path in (damaged, onnx.with_name("absent.onnx")):
        with pytest.raises(ExportError, match=path.name):
            tablet_files(path, {}, source=source)
