"""Paired differences of candidates that were trained with several seeds, with intervals over images and seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fairquant_core.audit.bootstrap import RESAMPLES, Bootstrap, group_means, percentile_interval
from fairquant_core.audit.grouping import Grouping

#: Figures of one group's accuracy begin with this.
ACCURACY_PREFIX = "accuracy: "
COMPARED = ("accuracy", "worst", "gap")
#: Mean loss of all images, and of the group whose loss is highest. Units: nats.
LOSSES = ("loss", "worst_loss")
#: A bootstrap over fewer answers that changed would give a difference too narrow an interval.
MINIMUM_CHANGED = 10
LEVEL = 0.95


class OverSeeds:
    """Bootstrap over images and seeds at once, one draw for all candidates.

    Images (clusters of them, within groups) are drawn as everywhere in the audit; one draw serves all candidates
    and all seeds. Seeds may have images of their own, as when each has its own split: an image that several of
    them saw then counts as often in each. Seeds are drawn independently of the images, as rows beside columns. Of
    S seeds S - 1 are drawn, which makes the bootstrapped variance over seeds unbiased; S of S would come out a
    third too small with three seeds.

    No resampling can make much of three seeds. Checked by simulation (300 images, no true difference): the 95 %
    interval for the accuracy held the truth in 95 to 98 % of cases with three seeds whose spread was like that of
    the images, but in 84 % where seeds spread three times as much; with one seed, which leaves the interval to the
    images alone, in 77 and 33 %. Those for the worst group and the gap are wider than need be.

    Parameters
    ----------
    correct
        Whether each candidate was right; False for images that it has no answer for. Shapes: (K, N) bool.
    losses
        What each candidate's probability of the truth costs, where that is to be compared as well; 0 without an
        answer. It tells candidates apart that differ in few answers. Shapes: (K, N). Units: nats.
    clusters
        Cluster of each image. Shapes: (N,).
    answered
        Which images each candidate answered for; all where not given. Those of one seed answer for the same.
        Shapes: (K, N) bool.
    minimum_images
        Groups of which a candidate saw fewer are neither the worst group nor part of a gap.

    Source
    ------
    Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1:386 (rows and columns; mildly
    conservative). Rao & Wu 1988, JASA 83:231 (S - 1 draws).
    """

    def __init__(
        self,
        correct: np.ndarray,
        grouping: Grouping,
        clusters: np.ndarray,
        *,
        losses: np.ndarray | None = None,
        answered: np.ndarray | None = None,
        minimum_images: int = 1,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        self.correct, self.losses = correct, losses
        self.answered = np.ones(correct.shape, bool) if answered is None else answered
        self.grouping, self.clusters = grouping, clusters
        self.resamples, self.seed = resamples, seed
        sizes = dict(zip(grouping.names, grouping.sizes, strict=True))
        #: Groups that hold an image, "unknown" left out.
        self.group_names = tuple(name for name in grouping.known if sizes[name])
        images = correct.shape[1]
        own = [grouping.mask(name) for name in self.group_names]
        #: All images, then each group. Shapes: (N, 1 + G).
        self._membership = np.column_stack([np.ones(images, bool), *own]).astype(np.float32)
        fewest = (self.answered.astype(np.float32) @ self._membership[:, 1:]).min(axis=0)
        #: Columns of the membership that may be the worst group.
        self._counted = 1 + np.flatnonzero(fewest >= minimum_images)

    def changes(self, own: Sequence[int], base: Sequence[int]) -> list[dict[str, Any]]:
        """Rows `own` less rows `base`, pair by pair (a pair is a seed), then the mean over pairs.

        Returns
        -------
        list of dict
            figure ("accuracy", "worst", "gap", with losses "loss" and "worst_loss", "accuracy: <group>" ...), seeds,
            changed (answers that became right or wrong, or losses that changed, over all pairs), difference, low,
            high (NaN with fewer than 10 changed).
        """
        rows: list[dict[str, Any]] = []
        pairs = list(zip(own, base, strict=True))
        weights = seed_weights(len(pairs), self.resamples, self.seed)
        for name, seen in self.seen.items():
            row: dict[str, Any] = {"figure": name, "seeds": len(pairs), "changed": 0}
            row |= {"difference": np.nan, "low": np.nan, "high": np.nan}
            rows.append(row)
            if not pairs:
                continue
            outcome = self.losses if name in LOSSES else self.correct
            assert outcome is not None
            moved = outcome[list(own)] != outcome[list(base)]
            changed = int(moved[:, self._inside(name)].sum())
            row["changed"] = changed
            row["difference"] = float(np.mean([seen[a, 0] - seen[b, 0] for a, b in pairs]))
            if changed >= MINIMUM_CHANGED:
                drawn = self._drawn[name]
                change = np.stack([drawn[a] - drawn[b] for a, b in pairs], axis=1)
                low, high = percentile_interval(
                    (weights * change).sum(axis=1, keepdims=True), LEVEL
                )
                row |= {"low": float(low[0]), "high": float(high[0])}
        return rows

    @cached_property
    def seen(self) -> dict[str, np.ndarray]:
        """Every figure as it is. Shapes: (K, 1) each."""
        return self._figures([np.ones((1, self.correct.shape[1]), np.float32)])

    @cached_property
    def _drawn(self) -> dict[str, np.ndarray]:
        """Every figure in every resample of the images. Shapes: (K, R) each."""
        bootstrap = Bootstrap(
            self.grouping.codes, self.clusters, resamples=self.resamples, seed=self.seed
        )
        return self._figures(bootstrap.blocks())

    def _figures(self, blocks: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
        """Figures by name from how often each image counts. Shapes: blocks (r, N) -> (K, R)."""
        outcomes = [self.correct] if self.losses is None else [self.correct, self.losses]
        means = [[self._means(block, table) for table in outcomes] for block in blocks]
        accuracy, *loss = (np.concatenate(parts, axis=1) for parts in zip(*means, strict=True))
        undefined = np.full(accuracy.shape[:-1], np.nan)
        counted = accuracy[..., self._counted]
        some, several = len(self._counted) > 0, len(self._counted) > 1
        figures = {
            "accuracy": accuracy[..., 0],
            "worst": counted.min(axis=-1) if some else undefined,
            "gap": np.ptp(counted, axis=-1) if several else undefined,
        }
        for table in loss:
            highest = table[..., self._counted].max(axis=-1) if some else undefined
            figures |= dict(zip(LOSSES, (table[..., 0], highest), strict=True))
        for position, name in enumerate(self.group_names, start=1):
            figures[ACCURACY_PREFIX + name] = accuracy[..., position]
        return figures

    def _means(self, block: np.ndarray, table: np.ndarray) -> np.ndarray:
        """Mean of every candidate over all images and over each group. Shapes: (r, N), (K, N) -> (K, r, 1 + G)."""
        means = np.stack([group_means(block, row, self._membership) for row in table])
        for k in np.flatnonzero(~self.answered.all(axis=1)):
            share = group_means(block, self.answered[k], self._membership)
            share[share == 0] = np.nan  # drawn were only images that this candidate never saw
            means[k] /= share
        return means

    def _inside(self, figure: str) -> np.ndarray:
        """Images that a figure is about. Shapes: (N,) bool."""
        if figure.startswith(ACCURACY_PREFIX):
            return self.grouping.mask(figure.removeprefix(ACCURACY_PREFIX))
        if figure in ("accuracy", "loss"):
            return np.ones(self.correct.shape[1], bool)
        return self._membership[:, self._counted].sum(axis=1) > 0


def seed_weights(seeds: int, resamples: int, seed: int = 0) -> np.ndarray:
    """Weight of every seed in every resample; rows sum to 1, and a single seed has weight 1.

    Shapes: (resamples, seeds). See :class:`OverSeeds`.
    """
    if seeds <= 1:
        return np.ones((resamples, seeds))
    drawn = np.random.default_rng([seed, seeds]).multinomial(
        seeds - 1, np.full(seeds, 1 / seeds), resamples
    )
    return drawn / (seeds - 1)
