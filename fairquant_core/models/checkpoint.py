"""Classifier files: written whole or not at all, opened without executing code, checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import CheckpointError, ClassifierError, ImageError
from fairquant_core.files import atomic_path
from fairquant_core.models.rounded_inputs import (
    ACTIVATION_BITS,
    input_ranges,
    restore_rounding,
)
from fairquant_core.models.weights_file import fill, read_metadata, read_tensors
from fairquant_core.models.zoo import Classifier, create, load_into

FORMAT = "fairquant-classifier"
VERSION = 2
METADATA_KEY = "fairquant"

NEEDS_ARCHITECTURE = (
    "{path} does not say what it is: give the architecture (timm's name) and the class names"
)
WRONG_CLASSES = "{path} is a classifier for {found}, not for {expected}"
BAD_DESCRIPTION = "{path}: its description is damaged ({reason}): copy the original file again"
CHANGED = "{path}: these are not the weights that were saved (fingerprint {found}, not {expected})"
NEWER_FORMAT = "{path} was written by a newer version (format {version}): update this program"
UNKNOWN_FORMAT = (
    "{path} has the format {format!r}, which this function does not open: use "
    "fairquant_core.scoring.load_any"
)
NOT_WRITTEN = "{path} could not be written ({reason}): free some space or choose another folder"

_formats: dict[str, Callable[[Path], Classifier]] = {}


def register_format(name: str, loader: Callable[[Path], Classifier]) -> None:
    """Let `load_classifier` open files whose description says ``{"format": name}``.

    Packed checkpoints live on a higher floor (export), which registers itself here when imported.
    """
    _formats[name] = loader


def file_version(classifier: Classifier) -> int:
    """2 where layers round their input, which older programs do not know; otherwise 1, which they open."""
    return VERSION if input_ranges(classifier.model) else 1


def describe(classifier: Classifier) -> dict[str, Any]:
    """What every weights file of ours says about its classifier."""
    rounded = {"activation_bits": ACTIVATION_BITS} if input_ranges(classifier.model) else {}
    return {
        **rounded,
        "name": classifier.name,
        "architecture": classifier.architecture,
        "classes": list(classifier.classes),
        "preprocessing": classifier.preprocessing.to_json(),
        "model_arguments": classifier.model_arguments,
        "fingerprint": classifier.fingerprint,
    }


def save_classifier(classifier: Classifier, path: Path) -> None:
    """Write safetensors with a description under the metadata key "fairquant".

    The file appears under its name only when it is complete.

    Raises
    ------
    CheckpointError
        The file cannot be written; nothing half-written stays behind.
    """
    path = Path(path)
    about = {
        "format": FORMAT,
        "version": file_version(classifier),
        **describe(classifier),
        "origin": classifier.origin,
    }
    # Tied tensors share memory, which safetensors refuses: each name gets its own copy.
    tensors = {
        key: tensor.detach().cpu().clone().contiguous()
        for key, tensor in classifier.model.state_dict().items()
    }
    try:
        with atomic_path(path) as part:
            save_file(tensors, str(part), metadata={METADATA_KEY: json.dumps(about)})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(NOT_WRITTEN.format(path=path, reason=error)) from error


def load_classifier(
    path: Path,
    *,
    architecture: str | None = None,
    classes: Sequence[str] | None = None,
    size: int | None = None,
) -> Classifier:
    """Open a classifier without executing code from the file.

    Parameters
    ----------
    path : one of our files; or safetensors, or a .pt with a state_dict, of `architecture`.
    architecture, classes, size : what a foreign file cannot say about itself. For our own files
        `classes`, when given, must be those of the file.

    Raises
    ------
    CheckpointError
        The file is absent, cut off, a pickle with code, does not fit, or holds NaN.
    """
    path = Path(path)
    about = read_description(path)
    if about is None:
        if architecture is None or classes is None:
            raise CheckpointError(NEEDS_ARCHITECTURE.format(path=path))
        classifier = create(architecture, classes, size=size, name=path.stem)
        load_into(classifier, path)
        return classifier
    kind = about.get("format")
    if kind == FORMAT:
        classifier = _load_own(path, about)
    elif kind in _formats:
        classifier = _formats[kind](path)
    else:
        raise CheckpointError(UNKNOWN_FORMAT.format(path=path, format=kind))
    if classes is not None and tuple(classes) != classifier.classes:
        raise CheckpointError(
            WRONG_CLASSES.format(path=path, found=list(classifier.classes), expected=list(classes))
        )
    return classifier


def read_description(path: Path) -> dict[str, Any] | None:
    """What our files say about themselves, without reading tensors; None for foreign files."""
    text = read_metadata(path).get(METADATA_KEY)
    if text is None:
        return None
    try:
        about = json.loads(text)
    except ValueError as error:
        raise CheckpointError(BAD_DESCRIPTION.format(path=path, reason=error)) from error
    if not isinstance(about, dict):
        raise CheckpointError(BAD_DESCRIPTION.format(path=path, reason="it is not an object"))
    return about


def _load_own(path: Path, about: dict[str, Any]) -> Classifier:
    try:
        if int(about["version"]) > VERSION:
            raise CheckpointError(NEWER_FORMAT.format(path=path, version=about["version"]))
        preprocessing = Preprocessing.from_json(about["preprocessing"])
        classifier = create(
            about["architecture"],
            about["classes"],
            size=preprocessing.size,
            name=about["name"],
            model_arguments=about["model_arguments"],
        )
        classifier.origin = dict(about.get("origin", {}))
        expected = about["fingerprint"]
    except (KeyError, TypeError, ValueError, ImageError, ClassifierError) as error:
        raise CheckpointError(BAD_DESCRIPTION.format(path=path, reason=error)) from error
    classifier.preprocessing = preprocessing
    tensors, _ = read_tensors(path)
    try:
        restore_rounding(classifier.model, tensors)
    except ValueError as error:
        raise CheckpointError(BAD_DESCRIPTION.format(path=path, reason=error)) from error
    fill(classifier.model, tensors, path, architecture=classifier.architecture)
    if (found := classifier.fingerprint) != expected:
        raise CheckpointError(CHANGED.format(path=path, found=found[:12], expected=expected[:12]))
    return classifier
