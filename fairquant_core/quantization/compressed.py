"""Attaching quantisers to a classifier, and taking the finished, compressed classifier out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fairquant_core.errors import BudgetError, ClassifierError
from fairquant_core.models.rounded_inputs import InputRange, input_ranges
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.bounds import allowed_widths
from fairquant_core.quantization.catalogue import MENU
from fairquant_core.quantization.layers import (
    QuantisableLayer,
    kept_parameters,
    quantisable_layers,
)
from fairquant_core.quantization.plan import BitPlan
from fairquant_core.quantization.quantizer import FakeQuantizer, quantizers
from fairquant_core.quantization.ranges import best_clip, largest_clip

LAYER_MISSING = "The bit plan names the layer '{layer}', which the network does not have."
LAYER_UNPLANNED = "The bit plan says nothing about the layer '{layer}' of the network."
ALREADY_ATTACHED = (
    "The layer '{layer}' has a quantiser already: start from a copy of the classifier."
)
WRONG_COUNT = (
    "The bit plan holds {found} widths for the layer '{layer}', which has {channels} channels: give one for "
    "each, or a single one for the whole layer."
)
NOT_ONE_WIDTH = (
    "The layer '{layer}' is to have one width, but the bit plan holds several ({widths}): plan by layer, "
    "or choose granularity 'channel'."
)


@dataclass(frozen=True)
class Compressed:
    """A classifier whose quantised weights equal ``codes * scales`` bit for bit.

    Where activations are rounded too, the classifier does that itself, with the ranges it was trained with.

    Shapes: per layer, codes int8 (C, K), scales float32 (C,).
    """

    classifier: Classifier
    plan: BitPlan
    codes: dict[str, np.ndarray]
    scales: dict[str, np.ndarray]

    @property
    def activations(self) -> dict[str, InputRange]:
        """How the input of every layer is rounded; empty where activations stay in float."""
        return input_ranges(self.classifier.model)


def attach(
    model: nn.Module,
    widths: Mapping[str, np.ndarray],
    *,
    granularity: str = "channel",
    menu: tuple[int, ...] = MENU,
    floors: Mapping[str, int] | None = None,
    pins: Mapping[str, int] | None = None,
    ranges: str = "mse",
) -> dict[str, FakeQuantizer]:
    """Put a quantiser on every Conv2d and Linear weight, with the planned widths and their best ranges.

    Parameters
    ----------
    widths
        Bits per output channel of every layer, or a single number for all channels of a layer. With
        ``granularity="layer"`` one learnable width per layer is made from them.
    menu, floors, pins
        Where the widths may go when they are learned. A layer's own planned widths always belong to its menu;
        a pinned layer has no others.
    ranges
        ``"absmax"`` takes the largest weight of each channel; otherwise the range of least squared error.

    Raises
    ------
    ClassifierError
        If plan and network do not name the same layers, or a layer has a quantiser already.
    BudgetError
        If the number of widths does not fit a layer, or they differ within a layer that is to have one width.
    """
    layers = {layer.name: layer for layer in quantisable_layers(model)}
    for name in widths:
        if name not in layers:
            raise ClassifierError(LAYER_MISSING.format(layer=name))
    planned = {}
    for name, layer in layers.items():
        if name not in widths:
            raise ClassifierError(LAYER_UNPLANNED.format(layer=name))
        if parametrize.is_parametrized(layer.module, "weight"):
            raise ClassifierError(ALREADY_ATTACHED.format(layer=name))
        planned[name] = _layer_widths(layer, widths[name], granularity)
    clip = largest_clip if ranges == "absmax" else best_clip
    for name, layer in layers.items():
        own = {int(width) for width in planned[name]}
        own.update(allowed_widths(menu, (floors or {}).get(name), (pins or {}).get(name)))
        weight: Tensor = layer.module.weight  # type: ignore[assignment]
        bits = torch.tensor(planned[name], dtype=torch.float32, device=weight.device)
        quantizer = FakeQuantizer(weight, bits, tuple(sorted(own)), clip)
        parametrize.register_parametrization(layer.module, "weight", quantizer, unsafe=True)
    return quantizers(model)


def _layer_widths(layer: QuantisableLayer, widths: np.ndarray, granularity: str) -> np.ndarray:
    """One layer's widths, one per channel or one for all. Shapes: (C,) or (1,)."""
    widths = np.atleast_1d(np.asarray(widths))
    if widths.ndim != 1 or len(widths) not in (1, layer.channels):
        raise BudgetError(
            WRONG_COUNT.format(layer=layer.name, found=widths.size, channels=layer.channels)
        )
    if granularity == "layer":
        if len(several := np.unique(widths)) > 1:
            words = ", ".join(str(width) for width in several)
            raise BudgetError(NOT_ONE_WIDTH.format(layer=layer.name, widths=words))
        return widths[:1]
    return np.broadcast_to(widths, layer.channels)


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
