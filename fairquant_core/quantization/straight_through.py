"""Rounding with gradients: weights, range and the share between two widths learn through it.

Source: LSQ (Esser et al., ICLR 2020) for the gradient of the range. **Deviation**: the public FairQuant code detaches
the quantised weight as a whole, so its bit logits receive no gradient and never move. Here only the rounding is passed
straight through, and the gradient of a width between two others is the real difference between their roundings,
``dL/db = <dL/dw_q, Q_hi(w) - Q_lo(w)>``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairquant_core.quantization.codes import Grid, codes_at

_EDGE = 1 + 1e-6
"""A weight at the very edge of the range counts as inside; the margin absorbs the division's rounding."""

SMALL = 1 << 16
"""Layers of at most so many weights are computed together with others. Units: weights."""


class Mixture(NamedTuple):
    """How the channels of some layers are rounded: each to one width, or to something between two.

    ``(1 - share) Q_low(w) + share Q_high(w)``; without ``share`` it is ``Q_low(w)``.

    Shapes: all (C, 1), the channels of all layers below one another.
    """

    clip: Tensor
    low: Grid
    high: Grid | None = None
    share: Tensor | None = None


def rounded(
    weights: Sequence[Tensor], mixture: Mixture, blocks: Sequence[int] | None = None
) -> tuple[Tensor, ...]:
    """The quantised weights of any number of layers, with gradients for weights, range and share.

    All layers are one node of the graph: a node for each would cost more than its arithmetic.

    Parameters
    ----------
    blocks
        How many neighbours are computed together, see :func:`in_blocks`; one by one if left out.

    Shapes: as ``weights``, whose first dimension is the output channels.
    """
    grids = (mixture.low,) if mixture.high is None else (mixture.low, mixture.high)
    blocks = [1] * len(weights) if blocks is None else blocks
    return _Rounded.apply(mixture.clip, mixture.share, grids, blocks, *weights)


def in_blocks(weights: Sequence[Tensor]) -> tuple[list[int], list[int]]:
    """An order of the layers in which small ones with equally many weights per channel are neighbours.

    Half the layers of MobileNetV2 are so small that calling costs more than computing: joined, they take half
    the time.

    Returns
    -------
    The order, as places in ``weights``, and how many neighbours make up each block.
    """
    blocks: dict[tuple[int, int], list[int]] = {}
    for place, weight in enumerate(weights):
        joins = weight.numel() <= SMALL
        blocks.setdefault((weight[0].numel(), -1 if joins else place), []).append(place)
    return [place for block in blocks.values() for place in block], [*map(len, blocks.values())]


class _Rounded(torch.autograd.Function):
    """With ``w_q = a h(w / a)``, the derivative for ``a`` is ``(<g, w_q> - <g inside, w>) / a`` for every mixture.

    That is LSQ's gradient of the step written for the range.
    """

    @staticmethod
    def forward(
        ctx: Any,
        clip: Tensor,
        share: Tensor | None,
        grids: tuple[Grid, ...],
        blocks: Sequence[int],
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        members = _grouped(weights, blocks)
        rows = [sum(map(len, block)) for block in members]
        terms = grids
        if share is not None:
            parts = (1 - share, share)
            terms = tuple(
                grid._replace(scale=grid.scale * part)
                for grid, part in zip(grids, parts, strict=True)
            )
        by_block = zip(*(term.split(rows) for term in terms), strict=True)
        found: list[Tensor] = []
        kept = []
        for block, inverse, own in zip(
            members, clip.reciprocal().split(rows), by_block, strict=True
        ):
            weight = _joined(block)
            place = weight * inverse
            places = [place + grid.half for grid in own]
            codes = [codes_at(at, grid.steps) for at, grid in zip(places, own, strict=True)]
            out = codes[0] * own[0].scale
            if share is not None:
                out.addcmul_(codes[1], own[1].scale)
            found += _parted(out, block)
            kept.append((weight, places, codes))
        # The weights are not read again: saved, they make torch refuse a change before the gradients.
        ctx.save_for_backward(clip, share, *weights)
        ctx.grids, ctx.terms, ctx.kept = grids, terms, kept
        ctx.blocks, ctx.rows = blocks, rows
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        clip, share, *_ = ctx.saved_tensors
        members = _grouped(gradients, ctx.blocks)
        shares = [] if share is None else share.split(ctx.rows)
        dots: list[list[Tensor]] = [[] for _ in ctx.grids]
        pulls, passed = [], []
        for number, (block, (weight, places, codes)) in enumerate(
            zip(members, ctx.kept, strict=True)
        ):
            gradient = _joined(block)
            inside = _inside(gradient, places[0])
            if share is not None:
                inside = torch.lerp(inside, _inside(gradient, places[1]), shares[number])
            for found, code in zip(dots, codes, strict=True):
                found.append(_row_dot(gradient, code))
            pulls.append(_row_dot(inside, weight))
            passed += _parted(inside, block)
        along = [torch.cat(found) for found in dots]
        for_clip = -torch.cat(pulls)
        for term, dot in zip(ctx.terms, along, strict=True):
            for_clip.addcmul_(term.scale, dot)
        for_share = None
        if share is not None:
            for_share = along[1] * ctx.grids[1].scale - along[0] * ctx.grids[0].scale
        return for_clip.div_(clip), for_share, None, None, *passed


def _grouped(tensors: Sequence[Tensor], blocks: Sequence[int]) -> list[Sequence[Tensor]]:
    """The tensors of each block."""
    ends = list(accumulate(blocks))
    return [tensors[end - count : end] for end, count in zip(ends, blocks, strict=True)]


def _joined(block: Sequence[Tensor]) -> Tensor:
    """One matrix of the channels of all layers of a block. Shapes: -> (C, K)."""
    if len(block) == 1:
        return block[0].flatten(1)
    return torch.cat([tensor.flatten(1) for tensor in block])


def _parted(joined: Tensor, block: Sequence[Tensor]) -> list[Tensor]:
    """Take a matrix apart again, in the shapes of the block's tensors."""
    parts = joined.split([len(tensor) for tensor in block])
    return [part.view(tensor.shape) for part, tensor in zip(parts, block, strict=True)]


def _inside(gradient: Tensor, place: Tensor) -> Tensor:
    """The gradient where the weight is not clipped, zero elsewhere: one pass over memory."""
    return torch.ops.aten.hardtanh_backward(gradient, place, -_EDGE, _EDGE)


def _row_dot(left: Tensor, right: Tensor) -> Tensor:
    """Dot product of each row. Shapes: (C, K), (C, K) -> (C, 1)."""
    return (left * right).sum(1, keepdim=True)
