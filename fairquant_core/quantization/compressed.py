"""Attaching quantisers to a classifier, and taking the finished, compressed classifier out again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fairquant_core.errors import ClassifierError
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.catalogue import MENU
from fairquant_core.quantization.layers import kept_parameters, quantisable_layers
from fairquant_core.quantization.plan import BitPlan
from fairquant_core.quantization.quantizer import (
    FakeQuantizer,
    best_clip,
    largest_clip,
    quantizers,
)

LAYER_MISSING = "The bit plan names the layer '{layer}', which the network does not have."
LAYER_UNPLANNED = "The bit plan says nothing about the layer '{layer}' of the network."


@dataclass(frozen=True)
class Compressed:
    """A classifier whose quantised weights equal ``codes * scales`` bit for bit.

    Shapes: per layer, codes int8 (C, K), scales float32 (C,).
    """

    classifier: Classifier
    plan: BitPlan
    codes: dict[str, np.ndarray]
    scales: dict[str, np.ndarray]


def attach(
    model: nn.Module,
    widths: dict[str, np.ndarray],
    *,
    granularity: str = "channel",
    menu: tuple[int, ...] = MENU,
    ranges: str = "mse",
) -> dict[str, FakeQuantizer]:
    """Put a quantiser on every Conv2d and Linear weight, with the planned widths and their best ranges.

    Parameters
    ----------
    widths
        Bits per output channel of every layer. With ``granularity="layer"`` one learnable width per layer
        is made from them; all channels of a layer must then agree.
    ranges
        ``"absmax"`` takes the largest weight of each channel; otherwise the range of least squared error.

    Raises
    ------
    ClassifierError
        If plan and network do not name the same layers.
    """
    layers = {layer.name: layer for layer in quantisable_layers(model)}
    for name in widths:
        if name not in layers:
            raise ClassifierError(LAYER_MISSING.format(layer=name))
    clip = largest_clip if ranges == "absmax" else best_clip
    for name, layer in layers.items():
        if name not in widths:
            raise ClassifierError(LAYER_UNPLANNED.format(layer=name))
        bits = torch.as_tensor(np.asarray(widths[name], dtype=np.float32))
        if granularity == "layer":
            bits = bits[:1]
        weight: Tensor = layer.module.weight  # type: ignore[assignment]
        quantizer = FakeQuantizer(weight, bits.to(weight.device), menu, clip)
        parametrize.register_parametrization(layer.module, "weight", quantizer, unsafe=True)
    return quantizers(model)


@torch.no_grad()
def compress(classifier: Classifier) -> Compressed:
    """Take the quantised weights out of a classifier with attached quantisers; the input is unchanged.

    The copy that is returned has plain layers again, holding exactly ``codes * scales``.
    """
    copy = classifier.copy()
    codes: dict[str, np.ndarray] = {}
    scales: dict[str, np.ndarray] = {}
    widths: dict[str, np.ndarray] = {}
    for name, module in list(copy.model.named_modules()):
        if not parametrize.is_parametrized(module, "weight"):
            continue
        quantizer: FakeQuantizer = module.parametrizations.weight[0]
        original: Tensor = module.parametrizations.weight.original
        code, scale, bits = quantizer.codes(original)
        # torch keeps the parametrisation on a class made for the module, which a copy shares with its
        # original; a class of its own keeps the original working when the copy's is taken off.
        shared = type(module)
        module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
        weight: Tensor = module.weight
        weight.copy_(code.float().mul_(scale.unsqueeze(1)).view_as(weight))
        codes[name], scales[name] = code.cpu().numpy(), scale.float().cpu().numpy()
        widths[name] = bits.cpu().numpy()
    if not codes:
        raise ClassifierError("No quantiser is attached, so there is nothing to compress.")
    counts = {name: code.shape[1] for name, code in codes.items()}
    plan = BitPlan(widths, counts, kept_parameters(copy.model))
    return Compressed(copy, plan, codes, scales)


def compress_with(classifier: Classifier, widths: dict[str, np.ndarray]) -> Compressed:
    """Round a full-precision classifier to the given widths without training (MSE ranges)."""
    copy = classifier.copy()
    attach(copy.model, widths)
    return compress(copy)
