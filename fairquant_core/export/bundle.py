"""The bundle: one zip of everything an approved run hands out, in which any changed byte is found.

A bundle is a function of its contents and the signature: names sorted, times fixed, nothing compressed
(deflate differs between versions of its library). So checking it means comparing the SHA-256 of every
file with ``MANIFEST.json``, then writing the bundle again and comparing every byte. The
signature, which lies in the bundle, covers every file and the manifest. There is no bundle without one:
anybody could rewrite it. Whether the contents are what somebody approved is asked in
:mod:`fairquant_core.export.verification`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fairquant_core.errors import ExportError
from fairquant_core.export.signing import (
    PUBLIC_KEY_FILE,
    SIGNATURE_FILE,
    SigningKey,
    read_signature,
    sign,
)
from fairquant_core.files import atomic_path

MANIFEST = "MANIFEST.json"
RESERVED = (MANIFEST, SIGNATURE_FILE, PUBLIC_KEY_FILE)
FORMAT = "fairquant-bundle"
VERSION = 2
"""Of the format. Version 1 knew no signature and is refused, so that nobody can pass a forgery off as an old bundle."""
UNSIGNED_VERSION = 1

CHUNK = 1 << 20
BEGINNING_OF_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
READABLE_FILE = 0o100644 << 16
MADE_ON_UNIX = 3

UNSAFE_NAME = (
    "{name!r} cannot be a name in a bundle: use letters, digits, '.', '_', '-' and '/' only, "
    "without leaving the folder"
)
NOT_WRITTEN = "{path} could not be written ({reason}): free some space or choose another folder"
NOT_COMPLETED = "The bundle could not be completed: {problem}. Try again."
OVERLAP = "Files in it overlap: together they are larger than the bundle"
NO_ROOM = "{path} cannot be checked ({reason}): free some space for temporary files"
UNSIGNED = (
    "The bundle is not signed (format 1), so anybody could have written it: ask for a signed one from those who "
    "made it"
)
OTHER_VERSION = "{name} has another format or version than this program reads"
UNREADABLE = "{path} cannot be read as a zip ({reason}): it is cut off, damaged or of another kind"

OTHER_BYTE = (
    "Byte {place} of {name} is not what it was when the bundle was written, although the files in it are "
    "unchanged"
)

IN_MEMORY = 8 << 20
"""Bytes of a bundle that are written again in memory, not on disk, when it is verified."""

Source = tuple[int, Callable[[], IO[bytes]]]
"""Size of one file, and how to open it."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?<!\.)")
# What Python's zipfile raises on damaged archives, depending on where the damage is.
BROKEN_ZIP = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError)


def write_bundle(
    path: Path,
    files: Mapping[str, Path | bytes],
    about: Mapping[str, Any] | None = None,
    *,
    key: SigningKey,
) -> str:
    """Write a bundle; it appears under its name only when it is complete.

    Parameters
    ----------
    files : name in the bundle -> a file, or its bytes.
    about : JSON-able facts about the bundle; they stand under "about" in the manifest.
    key : signs the bundle, see :func:`fairquant_core.export.signing.local_key`.

    Returns
    -------
    The SHA-256 of the whole bundle. The same contents give the same one for as long as the signature that is kept
    beside the key is there; another key, or a signature made anew with the same key, gives another one.

    Raises
    ------
    ExportError
        A name is unsafe or twice, a file is absent or changes meanwhile, the key cannot sign, or the disk is full.
    """
    path = Path(path)
    _check_names(files)
    try:
        everything = {**files, PUBLIC_KEY_FILE: key.public_pem}
        listed = {name: _describe(source) for name, source in sorted(everything.items())}
        everything[MANIFEST] = _manifest_bytes(listed, dict(about or {}))
        everything[SIGNATURE_FILE] = _signature(everything, listed, key)
        with atomic_path(path) as part:
            with part.open("wb") as target:
                _write_zip(target, {name: _source(item) for name, item in everything.items()})
            # A file that grew or changed between the two readings would make a bad bundle.
            problems = verify_bundle(part)
            if problems:
                raise ExportError(NOT_COMPLETED.format(problem=problems[0]))
            return _describe(part)["sha256"]
    except OSError as error:
        raise ExportError(NOT_WRITTEN.format(path=path, reason=error)) from error


