"""Keys for signing bundles: a local one that is made on first use, and those that somebody trusts.

A key file is PEM with a few lines of plain text before it, which every program that reads PEM skips; so the day after
which a key counts no longer stands in the file that people hand on. Whoever trusts a key may set
an earlier or a later day in their own copy.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from fairquant_core.errors import ExportError
from fairquant_core.files import atomic_path

PRIVATE_KEY_FILE = "signing_key.pem"
PUBLIC_KEY_FILE = "signing_key.pub"

VALID_FOR = timedelta(days=2 * 365)
"""How long a new key counts: one to three years are usual for a private signature key.

Source: NIST SP 800-57 part 1 rev. 5, section 5.3.6.
"""
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""What model-signing can verify."""

HEADER = "FairQuant Audit signing key\nMade: {made}\nExpires: {expires}\n"

NO_KEY = "{path} holds no public key in PEM format: give the .pub file that you received"
IS_PRIVATE = (
    "{path} is a private key, which must never leave its machine: give the .pub file beside it"
)
NO_KEYS = "{path} holds no public key: put the .pub files that you trust into this folder"
WRONG_KIND = "{path} is no elliptic-curve key for P-256, P-384 or P-521, so it signed no bundle"
NOT_A_DAY = "{path}: '{text}' is no day; write it as 2028-11-23, or leave the line out"
CANNOT_READ = "{path} cannot be read ({reason})"
OPEN_TO_OTHERS = (
    "{path} can be read by other people of this machine, so anybody could sign in its name: "
    "chmod 600 it, or move it away so that a new key is made"
)
BROKEN_PRIVATE = (
    "{path} is damaged ({reason}): restore it, or move it away so that a new key is made"
)
EXPIRED = (
    "The signing key {path} counted until {expires}. Move it and its .pub file to a safe place; the next export makes "
    "a new key. Bundles that were signed with the old one are no longer trusted after that day: make them again."
)
NOT_KEPT = "{path} could not be written ({reason}): free some space or choose another folder"

_BEGIN = b"-----BEGIN"
_EXPIRES = re.compile(r"^Expires:[ \t]*(.*?)[ \t]*\r?$", re.MULTILINE)


@dataclass(frozen=True)
class PublicKey:
    """What a signature is checked with.

    Attributes
    ----------
    content : the whole file.
    fingerprint : SHA-256 of the key in PEM format, as model-signing names it in a signature.
    expires : the last day on which it counts; None: no day was set.
    """

    content: bytes
    fingerprint: str
    expires: date | None

    def expired(self, today: date | None = None) -> bool:
        """Whether its last day has passed (UTC)."""
        return self.expires is not None and (today or datetime.now(UTC).date()) > self.expires


@dataclass(frozen=True)
class SigningKey:
    """The key of this installation; the private half stays in its file.

    Attributes
    ----------
    folder : private key, public key, and the signatures that were made with them.
    """

    folder: Path
    public: PublicKey

    @property
    def private_path(self) -> Path:
        """The private key."""
        return self.folder / PRIVATE_KEY_FILE

    @property
    def public_path(self) -> Path:
        """The public key, to be handed on."""
        return self.folder / PUBLIC_KEY_FILE

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key in PEM format."""
        return self.public.fingerprint

    @property
    def public_pem(self) -> bytes:
        """The public key's file."""
        return self.public.content


def local_key(folder: Path) -> SigningKey:
    """The key of this installation; made on first use, with 0600 for the private half.

    Raises
    ------
    ExportError
        It cannot be written, is damaged, expired, or open to other people.
    """
    folder = Path(folder)
    private = folder / PRIVATE_KEY_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not private.exists():
            create_once(private, _new_private_key())
        public = _public_half(private)
        target = folder / PUBLIC_KEY_FILE
        if not target.exists() or target.read_bytes() != public.content:
            with atomic_path(target) as part:
                part.write_bytes(public.content)
    except OSError as error:
        raise ExportError(NOT_KEPT.format(path=private, reason=error)) from error
    if public.expired():
        raise ExportError(EXPIRED.format(path=private, expires=public.expires))
    return SigningKey(folder, public)


def read_public_key(path: Path) -> PublicKey:
    """Open a public key.

    Raises
    ------
    ExportError
        The file is absent, no public key, or of a kind that cannot sign bundles.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ExportError(CANNOT_READ.format(path=path, reason=error)) from error
    return public_key(content, str(path))


def public_key(content: bytes, name: str) -> PublicKey:
    """The public key in the bytes of a file; raises as :func:`read_public_key`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    if b"PRIVATE KEY-----" in content:
        raise ExportError(IS_PRIVATE.format(path=name))
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ExportError(NO_KEY.format(path=name)) from error
    if getattr(getattr(key, "curve", None), "name", "") not in CURVES:
        raise ExportError(WRONG_KIND.format(path=name))
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return PublicKey(content, hashlib.sha256(pem).hexdigest(), _expiry(content, name))


def trusted_keys(path: Path) -> tuple[PublicKey, ...]:
    """The keys that somebody trusts: one file, or all ``.pub`` files of a folder.

    Raises
    ------
    ExportError
        There is none, or one cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return (read_public_key(path),)
    found = tuple(read_public_key(one) for one in sorted(path.glob("*.pub")))
    if not found:
        raise ExportError(NO_KEYS.format(path=path))
    return found


def create_once(path: Path, content: bytes) -> bytes:
    """Write a file that only its owner may read, unless it is there; returns what is there then.

    Of several writers the first one wins, so all of them go on with the same content.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            return path.read_bytes()
        except OSError:
            # Some file systems know no second name for a file; there the last writer wins.
            part.replace(path)
        return content
    finally:
        part.unlink(missing_ok=True)


def _new_private_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    today = datetime.now(UTC).date()
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return HEADER.format(made=today, expires=today + VALID_FOR).encode() + pem


def _public_half(path: Path) -> PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise ExportError(OPEN_TO_OTHERS.format(path=path))
    content = path.read_bytes()
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ExportError(BROKEN_PRIVATE.format(path=path, reason=error)) from error
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public_key(content[: content.index(_BEGIN)] + pem, str(path))


def _expiry(content: bytes, name: str) -> date | None:
    text = _EXPIRES.search(content.split(_BEGIN)[0].decode("utf-8", "replace"))
    if text is None:
        return None
    try:
        return date.fromisoformat(text[1])
    except ValueError as error:
        raise ExportError(NOT_A_DAY.format(path=name, text=text[1])) from error
