"""How far every weight lies from its code at every width: what curvature is multiplied with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fairquant_core.quantization.codes import levels, quantise, step_of
from fairquant_core.quantization.layers import QuantisableLayer
from fairquant_core.quantization.plan import PRUNED
from fairquant_core.quantization.ranges import best_clip_at
from fairquant_core.quantization.rounding import compensated_codes

SMALL_KERNEL = 32
"""Weights per channel up to which rounding is predicted as it is done: with codes that are fitted to the inputs.

With so few weights the errors of nearest codes do not even out. A depthwise kernel that is a difference of two
pixels, its other weights next to nothing, lies as near to codes of 2 bits as to those of 8; but the small errors that
are left have one sign and add up where the picture is even, 20 times worse than weight by weight. Fitted codes cancel
them, if they are fine enough.

Measured without training (Fitzpatrick17k, MobileNetV2, two classifiers, mean divergence from full precision on
validation images), nearest -> fitted: 0.0046 -> 0.0030 nats at 6 bits, 0.033 -> 0.031 at 4, 0.108 -> 0.109 at 3,
0.202 -> 0.194 at 2.5, 0.408 -> 0.408 at 2. Fitting the layers with many weights too predicts a third of what rounding
then costs, and takes many times as long.
"""


@torch.no_grad()
def half_squared_errors(layer: QuantisableLayer, menu: Sequence[int]) -> Tensor:
    """``1/2 (Q_b(w) - w)^2`` of every weight at every width, with the nearest codes. Shapes: (C, B, K)."""
    weight = layer.weight().detach()
    errors = torch.empty(layer.channels, len(menu), layer.weights_per_channel)
    for column, width in enumerate(menu):
        if width == PRUNED:
            errors[:, column] = 0.5 * weight.square()
            continue
        bits = torch.full((layer.channels, 1), float(width))
        codes, scale = quantise(weight, best_clip_at(weight, width), bits)
        errors[:, column] = codes.mul_(scale).sub_(weight).square_().mul_(0.5)
    return errors


@torch.no_grad()
def fitted_errors(
    layers: Mapping[int, QuantisableLayer], menu: Sequence[int], moments: Mapping[int, Tensor]
) -> dict[int, Tensor]:
    """``Q_b(w) - w`` of every weight at every width, with codes that make up for each other's errors.

    All widths of a channel are rounded together, as if they were channels of their own, and so are all layers whose
    groups are of one size: there are many small ones.

    Parameters
    ----------
    moments
        Second moments of the inputs of each of these layers.

    Shapes: ``moments`` (G, K, K) for a layer with G groups -> (C, B, K).
    """
    alike: dict[tuple[int, int], list[int]] = {}
    for number, layer in layers.items():
        shape = (layer.channels // len(moments[number]), layer.weights_per_channel)
        alike.setdefault(shape, []).append(number)
    found: dict[int, Tensor] = {}
    for (channels, weights), numbers in alike.items():
        weight = torch.cat([layers[number].weight().detach() for number in numbers])
        moment = torch.cat([moments[number] for number in numbers])
        clips = torch.cat([best_clip_at(weight, width) for width in menu], dim=1)  # (C, B)
        bits = torch.tensor([float(width) for width in menu]).expand_as(clips)
        wanted = weight.unsqueeze(1).expand(-1, len(menu), -1)
        rows = (len(moment), channels * len(menu), 1)
        codes = compensated_codes(
            wanted.reshape(*rows[:2], weights), moment, clips.reshape(rows), bits.reshape(rows)
        )
        scale = step_of(clips, levels(bits)).unsqueeze(2)
        errors = codes.view_as(wanted).mul(scale).sub_(wanted)
        each = errors.split([layers[number].channels for number in numbers])
        found.update(zip(numbers, each, strict=True))
    return found
