"""Finding the range of each channel: where its codes end, and on which side the lowest of them lies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fairquant_core.quantization.codes import levels
from fairquant_core.quantization.plan import PRUNED

SMALLEST_RANGE = 1e-8
"""Range of a channel whose weights are all zero: any positive number gives codes of zero."""

RANGE_LOW = 0.2
"""The search starts at this share of :func:`largest_clip`. **Deviation** from METHOD 1 (0.3): for normal weights
at 2 bits the best step is 1.05 standard deviations, below 0.3 of the largest of 4,608 weights."""

COARSE, FINE = 14, 5
"""Shares that are tried first, and those around the best of them that are tried then."""

_CHUNK = 1 << 18
"""Weights times shares per piece: what is computed on the way stays small, the calls few."""


@torch.no_grad()
def largest_clip(weight: Tensor, bits: Tensor) -> Tensor:
    """The range whose highest code is the largest absolute weight of each channel: nothing is clipped.

    Shapes: as :func:`best_clip`.
    """
    largest = weight.abs().amax(1, keepdim=True).clamp_(min=SMALLEST_RANGE)
    steps = levels(bits)
    return largest * (steps / (steps - 0.5)).clamp(min=1)


@torch.no_grad()
def best_clip(weight: Tensor, bits: Tensor) -> Tensor:
    """The range of each channel that minimises ``||w - w_q||^2`` for its width; negative where that is better.

    Shapes: ``weight`` (C, K), ``bits`` (C, 1) -> (C, 1).
    """
    clip = torch.empty_like(bits, dtype=weight.dtype)
    for width in bits.unique().tolist():
        rows = (bits == width).flatten()
        clip[rows] = best_clip_at(weight[rows], width)
    return clip


@torch.no_grad()
def best_clip_at(weight: Tensor, width: float) -> Tensor:
    """As :func:`best_clip` with one width for all channels.

    A coarse grid over the share of :func:`largest_clip`, then a finer one around the best.

    Shapes: (C, K) -> (C, 1).
    """
    clip = largest_clip(weight, weight.new_full((len(weight), 1), width))
    if width == PRUNED:
        return clip
    gap, steps = (1 - RANGE_LOW) / (COARSE - 1), (2**width - 1) / 2
    around = torch.linspace(-gap, gap, FINE + 2, device=weight.device)[1:-1]
    coarse = torch.linspace(1, RANGE_LOW, COARSE, device=weight.device)
    coarse = coarse[coarse >= _lowest_share(width, weight.shape[1])]
    rows = max(1, _CHUNK // max(1, weight.shape[1] * len(coarse)))
    for piece, ends in zip(weight.split(rows), clip.split(rows), strict=True):
        places = piece / ends
        share = _best_share(places, coarse.expand(len(piece), -1), steps).abs_()
        ends.mul_(_best_share(places, (share + around).clamp_(max=1), steps))
    return clip


def _lowest_share(bits: float, count: int) -> float:
    """No smaller share can be the best one of a channel of ``count`` weights.

    Cutting off the largest weight would alone cost more than half a step on every weight, which is the most
    that rounding costs when nothing is cut off.

    >>> [round(_lowest_share(bits, 256), 2) for bits in (4, 6, 8)]
    [-0.12, 0.72, 0.93]
    """
    top = 2 ** (bits - 1)
    return (1 - math.sqrt(count) / (2 * top - 2)) * (top - 1) / top


def _best_share(places: Tensor, shares: Tensor, steps: float) -> Tensor:
    """The share of the range with the least squared error, the first of equals; negative for a negative range.

    Shapes: ``places`` (C, K), weights as shares of the range; ``shares`` (C, S) -> (C, 1).
    """
    scale = shares / steps
    exact = places.unsqueeze(1) * scale.reciprocal().unsqueeze(2)
    nearest = exact.round()
    errors = [
        torch.linalg.vector_norm(nearest.clamp(low, low + 2 * steps).sub_(exact), dim=2).mul_(scale)
        for low in (-steps - 0.5, 0.5 - steps)
    ]
    least = torch.cat(errors, 1).argmin(1, keepdim=True)
    return torch.cat([shares, -shares], 1).gather(1, least)
