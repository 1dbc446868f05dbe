"""Sensitivity as it really is: one layer rounded, every group watched. Forward passes only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from fairquant_core.data.batches import normalise
from fairquant_core.errors import EvaluationError
from fairquant_core.models.unchanged import StateUnchanged
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.codes import quantise
from fairquant_core.quantization.layers import QuantisableLayer, quantisable_layers
from fairquant_core.quantization.ranges import best_clip_at
from fairquant_core.sensitivity.gradient_pass import (
    LOSS_NOT_A_NUMBER,
    Step,
    Stop,
    check_cancel,
)
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap

RESAMPLES = 1000

Keep = Callable[[pd.DataFrame], None]


def measured_map(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: dict[str, np.ndarray],
    *,
    bits: Sequence[int] = (4,),
    batch_size: int = 64,
    resamples: int = RESAMPLES,
    seed: int = 0,
    known: pd.DataFrame | None = None,
    keep: Keep | None = None,
    progress: Step | None = None,
    cancel: Stop | None = None,
) -> MeasuredMap:
    """Round one layer alone to b bits and watch every group: the real change of loss and accuracy.

    The intervals are 95 % bootstrap intervals over the images of the group; the same images are used before
    and after, so the change is paired.

    Parameters
    ----------
    known
        Rows of an earlier call with the same arguments; layers and widths that they cover for every group
        are taken from them.
    keep
        Called with the new rows of each layer as soon as they are there.

    Shapes: ``images`` uint8 (N, S, S, 3), ``labels`` int (N,).
    Units: nats per image; accuracy as a fraction, negative = worse.

    Raises
    ------
    EvaluationError
        The loss on a group is not a number.
    """
    layers = quantisable_layers(classifier.model)
    ready = _ready(known, {group: len(positions) for group, positions in chosen.items()})
    missing = {
        layer.name: [width for width in bits if (layer.name, width) not in ready]
        for layer in layers
    }
    steps = len(layers) * len(bits)
    done = steps - sum(map(len, missing.values()))
    if done < steps:
        groups = _Groups(classifier, images, labels, chosen, batch_size, resamples, seed)
        with StateUnchanged(classifier.model), torch.no_grad():
            groups.look()
            for layer in layers:
                for width in missing[layer.name]:
                    check_cancel(cancel)
                    ready[layer.name, width] = groups.change(layer, width)
                    done += 1
                    if progress:
                        progress(done, steps)
                if keep and missing[layer.name]:
                    new = [ready[layer.name, width] for width in missing[layer.name]]
                    keep(pd.concat(new, ignore_index=True))
    found = [ready[layer.name, width] for layer in layers for width in bits]
    return MeasuredMap(pd.concat(found, ignore_index=True))


def as_damage(measured: MeasuredMap, classifier: Classifier) -> SensitivityMap:
    """The measured map as a sensitivity map of whole layers, for the widths that were measured.

    A measured gain counts as no damage: rounding does not help, the images say so by chance.
    """
    layers = quantisable_layers(classifier.model)
    frame, groups, menu = measured.frame, measured.groups, measured.menu
    shape = (len(layers), len(menu), len(groups))
    table = frame.set_index(["layer", "bits", "group"]).loc[
        [(layer.name, width, group) for layer in layers for width in menu for group in groups]
    ]
    change, low, high = (
        table[column].to_numpy(dtype=float).reshape(shape).transpose(2, 0, 1)
        for column in ("loss_change", "loss_low", "loss_high")
    )
    return SensitivityMap(
        measure="measured",
        groups=groups,
        images=dict(zip(frame["group"], frame["n"], strict=True)),
        menu=menu,
        layers=tuple(layer.name for layer in layers),
        weights=np.array([layer.weights for layer in layers]),
        layer_index=np.arange(len(layers)),
        damage=np.maximum(change, 0.0),
        spread=np.stack([change - low, high - change]).clip(min=0.0),
    )


class _Groups:
    """The images of every group, what the classifier says of them, and what changes when a layer is rounded."""

    def __init__(
        self,
        classifier: Classifier,
        images: np.ndarray,
        labels: np.ndarray,
        chosen: dict[str, np.ndarray],
        batch_size: int,
        resamples: int,
        seed: int,
    ) -> None:
        positions = np.concatenate(list(chosen.values()))
        self.names = list(chosen)
        self.members = np.repeat(np.arange(len(chosen)), [len(where) for where in chosen.values()])
        self.classifier, self.batch_size = classifier, batch_size
        self.pixels = images[positions]
        self.target = torch.as_tensor(labels[positions], dtype=torch.long)
        self.draws = _resampling_weights(self.members, len(chosen), resamples, seed)

    def look(self) -> None:
        """Loss and decision of the classifier as it is."""
        self.loss, self.right = self._judge()
        for index, group in enumerate(self.names):
            if not np.isfinite(self.loss[self.members == index]).all():
                raise EvaluationError(LOSS_NOT_A_NUMBER.format(group=group))

    def change(self, layer: QuantisableLayer, width: int) -> pd.DataFrame:
        """One row per group for one layer at one width."""
        with _rounded(layer, width):
            loss, right = self._judge()
        both = np.stack([loss - self.loss, right.astype(float) - self.right])
        return _rows(layer.name, width, self.names, self.members, both, self.draws)

    def _judge(self) -> tuple[np.ndarray, np.ndarray]:
        losses, right = [], []
        for start in range(0, len(self.pixels), self.batch_size):
            batch = slice(start, start + self.batch_size)
            inputs = normalise(self.pixels[batch], self.classifier.preprocessing)
            logits, target = self.classifier.model(inputs).float(), self.target[batch]
            losses.append(functional.cross_entropy(logits, target, reduction="none").numpy())
            right.append((logits.argmax(1) == target).numpy())
        return np.concatenate(losses), np.concatenate(right)


class _rounded:  # noqa: N801 - reads as a verb in "with _rounded(layer, 4):"
    """One layer rounded to a width inside the block; its very weight is put back afterwards."""

    def __init__(self, layer: QuantisableLayer, width: int) -> None:
        self.parameter: nn.Parameter = layer.module.weight  # type: ignore[assignment]
        weight = layer.weight().detach()
        bits = torch.full((layer.channels, 1), float(width))
        codes, scale = quantise(weight, best_clip_at(weight, width), bits)
        self.rounded = (codes * scale).view_as(self.parameter)

    def __enter__(self) -> None:
        self.before = self.parameter.data
        self.parameter.data = self.rounded

    def __exit__(self, *_: object) -> None:
        self.parameter.data = self.before


def _ready(
    known: pd.DataFrame | None, images: dict[str, int]
) -> dict[tuple[str, int], pd.DataFrame]:
    """Earlier rows by layer and width, where every group is there with the same number of images."""
    ready: dict[tuple[str, int], pd.DataFrame] = {}
    if known is not None:
        for key, rows in known.groupby(["layer", "bits"], sort=False):
            if dict(zip(rows["group"], rows["n"], strict=True)) == images:
                ready[key] = rows  # type: ignore[index]
    return ready


def _resampling_weights(
    members: np.ndarray, groups: int, resamples: int, seed: int
) -> list[np.ndarray]:
    """Per group, how often each of its images is drawn in each resample, as shares. Shapes: (R, n)."""
    generator = np.random.default_rng(seed)
    sizes = np.bincount(members, minlength=groups)
    return [generator.multinomial(n, np.full(n, 1 / n), size=resamples) / n for n in sizes]


def _rows(
    layer: str,
    width: int,
    groups: list[str],
    members: np.ndarray,
    change: np.ndarray,
    draws: list[np.ndarray],
) -> pd.DataFrame:
    rows = []
    for index, group in enumerate(groups):
        own = change[:, members == index]
        low, high = np.quantile(draws[index] @ own.T, [0.025, 0.975], axis=0)
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
    return pd.DataFrame(rows)