def verify_bundle(path: Path) -> list[str]:
    """Return which bytes are not as they were written, one sentence each; an empty list means none.

    Whose signature it is, and whether it is genuine, is asked in
    :func:`fairquant_core.export.verification.verify`.

    Raises
    ------
    ExportError
        There is no room for temporary files.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as bundle:
            return (
                name_problems(bundle) or content_problems(bundle) or layout_problems(bundle, path)
            )
    except BROKEN_ZIP as error:
        return [UNREADABLE.format(path=path, reason=error)]


def name_problems(bundle: zipfile.ZipFile) -> list[str]:
    """Names that leave the folder, stand there twice, or belong to a compressed file."""
    names = bundle.namelist()
    problems = [
        UNSAFE_NAME.format(name=name) for name in names if name != MANIFEST and not _is_safe(name)
    ]
    problems += [f"{name!r} is there twice" for name in sorted(_twice(names))]
    problems += [f"{name!r} is a file and a folder" for name in sorted(_folders(names))]
    # A stored file cannot blow up when it is read, unlike a compressed one.
    problems += [
        f"{member.filename!r} is compressed, which our bundles never are"
        for member in bundle.infolist()
        if member.compress_type != zipfile.ZIP_STORED
    ]
    # Else a few bytes that many names point at could fill the disk.
    if sum(member.file_size for member in bundle.infolist()) > bundle.start_dir:
        problems.append(OVERLAP)
    if MANIFEST not in names:
        problems.append(f"{MANIFEST} is missing, so nothing can be checked")
    return problems


def content_problems(bundle: zipfile.ZipFile) -> list[str]:
    """Files that are missing, surplus or not what the manifest says, after `name_problems` found nothing."""
    content = bundle.read(MANIFEST)
    try:
        manifest = json.loads(content)
        listed: dict[str, dict[str, Any]] = dict(manifest["files"])
        if (manifest["format"], manifest["version"]) == (FORMAT, UNSIGNED_VERSION):
            return [UNSIGNED]
        if (manifest["format"], manifest["version"]) != (FORMAT, VERSION):
            return [OTHER_VERSION.format(name=MANIFEST)]
        if _manifest_bytes(listed, manifest["about"]) != content:
            return [f"{MANIFEST} was edited"]
    except (ValueError, KeyError, TypeError) as error:
        return [f"{MANIFEST} is damaged ({error!r})"]
    there = set(bundle.namelist()) - {MANIFEST}
    expected = set(listed) | {SIGNATURE_FILE, PUBLIC_KEY_FILE}
    problems = [f"{name!r} is missing" for name in sorted(expected - there)]
    problems += [f"{name!r} does not belong to the bundle" for name in sorted(there - expected)]
    for name in sorted(there & set(listed)):
        try:
            with bundle.open(name) as member:
                found = _describe_stream(member)
        except BROKEN_ZIP as error:
            problems.append(f"{name!r} is damaged ({error})")
            continue
        if found != listed[name]:
            problems.append(f"{name!r} was changed after the bundle was written")
    return problems


def layout_problems(bundle: zipfile.ZipFile, path: Path) -> list[str]:
    """The first byte that differs when the same files are written again, after `content_problems` found nothing.

    Raises
    ------
    ExportError
        There is no room for temporary files.
    """
    members: dict[str, Source] = {
        member.filename: (member.file_size, partial(bundle.open, member))
        for member in bundle.infolist()
    }
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as again, path.open("rb") as written:
        try:
            _write_zip(again, members)
        except OSError as error:
            raise ExportError(NO_ROOM.format(path=path, reason=error)) from error
        again.seek(0)
        place = _first_difference(written, again)
    return [] if place is None else [OTHER_BYTE.format(place=place, name=path.name)]


def read_manifest(bundle: zipfile.ZipFile) -> dict[str, Any]:
    """The manifest, after `content_problems` found nothing."""
    return json.loads(bundle.read(MANIFEST))


def _signature(
    everything: Mapping[str, Path | bytes], listed: Mapping[str, Any], key: SigningKey
) -> bytes:
    manifest = _describe(everything[MANIFEST])["sha256"]
    signature = sign(everything, key, manifest)
    expected = {name: facts["sha256"] for name, facts in listed.items()} | {MANIFEST: manifest}
    if read_signature(signature).files != expected:
        raise ExportError(NOT_COMPLETED.format(problem="a file changed while it was signed"))
    return signature


def _check_names(files: Mapping[str, Path | bytes]) -> None:
    for name in files:
        if not _is_safe(name) or name.lower() in (one.lower() for one in RESERVED):
            raise ExportError(UNSAFE_NAME.format(name=name))
    twice = _twice(list(files))
    if twice:
        raise ExportError(
            f"{sorted(twice)[0]!r} differs from another name in the bundle by capital letters only"
        )
    both = _folders(list(files))
    if both:
        raise ExportError(f"{sorted(both)[0]!r} is the name of a file and of a folder")


def _is_safe(name: str) -> bool:
    return len(name) <= 200 and all(_PART.fullmatch(part) for part in name.split("/"))


def _twice(names: list[str]) -> set[str]:
    """Names that some systems would write into the same file."""
    count = Counter(name.lower() for name in names)
    return {name for name in names if count[name.lower()] > 1}


def _folders(names: list[str]) -> set[str]:
    """Names of files that are folders of other files."""
    folders = {str(folder) for name in names for folder in PurePosixPath(name.lower()).parents}
    return {name for name in names if name.lower() in folders}


def _manifest_bytes(listed: Mapping[str, Any], about: Any) -> bytes:
    manifest = {"format": FORMAT, "version": VERSION, "files": dict(listed), "about": about}
    return json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n"


def _write_zip(target: IO[bytes], members: Mapping[str, Source]) -> None:
    """Write the zip that these contents always give."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as bundle:
        for name, (size, opened) in sorted(members.items()):
            member = zipfile.ZipInfo(name, BEGINNING_OF_ZIP_TIME)
            member.external_attr = READABLE_FILE
            member.create_system = MADE_ON_UNIX
            member.file_size = size
            with opened() as stream, bundle.open(member, "w") as into:
                for chunk in _chunks(stream):
                    into.write(chunk)


def _source(item: Path | bytes) -> Source:
    if isinstance(item, bytes):
        return len(item), partial(io.BytesIO, item)
    return item.stat().st_size, lambda: item.open("rb")


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _describe(item: Path | bytes) -> dict[str, Any]:
    with _source(item)[1]() as stream:
        return _describe_stream(stream)


def _describe_stream(stream: IO[bytes]) -> dict[str, Any]:
    """Return the manifest's entry of one file."""
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(stream):
        digest.update(chunk)
        size += len(chunk)
    return {"sha256": digest.hexdigest(), "bytes": size}


def _first_difference(left: IO[bytes], right: IO[bytes]) -> int | None:
    """Return the first position where two streams differ, or None."""
    place = 0
    while True:
        one, other = left.read(CHUNK), right.read(CHUNK)
        if one != other:
            pairs = zip(one, other, strict=False)
            same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
            return place + same
        if not one:
            return None
        place += len(one)
