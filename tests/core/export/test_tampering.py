"""No byte of a signed bundle can be changed, added or taken away without being noticed."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fairquant_core.errors import ExportError
from fairquant_core.export.bundle import MANIFEST, verify_bundle, write_bundle
from fairquant_core.export.signing import (
    SIGNATURE_FILE,
    SigningKey,
    local_key,
    signature_problem,
)
from fairquant_core.export.verification import tampering
from tests.core.export.made_bundle import Files, members_of, put_back


def test_every_flipped_byte_is_found(small_bundle: Path) -> None:
    original = small_bundle.read_bytes()
    assert len(original) > 3000 and tampering(small_bundle) == []
    unnoticed = []
    for place in range(len(original)):
        changed = bytearray(original)
        changed[place] ^= 1 << (place % 8)
        small_bundle.write_bytes(changed)
        if not tampering(small_bundle):
            unnoticed.append(place)
    assert unnoticed == []


def test_every_length_it_is_cut_off_at_is_found(small_bundle: Path) -> None:
    original = small_bundle.read_bytes()
    unnoticed = []
    for length in range(len(original)):
        small_bundle.write_bytes(original[:length])
        if not tampering(small_bundle):
            unnoticed.append(length)
    assert unnoticed == []


@pytest.mark.parametrize("added", [b"\0", b"x" * 70_000, b"PK\5\6" + bytes(18)])
def test_bytes_before_and_after_are_found(small_bundle: Path, added: bytes) -> None:
    original = small_bundle.read_bytes()
    for changed in (original + added, added + original):
        small_bundle.write_bytes(changed)
        assert tampering(small_bundle)


def test_every_flipped_byte_of_a_file_is_found_behind_a_correct_manifest(
    small_bundle: Path,
) -> None:
    """A forger who knows the format corrects sums and manifest; only the key is missing."""
    members = members_of(small_bundle)
    for name, content in members.items():
        for place in range(len(content) if name not in (SIGNATURE_FILE, MANIFEST) else 0):
            changed = bytearray(content)
            changed[place] ^= 1 << (place % 8)
            put_back(small_bundle, members | {name: bytes(changed)})
            assert verify_bundle(small_bundle) == []
            assert tampering(small_bundle), (name, place)


def test_every_flipped_byte_of_the_signature_is_found(
    small_bundle: Path, tmp_path: Path, signing_key: SigningKey
) -> None:
    """Also where the zip around it is right; the letters of Base64 and JSON have no spare bits."""
    with zipfile.ZipFile(small_bundle) as bundle:
        bundle.extractall(tmp_path / "unpacked")
    signature = members_of(small_bundle)[SIGNATURE_FILE]

    def problem(content: bytes) -> str:
        return signature_problem(content, tmp_path / "unpacked", signing_key.public_pem)

    assert problem(signature) == ""
    unnoticed = []
    for place in range(len(signature)):
        changed = bytearray(signature)
        changed[place] ^= 1 << (place % 7)
        if not problem(bytes(changed)):
            unnoticed.append(place)
    assert unnoticed == []


def other_spelling(found: dict[str, Any]) -> bytes:
    return json.dumps(found, indent=1).encode()


def other_resources(found: dict[str, Any]) -> bytes:
    payload = json.loads(base64.b64decode(found["dsseEnvelope"]["payload"]))
    payload["predicate"]["resources"] = []
    text = base64.b64encode(json.dumps(payload).encode()).decode()
    found["dsseEnvelope"]["payload"] = text
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[" * 200_000,
        b"\xff\xfe",
        b'{"dsseEnvelope":{"payload":"e30=","payloadType":"x","signatures":[{"sig":""}]}}',
        other_spelling,
        other_resources,
    ],
)
def test_anything_else_in_place_of_the_signature(small_bundle: Path, content: Any) -> None:
    members = members_of(small_bundle)
    if callable(content):
        content = content(json.loads(members[SIGNATURE_FILE]))
    put_back(small_bundle, members | {SIGNATURE_FILE: content}, manifest=False)
    assert any("The signature does not hold" in text for text in tampering(small_bundle))


def test_files_that_lie_over_each_other(tmp_path: Path) -> None:
    """Many names for the same bytes: a small file that would fill the disk when unpacked."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("a0", bytes(100_000))
        first = bundle.getinfo("a0")
        for number in range(1, 50):
            copy = zipfile.ZipInfo(f"a{number}")
            copy.file_size = copy.compress_size = first.file_size
            copy.CRC, copy.header_offset = first.CRC, first.header_offset
            bundle.filelist.append(copy)
            bundle.NameToInfo[copy.filename] = copy
            bundle._didModify = True  # type: ignore[attr-defined]
    assert any("overlap" in text for text in verify_bundle(path))
    assert tampering(path)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "A")])
def test_a_name_for_a_file_and_a_folder(
    names: tuple[str, str], tmp_path: Path, signing_key: SigningKey
) -> None:
    path = tmp_path / "b.zip"
    with pytest.raises(ExportError, match="of a file and of a folder"):
        write_bundle(path, dict.fromkeys(names, b"x"), key=signing_key)
    with zipfile.ZipFile(path, "w") as bundle:
        for name in (*names, MANIFEST):
            bundle.writestr(name, b"{}")
    assert any("is a file and a folder" in text for text in tampering(path))


def test_the_same_contents_and_key_give_the_same_bytes(
    small_bundle: Path, tmp_path: Path, signing_key: SigningKey
) -> None:
    unlisted = (MANIFEST, SIGNATURE_FILE, "signing_key.pub")
    files: Files = {k: v for k, v in members_of(small_bundle).items() if k not in unlisted}
    again = tmp_path / "again.zip"
    write_bundle(again, dict(reversed(files.items())), {"run": "run-1"}, key=signing_key)
    assert again.read_bytes() == small_bundle.read_bytes()


def test_two_writers_at_once(tmp_path: Path) -> None:
    """Both make the key, the signature and the bundle for the first time."""
    path, files = tmp_path / "out" / "b.zip", {"a.txt": b"a", "b/c.txt": b"c"}
    start, sums = threading.Barrier(4), []

    def write() -> None:
        start.wait()
        sums.append(write_bundle(path, files, {}, key=local_key(tmp_path / "keys")))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sums) == 4 and len(set(sums)) == 1
    assert [one.name for one in path.parent.iterdir()] == ["b.zip"]
    assert tampering(path) == []


WRITE_WITH_LITTLE_ROOM = """
import resource, signal, sys
from pathlib import Path
from fairquant_core.errors import ExportError
from fairquant_core.export.bundle import write_bundle
from fairquant_core.export.signing import local_key

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
key = local_key(Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_bundle(Path(sys.argv[1]), {f"{n}.bin": bytes(30_000) for n in range(3)}, key=key)
except ExportError as error:
    sys.exit(str(error))
"""


@pytest.mark.skipif(os.name != "posix", reason="the limit on file sizes is one of POSIX")
def test_a_disk_that_takes_no_more_leaves_the_old_bundle(
    small_bundle: Path, signing_key: SigningKey
) -> None:
    """The system itself refuses to write on in the middle of the zip."""
    before = small_bundle.read_bytes()
    command = [sys.executable, "-c", WRITE_WITH_LITTLE_ROOM, small_bundle, signing_key.folder]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 1
    assert "could not be written" in done.stderr and "free some space" in done.stderr
    assert small_bundle.read_bytes() == before
    assert [one.name for one in small_bundle.parent.iterdir()] == [small_bundle.name]
