"""What a weights file says about itself, without torch and without reading a tensor."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairquant_core.errors import CheckpointError

METADATA_KEY = "fairquant"
FORMAT = "fairquant-classifier"
PICKLES = (".pt", ".pth", ".bin", ".ckpt")

NOT_FOUND = (
    "Weights file {path} was not found. Check the path; it must be on the machine of the app."
)
UNKNOWN_KIND = (
    "Weights file {path} has the ending {suffix!r}. Give a .safetensors file, or a .pt file that "
    "holds a state_dict."
)
NOT_READABLE = (
    "{path} cannot be read as safetensors ({reason}): it is cut off, damaged or of another kind. "
    "Copy the original file again."
)
BAD_DESCRIPTION = "{path}: its description is damaged ({reason}). Copy the original file again."
PACKED = (
    "{path} is a compressed model. A case starts from the full-precision classifier it was made "
    "from."
)


@dataclass(frozen=True)
class ClassifierFile:
    """A weights file and what is known about it before torch opens it.

    Attributes
    ----------
    description
        What our own files say (architecture, classes, fingerprint, preprocessing); None for others.
    parameters
        Floating-point numbers in all tensors; 0 when the file is no safetensors file.
    """

    path: Path
    description: dict[str, Any] | None
    parameters: int

    @property
    def megabytes(self) -> float:
        """Size on disk in 10^6 bytes."""
        return self.path.stat().st_size / 1e6

    @classmethod
    def read(cls, path: Path) -> ClassifierFile:
        """Look at a file; raises CheckpointError when it holds no full-precision weights."""
        path = Path(path).expanduser()
        if not path.is_file():
            raise CheckpointError(NOT_FOUND.format(path=path))
        if path.suffix.lower() in PICKLES:
            return cls(path, None, 0)
        if path.suffix.lower() != ".safetensors":
            raise CheckpointError(UNKNOWN_KIND.format(path=path, suffix=path.suffix))
        metadata, parameters = _header(path)
        text = metadata.get(METADATA_KEY)
        if text is None:
            return cls(path, None, parameters)
        return cls(path, _description(path, text), parameters)


def packed_fingerprint(path: Path) -> str:
    """The fingerprint that a packed file of a run tells; raises CheckpointError when it tells none."""
    text = _header(path)[0].get(METADATA_KEY, "{}")
    try:
        return str(json.loads(text)["fingerprint"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(BAD_DESCRIPTION.format(path=path, reason=repr(error))) from error


def _header(path: Path) -> tuple[dict[str, str], int]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118
            # Counters of batch norms are whole numbers; they are no parameters.
            sizes = [
                math.prod(one.get_shape())
                for one in slices
                if one.get_dtype().lstrip("B")[0] == "F"
            ]
            return file.metadata() or {}, sum(sizes)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(NOT_READABLE.format(path=path, reason=error)) from error


def _description(path: Path, text: str) -> dict[str, Any]:
    try:
        about = json.loads(text)
        known = about["format"]
        if known == FORMAT:
            for name in ("architecture", "classes", "fingerprint"):
                about[name]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(BAD_DESCRIPTION.format(path=path, reason=repr(error))) from error
    if known != FORMAT:
        raise CheckpointError(PACKED.format(path=path))
    return about
