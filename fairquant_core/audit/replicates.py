"""All measures of one model, per group, on the images as they are and on every resample.

Nearly every metric is a ratio of sums over images, so one matrix product per group gives them all;
only the areas under the ROC curve need pairs of images (see `auroc`). Two models that are resampled
with the same counts are compared image by image without further work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fairquant_core.audit.auroc import area, class_areas
from fairquant_core.audit.bootstrap import Bootstrap
from fairquant_core.audit.grouping import OVERALL, Grouping
from fairquant_core.audit.measures import Measure
from fairquant_core.audit.predictions import Predictions

#: Equal-width bins of the top probability for calibration (Guo et al. 2017 use 15 on larger data).
BINS = 10
#: Metrics that are means of a figure per image.
MEANS = ("brier", "net benefit")


@dataclass(frozen=True)
class Cases:
    """Which images count, and which of them are right, for one measure. Shapes: (N,) each."""

    gained: np.ndarray
    counted: np.ndarray


class Scores:
    """What one model decided, in the form that the measures need.

    Parameters
    ----------
    minimum_positives, minimum_negatives:
        A class counts in a mean over classes from this many images of it (and of other classes).

    Attributes
    ----------
    groups:
        "overall" first, then all groups of the grouping.
    supports:
        Images per group and class. Shapes: (G, C) int64.
    """

    def __init__(
        self,
        predictions: Predictions,
        model: str,
        grouping: Grouping,
        measures: Sequence[Measure],
        *,
        minimum_positives: int = 1,
        minimum_negatives: int = 1,
    ) -> None:
        self.model = model
        self.measures = tuple(measures)
        self.groups = (OVERALL, *grouping.names)
        self.ids = predictions.frame["id"].to_numpy(object)
        self.codes = grouping.codes
        self.clusters = predictions.frame["cluster"].to_numpy()
        self.probabilities = predictions.probabilities(model)
        self.labels = predictions.labels
        self.predicted = self.probabilities.argmax(axis=1)
        self.correct = self.predicted == self.labels
        self._classes = predictions.classes
        self._cases: dict[Measure, Cases] = {}
        self._columns, self._where = self._table()
        inside = [np.flatnonzero(self.codes == code) for code in range(len(grouping.names))]
        self.inside = [np.arange(len(self.labels)), *inside]
        self.supports = np.stack(
            [np.bincount(self.labels[rows], minlength=len(self._classes)) for rows in self.inside]
        )
        others = self.supports.sum(axis=1, keepdims=True) - self.supports
        #: Classes that count in the mean recall, and in the mean area. Shapes: (G, C) bool.
        self.recalled = self.supports >= minimum_positives
        self.ranked = self.recalled & (others >= minimum_negatives)

    def cases(self, measure: Measure) -> Cases:
        """Numerator and denominator of a measure that is a share or a mean over images."""
        if measure not in self._cases:
            self._cases[measure] = self._count(measure)
        return self._cases[measure]

    def _count(self, measure: Measure) -> Cases:
        everything = np.ones(len(self.labels), bool)
        if measure.metric == "accuracy":
            return Cases(self.correct, everything)
        if measure.metric == "brier":
            distance = self.probabilities.astype(np.float64)
            distance[np.arange(len(self.labels)), self.labels] -= 1
            return Cases((distance**2).sum(axis=1), everything)
        truth = self.truth(measure)
        if measure.threshold is not None:
            called = self.risk(measure) >= measure.threshold
            harm = measure.threshold / (1 - measure.threshold)
            return Cases(np.where(called, np.where(truth, 1.0, -harm), 0.0), everything)
        called = np.isin(self.predicted, self._codes(measure))
        if measure.metric == "sensitivity":
            return Cases(truth & called, truth)
        if measure.metric == "specificity":
            return Cases(~truth & ~called, ~truth)
        return (
            Cases(truth & called, called)
            if measure.metric == "ppv"
            else Cases(~truth & ~called, ~called)
        )

    def truth(self, measure: Measure) -> np.ndarray:
        """Whether the label is one of the measure's classes. Shapes: (N,) bool."""
        return np.isin(self.labels, self._codes(measure))

    def risk(self, measure: Measure) -> np.ndarray:
        """Probability of the measure's classes together. Shapes: (N,) float64."""
        return self.probabilities[:, self._codes(measure)].sum(axis=1, dtype=np.float64)

    @cached_property
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class. Shapes: (N,) float64."""
        return self.probabilities.max(axis=1).astype(np.float64)

    @cached_property
    def bins(self) -> np.ndarray:
        """Calibration bin of every image. Shapes: (N,) int64, 0..BINS-1."""
        return np.minimum((self.confidence * BINS).astype(np.int64), BINS - 1)

    def evaluate(self, weights: np.ndarray) -> Replicates:
        """All measures for every row of weights.

        Parameters
        ----------
        weights:
            How often each image counts. Shapes: (r, N).
        """
        sums = self._sums(weights)
        support, hits, called = (sums[..., self._where[name]] for name in ("is", "hit", "called"))
        total = support.sum(axis=2, keepdims=True)
        recall = _ratio(hits, support)
        areas = self._areas(weights) if self._needs_areas else None
        values = np.full((len(weights), len(self.measures), len(self.groups)), np.nan)
        for index, measure in enumerate(self.measures):
            if measure.metric == "balanced accuracy":
                values[:, index] = _mean_of(recall, self.recalled)
            elif measure.metric == "ece":
                gaps = np.abs(sums[..., self._where["bins"]]).sum(axis=2)
                values[:, index] = _ratio(gaps, total[..., 0])
            elif measure.metric == "macro auroc" and areas is not None:
                values[:, index] = _mean_of(areas, self.ranked)
            elif measure.metric == "auroc":
                values[:, index] = self._area(measure, weights, areas)
            else:
                top, bottom = self._where[f"{index}:top"], self._where[f"{index}:bottom"]
                values[:, index] = _ratio(sums[..., top], sums[..., bottom])[..., 0]
        return Replicates(
            values,
            recall,
            _ratio(called - hits, total - support),
            _ratio(called, np.broadcast_to(total, called.shape)),
            _ratio(sums[..., self._where["bins"]], total),
            np.full_like(recall, np.nan) if areas is None else areas,
        )

    def _codes(self, measure: Measure) -> list[int]:
        return [self._classes.index(name) for name in measure.positive]

    @property
    def _needs_areas(self) -> bool:
        return any(
            m.metric == "macro auroc" or (m.metric == "auroc" and len(m.positive) == 1)
            for m in self.measures
        )

    def _table(self) -> tuple[np.ndarray, dict[str, slice]]:
        """All columns that are summed, and where each quantity's columns are."""
        identity = np.eye(len(self._classes))
        parts = {
            "is": identity[self.labels],
            "hit": identity[self.labels] * self.correct[:, None],
            "called": identity[self.predicted],
            "bins": np.eye(BINS)[self.bins] * (self.correct - self.confidence)[:, None],
        }
        for index, measure in enumerate(self.measures):
            if measure.metric not in ("balanced accuracy", "ece", "macro auroc", "auroc"):
                found = self.cases(measure)
                parts[f"{index}:top"] = found.gained[:, None].astype(float)
                parts[f"{index}:bottom"] = found.counted[:, None].astype(float)
        ends = np.cumsum([part.shape[1] for part in parts.values()])
        starts = ends - [part.shape[1] for part in parts.values()]
        where = {
            name: slice(int(start), int(end))
            for name, start, end in zip(parts, starts, ends, strict=True)
        }
        return np.concatenate(list(parts.values()), axis=1), where

    def _sums(self, weights: np.ndarray) -> np.ndarray:
        """Weighted sums of the columns per group, "overall" first. Shapes: (r, G, K) float64."""
        columns = self._columns.astype(weights.dtype)
        sums = np.empty((len(weights), len(self.groups), columns.shape[1]))
        for index, rows in enumerate(self.inside[1:], start=1):
            sums[:, index] = weights[:, rows] @ columns[rows]
        sums[:, 0] = sums[:, 1:].sum(axis=1)
        return sums

    def _areas(self, weights: np.ndarray) -> np.ndarray:
        """Shapes: (r, G, C)."""
        return np.stack(
            [
                class_areas(self.probabilities[rows], self.labels[rows], weights[:, rows])
                for rows in self.inside
            ],
            axis=1,
        )

    def _area(self, measure: Measure, weights: np.ndarray, areas: np.ndarray | None) -> np.ndarray:
        """Shapes: (r, G)."""
        if areas is not None and len(measure.positive) == 1:
            return areas[:, :, self._codes(measure)[0]]
        scores, truth = self.risk(measure), self.truth(measure)
        return np.stack(
            [area(scores[rows], truth[rows], weights[:, rows]) for rows in self.inside], axis=1
        )


