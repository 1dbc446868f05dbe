"""Gradients without what shifting the mean output of a channel does: norms and biases make up for shifts.

A rounding error ``d`` of a channel's weights changes its output at a position by ``d x``. The part ``d E[x]`` is the
same everywhere, and the batch norm behind the layer, or its own bias, takes it back before a run ends. What is left is
``d (x - E[x])``, so the gradient that counts is ``g_w - g_b E[x]``, with ``g_b`` the gradient of a bias.

Measured (Fitzpatrick17k, MobileNetV2, one classifier): rounding the last convolution of a block alone diverges 3 to 96
times less from full precision once norms have moved, the first one mostly 1.2 to 2 times. A plan that does not know it
gives bits where none are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fairquant_core.data.batches import normalise
from fairquant_core.models.batch_norms import batch_norms, slope_of
from fairquant_core.models.hooks import hooked
from fairquant_core.models.layer_inputs import second_moment
from fairquant_core.models.unchanged import StateUnchanged
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.layers import original_weight, quantisable_layers
from fairquant_core.sensitivity.gradient_pass import over_weights, signed_gradients

MEAN_IMAGES = 16
"""Images that means and moments are taken over, from all groups: norms and codes are the same for all of them.

With 32 plans are as good: without training the difference from full precision is 0.0030 nats with 16 and 0.0029 with 32
at 6 bits, 0.032 and 0.031 at 4, 0.105 and 0.110 at 3, 0.193 and 0.192 at 2.5, 0.42 and 0.40 at 2 (Fitzpatrick17k,
MobileNetV2, one classifier, validation images).
"""


def mean_sample(chosen: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """Positions of the images that the means are taken over, in ascending order."""
    pool = np.concatenate(list(chosen.values()))
    return np.sort(np.random.default_rng(seed).permutation(pool)[:MEAN_IMAGES])


class CentredDamage:
    """What every width costs every channel, as of inputs whose mean was taken off.

    Stands where :func:`~fairquant_core.sensitivity.gradient_pass.weighed` stands, with :meth:`watching` around the
    pass. For errors ``d`` of a channel's weights and the gradient ``g`` of an image it is ``1/2 sum_w (g_w d_w)^2``, as
    if weights erred independently, or for fitted errors ``1/2 (sum_w g_w d_w)^2``: these were made to cancel.

    Parameters
    ----------
    means
        Per layer what meets each weight on average.
    norms
        Number of a layer -> the batch norm that its output goes to and nowhere else; tells the gradient of a bias.
    half_squared
        Number of a layer -> half the squared error of each weight at each of B widths.
    fitted
        The same for all other layers -> the errors themselves.

    Shapes: ``means`` (C, K), the last two (C, B, K).
    """

    def __init__(
        self,
        model: nn.Module,
        means: list[Tensor],
        norms: Mapping[int, _BatchNorm],
        half_squared: Mapping[int, Tensor],
        fitted: Mapping[int, Tensor],
    ) -> None:
        self._modules = [layer.module for layer in quantisable_layers(model)]
        self._means = means
        self._norms = norms
        self._half_squared = half_squared
        self._fitted = fitted
        self._shifts: dict[int, Tensor] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, every backward pass tells what a bias of each layer would have as gradient.

        The bias of a norm right behind tells it for nothing; watching outputs takes a tenth of a pass.
        """
        for norm in self._norms.values():
            norm.bias.requires_grad_(True)
        others = {n: module for n, module in enumerate(self._modules) if n not in self._norms}
        with hooked(others, self._look):
            yield

    def __call__(
        self, losses: Tensor, weights: list[nn.Parameter], generator: torch.Generator
    ) -> list[Tensor]:
        """Per layer the damage of every channel at every width, summed over the images. Shapes: (C, B)."""
        self._shifts.clear()
        biases = [norm.bias for norm in self._norms.values()]
        found = signed_gradients(losses, [*weights, *biases], generator)
        gradients = [gradient.flatten(1) for gradient in found[: len(weights)]]
        behind = zip(self._norms.items(), found[len(weights) :], strict=True)
        self._shifts.update(
            (number, slope_of(norm) * of_bias) for (number, norm), of_bias in behind
        )
        for number, shift in self._shifts.items():
            gradients[number].addcmul_(shift.unsqueeze(1), self._means[number], value=-1)
        return [
            over_weights(self._fitted[number], gradient).square_().mul_(0.5)
            if number in self._fitted
            else over_weights(self._half_squared[number], gradient.square_())
            for number, gradient in enumerate(gradients)
        ]

    def _look(self, number: int, module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        def keep(gradient: Tensor) -> None:
            shift = gradient.sum(_positions(module, gradient))
            self._shifts[number] = self._shifts.get(number, 0) + shift

        if out.requires_grad:
            out.register_hook(keep)


@dataclass(frozen=True)
class InputAverages:
    """What reaches the weights of every layer, over a sample of images.

    Parameters
    ----------
    means
        Per layer, what meets each weight on average. Zero for a layer that has neither a bias nor a batch norm to
        make up for a shift, and for one that is not called.
    moments
        Number of a layer -> second moments of its inputs; only of those that were asked for, are called, and whose
        inputs are numbers.

    Shapes: ``means`` (C, K); ``moments`` (G, K, K) for a layer of G groups.
    """

    means: list[Tensor]
    moments: dict[int, Tensor]


def input_averages(
    classifier: Classifier, images: np.ndarray, most_weights: int = 0
) -> InputAverages:
    """One forward pass over the sample.

    Parameters
    ----------
    most_weights
        Layers of no more weights per channel have their second moments taken.

    Shapes: ``images`` uint8 (B, S, S, 3).
    """
    model = classifier.model
    layers = quantisable_layers(model)
    normed = bool(batch_norms(model))
    shares = torch.full((len(images),), 1 / len(images))
    means: dict[int, list[Tensor]] = {}
    moments: dict[int, list[Tensor]] = {}

    def look(number: int, module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if normed or module.bias is not None:
            means.setdefault(number, []).append(_mean_input(module, given[0]))
        if layers[number].weights_per_channel <= most_weights:
            moments.setdefault(number, []).append(second_moment(module, given[0], shares))

    with (
        StateUnchanged(model),
        hooked({number: layer.module for number, layer in enumerate(layers)}, look),
        torch.no_grad(),
    ):
        for layer in layers:
            original_weight(layer.module).requires_grad_(True)
        model(normalise(images, classifier.preprocessing))
    averaged = {number: torch.stack(calls).mean(0) for number, calls in moments.items()}
    return InputAverages(
        [
            torch.stack(means[number]).mean(0)
            if number in means
            else torch.zeros(layer.channels, layer.weights_per_channel)
            for number, layer in enumerate(layers)
        ],
        {number: moment for number, moment in averaged.items() if moment.isfinite().all()},
    )


def _mean_input(module: nn.Module, inputs: Tensor) -> Tensor:
    """How the mean output follows each weight; exact for any stride, padding and groups.

    Shapes: -> (C, K).
    """
    weight = original_weight(module)
    with torch.enable_grad():
        # Called past the hooks, of which this is one.
        out = module.forward(inputs.mean(0, keepdim=True))
        (total,) = torch.autograd.grad(out.sum(), weight)
    return total.flatten(1) * (len(weight) / out.numel())


def _positions(module: nn.Module, out: Tensor) -> tuple[int, ...]:
    """All dimensions of an output but that of the channels."""
    channel = 1 if isinstance(module, nn.Conv2d) else out.ndim - 1
    return tuple(axis for axis in range(out.ndim) if axis != channel)
