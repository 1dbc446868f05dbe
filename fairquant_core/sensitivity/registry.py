"""How much each layer matters to each skin-tone group: every measure of the catalogue, in one registry.

**Deviation** from the public FairQuant code, which sums importance over images in training mode, with one
masked backward pass per group: here a batch holds one group only, so the cost does not depend on the number of
groups, the classifier is looked at in evaluation mode and left bit-identical, and every figure is a mean per
image, so a large group does not look more sensitive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypedDict, Unpack

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fairquant_core.data.batches import normalise
from fairquant_core.data.skin_tone import UNKNOWN
from fairquant_core.errors import EvaluationError
from fairquant_core.models.batch_norms import norms_behind
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.catalogue import LEGAL_MENU
from fairquant_core.quantization.layers import QuantisableLayer, quantisable_layers
from fairquant_core.quantization.plan import PRUNED
from fairquant_core.sensitivity.centring import CentredDamage, input_averages, mean_sample
from fairquant_core.sensitivity.gradient_pass import (
    FEWEST_BATCHES,
    GroupSums,
    PerChannel,
    Step,
    Stop,
    absolute_gradients,
    cut,
    group_sums,
    squared_gradients,
    weighed,
)
from fairquant_core.sensitivity.maps import SensitivityMap
from fairquant_core.sensitivity.measured import as_damage, measured_map
from fairquant_core.sensitivity.measures import measure_card, trend
from fairquant_core.sensitivity.rounding_errors import (
    SMALL_KERNEL,
    fitted_errors,
    half_squared_errors,
)
from fairquant_core.sensitivity.second_derivatives import hessian_diagonal, twice_differentiable
from fairquant_core.sensitivity.spread import batch_spread

NO_GROUPS = (
    "No image has a known group, so there is nothing to compare. Choose another group column."
)

BATCH_SIZE = 16

Chosen = dict[str, np.ndarray]
"""Group -> positions of the images that its figures rest on."""


class Options(TypedDict, total=False):
    """What every measure takes besides the images.

    Parameters
    ----------
    menu : widths in bits; 0 is pruning. By default all of them.
    batch_size : images per backward pass (measuring has no backward pass and ignores it).
    seed : of random signs and resampling.
    progress, cancel : called after each batch; asked before each batch.
    """

    menu: Sequence[int]
    batch_size: int
    seed: int
    progress: Step | None
    cancel: Stop | None


Measure = Callable[..., SensitivityMap]
REGISTRY: dict[str, Measure] = {}


def measure(name: str) -> Callable[[Measure], Measure]:
    """Register the function of one card of :data:`fairquant_core.sensitivity.measures.MEASURES`."""
    card = measure_card(name)

    def keep(function: Measure) -> Measure:
        REGISTRY[card.name] = function
        return function

    return keep


def sensitivity_map(
    name: str,
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: Chosen,
    **options: Unpack[Options],
) -> SensitivityMap:
    """The map of any measure.

    Parameters
    ----------
    name
        A key of :data:`fairquant_core.sensitivity.measures.MEASURES`.
    images, labels, chosen
        Decoded images, class indices, and which positions belong to each group.

    Shapes: ``images`` uint8 (N, S, S, 3), ``labels`` int (N,).

    Raises
    ------
    EvaluationError
        No such measure; or a loss or gradient is not a number (the message names group and layer).
    """
    return REGISTRY[measure_card(name).name](classifier, images, labels, chosen, **options)


def sample_per_group(groups: pd.Series, limit: int, seed: int) -> Chosen:
    """Positions of at most ``limit`` images of every known group, in ascending order.

    Raises
    ------
    EvaluationError
        If no image has a known group.
    """
    generator = np.random.default_rng(seed)
    chosen: Chosen = {}
    values = groups.to_numpy()
    for group in sorted(set(values) - {UNKNOWN}):
        positions = np.flatnonzero(values == group)
        if len(positions) > limit:
            positions = np.sort(generator.choice(positions, limit, replace=False))
        chosen[str(group)] = positions
    if not chosen:
        raise EvaluationError(NO_GROUPS)
    return chosen


@measure("fisher")
def fisher_map(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: Chosen,
    **options: Unpack[Options],
) -> SensitivityMap:
    """Predicted rise of every group's loss if an output channel goes to b bits, for every b at once.

    ``D_g(u, b) = 1/2 sum_{w in u} F_g(w) (Q_b(w) - w)^2`` with ``F_g`` the mean squared gradient per image,
    estimated with random signs at the cost of one ordinary backward pass per batch. A channel of zeros
    only has no damage at any width.

    Units: nats per image.

    Source: METHOD 2, HAWQ-style curvature; Fisher as in Theis et al. 2018 (arXiv 1801.05787), eq. 6.
    """
    errors = _nearest_errors(classifier, options)
    damage = weighed(squared_gradients, errors)
    return _curvature("fisher", damage, classifier, images, labels, chosen, options)


@measure("centred")
def centred_map(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: Chosen,
    **options: Unpack[Options],
) -> SensitivityMap:
    """As :func:`fisher_map`, of what remains after the corrections that every run makes.

    Norms and biases make up for the shift of every channel, and in small kernels the codes make up for each
    other's errors.

    Units: nats per image.

    Source: METHOD 2, Fisher. **Deviation**: see :mod:`fairquant_core.sensitivity.centring` and
    :data:`fairquant_core.sensitivity.rounding_errors.SMALL_KERNEL`.
    """
    menu = tuple(options.get("menu", LEGAL_MENU))
    layers = quantisable_layers(classifier.model)
    sample = mean_sample(chosen, options.get("seed", 0))
    inputs = input_averages(classifier, images[sample], SMALL_KERNEL)
    small = {number: layers[number] for number in inputs.moments}
    fitted = fitted_errors(small, menu, inputs.moments)
    half_squared = {
        number: half_squared_errors(layer, menu)
        for number, layer in enumerate(layers)
        if number not in fitted
    }
    one = normalise(images[sample[:1]], classifier.preprocessing)
    norms = norms_behind(classifier.model, [layer.module for layer in layers], one)
    damage = CentredDamage(classifier.model, inputs.means, norms, half_squared, fitted)
    return _curvature(
        "centred", damage, classifier, images, labels, chosen, options, damage.watching()
    )


@measure("hessian")
def hessian_map(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: Chosen,
    **options: Unpack[Options],
) -> SensitivityMap:
    """As :func:`fisher_map` with the diagonal of the real Hessian of each group's loss.

    The Hessian's diagonal can be negative, and its estimate more so; a channel whose sum is negative counts
    as 0. A pass costs several times a Fisher pass, see :data:`second_derivatives.PROBES`.

    Units: nats per image.

    Source: HAWQ-V2 (arXiv 1911.03852). **Deviation**: a diagonal per channel and group instead of one trace per
    layer over all images.
    """
    errors = _nearest_errors(classifier, options)
    damage, smooth = weighed(hessian_diagonal, errors), twice_differentiable()
    return _curvature("hessian", damage, classifier, images, labels, chosen, options, smooth)


@measure("grape")
def grape_map(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: Chosen,
    **options: Unpack[Options],
) -> SensitivityMap:
    """FairGRAPE importance, the mean over images of ``(w dL/dw)^2``, summed over each output channel.

    It is the importance of pruning: twice the Fisher damage at 0 bits. So it comes from the same pass.
    """
    menu = options.pop("menu", LEGAL_MENU)
    fisher = fisher_map(classifier, images, labels, chosen, menu=LEGAL_MENU, **options)
    return grape_from_fisher(fisher, menu)


def grape_from_fisher(fisher: SensitivityMap, menu: Sequence[int] = LEGAL_MENU) -> SensitivityMap:
    """The FairGRAPE importance that a Fisher map holds, as damage ``importance * 4^-(b - 2)``.

    Only the order of these damages means something; the widths follow the error model of
    :func:`fairquant_core.sensitivity.measures.trend`, pruning included.

    Units: squared nats per image.

    Source: FairGRAPE (Lin et al., arXiv 2207.10888). **Deviation**: squares are taken per image and averaged, not
    of a batch's gradient, so the importance does not depend on the batch size.
    """
    pruned = fisher.menu.index(PRUNED)
    steps = 2 * trend(menu)
    return replace(
        fisher,
        measure="grape",
        menu=tuple(menu),
        damage=fisher.damage[:, :, [pruned]] * steps,
        spread=None if fisher.spread is None else fisher.spread[..., [pruned]] * steps,
    )


@measure("gradient")
def gradient_map(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: Chosen,
    **options: Unpack[Options],
) -> SensitivityMap:
    """Mean ``|dL/dw|`` over batches, summed over each output channel, as damage ``importance * 4^-(b - 2)``.

    ``dL/dw`` is the gradient of a batch's mean loss, as in the public FairQuant code: gradients of single images
    cancel before the absolute value is taken, the less the smaller the batch. Therefore every group's
    batches have the same size here, an eighth of the smallest group if that is less than a batch.
    Only the order of the damages means something.

    Units: nats per unit of weight.

    Source: FairQuant (arXiv 2602.23192), default importance of its code.
    """
    menu = tuple(options.get("menu", LEGAL_MENU))
    layers = quantisable_layers(classifier.model)
    ones = [torch.ones(layer.channels, 1, layer.weights_per_channel) for layer in layers]
    smallest = min(map(len, chosen.values()))
    size = min(options.get("batch_size", BATCH_SIZE), max(1, smallest // FEWEST_BATCHES))
    batches = {group: cut(positions, size, fewest=1) for group, positions in chosen.items()}
    sums = group_sums(
        classifier,
        images,
        labels,
        batches,
        weighed(absolute_gradients, ones),
        progress=options.get("progress"),
        cancel=options.get("cancel"),
    )
    return _assembled("gradient", layers, chosen, menu, sums, options, trend(menu))


@measure("measured")
def measured_damage(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: Chosen,
    **options: Unpack[Options],
) -> SensitivityMap:
    """Real rise of each group's loss with one layer alone at a width; whole layers, one pass per width.

    Units: nats per image; a gain counts as 0.
    """
    measured = measured_map(
        classifier,
        images,
        labels,
        chosen,
        bits=options.get("menu", LEGAL_MENU),
        seed=options.get("seed", 0),
        progress=options.get("progress"),
        cancel=options.get("cancel"),
    )
    return as_damage(measured, classifier)


def _nearest_errors(classifier: Classifier, options: Options) -> list[Tensor]:
    """Per layer half the squared error of the nearest codes. Shapes: (C, B, K)."""
    menu = options.get("menu", LEGAL_MENU)
    return [half_squared_errors(layer, menu) for layer in quantisable_layers(classifier.model)]


def _curvature(
    name: str,
    per_channel: PerChannel,
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: Chosen,
    options: Options,
    within: AbstractContextManager[None] | None = None,
) -> SensitivityMap:
    size = options.get("batch_size", BATCH_SIZE)
    sums = group_sums(
        classifier,
        images,
        labels,
        {group: cut(positions, size) for group, positions in chosen.items()},
        per_channel,
        seed=options.get("seed", 0),
        within=within,
        progress=options.get("progress"),
        cancel=options.get("cancel"),
    )
    menu = tuple(options.get("menu", LEGAL_MENU))
    layers = quantisable_layers(classifier.model)
    return _assembled(name, layers, chosen, menu, sums, options)


def _assembled(
    name: str,
    layers: list[QuantisableLayer],
    chosen: Chosen,
    menu: tuple[int, ...],
    sums: dict[str, GroupSums],
    options: Options,
    steps: np.ndarray | float = 1.0,
) -> SensitivityMap:
    """The map from the sums of each group; ``steps`` (B,) spreads an importance over the widths."""
    channels = [layer.channels for layer in layers]
    damage = [group.channels / group.sizes.sum() * steps for group in sums.values()]
    seed = options.get("seed", 0)
    spread = [batch_spread(group.layers, group.sizes, seed=seed) * steps for group in sums.values()]
    return SensitivityMap(
        measure=name,
        groups=tuple(chosen),
        images={group: len(positions) for group, positions in chosen.items()},
        menu=menu,
        layers=tuple(layer.name for layer in layers),
        weights=np.repeat([layer.weights_per_channel for layer in layers], channels),
        layer_index=np.repeat(np.arange(len(layers)), channels),
        damage=np.stack(damage).clip(min=0.0),
        spread=np.stack(spread, axis=1),
    )
