"""Rounding with gradients: weights, range and the share between two widths learn through it.

Source: LSQ (Esser et al., ICLR 2020) for the gradient of the range. **Deviation**: the public FairQuant code detaches
the quantised weight as a whole, so its bit logits receive no gradient and never move. Here only the rounding is passed
straight through, and the gradient of a width between two others is the real difference between their roundings,
``dL/db = <dL/dw_q, Q_hi(w) - Q_lo(w)>``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairquant_core.quantization.codes import Grid


class Mixture(NamedTuple):
    """How the channels of some layers are rounded: each to one width, or to something between two.

    ``(1 - share) Q_low(w) + share Q_high(w)``; without ``share`` it is ``Q_low(w)``.

    Shapes: all (C, 1), the channels of all layers below one another.
    """

    clip: Tensor
    low: Grid[Tensor]
    high: Grid[Tensor] | None = None
    share: Tensor | None = None


def rounded(weights: Sequence[Tensor], mixture: Mixture) -> tuple[Tensor, ...]:
    """The quantised weights of any number of layers, with gradients for weights, range and share.

    All layers are one node of the graph: a node for each would cost more than its arithmetic.

    Shapes: as ``weights``, whose first dimension is the output channels.
    """
    grids = (mixture.low,) if mixture.high is None else (mixture.low, mixture.high)
    return _Rounded.apply(mixture.clip, mixture.share, grids, *weights)


class _Rounded(torch.autograd.Function):
    """With ``w_q = a h(w / a)``, the derivative for ``a`` is ``(<g, w_q> - <g inside, w>) / a`` for every mixture.

    That is LSQ's gradient of the step written for the range.
    """

    @staticmethod
    def forward(
        ctx: Any,
        clip: Tensor,
        share: Tensor | None,
        grids: tuple[Grid[Tensor], ...],
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        from fairquant_core.quantization.kernels import round_rows

        terms = grids
        if share is not None:
            parts = (1 - share, share)
            terms = tuple(
                grid._replace(scale=grid.scale * part)
                for grid, part in zip(grids, parts, strict=True)
            )
        inverse = _array(clip.reciprocal())
        low, *high = (Grid(*map(_array, term)) for term in terms)
        found = []
        for weight, rows in zip(weights, _places(weights), strict=True):
            out = torch.empty_like(weight, memory_format=torch.contiguous_format)
            second = _rows(high[0], rows) if high else None
            round_rows(_matrix(weight), inverse[rows], _rows(low, rows), second, _matrix(out))
            found.append(out)
        # Saved ones make torch refuse gradients for weights that were changed in between.
        ctx.save_for_backward(clip, share, *weights)
        ctx.grids, ctx.terms = grids, terms
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from fairquant_core.quantization.kernels import pull_mixed_rows, pull_rows

        clip, share, *weights = ctx.saved_tensors
        inverse = _array(clip.reciprocal())
        grids = [Grid(*map(_array, grid)) for grid in ctx.grids]
        along = [torch.empty_like(clip) for _ in grids]
        pulls = torch.empty_like(clip)
        sums = [_array(each) for each in (*along, pulls)]
        parts = None if share is None else _array(share)
        passed = []
        for weight, gradient, rows in zip(weights, gradients, _places(weights), strict=True):
            out = torch.empty_like(weight, memory_format=torch.contiguous_format)
            given = _matrix(weight), _matrix(gradient), inverse[rows]
            own = [_rows(grid, rows) for grid in grids]
            results = _matrix(out), *(each[rows] for each in sums)
            if parts is None:
                pull_rows(*given, *own, *results)
            else:
                pull_mixed_rows(*given, *own, parts[rows], *results)
            passed.append(out)
        for_clip = -pulls
        for term, dot in zip(ctx.terms, along, strict=True):
            for_clip.addcmul_(term.scale, dot)
        for_share = None
        if share is not None:
            for_share = along[1] * ctx.grids[1].scale - along[0] * ctx.grids[0].scale
        return for_clip.div_(clip), for_share, None, *passed


def _places(weights: Sequence[Tensor]) -> list[slice]:
    """Where the channels of each layer lie among those of all."""
    ends = np.cumsum([len(weight) for weight in weights])
    return [
        slice(end - len(weight), end) for end, weight in zip(ends.tolist(), weights, strict=True)
    ]


def _rows(grid: Grid[np.ndarray], rows: slice) -> Grid[np.ndarray]:
    """The grid of one layer's channels."""
    return Grid(*(part[rows] for part in grid))


def _matrix(weight: Tensor) -> np.ndarray:
    """The memory of a layer's weights, or a copy in the order of its channels. Shapes: -> (C, K)."""
    return weight.detach().flatten(1).contiguous().numpy()


def _array(column: Tensor) -> np.ndarray:
    """The memory of a column, or a copy of what is spread over several rows. Shapes: (C, 1) -> (C,)."""
    return column.detach().flatten().contiguous().numpy()
