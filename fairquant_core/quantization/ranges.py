"""Finding the range of each channel: where its codes end, and on which side the lowest of them lies."""

from __future__ import annotations

import math

import numpy as np
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
    places = weight / clip
    share = _best_share(places, coarse.expand(len(weight), -1), steps).abs_()
    return clip.mul_(_best_share(places, (share + around).clamp_(max=1), steps))


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
    from fairquant_core.quantization.kernels import share_errors

    errors = torch.empty(len(places), 2 * shares.shape[1])
    arrays = (each.float().contiguous().numpy() for each in (places, shares))
    share_errors(*arrays, np.float32(steps), errors.numpy())
    least = errors.argmin(1, keepdim=True)
    return torch.cat([shares, -shares], 1).gather(1, least)
