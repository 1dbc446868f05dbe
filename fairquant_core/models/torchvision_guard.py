"""Lets timm import torchvision where torchvision's compiled operators cannot load.

The package index offers torchvision built for CUDA only. Beside a CPU build of torch its binary
does not load, and ``import torchvision`` stops with "operator torchvision::nms does not exist",
because its Python code describes operators that were never defined. Classifiers need none of these
operators; defining their schemas is enough for the import. Where torchvision imports by itself,
nothing is done.
"""

from __future__ import annotations

import importlib
import sys

import torch

from fairquant_core.errors import ClassifierError

STILL_BROKEN = (
    "torchvision cannot be imported beside this torch ({reason}): install the torchvision that "
    "belongs to torch {version}"
)

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# Definitions live only as long as this object.
_definitions: list[torch.library.Library] = []


def ensure_torchvision() -> bool:
    """Import torchvision, with placeholder schemas if its own operators are absent.

    Call it before timm is imported for the first time.

    Returns
    -------
    True when placeholders are in use; False when torchvision works by itself or is not installed.

    Raises
    ------
    ClassifierError
        torchvision is there and cannot be imported for another reason.
    """
    try:
        importlib.import_module("torchvision")
        return bool(_definitions)
    except ModuleNotFoundError as error:
        if error.name == "torchvision":
            return False
        raise
    except RuntimeError as error:
        if not _operators_absent(error):
            raise
    _forget_torchvision()
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _definitions.append(library)
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        _forget_torchvision()
        raise ClassifierError(
            STILL_BROKEN.format(reason=error, version=torch.__version__)
        ) from error
    return True


def _operators_absent(error: RuntimeError) -> bool:
    return "operator torchvision::" in str(error) and "does not exist" in str(error)


def _forget_torchvision() -> None:
    """A failed import leaves submodules behind, which the next import would take for complete."""
    for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[module]
