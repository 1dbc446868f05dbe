"""The diagonal of the Hessian, also for networks whose fast kernels can be differentiated only once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from fairquant_core.errors import EvaluationError

PROBES = 2
"""Random directions per batch in the estimate; batches draw anew, so a group of 256 images has 32."""

NO_SECOND_DERIVATIVE = (
    "The full curvature of this network cannot be computed: {reason}. "
    "Choose another measure, for example 'fisher'."
)


def hessian_diagonal(
    losses: Tensor, weights: list[nn.Parameter], generator: torch.Generator
) -> list[Tensor]:
    """Diagonal of the Hessian of the summed loss, by Hutchinson's estimator; the mean of :data:`PROBES` draws.

    ``E[v * (H v) / s^2] = diag(H)`` for ``v = s z`` with random signs ``z`` and any scale ``s``. The scale is the size
    of each channel's own weights: with one scale for all, a channel of tiny weights behind a large batch-norm
    gain would drown the others in noise.

    Source: Bekas et al. 2007 (Applied Numerical Mathematics 57), as in HAWQ-V2 (arXiv 1911.03852), whose
    probes have one scale.
    """
    gradients = torch.autograd.grad(
        losses.sum(), weights, create_graph=True, materialize_grads=True
    )
    scales = [_channel_sizes(weight.detach()) for weight in weights]
    totals = [torch.zeros_like(weight) for weight in weights]
    for probe in range(PROBES):
        signs = [
            torch.empty_like(weight).bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
            for weight in totals
        ]
        products = torch.autograd.grad(
            gradients,
            weights,
            grad_outputs=[sign * scale for sign, scale in zip(signs, scales, strict=True)],
            retain_graph=probe < PROBES - 1,
            materialize_grads=True,
        )
        for total, sign, scale, product in zip(totals, signs, scales, products, strict=True):
            total.addcmul_(sign / scale, product, value=1 / PROBES)
    return totals


def _channel_sizes(weight: Tensor) -> Tensor:
    """Root mean square of each channel's weights, 1 for a channel of zeros. Shapes: (C, ...) -> (C, 1, ...)."""
    sizes = weight.flatten(1).square().mean(1).sqrt()
    sizes = torch.where(sizes > 0, sizes, 1.0)
    return sizes.view(-1, *[1] * (weight.ndim - 1))


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Inside, a network computes the same function from parts that can be differentiated twice.

    Raises
    ------
    EvaluationError
        The network holds another operation without a second derivative.
    """
    try:
        with sdpa_kernel(SDPBackend.MATH), _SmoothParts():
            yield
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise EvaluationError(NO_SECOND_DERIVATIVE.format(reason=error)) from error


class _SmoothParts(TorchFunctionMode):
    """Writes out the hard sigmoid, whose fused backward pass has no derivative."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        if function is functional.hardsigmoid:
            return functional.relu6(arguments[0] + 3) / 6
        return function(*arguments, **(options or {}))
