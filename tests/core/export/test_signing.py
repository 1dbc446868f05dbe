"""The signature: checked by the library's own command and by hand, and the keys it is made with."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fairquant_core.errors import ExportError
from fairquant_core.export.bundle import write_bundle
from fairquant_core.export.signing import (
    HOW_TO_VERIFY,
    KEPT_FOLDER,
    SIGNATURE_FILE,
    SigningKey,
    local_key,
)
from fairquant_core.export.signing_keys import read_public_key, trusted_keys
from fairquant_core.export.verification import tampering
from tests.core.export.made_bundle import members_of


@pytest.fixture
def unpacked(small_bundle: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(small_bundle) as bundle:
        bundle.extractall(folder)
    return folder


def model_signing(folder: Path, public_key: Path) -> int:
    """The command that README.txt names, run in the folder."""
    line = next(line for line in HOW_TO_VERIFY.splitlines() if "model_signing verify" in line)
    words = [str(public_key) if word == "PUBLIC_KEY" else word for word in line.split()]
    assert words[:2] == ["python", "-m"] and str(public_key) in words
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def test_the_library_s_own_command_agrees(
    unpacked: Path, signing_key: SigningKey, stranger: SigningKey
) -> None:
    assert model_signing(unpacked, signing_key.public_path) == 0
    assert model_signing(unpacked, stranger.public_path) != 0
    (unpacked / "extra.txt").write_text("x")
    assert model_signing(unpacked, signing_key.public_path) != 0
    (unpacked / "extra.txt").unlink()
    (unpacked / "empty.txt").write_text("x")
    assert model_signing(unpacked, signing_key.public_path) != 0


def test_it_holds_when_checked_by_hand(small_bundle: Path, signing_key: SigningKey) -> None:
    """DSSE and ECDSA as their specifications say, without the library that signed."""
    members = members_of(small_bundle)
    envelope = json.loads(members[SIGNATURE_FILE])["dsseEnvelope"]
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    key = serialization.load_pem_public_key(signing_key.public_pem)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signature, encoded, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(signature, encoded + b" ", ec.ECDSA(hashes.SHA256()))
    signed = {one["name"]: one["digest"] for one in json.loads(payload)["predicate"]["resources"]}
    del members[SIGNATURE_FILE]
    assert signed == {name: hashlib.sha256(one).hexdigest() for name, one in members.items()}


def test_the_fingerprint_is_that_of_openssl_s_pem(signing_key: SigningKey) -> None:
    pem = signing_key.public_pem[signing_key.public_pem.index(b"-----BEGIN") :]
    assert hashlib.sha256(pem).hexdigest() == signing_key.fingerprint
    assert signing_key.fingerprint in HOW_TO_VERIFY.format(fingerprint=signing_key.fingerprint)


def test_a_new_key_is_private_and_stays(tmp_path: Path) -> None:
    key = local_key(tmp_path / "keys")
    if os.name == "posix":
        assert key.private_path.stat().st_mode & 0o777 == 0o600
        assert key.folder.stat().st_mode & 0o777 == 0o700
    assert local_key(tmp_path / "keys") == key
    key.public_path.unlink()
    assert local_key(tmp_path / "keys").public_path.read_bytes() == key.public_pem
    assert read_public_key(key.public_path).fingerprint == key.fingerprint
    assert key.public.expires is not None
    assert 700 < (key.public.expires - date.today()).days <= 730
    assert b"PRIVATE" not in key.public_pem


def test_a_key_of_another_folder_is_another_key(
    signing_key: SigningKey, stranger: SigningKey
) -> None:
    assert signing_key.fingerprint != stranger.fingerprint


def change(text: str, by: Callable[[str], str], path: Path) -> None:
    path.write_text(by(text))
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:-60], "is damaged"),
        (lambda text: "", "is damaged"),
        (lambda text: text.replace("Expires: 2", "Expires: 1"), "counted until 1"),
        (lambda text: text.replace("Expires: 2", "Expires: x"), "is no day"),
    ],
)
def test_a_key_that_cannot_sign_says_why(
    damage: Callable[[str], str], words: str, tmp_path: Path
) -> None:
    key = local_key(tmp_path)
    text = key.private_path.read_text()
    change(text, damage, key.private_path)
    with pytest.raises(ExportError, match=words):
        local_key(tmp_path)
    assert key.private_path.exists(), "a key is never replaced silently"


@pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")
def test_a_key_that_others_can_read_does_not_sign(tmp_path: Path) -> None:
    local_key(tmp_path).private_path.chmod(0o644)
    with pytest.raises(ExportError, match="can be read by other people"):
        local_key(tmp_path)


def test_keys_of_other_kinds_are_refused(tmp_path: Path) -> None:
    for number, private in enumerate(
        (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256K1()))
    ):
        path = tmp_path / f"{number}.pub"
        path.write_bytes(
            private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        with pytest.raises(ExportError, match="no elliptic-curve key"):
            trusted_keys(path)


def test_a_key_from_another_program_can_sign(tmp_path: Path) -> None:
    """PEM without our lines of text, on another curve: it has no last day."""
    private = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    (tmp_path / "signing_key.pem").write_bytes(private)
    (tmp_path / "signing_key.pem").chmod(0o600)
    key = local_key(tmp_path)
    write_bundle(tmp_path / "b.zip", {"a": b"x"}, key=key)
    assert key.public.expires is None and tampering(tmp_path / "b.zip") == []


def test_a_kept_signature_that_was_damaged_is_made_anew(tmp_path: Path) -> None:
    key = local_key(tmp_path / "keys")
    write_bundle(tmp_path / "b.zip", {"a": b"x"}, key=key)
    before = (tmp_path / "b.zip").read_bytes()
    (kept,) = (key.folder / KEPT_FOLDER).iterdir()
    for content in (b"", kept.read_bytes().replace(b'"sig":"M', b'"sig":"N'), b"\xff"):
        kept.write_bytes(content)
        write_bundle(tmp_path / "b.zip", {"a": b"x"}, key=key)
        assert tampering(tmp_path / "b.zip") == []
        assert (tmp_path / "b.zip").read_bytes() != before, "ECDSA draws a number each time"


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="could not be written"):
        local_key(tmp_path / "file" / "keys")
