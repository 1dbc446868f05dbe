"""Sensitivity as it really is: one layer rounded, every group watched. Forward passes only.

A batch goes through the whole network once for several layers, and then for each of them from where that layer's block
begins: about half the time of whole passes (benchmarks/measured_cost.py), and the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from fairquant_core.data.batches import normalise
from fairquant_core.errors import EvaluationError
from fairquant_core.models.replay import Replay
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

BATCH = 64
"""Images that go through the network together at most."""

PIXELS = BATCH * 128**2
"""Larger images are fewer, because the outputs of all blocks stay in memory."""

TOGETHER = 16
"""Roundings that share a whole pass; what is finished is kept after each of these sets."""

Keep = Callable[[pd.DataFrame], None]


def measured_map(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: dict[str, np.ndarray],
    *,
    bits: Sequence[int] = (4,),
    batch_size: int | None = None,
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
    batch_size
        Images that go through the network together; by default 64, fewer where they are larger than 128 pixels.
    known
        Rows of an earlier call with the same arguments; layers and widths that they cover for every group
        are taken from them.
    keep
        Called with new rows as soon as they are there, those of several layers at a time.
    progress
        Called as ``progress(rounded passes, of how many)``.

    Shapes: ``images`` uint8 (N, S, S, 3), ``labels`` int (N,).
    Units: nats per image; accuracy as a fraction, negative = worse.

    Raises
    ------
    EvaluationError
        The loss on a group is not a number.
    """
    layers = quantisable_layers(classifier.model)
    ready = _ready(known, {group: len(positions) for group, positions in chosen.items()})
    asked = [(layer, width) for layer in layers for width in bits]
    missing = [(layer, width) for layer, width in asked if (layer.name, width) not in ready]
    if missing:
        groups = _Groups(classifier, images, labels, chosen, batch_size, resamples, seed)
        steps = len(asked) * len(groups.batches)
        done = steps - len(missing) * len(groups.batches)
        with StateUnchanged(classifier.model), torch.no_grad():
            groups.look()
            for start in range(0, len(missing), TOGETHER):
                some = [
                    _Rounding(layer, width) for layer, width in missing[start : start + TOGETHER]
                ]
                changes = np.zeros((len(some), 2, len(groups.pixels)))
                for batch, number, change in groups.changes(some):
                    check_cancel(cancel)
                    changes[number, :, batch] = change
                    done += 1
                    if progress:
                        progress(done, steps)
                new = [groups.rows(one, change) for one, change in zip(some, changes, strict=True)]
                ready.update(
                    ((one.layer, one.width), rows) for one, rows in zip(some, new, strict=True)
                )
                if keep:
                    keep(pd.concat(new, ignore_index=True))
    found = [ready[layer.name, width] for layer, width in asked]
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
        batch_size: int | None,
        resamples: int,
        seed: int,
    ) -> None:
        positions = np.concatenate(list(chosen.values()))
        self.names = list(chosen)
        self.members = np.repeat(np.arange(len(chosen)), [len(where) for where in chosen.values()])
        self.classifier = classifier
        fewer = PIXELS // classifier.preprocessing.size**2
        self.batch_size = batch_size or min(BATCH, max(1, fewer))
        self.pixels = images[positions]
        self.target = torch.as_tensor(labels[positions], dtype=torch.long)
        self.draws = _resampling_weights(self.members, len(chosen), resamples, seed)

    @property
    def batches(self) -> list[slice]:
        """Which images go through the network together."""
        size = self.batch_size
        return [slice(start, start + size) for start in range(0, len(self.pixels), size)]

    def look(self) -> None:
        """Loss and decision of the classifier as it is. Shapes: (2, N)."""
        judged = [self._judge(self._replay(batch).output, batch) for batch in self.batches]
        self.before = np.concatenate(judged, axis=1)
        for index, group in enumerate(self.names):
            if not np.isfinite(self.before[0, self.members == index]).all():
                raise EvaluationError(LOSS_NOT_A_NUMBER.format(group=group))

    def changes(self, roundings: Sequence[_Rounding]) -> Iterator[tuple[slice, int, np.ndarray]]:
        """For every batch and number of a rounding, how much loss and decision change. Shapes: (2, batch)."""
        for batch in self.batches:
            replay = self._replay(batch)
            for number, rounding in enumerate(roundings):
                with rounding as weight:
                    logits = replay.with_changed(weight)
                yield batch, number, self._judge(logits, batch) - self.before[:, batch]

    def rows(self, rounding: _Rounding, change: np.ndarray) -> pd.DataFrame:
        """One row per group. Shapes: ``change`` (2, N)."""
        return _rows(rounding.layer, rounding.width, self.names, self.members, change, self.draws)

    def _replay(self, batch: slice) -> Replay:
        inputs = normalise(self.pixels[batch], self.classifier.preprocessing)
        return Replay(self.classifier.model, inputs)

    def _judge(self, logits: Tensor, batch: slice) -> np.ndarray:
        """Loss, and 1 where the decision is right. Shapes: (2, batch)."""
        logits, target = logits.float(), self.target[batch]
        loss = functional.cross_entropy(logits, target, reduction="none")
        return np.stack([loss.numpy(), (logits.argmax(1) == target).numpy()])


class _Rounding:
    """One layer rounded to a width inside a ``with`` block; its very weight is put back afterwards."""

    def __init__(self, layer: QuantisableLayer, width: int) -> None:
        self.layer, self.width = layer.name, width
        self.parameter: nn.Parameter = layer.module.weight  # type: ignore[assignment]
        weight = layer.weight().detach()
        bits = torch.full((layer.channels, 1), float(width))
        codes, scale = quantise(weight, best_clip_at(weight, width), bits)
        self.rounded = (codes * scale).view_as(self.parameter)

    def __enter__(self) -> nn.Parameter:
        self.before = self.parameter.data
        self.parameter.data = self.rounded
        return self.parameter

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
