"""Reading files of weights without executing code, and filling a network with what they hold."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from fairquant_core.errors import CheckpointError

NOT_FOUND = "weights file {path} not found"
NOT_READABLE = (
    "{path} cannot be read as {kind} ({reason}): it is cut off, damaged or of another kind; copy "
    "the original file again"
)
UNSAFE_PICKLE = (
    "{path} is a pickle that may execute code ({reason}); it was not opened. Load it where you "
    "trust it and save only its tensors: safetensors.torch.save_file(model.state_dict(), "
    "'model.safetensors')"
)
NO_TENSORS = "{path} holds no state_dict of named tensors: save model.state_dict() as safetensors"
NOT_FINITE = (
    "{path}: tensor {tensor!r} holds {count} values that are NaN or infinite: the training had "
    "failed; use an earlier checkpoint"
)
WRONG_SHAPE = (
    "{path}: tensor {tensor!r} has shape {found}, but {architecture} expects {expected}: check the "
    "architecture, the class names and the picture size"
)
CLASS_COUNT = (
    "{path} has {found} outputs, but {expected} class names were given: give one name per output, "
    "in the order of training (tensor {tensor!r})"
)
ABSENT_TENSORS = (
    "{path} lacks {count} tensors of {architecture}, first {tensors}: wrong architecture?"
)
SURPLUS_TENSORS = (
    "{path} holds {count} tensors that {architecture} does not have, first {tensors}: wrong "
    "architecture?"
)
HEAD_NOT_LOADED = "{tensor}: made for {found} outputs, not for {expected}; initialised anew"
HEAD_ABSENT = "{tensor}: not in the file; initialised anew"

SAFETENSORS = ".safetensors"
_NESTED = ("state_dict", "model_state_dict", "model")
_PREFIX = "module."


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Named tensors and metadata of a safetensors file, or of a .pt file (``weights_only``).

    Raises
    ------
    CheckpointError
        The file is absent, damaged, a pickle that may execute code, or holds no named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(NOT_FOUND.format(path=path))
    if path.suffix != SAFETENSORS:
        return _read_pickle(path), {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            # Copies: a tensor that maps the file would change with it, or crash when it is cut off.
            names = list(file.keys())
            return {name: file.get_tensor(name).clone() for name in names}, metadata
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            NOT_READABLE.format(path=path, kind="safetensors", reason=error)
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file without reading its tensors; empty for other files."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(NOT_FOUND.format(path=path))
    if path.suffix != SAFETENSORS:
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            NOT_READABLE.format(path=path, kind="safetensors", reason=error)
        ) from error


def fill(
    model: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    *,
    architecture: str,
    head: Collection[str] = (),
    new_head: bool = False,
) -> tuple[str, ...]:
    """Copy tensors into a network after checking names, shapes and values.

    Parameters
    ----------
    tensors : by name; half precision becomes the network's own precision.
    head : names of the tensors of the last layer, whose shape depends on the number of classes.
    new_head : leave head tensors of another shape, or absent ones, as they are.

    Returns
    -------
    One sentence per tensor of the network that was not filled.

    Raises
    ------
    CheckpointError
        Names the tensor. The network is unchanged then.
    """
    own = model.state_dict()
    not_loaded: list[str] = []
    accepted: dict[str, torch.Tensor] = {}
    for key, target in own.items():
        if key not in tensors:
            if key in head and new_head:
                not_loaded.append(HEAD_ABSENT.format(tensor=key))
            continue
        source = tensors[key]
        if source.shape == target.shape:
            accepted[key] = source
        elif key not in head:
            raise CheckpointError(
                WRONG_SHAPE.format(
                    path=path,
                    tensor=key,
                    architecture=architecture,
                    found=tuple(source.shape),
                    expected=tuple(target.shape),
                )
            )
        elif new_head:
            not_loaded.append(
                HEAD_NOT_LOADED.format(tensor=key, found=source.shape[0], expected=target.shape[0])
            )
        else:
            raise CheckpointError(
                CLASS_COUNT.format(
                    path=path, tensor=key, found=source.shape[0], expected=target.shape[0]
                )
            )
    _check_names(own, tensors, path, architecture, optional=head if new_head else ())
    for key, source in accepted.items():
        # Overflow of a smaller type counts too, so the check is made after the conversion.
        converted = source.to(own[key].dtype)
        if converted.is_floating_point() and (bad := int((~torch.isfinite(converted)).sum())):
            raise CheckpointError(NOT_FINITE.format(path=path, tensor=key, count=bad))
        accepted[key] = converted
    model.load_state_dict(accepted, strict=False)
    return tuple(not_loaded)


def _check_names(
    own: Mapping[str, torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    architecture: str,
    optional: Collection[str],
) -> None:
    # Older files do not count batches; the counter has no influence on a trained network.
    absent = [
        key
        for key in own
        if key not in tensors and key not in optional and not key.endswith("num_batches_tracked")
    ]
    surplus = [key for key in tensors if key not in own]
    for template, names in ((ABSENT_TENSORS, absent), (SURPLUS_TENSORS, surplus)):
        if names:
            raise CheckpointError(
                template.format(
                    path=path,
                    count=len(names),
                    architecture=architecture,
                    tensors=", ".join(names[:5]),
                )
            )


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0] if str(error) else "not allowed"
        raise CheckpointError(UNSAFE_PICKLE.format(path=path, reason=reason)) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            NOT_READABLE.format(path=path, kind="a torch file", reason=error)
        ) from error
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(NO_TENSORS.format(path=path))
    tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise CheckpointError(NO_TENSORS.format(path=path))
    # DistributedDataParallel puts a prefix before every name.
    if all(key.startswith(_PREFIX) for key in tensors):
        tensors = {key.removeprefix(_PREFIX): value for key, value in tensors.items()}
    return tensors
