"""Results on disk: whole or absent, and a changed byte is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.backend.records.artefacts import Artefacts
from fairquant_core.errors import FairQuantError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def artefacts(tmp_path: Path) -> Artefacts:
    return Artefacts(tmp_path / "artefacts")


def test_the_name_follows_from_the_content(artefacts: Artefacts, source: Path) -> None:
    name = artefacts.publish({"model": source})
    assert artefacts.publish({"model": source}) == name
    assert artefacts.publish({"other": source}) != name
    assert artefacts.path(name, "model").read_bytes() == b"weights"
    assert artefacts.path(name, "model").parent.parent.name == name[:2]


def test_nothing_half_written_stays(artefacts: Artefacts, source: Path, tmp_path: Path) -> None:
    with pytest.raises(FairQuantError, match="missing"):
        artefacts.publish({"model": source, "plan": tmp_path / "nowhere"})
    assert not artefacts.root.exists() or not any(artefacts.root.iterdir())


def test_a_full_disk_leaves_nothing(
    artefacts: Artefacts, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dashboard.backend.records.artefacts.shutil.copyfile", full)
    with pytest.raises(OSError, match="No space"):
        artefacts.publish({"model": source})
    assert not any(artefacts.root.iterdir())


@pytest.mark.parametrize("change", ["edit", "remove", "manifest"])
def test_a_change_is_found(artefacts: Artefacts, source: Path, change: str) -> None:
    name = artefacts.publish({"model": source})
    assert artefacts.problems(name) == []
    path = artefacts.path(name, "model")
    if change == "edit":
        path.write_bytes(b"weightz")
    elif change == "remove":
        path.unlink()
    else:
        (path.parent / "manifest.json").write_text("{}")
    assert artefacts.problems(name)


def test_publishing_again_replaces_a_changed_copy(artefacts: Artefacts, source: Path) -> None:
    name = artefacts.publish({"model": source})
    artefacts.path(name, "model").write_bytes(b"weightz")
    assert artefacts.publish({"model": source}) == name
    assert artefacts.problems(name) == []


def test_a_missing_file_says_what_to_do(artefacts: Artefacts, source: Path) -> None:
    name = artefacts.publish({"model": source})
    with pytest.raises(FairQuantError, match="Start the work again"):
        artefacts.path(name, "plan.json")