@dataclass(frozen=True)
class Replicates:
    """Measures of one model for r rows of weights; NaN where a value is not defined.

    Attributes
    ----------
    values:
        Shapes: (r, M, G), measures and groups in the order of the `Scores`.
    true_positive_rate, false_positive_rate, called_rate:
        One class against the rest; the last is the share of images called that class.
        Shapes: (r, G, C).
    miscalibration:
        Mean of (right - confidence) over all images of the group, split by bin of confidence.
        Shapes: (r, G, BINS).
    areas:
        AUROC of one class against the rest; NaN throughout where no measure asks for it.
        Shapes: (r, G, C).
    """

    values: np.ndarray
    true_positive_rate: np.ndarray
    false_positive_rate: np.ndarray
    called_rate: np.ndarray
    miscalibration: np.ndarray
    areas: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Replicates]) -> Replicates:
        """Put blocks of resamples together."""
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in cls.__dataclass_fields__
            )
        )


@dataclass(frozen=True)
class Sample:
    """One model's measures on the images as they are (`seen`, r = 1) and on every resample."""

    scores: Scores
    seen: Replicates
    drawn: Replicates

    @classmethod
    def of(cls, scores: Scores, bootstrap: Bootstrap) -> Sample:
        """Evaluate; two models are compared image by image if the bootstrap is the same."""
        drawn = [scores.evaluate(block) for block in bootstrap.blocks()]
        seen = scores.evaluate(np.ones((1, len(scores.labels))))
        return cls(scores, seen, Replicates.joined(drawn or [seen]))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(top.shape, bottom.shape)
    return np.divide(top, bottom, out=np.full(shape, np.nan), where=bottom > 0)


def _mean_of(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean over the chosen classes that are defined. Shapes: (r, G, C), (G, C) -> (r, G)."""
    there = ~np.isnan(values) & chosen
    found = there.sum(axis=2)
    total = np.where(there, values, 0).sum(axis=2)
    return _ratio(total, found)
