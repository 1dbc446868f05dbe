"""The bundle: the same bytes for the same contents, and no changed byte goes unnoticed."""

from __future__ import annotations

import errno
import json
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fairquant_core.errors import ExportError
from fairquant_core.export import bundle as module
from fairquant_core.export.bundle import MANIFEST, verify_bundle, write_bundle
from fairquant_core.export.signing import SIGNATURE_FILE, SigningKey


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path | bytes]:
    model = tmp_path / "source" / "model.safetensors"
    model.parent.mkdir()
    model.write_bytes(np.random.default_rng(0).bytes(150))
    return {
        "model.safetensors": model,
        "report/index.html": b"<p>a report</p>",
        "audit.json": b"{}",
        "empty.txt": b"",
    }


@pytest.fixture
def bundle(files: dict[str, Path | bytes], tmp_path: Path, signing_key: SigningKey) -> Path:
    path = tmp_path / "out" / "bundle.zip"
    write_bundle(path, files, {"run": "abc"}, key=signing_key)
    return path


def rezip(path: Path, members: list[tuple[str, bytes]], compression: int = 0) -> None:
    """What another program would write."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as target:
        warnings.simplefilter("ignore")  # duplicate names are the point of one test
        for name, content in members:
            target.writestr(name, content)


def members(path: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as source:
        return [(name, source.read(name)) for name in source.namelist()]


def test_a_bundle_verifies_and_tells_what_is_in_it(bundle: Path) -> None:
    assert verify_bundle(bundle) == []
    content = dict(members(bundle))
    manifest = json.loads(content[MANIFEST])
    assert manifest["about"] == {"run": "abc"}
    assert manifest["files"]["audit.json"]["bytes"] == 2
    assert set(manifest["files"]) | {MANIFEST, SIGNATURE_FILE} == set(content)
    assert content["report/index.html"] == b"<p>a report</p>"


def test_the_same_contents_give_the_same_bytes(
    bundle: Path, files: dict[str, Path | bytes], tmp_path: Path, signing_key: SigningKey
) -> None:
    model = Path(str(files["model.safetensors"]))
    os.utime(model, (0, 0))
    backwards = dict(reversed(files.items())) | {"model.safetensors": model.read_bytes()}
    first = write_bundle(tmp_path / "again.zip", backwards, {"run": "abc"}, key=signing_key)
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()
    assert write_bundle(tmp_path / "other.zip", files, {"run": "xyz"}, key=signing_key) != first


def test_every_flipped_byte_is_found(bundle: Path) -> None:
    original = bundle.read_bytes()
    assert len(original) > 1000
    unnoticed = []
    for place in range(len(original)):
        changed = bytearray(original)
        changed[place] ^= 1 << (place % 8)
        bundle.write_bytes(changed)
        if not verify_bundle(bundle):
            unnoticed.append(place)
    assert unnoticed == []


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.99])
def test_a_cut_off_bundle_is_found(bundle: Path, share: float) -> None:
    content = bundle.read_bytes()
    bundle.write_bytes(content[: int(share * len(content))])
    assert verify_bundle(bundle)


def test_bytes_before_and_after_are_found(bundle: Path) -> None:
    content = bundle.read_bytes()
    for changed in (content + b"x", b"x" + content):
        bundle.write_bytes(changed)
        assert verify_bundle(bundle)


def test_an_absent_file_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    assert "cannot be read as a zip" in verify_bundle(tmp_path / "absent.zip")[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda m: [e for e in m if e[0] != "audit.json"], "'audit.json' is missing"),
        (lambda m: [*m, ("extra.txt", b"x")], "'extra.txt' does not belong"),
        (lambda m: [*m, ("audit.json", b"{}")], "'audit.json' is there twice"),
        (lambda m: [*m, ("AUDIT.json", b"{}")], "'AUDIT.json' is there twice"),
        (lambda m: [*m, ("../evil.txt", b"x")], "'../evil.txt' cannot be a name"),
        (lambda m: [*m, ("/evil.txt", b"x")], "'/evil.txt' cannot be a name"),
        (lambda m: [*m, ("C:evil.txt", b"x")], "'C:evil.txt' cannot be a name"),
        (lambda m: [e for e in m if e[0] != MANIFEST], "MANIFEST.json is missing"),
        (lambda m: [e for e in m if e[0] != MANIFEST] + [(MANIFEST, b"[]")], "is damaged"),
        (
            lambda m: [(n, c.replace(b'"abc"', b'"ABC" ') if n == MANIFEST else c) for n, c in m],
            "MANIFEST.json was edited",
        ),
        (
            lambda m: [(n, b"[]" if n == "audit.json" else c) for n, c in m],
            "'audit.json' was changed",
        ),
        (lambda m: m, "is not what it was"),
    ],
)
def test_a_bundle_made_anew_is_found(bundle: Path, change: object, problem: str) -> None:
    rezip(bundle, change(members(bundle)))  # type: ignore[operator]
    assert any(problem in sentence for sentence in verify_bundle(bundle))


def test_a_compressed_bundle_is_refused_before_it_is_read(bundle: Path) -> None:
    rezip(bundle, [*members(bundle), ("bomb", bytes(10_000_000))], zipfile.ZIP_DEFLATED)
    assert any("is compressed" in sentence for sentence in verify_bundle(bundle))


@pytest.mark.parametrize(
    "name",
    [
        "../a",
        "/a",
        "a//b",
        "a\\b",
        "C:a",
        "",
        "a/",
        ".hidden",
        "a/../b",
        "a.",
        MANIFEST,
        "ä",
        "a b",
    ],
)
def test_unsafe_names_are_not_written(name: str, tmp_path: Path, signing_key: SigningKey) -> None:
    with pytest.raises(ExportError, match="cannot be a name in a bundle"):
        write_bundle(tmp_path / "b.zip", {name: b"x"}, key=signing_key)
    assert list(tmp_path.iterdir()) == []


def test_names_that_differ_by_case_only_are_not_written(
    tmp_path: Path, signing_key: SigningKey
) -> None:
    with pytest.raises(ExportError, match="capital letters only"):
        write_bundle(tmp_path / "b.zip", {"a.txt": b"x", "A.txt": b"y"}, key=signing_key)


def test_a_missing_source_leaves_nothing(tmp_path: Path, signing_key: SigningKey) -> None:
    with pytest.raises(ExportError, match="could not be written"):
        write_bundle(tmp_path / "b.zip", {"a.txt": tmp_path / "absent"}, key=signing_key)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_bundle_and_nothing_else(
    bundle: Path, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bundle.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write_zip", full)
    with pytest.raises(ExportError, match="No space left on device"):
        write_bundle(bundle, {"a.txt": b"x"}, key=signing_key)
    assert bundle.read_bytes() == before
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_a_source_that_changes_meanwhile_is_noticed(
    tmp_path: Path, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "log.txt"
    source.write_bytes(b"one")
    write_zip = module._write_zip

    def change_first(target: object, members: dict) -> None:
        source.write_bytes(b"two")
        write_zip(target, members)

    monkeypatch.setattr(module, "_write_zip", change_first)
    with pytest.raises(ExportError, match=r"'log.txt' was changed"):
        write_bundle(tmp_path / "out" / "b.zip", {"log.txt": source}, key=signing_key)
    assert list((tmp_path / "out").iterdir()) == []
