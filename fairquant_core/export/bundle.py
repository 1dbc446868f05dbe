"""The bundle: one zip of everything an approved run hands out, in which any changed byte is found.

A bundle is a function of its contents: names sorted, times fixed, nothing compressed (deflate
differs between versions of its library). So verifying means checking the SHA-256 of every file
against ``MANIFEST.json``, then writing the bundle again and comparing every byte. The manifest is
not signed: whoever can rewrite the whole bundle can rewrite it too, so the hash that
:func:`write_bundle` returns belongs into the audit log.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

from fairquant_core.errors import ExportError
from fairquant_core.files import atomic_path

MANIFEST = "MANIFEST.json"
FORMAT = "fairquant-bundle"
VERSION = 1

CHUNK = 1 << 20
BEGINNING_OF_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
READABLE_FILE = 0o100644 << 16
MADE_ON_UNIX = 3

UNSAFE_NAME = (
    "{name!r} cannot be a name in a bundle: use letters, digits, '.', '_', '-' and '/' only, "
    "without leaving the folder"
)
NOT_WRITTEN = "{path} could not be written ({reason}): free some space or choose another folder"
UNREADABLE = "{path} cannot be read as a zip ({reason}): it is cut off, damaged or of another kind"

IN_MEMORY = 8 << 20
"""Bytes of a bundle that are written again in memory, not on disk, when it is verified."""

Source = tuple[int, Callable[[], IO[bytes]]]
"""Size of one file, and how to open it."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?<!\.)")
# What Python's zipfile raises on damaged archives, depending on where the damage is.
_BROKEN_ZIP = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError)


def write_bundle(
    path: Path,
    files: Mapping[str, Path | bytes],
    manifest_extra: Mapping[str, Any] | None = None,
) -> str:
    """Write a bundle; it appears under its name only when it is complete.

    Parameters
    ----------
    files : name in the bundle -> a file, or its bytes.
    manifest_extra : JSON-able facts about the bundle; they stand under "about" in the manifest.

    Returns
    -------
    The SHA-256 of the whole bundle, the same for the same contents on every machine.

    Raises
    ------
    ExportError
        A name is unsafe or twice, a file is absent or changes meanwhile, or the disk is full.
    """
    path = Path(path)
    _check_names(files)
    try:
        listed = {name: _describe(source) for name, source in sorted(files.items())}
        manifest = _manifest_bytes(listed, dict(manifest_extra or {}))
        with atomic_path(path) as part:
            with part.open("wb") as target:
                everything = {**files, MANIFEST: manifest}
                _write_zip(target, {name: _source(item) for name, item in everything.items()})
            # A file that grew or changed between the two readings would make a bad bundle.
            problems = verify_bundle(part)
            if problems:
                raise ExportError(f"The bundle could not be completed: {problems[0]}. Try again.")
            return _describe(part)["sha256"]
    except OSError as error:
        raise ExportError(NOT_WRITTEN.format(path=path, reason=error)) from error


def verify_bundle(path: Path) -> list[str]:
    """Return what is wrong with a bundle, one sentence each; an empty list means nothing is."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as bundle:
            problems = _problems_with_names(bundle) or _problems_with_contents(bundle)
            if problems:
                return problems
            members: dict[str, Source] = {
                member.filename: (member.file_size, partial(bundle.open, member))
                for member in bundle.infolist()
            }
            with tempfile.SpooledTemporaryFile(IN_MEMORY) as again, path.open("rb") as written:
                _write_zip(again, members)
                again.seek(0)
                place = _first_difference(written, again)
    except _BROKEN_ZIP as error:
        return [UNREADABLE.format(path=path, reason=error)]
    if place is not None:
        return [
            f"Byte {place} of {path.name} is not what it was when the bundle was written, although "
            "the files in it are unchanged"
        ]
    return []


def _problems_with_names(bundle: zipfile.ZipFile) -> list[str]:
    names = bundle.namelist()
    problems = [
        UNSAFE_NAME.format(name=name) for name in names if name != MANIFEST and not _is_safe(name)
    ]
    problems += [f"{name!r} is there twice" for name in sorted(_twice(names))]
    # A stored file cannot blow up when it is read, unlike a compressed one.
    problems += [
        f"{member.filename!r} is compressed, which our bundles never are"
        for member in bundle.infolist()
        if member.compress_type != zipfile.ZIP_STORED
    ]
    if MANIFEST not in names:
        problems.append(f"{MANIFEST} is missing, so nothing can be checked")
    return problems


def _problems_with_contents(bundle: zipfile.ZipFile) -> list[str]:
    content = bundle.read(MANIFEST)
    try:
        manifest = json.loads(content)
        listed: dict[str, dict[str, Any]] = dict(manifest["files"])
        if manifest["format"] != FORMAT or manifest["version"] != VERSION:
            return [f"{MANIFEST} has another format or version than this program reads"]
        if _manifest_bytes(listed, manifest["about"]) != content:
            return [f"{MANIFEST} was edited"]
    except (ValueError, KeyError, TypeError) as error:
        return [f"{MANIFEST} is damaged ({error!r})"]
    there = set(bundle.namelist()) - {MANIFEST}
    problems = [f"{name!r} is missing" for name in sorted(set(listed) - there)]
    problems += [f"{name!r} does not belong to the bundle" for name in sorted(there - set(listed))]
    for name in sorted(there & set(listed)):
        try:
            with bundle.open(name) as member:
                found = _describe_stream(member)
        except _BROKEN_ZIP as error:
            problems.append(f"{name!r} is damaged ({error})")
            continue
        if found != listed[name]:
            problems.append(f"{name!r} was changed after the bundle was written")
    return problems


def _check_names(files: Mapping[str, Path | bytes]) -> None:
    for name in files:
        if not _is_safe(name) or name.lower() == MANIFEST.lower():
            raise ExportError(UNSAFE_NAME.format(name=name))
    twice = _twice(list(files))
    if twice:
        raise ExportError(
            f"{sorted(twice)[0]!r} differs from another name in the bundle by capital letters only"
        )


def _is_safe(name: str) -> bool:
    return len(name) <= 200 and all(_PART.fullmatch(part) for part in name.split("/"))


def _twice(names: list[str]) -> set[str]:
    """Names that some systems would write into the same file."""
    lower = [name.lower() for name in names]
    return {name for name in names if lower.count(name.lower()) > 1}


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
