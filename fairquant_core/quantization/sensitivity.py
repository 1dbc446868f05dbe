"""How much each layer matters to each skin-tone group: predicted by curvature, or measured outright.

Both passes look at a classifier in evaluation mode and leave it bit-identical. **Deviation** from the public
FairQuant code, which sums importance over images in training mode, with one masked backward pass per
group: here a batch holds one group only, so the cost does not depend on the number of groups, and every
figure is a mean per image, so a large group does not look more sensitive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from fairquant_core.data.batches import normalise
from fairquant_core.data.skin_tone import UNKNOWN
from fairquant_core.errors import Cancelled, EvaluationError
from fairquant_core.models.unchanged import StateUnchanged
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.catalogue import MENU
from fairquant_core.quantization.layers import (
    QuantisableLayer,
    original_weight,
    quantisable_layers,
)
from fairquant_core.quantization.quantizer import best_clip, quantise
from fairquant_core.quantization.sensitivity_map import MeasuredMap, SensitivityMap

NO_GROUPS = (
    "No image has a known group, so there is nothing to compare. Choose another group column."
)
NOT_A_NUMBER = "The classifier's loss on group '{group}' is not a number. Its weights or the images are damaged."

Step = Callable[[int, int], None]
Stop = Callable[[], bool]


def sample_per_group(groups: pd.Series, limit: int, seed: int) -> dict[str, np.ndarray]:
    """Positions of at most ``limit`` images of every known group, in ascending order.

    Raises
    ------
    EvaluationError
        If no image has a known group.
    """
    generator = np.random.default_rng(seed)
    chosen: dict[str, np.ndarray] = {}
    values = groups.to_numpy()
    for group in sorted(set(values) - {UNKNOWN}):
        positions = np.flatnonzero(values == group)
        if len(positions) > limit:
            positions = np.sort(generator.choice(positions, limit, replace=False))
        chosen[str(group)] = positions
    if not chosen:
        raise EvaluationError(NO_GROUPS)
    return chosen


def fisher_map(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: dict[str, np.ndarray],
    *,
    menu: tuple[int, ...] = MENU,
    batch_size: int = 16,
    seed: int = 0,
    progress: Step | None = None,
    cancel: Stop | None = None,
) -> SensitivityMap:
    """Predicted rise of every group's loss if an output channel goes to b bits, for every b at once.

    ``D_g(u, b) = 1/2 sum_{w in u} F_g(w) (Q_b(w) - w)^2`` with ``F_g`` the mean squared per-sample gradient.

    Squared per-sample gradients would need one backward pass per image. Instead each batch is weighted with
    random signs ``e_i``: ``E[(sum_i e_i g_i)^2] = sum_i g_i^2`` exactly, so one ordinary backward pass per
    batch gives an unbiased estimate.

    Parameters
    ----------
    images, labels, chosen
        Decoded images, class indices, and which positions belong to each group.

    Shapes: ``images`` uint8 (N, S, S, 3), ``labels`` int (N,).
    Units: nats per image.

    Source: METHOD 2, HAWQ-style curvature; Fisher as in Theis et al. 2018 (arXiv 1801.05787), eq. 6.
    """
    fisher = group_fisher(
        classifier,
        images,
        labels,
        chosen,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
        cancel=cancel,
    )
    layers = quantisable_layers(classifier.model)
    damage = [_layer_damage(layer, fisher, menu) for layer in layers]
    return SensitivityMap(
        measure="fisher",
        groups=tuple(chosen),
        images={group: len(positions) for group, positions in chosen.items()},
        menu=tuple(menu),
        layers=tuple(layer.name for layer in layers),
        weights=np.concatenate(
            [np.full(layer.channels, layer.weights_per_channel, np.int64) for layer in layers]
        ),
        layer_index=np.concatenate(
            [np.full(layer.channels, index) for index, layer in enumerate(layers)]
        ),
        damage=np.concatenate(damage, axis=1).astype(np.float32),
    )


def group_fisher(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: dict[str, np.ndarray],
    *,
    batch_size: int = 16,
    seed: int = 0,
    progress: Step | None = None,
    cancel: Stop | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Per group and layer, the mean squared per-sample gradient of each weight (signed-batch estimate).

    Shapes: each tensor (C, K).
    """
    model = classifier.model
    layers = quantisable_layers(model)
    weights: list[Tensor] = [original_weight(layer.module) for layer in layers]
    generator = torch.Generator().manual_seed(seed)
    steps = sum(-(-len(positions) // batch_size) for positions in chosen.values())
    done = 0
    result: dict[str, dict[str, Tensor]] = {}
    with StateUnchanged(model):
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for weight in weights:
            weight.requires_grad_(True)
        for group, positions in chosen.items():
            sums = [torch.zeros_like(weight) for weight in weights]
            for batch in _batches(positions, batch_size):
                _check(cancel)
                logits = model(normalise(images[batch], classifier.preprocessing))
                target = torch.as_tensor(labels[batch], dtype=torch.long)
                losses = functional.cross_entropy(logits.float(), target, reduction="none")
                signs = torch.randint(0, 2, losses.shape, generator=generator) * 2 - 1
                gradients = torch.autograd.grad((signs * losses).sum(), weights)
                if not bool(torch.isfinite(losses).all()):
                    raise EvaluationError(NOT_A_NUMBER.format(group=group))
                for total, gradient in zip(sums, gradients, strict=True):
                    total.addcmul_(gradient, gradient)
                done += 1
                if progress:
                    progress(done, steps)
            result[group] = {
                layer.name: total.div_(len(positions)).flatten(1)
                for layer, total in zip(layers, sums, strict=True)
            }
    return result


@torch.no_grad()
def _layer_damage(
    layer: QuantisableLayer, fisher: dict[str, dict[str, Tensor]], menu: tuple[int, ...]
) -> np.ndarray:
    """Shapes: (groups, channels, widths)."""
    weight = layer.weight().detach()
    damage = torch.empty(len(fisher), layer.channels, len(menu))
    for column, width in enumerate(menu):
        bits = torch.full((layer.channels, 1), float(width))
        codes, scale = quantise(weight, best_clip(weight, bits), bits)
        squared = codes.mul_(scale).sub_(weight).square_()
        for row, by_layer in enumerate(fisher.values()):
            damage[row, :, column] = 0.5 * torch.linalg.vecdot(by_layer[layer.name], squared, dim=1)
    return damage.numpy()


def measured_map(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: dict[str, np.ndarray],
    *,
    bits: tuple[int, ...] = (4,),
    batch_size: int = 64,
    resamples: int = 1000,
    seed: int = 0,
    progress: Step | None = None,
    cancel: Stop | None = None,
) -> MeasuredMap:
    """Round one layer alone to b bits and watch every group: the real change of loss and accuracy.

    Forward passes only. The intervals are 95 % bootstrap intervals over the images of the group; the same
    images are used before and after, so the change is paired.

    Shapes: as in :func:`fisher_map`. Units: nats per image; accuracy as a fraction, negative = worse.
    """
    model = classifier.model
    layers = quantisable_layers(model)
    positions = np.concatenate(list(chosen.values()))
    members = np.repeat(np.arange(len(chosen)), [len(where) for where in chosen.values()])
    pixels, target = images[positions], torch.as_tensor(labels[positions], dtype=torch.long)
    resampler = _resampling_weights(members, len(chosen), resamples, seed)
    rows: list[dict[str, object]] = []
    steps, done = len(layers) * len(bits), 0
    with StateUnchanged(model), torch.no_grad():
        loss_before, right_before = _losses(classifier, pixels, target, batch_size)
        for index, group in enumerate(chosen):
            if not np.isfinite(loss_before[members == index]).all():
                raise EvaluationError(NOT_A_NUMBER.format(group=group))
        for layer in layers:
            for width in bits:
                _check(cancel)
                with _rounded(layer, width):
                    loss, right = _losses(classifier, pixels, target, batch_size)
                rows += _group_rows(
                    layer.name,
                    width,
                    list(chosen),
                    members,
                    np.stack([loss - loss_before, right.astype(float) - right_before]),
                    resampler,
                )
                done += 1
                if progress:
                    progress(done, steps)
    return MeasuredMap(pd.DataFrame(rows))


class _rounded:  # noqa: N801 - reads as a verb in "with _rounded(layer, 4):"
    """One layer rounded to a width inside the block; its very weight is put back afterwards."""

    def __init__(self, layer: QuantisableLayer, width: int) -> None:
        self.parameter: nn.Parameter = layer.module.weight  # type: ignore[assignment]
        weight = layer.weight().detach()
        bits = torch.full((layer.channels, 1), float(width))
        codes, scale = quantise(weight, best_clip(weight, bits), bits)
        self.rounded = (codes * scale).view_as(self.parameter)

    def __enter__(self) -> None:
        self.before = self.parameter.data
        self.parameter.data = self.rounded

    def __exit__(self, *_: object) -> None:
        self.parameter.data = self.before


def _losses(
    classifier: Classifier, pixels: np.ndarray, target: Tensor, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    losses, right = [], []
    for batch in _batches(np.arange(len(pixels)), batch_size):
        logits = classifier.model(normalise(pixels[batch], classifier.preprocessing)).float()
        losses.append(functional.cross_entropy(logits, target[batch], reduction="none").numpy())
        right.append((logits.argmax(1) == target[batch]).numpy())
    return np.concatenate(losses), np.concatenate(right)


def _resampling_weights(
    members: np.ndarray, groups: int, resamples: int, seed: int
) -> list[np.ndarray]:
    """Per group, how often each of its images is drawn in each resample, as shares. Shapes: (R, n)."""
    generator = np.random.default_rng(seed)
    sizes = np.bincount(members, minlength=groups)
    return [generator.multinomial(n, np.full(n, 1 / n), size=resamples) / n for n in sizes]


def _group_rows(
    layer: str,
    width: int,
    groups: list[str],
    members: np.ndarray,
    change: np.ndarray,
    resampler: list[np.ndarray],
) -> list[dict[str, object]]:
    rows = []
    for index, group in enumerate(groups):
        own = change[:, members == index]
        low, high = np.quantile(resampler[index] @ own.T, [0.025, 0.975], axis=0)
        loss, accuracy = own.mean(axis=1)
        rows.append(
            {
                "layer": layer,
                "bits": width,
                "group": group,
                "n": own.shape[1],
                "loss_change": loss,
                "loss_low": low[0],
                "loss_high": high[0],
                "accuracy_change": accuracy,
                "accuracy_low": low[1],
                "accuracy_high": high[1],
            }
        )
    return rows


def _batches(positions: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(positions), size):
        yield positions[start : start + size]


def _check(cancel: Stop | None) -> None:
    if cancel and cancel():
        raise Cancelled("Cancelled while measuring the sensitivity of the layers.")
