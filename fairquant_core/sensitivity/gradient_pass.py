"""One pass over the images of every group: what each batch says about every output channel.

A batch holds one group only, so the cost does not depend on the number of groups. The classifier is looked at
in evaluation mode and left bit-identical.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fairquant_core.data.batches import normalise
from fairquant_core.errors import Cancelled, EvaluationError
from fairquant_core.models.unchanged import StateUnchanged
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.layers import (
    QuantisableLayer,
    original_weight,
    quantisable_layers,
)

LOSS_NOT_A_NUMBER = "The classifier's loss on group '{group}' is not a number. Its weights or the images are damaged."
GRADIENT_NOT_A_NUMBER = (
    "The gradient of layer '{layer}' on group '{group}' is not a number although the loss is. The layer's weights "
    "or what reaches it are too large or damaged; fine-tune the classifier or use another one."
)
CANCELLED = "Cancelled while measuring the sensitivity of the layers."

FEWEST_BATCHES = 8
"""A small group is cut into this many batches if it has the images: intervals come from comparing batches."""

Step = Callable[[int, int], None]
Stop = Callable[[], bool]
PerWeight = Callable[[Tensor, list[nn.Parameter], torch.Generator], list[Tensor]]
"""Losses of a batch (n,), the weights, a generator -> per layer one value per weight, summed over the images."""
PerChannel = Callable[[Tensor, list[nn.Parameter], torch.Generator], list[Tensor]]
"""The same -> per layer one value per output channel for each of B columns, (C, B)."""


@dataclass(frozen=True)
class GroupSums:
    """What the batches of one group add up to.

    Shapes: ``channels`` (U, B) the sum over all batches; ``layers`` (J, L, B) and ``sizes`` (J,) the layer sums and
    images of each of the J batches. All float64.
    """

    channels: np.ndarray
    layers: np.ndarray
    sizes: np.ndarray


def cut(positions: np.ndarray, batch_size: int, fewest: int = FEWEST_BATCHES) -> list[np.ndarray]:
    """Cut a group into batches of nearly equal size, none larger than ``batch_size``.

    A group with fewer images than a batch gives smaller batches, down to one image each.

    Examples
    --------
    >>> [len(batch) for batch in cut(np.arange(33), 16, fewest=1)]
    [11, 11, 11]
    """
    batches = max(-(-len(positions) // batch_size), min(len(positions), fewest))
    return np.array_split(positions, batches)


def group_sums(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    batches: dict[str, list[np.ndarray]],
    per_channel: PerChannel,
    *,
    seed: int = 0,
    within: AbstractContextManager | None = None,
    progress: Step | None = None,
    cancel: Stop | None = None,
) -> dict[str, GroupSums]:
    """Add up, batch by batch, what a batch says about every output channel.

    Parameters
    ----------
    batches
        Per group, the positions of the images of each batch.
    per_channel
        What a batch says, such as :func:`weighed`.
    within
        What ``per_channel`` needs around the pass; it may ask for gradients of more parameters.

    Shapes: ``images`` uint8 (N, S, S, 3), ``labels`` int (N,).

    Raises
    ------
    EvaluationError
        A loss or a gradient is not a number; the message names the group and the layer.
    """
    model = classifier.model
    layers = quantisable_layers(model)
    weights = [original_weight(layer.module) for layer in layers]
    starts = np.cumsum([0, *(layer.channels for layer in layers[:-1])])
    steps, done = sum(map(len, batches.values())), 0
    result: dict[str, GroupSums] = {}
    with ExitStack() as contexts:
        contexts.enter_context(StateUnchanged(model))
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for weight in weights:
            weight.requires_grad_(True)
        contexts.enter_context(within or nullcontext())
        for group, cuts in batches.items():
            # Drawn anew for each group, so that no group's figures depend on the others.
            generator = torch.Generator().manual_seed(seed)
            channels: np.ndarray | float = 0.0
            by_layer = []
            for batch in cuts:
                check_cancel(cancel)
                losses = image_losses(classifier, images[batch], labels[batch])
                if not bool(torch.isfinite(losses).all()):
                    raise EvaluationError(LOSS_NOT_A_NUMBER.format(group=group))
                found = per_channel(losses, weights, generator)
                rows = np.concatenate([value.numpy() for value in found]).astype(np.float64)
                _check_finite(rows, layers, starts, group)
                channels = channels + rows
                by_layer.append(np.add.reduceat(rows, starts))
                done += 1
                if progress:
                    progress(done, steps)
            sizes = np.array([len(batch) for batch in cuts], dtype=np.float64)
            result[group] = GroupSums(np.asarray(channels), np.stack(by_layer), sizes)
    return result


def weighed(per_weight: PerWeight, factors: list[Tensor]) -> PerChannel:
    """Sum ``factor * value`` over the weights of every output channel.

    Parameters
    ----------
    per_weight
        What a batch says about each weight: one of the functions below.
    factors
        Per layer one factor per weight for each of B columns. Shapes: (C, B, K).
    """

    def per_channel(
        losses: Tensor, weights: list[nn.Parameter], generator: torch.Generator
    ) -> list[Tensor]:
        values = per_weight(losses, weights, generator)
        return [over_weights(*pair) for pair in zip(factors, values, strict=True)]

    return per_channel


def image_losses(classifier: Classifier, images: np.ndarray, labels: np.ndarray) -> Tensor:
    """Cross-entropy of each image. Shapes: uint8 (n, S, S, 3), int (n,) -> (n,). Units: nats."""
    logits = classifier.model(normalise(images, classifier.preprocessing))
    target = torch.as_tensor(labels, dtype=torch.long)
    return functional.cross_entropy(logits.float(), target, reduction="none")


def squared_gradients(
    losses: Tensor, weights: list[nn.Parameter], generator: torch.Generator
) -> list[Tensor]:
    """Sum over the images of the squared gradient, estimated without bias from one backward pass.

    Squared gradients per image would need one backward pass per image. Instead the batch is weighted with random
    signs ``e_i``: ``E[(sum_i e_i g_i)^2] = sum_i g_i^2`` exactly.
    """
    return [gradient.square_() for gradient in signed_gradients(losses, weights, generator)]


def signed_gradients(
    losses: Tensor, weights: list[nn.Parameter], generator: torch.Generator
) -> list[Tensor]:
    """Gradients of the sum of the losses, each with a random sign."""
    signs = torch.randint(0, 2, losses.shape, generator=generator) * 2 - 1
    return _gradients((signs * losses).sum(), weights)


def absolute_gradients(
    losses: Tensor, weights: list[nn.Parameter], _: torch.Generator
) -> list[Tensor]:
    """|gradient of the batch's mean loss|, times the images of the batch."""
    return [gradient.abs_() for gradient in _gradients(losses.sum(), weights)]


def _gradients(loss: Tensor, weights: list[nn.Parameter]) -> list[Tensor]:
    """Gradients of the weights; zeros for a layer that the network does not use."""
    return list(torch.autograd.grad(loss, weights, materialize_grads=True))


def check_cancel(cancel: Stop | None) -> None:
    """Stop where the person asked for it."""
    if cancel and cancel():
        raise Cancelled(CANCELLED)


@torch.no_grad()
def over_weights(factor: Tensor, value: Tensor) -> Tensor:
    """``factor * value`` added up over the weights. Shapes: (C, B, K) and a weight's shape -> (C, B)."""
    return (factor @ value.flatten(1).unsqueeze(2)).squeeze(2)


def _check_finite(
    rows: np.ndarray, layers: list[QuantisableLayer], starts: np.ndarray, group: str
) -> None:
    wrong = ~np.isfinite(rows).all(axis=1)
    if wrong.any():
        place = int(np.searchsorted(starts, np.argmax(wrong), side="right")) - 1
        raise EvaluationError(GRADIENT_NOT_A_NUMBER.format(layer=layers[place].name, group=group))
