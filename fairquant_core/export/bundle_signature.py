"""The two questions about the signature of a bundle: does it hold, and whose is it?"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fairquant_core.errors import ExportError
from fairquant_core.export.bundle import MANIFEST
from fairquant_core.export.bundle_check import Check, OpenedBundle, Result
from fairquant_core.export.signing import SIGNATURE_FILE, read_signature, signature_problem
from fairquant_core.export.signing_keys import PUBLIC_KEY_FILE, PublicKey, public_key

SIGNATURE, KEY = "Signature", "Signing key"

BAD_SIGNATURE = "The signature does not hold: {reason}."
NO_ROOM = "The signature cannot be checked ({reason}): free some space for temporary files"
OTHER_FILES = "the signature does not cover exactly the files of the bundle"
OTHER_KEY = "it names another key than the one in {name}"
GENUINE = "All {count} files are as they were signed, with the key {fingerprint}."
NO_KEY_GIVEN = (
    "Anybody can sign. Whose key {fingerprint} is cannot be told from the bundle: give the public key that you "
    "received from the people who signed (--key FILE), or compare its fingerprint with theirs."
)
NOT_VALID = "Without a signature that holds, no key can vouch for the bundle."
UNKNOWN_KEY = (
    "The bundle is signed with the key {fingerprint}, which is not among the keys in {path}."
)
EXPIRED_KEY = (
    "The key {fingerprint} is known, but counted until {expires} only. A signature does not prove when it was made: "
    "ask for a bundle with a new signature."
)
KNOWN_KEY = "The key {fingerprint} is known{expires}."


def check_signature(opened: OpenedBundle) -> tuple[Check, PublicKey | None]:
    """Whether every file is as it was signed.

    Returns
    -------
    The answer, and the key in the bundle if the signature holds.

    Raises
    ------
    ExportError
        There is no room for temporary files.
    """
    try:
        known = public_key(opened.path(PUBLIC_KEY_FILE).read_bytes(), PUBLIC_KEY_FILE)
        problem = _problem(opened, opened.path(SIGNATURE_FILE).read_bytes(), known)
    except OSError as error:
        raise ExportError(NO_ROOM.format(reason=error)) from error
    except Exception as error:
        # Whatever a stranger wrote there ends as an answer, not as a crash.
        problem = str(error) or repr(error)
    if problem:
        return Check(SIGNATURE, Result.FAILED, BAD_SIGNATURE.format(reason=problem)), None
    count = len(opened.manifest["files"]) + 1
    text = GENUINE.format(count=count, fingerprint=known.fingerprint)
    return Check(SIGNATURE, Result.PASSED, text), known


def check_key(
    opened: OpenedBundle,
    signed_with: PublicKey | None,
    trusted: tuple[PublicKey, ...] | None,
    path: Path | None,
) -> Check:
    """Whether it is the key of somebody who is trusted.

    Parameters
    ----------
    signed_with : what :func:`check_signature` found.
    trusted, path : the keys that somebody trusts, and where they lie; None if nobody gave any.
    """
    if signed_with is None:
        return Check(KEY, Result.NOT_CHECKED, NOT_VALID)
    fingerprint = signed_with.fingerprint
    if trusted is None:
        return Check(KEY, Result.NOT_CHECKED, NO_KEY_GIVEN.format(fingerprint=fingerprint))
    same = [one for one in trusted if one.fingerprint == fingerprint]
    if not same:
        text = UNKNOWN_KEY.format(fingerprint=fingerprint, path=path)
        return Check(KEY, Result.FAILED, text)
    valid = [one for one in same if not one.expired()]
    if not valid:
        text = EXPIRED_KEY.format(fingerprint=fingerprint, expires=same[0].expires)
        return Check(KEY, Result.FAILED, text)
    last = f" and counts until {valid[0].expires}" if valid[0].expires else ""
    return Check(KEY, Result.PASSED, KNOWN_KEY.format(fingerprint=fingerprint, expires=last))


def _problem(opened: OpenedBundle, content: bytes, known: PublicKey) -> str:
    signed = read_signature(content)
    listed = opened.manifest["files"]
    manifest = hashlib.sha256(opened.path(MANIFEST).read_bytes()).hexdigest()
    expected = {name: facts["sha256"] for name, facts in listed.items()} | {MANIFEST: manifest}
    if signed.files != expected:
        return OTHER_FILES
    if signed.fingerprint != known.fingerprint:
        return OTHER_KEY.format(name=PUBLIC_KEY_FILE)
    return signature_problem(content, opened.folder, known.content)
