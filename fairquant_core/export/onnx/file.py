"""ONNX files that say what they are: written whole or not at all, and recognised when a byte has changed.

The description stands as JSON under the metadata key "fairquant", which every runtime shows: class names, how a
picture becomes the input, the classifier's fingerprint, and a SHA-256 over the graph and the description. It
finds damage and careless edits; who wants to be safe from a forger compares the hash of the whole file with the one in
the audit log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairquant_core.errors import ExportError
from fairquant_core.files import atomic_path

if TYPE_CHECKING:
    from onnx import ModelProto

METADATA_KEY = "fairquant"
FORMAT = "fairquant-onnx"
VERSION = 1
LARGEST = 2**31 - 1
"""Bytes that one ONNX file can hold; more needs a second file, which could get lost."""

REQUIRED = ("kind", "architecture", "classes", "preprocessing", "fingerprint", "sha256")

NOT_WRITTEN = "{path} could not be written ({reason}): free some space or choose another folder"
TOO_LARGE = (
    "{name} would take {size:.1f} GB as ONNX, and one file holds 2.1 GB at most: give it fewer bits or use the "
    "packed file"
)
INVALID = "{name} did not become a valid ONNX file ({reason}); please report this with the name of the architecture"
NOT_FOUND = "{path} not found"
NOT_OURS = "{path} is not an ONNX file of FairQuant: it holds no description"
NEWER = "{path} was written by a newer version (format {version}): update this program"
DAMAGED = "{path} is damaged or was edited ({reason}): copy the original file again"


def write_onnx(model: ModelProto, path: Path, about: Mapping[str, Any]) -> str:
    """Write a model with its description; the file appears under its name only when it is complete.

    Equal models and descriptions give equal bytes.

    Parameters
    ----------
    about : JSON-able; "format", "version", "graph_bytes" and "sha256" are put in here.

    Returns
    -------
    SHA-256 of the whole file.

    Raises
    ------
    ExportError
        The file cannot be written, is too large, or is no valid ONNX.
    """
    import onnx

    path, name = Path(path), str(about.get("name", "The classifier"))
    del model.metadata_props[:]
    if (size := model.ByteSize()) > LARGEST - (1 << 20):
        raise ExportError(TOO_LARGE.format(name=name, size=size / 1e9))
    graph = model.SerializeToString(deterministic=True)
    description = {
        "format": FORMAT,
        "version": VERSION,
        **about,
        "graph_bytes": len(graph),
    }
    description["sha256"] = _digest(graph, description)
    # A protobuf message may be written in pieces: the graph, byte for byte as it was hashed, then its description.
    whole = graph + _metadata(json.dumps(description, ensure_ascii=False, separators=(",", ":")))
    try:
        onnx.checker.check_model(whole)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ExportError(INVALID.format(name=name, reason=str(error).splitlines()[0])) from error
    try:
        with atomic_path(path) as part:
            part.write_bytes(whole)
    except OSError as error:
        raise ExportError(NOT_WRITTEN.format(path=path, reason=error)) from error
    return hashlib.sha256(whole).hexdigest()


def read_onnx(path: Path) -> tuple[ModelProto, dict[str, Any]]:
    """Open a file that :func:`write_onnx` wrote; every byte of it is checked.

    Returns
    -------
    The model and its description.

    Raises
    ------
    ExportError
        The file is absent, cut off, edited, or of another kind.
    """
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ExportError(NOT_FOUND.format(path=path)) from error
    except OSError as error:
        raise ExportError(DAMAGED.format(path=path, reason=error)) from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ExportError(DAMAGED.format(path=path, reason="it is cut off")) from error
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if not texts:
        raise ExportError(NOT_OURS.format(path=path))
    about = _checked(path, texts[0])
    graph = content[: about["graph_bytes"]]
    if content[len(graph) :] != _metadata(texts[0]) or about["sha256"] != _digest(graph, about):
        raise ExportError(DAMAGED.format(path=path, reason="its SHA-256 does not match"))
    return model, about


def describe_onnx(path: Path) -> dict[str, Any]:
    """What a file says about itself, after checking every byte of it; raises as :func:`read_onnx`."""
    return read_onnx(path)[1]


def _checked(path: Path, text: str) -> dict[str, Any]:
    try:
        about = json.loads(text)
    except ValueError as error:
        raise ExportError(DAMAGED.format(path=path, reason=error)) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ExportError(NOT_OURS.format(path=path))
    version = about.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise ExportError(NEWER.format(path=path, version=version))
    missing = [key for key in REQUIRED if key not in about]
    if missing or not isinstance(about.get("graph_bytes"), int):
        reason = f"its description lacks {', '.join(missing or ['graph_bytes'])}"
        raise ExportError(DAMAGED.format(path=path, reason=reason))
    return about


def _metadata(text: str) -> bytes:
    import onnx

    model = onnx.ModelProto()
    model.metadata_props.add(key=METADATA_KEY, value=text)
    return model.SerializeToString(deterministic=True)


def _digest(graph: bytes, about: Mapping[str, Any]) -> str:
    described = {key: value for key, value in about.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    digest.update(graph)
    return digest.hexdigest()
