"""Activations in 8 bits: finding the range of every layer's input on training images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from fairquant_core.data.batches import normalise
from fairquant_core.errors import ClassifierError, TrainingError
from fairquant_core.models.rounded_inputs import InputRange, round_inputs
from fairquant_core.models.unchanged import StateUnchanged
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.layers import quantisable_layers

IMAGES_PER_GROUP = 64
BATCH = 32

NOT_CALLED = (
    "{name} uses the weights of {count} layers without calling the layers, first '{layer}', so their inputs "
    "cannot be rounded: leave the activations in float."
)
NOT_FINITE = (
    "The input of the layer '{layer}' reaches from {lowest} to {highest}, which cannot be rounded: the weights "
    "before it are damaged or rounded to too few bits."
)
NO_IMAGES = "There is no training image from which the ranges of the activations could be found."


@torch.no_grad()
def calibrate(
    classifier: Classifier,
    images: np.ndarray,
    positions: np.ndarray,
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, InputRange]:
    """The range of every layer's input: from the smallest to the largest value that any image gives.

    Every group is looked at with equally many images. The classifier is not changed; layers that round already
    are watched before they do.

    Parameters
    ----------
    images, positions, groups
        Decoded images, which of them belong to the train split, and the group of every image; those of
        unknown group count as one more.
    seed
        Of the choice, where a group has more than 64 images.

    Shapes: ``images`` uint8 (N, S, S, 3), ``positions`` (P,), ``groups`` (N,).

    Raises
    ------
    ClassifierError
        A layer is bypassed, or its input is not a number.
    TrainingError
        There is no image.

    Source: ranges as ONNX's DynamicQuantizeLinear takes them. Clipping at the 99.99th percentile moved the outputs
    of MobileNetV2 up to four times as far, most of all for the rarest group.
    """
    if not len(positions):
        raise TrainingError(NO_IMAGES)
    layers = {layer.name: layer.module for layer in quantisable_layers(classifier.model)}
    seen: dict[str, tuple[float, float]] = {}

    def look(name: str, _layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        lowest, highest = (float(end) for end in inputs[0].aminmax())
        if name in seen:
            lowest, highest = min(lowest, seen[name][0]), max(highest, seen[name][1])
        seen[name] = lowest, highest

    hooks = [
        layer.register_forward_pre_hook(partial(look, name), prepend=True)
        for name, layer in layers.items()
    ]
    chosen = equally_many(positions, np.asarray(groups, dtype=object)[positions], seed)
    try:
        with StateUnchanged(classifier.model):
            for batch in np.array_split(chosen, -(-len(chosen) // BATCH)):
                classifier.model(normalise(images[batch], classifier.preprocessing))
    finally:
        for hook in hooks:
            hook.remove()
    bypassed = [name for name in layers if name not in seen]
    if bypassed:
        raise ClassifierError(
            NOT_CALLED.format(name=classifier.name, count=len(bypassed), layer=bypassed[0])
        )
    for name, (lowest, highest) in seen.items():
        if not math.isfinite(lowest) or not math.isfinite(highest):
            raise ClassifierError(NOT_FINITE.format(layer=name, lowest=lowest, highest=highest))
    return {name: InputRange.covering(*seen[name]) for name in layers}


def attach_activations(model: nn.Module, ranges: dict[str, InputRange]) -> None:
    """Round the input of every Conv2d and Linear layer, in place; may be called again with other ranges."""
    round_inputs({layer.name: layer.module for layer in quantisable_layers(model)}, ranges)


def equally_many(positions: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """At most 64 images of every group, drawn at random, in their order.

    Shapes: ``positions`` and ``groups`` (P,); returns (M,).
    """
    shuffled = np.random.default_rng(seed).permutation(len(positions))
    own = [shuffled[groups[shuffled] == group][:IMAGES_PER_GROUP] for group in sorted(set(groups))]
    return np.sort(positions[np.concatenate(own)])
