"""Rounding in which later weights make up for the rounding errors of earlier ones.

Nearest rounding minimises the error of every weight. What counts is the error of the layer's output, ``(Q - W) x``, and
inputs ``x`` are correlated: an error on one weight can be undone on the next. Works on plain tensors; knows no layer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fairquant_core.errors import ClassifierError
from fairquant_core.quantization.codes import levels, step_of

DAMPENING = 0.01
"""Added to the diagonal, as a share of its mean: keeps the weights of inputs that were never seen where they are."""

FLOOR = 1e-12
"""Smallest dampening: inputs that are zero on every image."""

SWEEPS = 3
"""Passes over all inputs in which single codes are changed afterwards; more change next to nothing."""

BLOCK = 128
"""Columns that are rounded before their errors are passed on to all later ones in one product."""

Reach = tuple[Tensor, Tensor]
"""The lowest and the highest code of every channel."""

NOT_FINITE = (
    "The inputs of the layer '{layer}' are not numbers, so its rounding cannot be fitted to them. "
    "The classifier's weights or the images are damaged."
)


def check_moment(moment: Tensor, layer: str) -> None:
    """Refuse inputs that are not numbers.

    Raises
    ------
    ClassifierError
        Naming the layer.
    """
    if not bool(torch.isfinite(moment).all()):
        raise ClassifierError(NOT_FINITE.format(layer=layer))


@torch.no_grad()
def compensated_codes(
    weight: Tensor,
    moment: Tensor,
    clip: Tensor,
    bits: Tensor,
    *,
    dampening: float = DAMPENING,
    sweeps: int = SWEEPS,
) -> Tensor:
    """Codes that keep ``(Q - W) H (Q - W)^T``, the mean squared error of the output, small.

    Weights are rounded one input at a time, the inputs with the largest moment first. Before an input's weights
    are rounded they are moved by what undoes most of the error that the earlier ones left. Then every
    input has its turn again, and its codes are set to what is best given all the others. With a diagonal ``H``
    nothing is moved: the result is nearest rounding. Several matrices of one size, such as the groups of a
    grouped convolution, are rounded together.

    Parameters
    ----------
    weight
        In full precision.
    moment
        ``H = E[x x^T]`` of the inputs; need not have full rank, but must be numbers, see :func:`check_moment`.
    clip, bits
        Range and width of every output channel; widths may differ, 0 is pruned.
    dampening
        Share of the mean of ``H``'s diagonal that is added to it.
    sweeps
        How often every input has its turn again at most; with 0 the result is GPTQ's.

    Shapes: ``weight`` (G, C, K), ``moment`` (G, K, K), ``clip`` and ``bits`` (G, C, 1); returns (G, C, K), float
    holding integers.

    Source: GPTQ (Frantar et al., arXiv 2210.17323) in the equivalent form of LDLQ (Chee et al., arXiv 2307.13304,
    theorem 6): one triangular factor of ``H`` instead of the inverse and its factor. Order of the inputs as GPTQ's
    ``act_order``. Then cyclic coordinate descent, as QuantEase (Behdin et al., arXiv 2309.01885) does
    throughout.
    """
    steps = levels(bits)
    scale, reach = step_of(clip, steps), (-steps.ceil(), steps.floor())
    order = moment.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True, stable=True)
    rows = order.unsqueeze(1).expand_as(weight)
    wanted = weight.gather(2, rows)
    damped, upper = _factor(_reordered(moment, order), dampening)
    codes = _rounded_in_turn(wanted, upper.to(weight.dtype), scale, reach)
    _descend(codes, wanted, damped.to(weight.dtype), scale, reach, sweeps)
    return torch.empty_like(codes).scatter_(2, rows, codes)


def _reordered(moment: Tensor, order: Tensor) -> Tensor:
    """Rows and columns in the order in which the inputs are rounded."""
    rows = moment.gather(1, order.unsqueeze(2).expand_as(moment))
    return rows.gather(2, order.unsqueeze(1).expand_as(moment))


def _factor(moment: Tensor, dampening: float) -> tuple[Tensor, Tensor]:
    """The dampened ``H`` and the unit upper triangular ``U`` of ``H = U D U^T``.

    Column k of ``U`` says how earlier errors move input k. Dampening grows, matrix by matrix, until the factor exists;
    it always does once the diagonal outweighs the rest.
    """
    damped = moment.double().clone()
    diagonal = damped.diagonal(dim1=1, dim2=2)
    extra = dampening * diagonal.mean(1, keepdim=True) + FLOOR
    diagonal += extra
    lower, failed = torch.linalg.cholesky_ex(damped.flip(1, 2))
    while bool(failed.any()):
        extra = 10 * extra * (failed > 0).unsqueeze(1)
        diagonal += extra
        lower, failed = torch.linalg.cholesky_ex(damped.flip(1, 2))
    upper = lower.flip(1, 2)
    return damped, upper / upper.diagonal(dim1=1, dim2=2).unsqueeze(1)


def _rounded_in_turn(wanted: Tensor, upper: Tensor, scale: Tensor, reach: Reach) -> Tensor:
    """Round one input after the other, each moved by the errors before it. Shapes: (G, C, K)."""
    codes, errors = torch.empty_like(wanted), torch.empty_like(wanted)
    for block in _blocks(wanted.shape[2]):
        moved = wanted[:, :, block] + errors[:, :, : block.start] @ upper[:, : block.start, block]
        inner = upper[:, block, block]
        for column in range(moved.shape[2]):
            at = slice(block.start + column, block.start + column + 1)
            code = (moved[:, :, column : column + 1] / scale).round_().clamp_(*reach)
            error = wanted[:, :, at] - code * scale
            moved[:, :, column + 1 :] += error * inner[:, column : column + 1, column + 1 :]
            codes[:, :, at], errors[:, :, at] = code, error
    return codes


def _descend(
    codes: Tensor, wanted: Tensor, moment: Tensor, scale: Tensor, reach: Reach, sweeps: int
) -> None:
    """Set every code, in place, to what is best given all others, until nothing changes. Shapes: (G, C, K)."""
    if not sweeps:
        return
    slope = (codes * scale - wanted) @ moment
    per_step = scale * moment.diagonal(dim1=1, dim2=2).unsqueeze(1)
    for _ in range(sweeps):
        changed = False
        for block in _blocks(codes.shape[2]):
            own, inner = slope[:, :, block].clone(), moment[:, block, block]
            moves = torch.empty_like(own)
            for column in range(own.shape[2]):
                at = slice(block.start + column, block.start + column + 1)
                best = codes[:, :, at] - own[:, :, column : column + 1] / per_step[:, :, at]
                best = best.round_().clamp_(*reach)
                move = (best - codes[:, :, at]) * scale
                own += move * inner[:, column : column + 1]
                codes[:, :, at], moves[:, :, column : column + 1] = best, move
            if bool(moves.any()):
                changed = True
                slope += moves @ moment[:, block]
        if not changed:
            return


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def output_error(difference: Tensor, moment: Tensor) -> Tensor:
    """Mean squared error of every output, ``d H d^T``.

    Shapes: ``difference`` (G, C, K), ``moment`` (G, K, K); returns (G, C, 1).
    """
    return ((difference @ moment) * difference).sum(2, keepdim=True)
