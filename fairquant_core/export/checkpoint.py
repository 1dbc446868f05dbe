"""The packed checkpoint: one safetensors file whose weights really take b bits each.

Per quantised layer: ``<layer>.weight.packed`` (uint8 stream, :mod:`packing`),
``<layer>.weight.scale`` (float32 per channel) and ``<layer>.weight.bits`` (uint8 per channel). All
other entries of the state dict (biases, norms, buffers) are kept as they are; where activations are
rounded too these are ``<layer>.input_scale`` (float32) and ``<layer>.input_zero_point`` (uint8). So the
size is that of :meth:`BitPlan.packed_bytes`, plus the buffers of whole numbers, plus the header of
safetensors, which names every tensor and holds the description. The metadata key
"fairquant" holds a JSON description with a SHA-256 over itself and all tensors. Nothing in the file
is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import (
    BudgetError,
    CheckpointError,
    ClassifierError,
    ExportError,
    ImageError,
)
from fairquant_core.export.packing import pack_codes, unpack_codes
from fairquant_core.files import atomic_path
from fairquant_core.models.checkpoint import (
    METADATA_KEY,
    VERSION,
    describe,
    file_version,
    read_description,
    register_format,
)
from fairquant_core.models.rounded_inputs import restore_rounding
from fairquant_core.models.weights_file import fill, read_tensors
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.compressed import Compressed
from fairquant_core.quantization.layers import kept_parameters
from fairquant_core.quantization.plan import BitPlan

FORMAT = "fairquant-packed"

NOT_THE_WEIGHTS = (
    "Layer '{layer}': codes times scales are not the classifier's weights, so the file would hold "
    "another model than the one that was audited; compress the classifier again"
)
NOT_WRITTEN = "{path} could not be written ({reason}): free some space or choose another folder"
NOT_PACKED = "{path} is not a packed checkpoint of FairQuant"
NEWER = "{path} was written by a newer version (format {version}): update this program"
DAMAGED = "{path} is damaged or was edited ({reason}): copy the original file again"


def save_packed(compressed: Compressed, path: Path, extra: Mapping[str, Any] | None = None) -> None:
    """Write a compressed classifier; the file appears only when it is complete.

    Parameters
    ----------
    extra : JSON-able facts that travel along, such as the run's configuration; "parent", the
        fingerprint of the full-precision classifier, is also put at the top of the description.

    Raises
    ------
    ExportError
        Codes and weights disagree, or the file cannot be written.
    """
    path, extra = Path(path), dict(extra or {})
    tensors, shapes = _tensors(compressed)
    classifier, plan = compressed.classifier, compressed.plan
    about = {
        "format": FORMAT,
        "version": file_version(classifier),
        **describe(classifier),
        "parent": extra.get("parent", ""),
        "plan": {
            "average_bits": plan.average_bits,
            "weights": plan.weight_count,
            "kept_parameters": plan.kept_parameters,
            "ideal_bytes": plan.packed_bytes(),
        },
        "shapes": shapes,
        "extra": extra,
    }
    about["sha256"] = _digest(about, tensors)
    # Not sorted: the shapes tell the order of the layers.
    text = json.dumps(about, separators=(",", ":"))
    try:
        with atomic_path(path) as part:
            save_file(tensors, str(part), metadata={METADATA_KEY: text})
    except (OSError, SafetensorError) as error:
        raise ExportError(NOT_WRITTEN.format(path=path, reason=error)) from error


def load_packed(path: Path) -> Compressed:
    """Open a packed checkpoint; its weights are bit for bit those that were saved.

    Raises
    ------
    CheckpointError
        The file is absent, cut off, edited, or of another kind.
    """
    path = Path(path)
    about = read_description(path)
    if about is None or about.get("format") != FORMAT:
        raise CheckpointError(NOT_PACKED.format(path=path))
    version = about.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise CheckpointError(NEWER.format(path=path, version=version))
    tensors, _ = read_tensors(path)
    if about.get("sha256") != _digest(about, tensors):
        raise CheckpointError(DAMAGED.format(path=path, reason="its SHA-256 does not match"))
    try:
        return _rebuild(path, about, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, ExportError, BudgetError) as error:
        raise CheckpointError(DAMAGED.format(path=path, reason=error)) from error
    except (ClassifierError, ImageError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _tensors(compressed: Compressed) -> tuple[dict[str, torch.Tensor], dict[str, list[int]]]:
    """Return what the file holds, and the shapes of the packed weights."""
    # Tied tensors share memory, which safetensors refuses: each name gets its own copy.
    tensors = {
        key: tensor.detach().cpu().clone().contiguous()
        for key, tensor in compressed.classifier.model.state_dict().items()
    }
    shapes = {}
    for layer, widths in compressed.plan.widths.items():
        name = f"{layer}.weight"
        codes = compressed.codes[layer]
        scales = np.asarray(compressed.scales[layer], dtype=np.float32)
        weight = tensors.pop(name, None)
        if weight is None or not torch.equal(_weight(codes, scales, weight.shape), weight):
            raise ExportError(NOT_THE_WEIGHTS.format(layer=layer))
        shapes[layer] = list(weight.shape)
        stream = np.frombuffer(pack_codes(codes, widths), dtype=np.uint8)
        tensors[f"{name}.packed"] = torch.from_numpy(stream.copy())
        tensors[f"{name}.scale"] = torch.from_numpy(scales.copy())
        tensors[f"{name}.bits"] = torch.from_numpy(widths.copy())
    return tensors, shapes


def _rebuild(path: Path, about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Compressed:
    preprocessing = Preprocessing.from_json(about["preprocessing"])
    classifier = create(
        about["architecture"],
        about["classes"],
        size=preprocessing.size,
        name=about["name"],
        model_arguments=about["model_arguments"],
    )
    classifier.preprocessing = preprocessing
    codes, scales, widths = {}, {}, {}
    for layer, shape in about["shapes"].items():
        name = f"{layer}.weight"
        widths[layer] = tensors.pop(f"{name}.bits").numpy()
        scales[layer] = tensors.pop(f"{name}.scale").numpy()
        weights_per_channel = int(np.prod(shape[1:]))
        codes[layer] = unpack_codes(
            tensors.pop(f"{name}.packed").numpy(), widths[layer], weights_per_channel
        )
        tensors[name] = _weight(codes[layer], scales[layer], shape)
    restore_rounding(classifier.model, tensors)
    fill(classifier.model, tensors, path, architecture=classifier.architecture)
    if classifier.fingerprint != about["fingerprint"]:
        raise ValueError("its fingerprint is not that of the classifier that was saved")
    counts = {layer: code.shape[1] for layer, code in codes.items()}
    plan = BitPlan(widths, counts, kept_parameters(classifier.model))
    return Compressed(classifier, plan, codes, scales)


def _weight(codes: np.ndarray, scales: np.ndarray, shape: Any) -> torch.Tensor:
    """Return codes times scales in float32, the one product that training and export share."""
    product = codes.astype(np.float32)
    product *= scales[:, None]
    return torch.from_numpy(product).reshape(*shape)


def _digest(about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 over the description without its own hash, and over every tensor."""
    described = {key: value for key, value in about.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for key, tensor in sorted(tensors.items()):
        digest.update(f"{key}:{tensor.dtype}:{list(tensor.shape)};".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load_classifier(path: Path) -> Classifier:
    return load_packed(path).classifier


register_format(FORMAT, _load_classifier)
