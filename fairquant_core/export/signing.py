"""Signing a bundle with the OpenSSF library model-signing, and checking such a signature.

The signature is a file in the bundle, over the SHA-256 of every other file. Anybody can check it on the unpacked
bundle with model-signing's own command. ECDSA draws a random number, and the library writes the same
statement with its parts in another order each time; so a signature is made once, kept beside the key under the
hash of the bundle's manifest, and used again: the same contents and the same key give the same bundle.
"""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairquant_core.errors import ExportError
from fairquant_core.export.signing_keys import (
    PUBLIC_KEY_FILE,
    SigningKey,
    create_once,
    local_key,
)
from fairquant_core.files import canonical

__all__ = [
    "HOW_TO_VERIFY",
    "PUBLIC_KEY_FILE",
    "SIGNATURE_FILE",
    "Signed",
    "SigningKey",
    "local_key",
    "read_signature",
    "sign",
    "signature_problem",
]

SIGNATURE_FILE = "model.sig"
KEPT_FOLDER = "signatures"

HOW_TO_VERIFY = """\
The signature is that of the OpenSSF library model-signing. To check it without this program, unpack
the bundle into an empty folder, install model-signing and pyOpenSSL, and run in that folder:

    python -m model_signing verify key --signature model.sig --public_key PUBLIC_KEY .

PUBLIC_KEY is the file signing_key.pub of whoever signed. The bundle holds a copy, but a copy cannot
prove whose it is: compare it with the one that you received on another way. Its fingerprint is
{fingerprint}.
"""
"""For the README of a bundle."""

NOT_SIGNED = "The bundle could not be signed ({reason})"
NO_SIGNATURE_FORMAT = "it is not written as this program writes signatures"

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Signed:
    """What a signature says, before it is known whether it is genuine.

    Attributes
    ----------
    fingerprint : of the key that it names.
    files : SHA-256 of every file that it covers.
    """

    fingerprint: str
    files: dict[str, str]


def sign(files: Mapping[str, Path | bytes], key: SigningKey, kept_as: str) -> bytes:
    """The signature of these files; the same one whenever `kept_as` is the same.

    Parameters
    ----------
    kept_as : what decides all contents, e.g. the hash of a manifest.

    Raises
    ------
    ExportError
        The key cannot sign, or there is no room.
    """
    from model_signing import hashing, signing

    kept = key.folder / KEPT_FOLDER / f"{kept_as}.sig"
    with tempfile.TemporaryDirectory() as work:
        folder, target = Path(work, "bundle"), Path(work, "made.sig")
        for name, source in files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source if isinstance(source, bytes) else source.read_bytes())
        known = kept.read_bytes() if kept.exists() else None
        if known is not None:
            if not signature_problem(known, folder, key.public_pem):
                return known
            kept.unlink(missing_ok=True)  # damaged, so it is of no use to anybody
        try:
            config = signing.Config().use_elliptic_key_signer(private_key=key.private_path)
            config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[SIGNATURE_FILE]))
            config.sign(folder, target)
        except (ValueError, TypeError) as error:
            raise ExportError(NOT_SIGNED.format(reason=error)) from error
        made = _canonical(json.loads(target.read_bytes()))
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return create_once(kept, made)


def read_signature(content: bytes) -> Signed:
    """What a signature says.

    Exactly one way of writing counts, so that no byte of it can be changed without being noticed.

    Raises
    ------
    ValueError
        It is no signature, or written in another way.
    """
    try:
        found = json.loads(content)
        if _canonical(found) != content:
            raise ValueError(NO_SIGNATURE_FORMAT)
        payload = json.loads(base64.b64decode(found["dsseEnvelope"]["payload"]))
        files = {}
        for one in payload["predicate"]["resources"]:
            if one["algorithm"] != "sha256" or one["name"] in files:
                raise ValueError(NO_SIGNATURE_FORMAT)
            files[one["name"]] = str(one["digest"])
        return Signed(found["verificationMaterial"]["publicKey"]["hint"], files)
    except (KeyError, TypeError, IndexError, binascii.Error) as error:
        raise ValueError(f"{NO_SIGNATURE_FORMAT}: {error!r}") from error


def signature_problem(content: bytes, folder: Path, public_pem: bytes) -> str:
    """Why a signature does not hold for the files of a folder; "" if it does.

    Parameters
    ----------
    public_pem : the file of the public key that it must be made with.
    """
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    with tempfile.TemporaryDirectory() as work:
        key, signature = Path(work, PUBLIC_KEY_FILE), Path(work, SIGNATURE_FILE)
        key.write_bytes(public_pem)
        signature.write_bytes(content)
        try:
            read_signature(content)
            config = verifying.Config().use_elliptic_key_verifier(public_key=key)
            config.verify(folder, signature)
        except InvalidSignature:
            return "it was not made with this key"
        except (ValueError, KeyError, TypeError) as error:
            return str(error)
    return ""


def _canonical(found: Any) -> bytes:
    """The one way in which a signature with this key, statement and sign is written."""
    envelope = found["dsseEnvelope"]
    (mark,) = envelope["signatures"]
    return canonical(
        {
            "mediaType": _MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": found["verificationMaterial"]["publicKey"]["hint"]},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": _canonical_base64(envelope["payload"]),
                "payloadType": _PAYLOAD_TYPE,
                "signatures": [{"sig": _canonical_base64(mark["sig"]), "keyid": ""}],
            },
        }
    ).encode()


def _canonical_base64(text: str) -> str:
    return base64.b64encode(base64.b64decode(text, validate=True)).decode("ascii")
