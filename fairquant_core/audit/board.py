"""All candidates of one comparison on one board: figures over seeds, paired differences, the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fairquant_core.audit.bootstrap import RESAMPLES
from fairquant_core.audit.grouping import UNKNOWN, Grouping
from fairquant_core.audit.metrics import group_accuracy
from fairquant_core.audit.over_seeds import ACCURACY_PREFIX, COMPARED, LOSSES, OverSeeds
from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.skin_tone import SCHEMES, ordered
from fairquant_core.errors import EvaluationError

#: The uncompressed classifier that a comparison started from, which is no method of its own.
AS_GIVEN = "as_given"
AS_GIVEN_TITLE = "Full precision, as given"

OTHER_IMAGES = (
    "'{title}' (seed {seed}) was not scored on the same images as the others of its seed, so the two cannot be "
    "compared. Compare runs of one cohort with one split per seed."
)
NO_CANDIDATE = "No candidate is finished yet, so there is nothing to compare."


@dataclass(frozen=True)
class Candidate:
    """One finished model: which method, which budget, which seed, and what it said about every image.

    Parameters
    ----------
    bits
        The budget; None where there is none (full precision).
    model
        Its name in the predictions table.
    size_bytes
        Size of the file that would leave the tool.
    key
        What the caller knows it by.
    """

    method: str
    title: str
    bits: float | None
    seed: int
    predictions: Predictions = field(repr=False)
    model: str = "candidate"
    size_bytes: int | None = None
    bits_achieved: float | None = None
    minutes: float | None = None
    key: str = ""


class Board:
    """Candidates that were scored on the same images, or on the same images per seed.

    Where every seed has a split of its own, a method is judged on more images than one audit split holds; in small
    groups that is what tells methods apart.

    Parameters
    ----------
    minimum_images
        Smaller groups have their columns but are never the worst group and count in no gap.
    split
        Which images the figures are about.

    Raises
    ------
    EvaluationError
        Without a candidate, or when candidates of one seed were scored on different images.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        group_column: str,
        scheme: str,
        minimum_images: int = 20,
        split: str = "audit",
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        if not candidates:
            raise EvaluationError(NO_CANDIDATE)
        self.candidates = tuple(candidates)
        self.minimum_images, self.split = minimum_images, split
        self.resamples = resamples
        tables = [candidate.predictions.part(split) for candidate in self.candidates]
        groups = [table.groups(group_column, scheme) for table in tables]
        scored = _scored_images(self.candidates, tables, groups)
        self._ids = pd.Index(scored["id"])
        order = ordered({*SCHEMES[scheme].groups, *scored["group"]}, scheme)
        self.grouping = Grouping.build(scored["group"], len(scored), order)
        shape = len(tables), len(scored)
        correct, answered = np.zeros(shape, bool), np.zeros(shape, bool)
        losses, rows = np.zeros(shape), []
        for k, (candidate, table, group) in enumerate(
            zip(self.candidates, tables, groups, strict=True)
        ):
            positions = self._ids.get_indexer(table.frame["id"])
            answered[k, positions] = True
            correct[k, positions] = table.correct(candidate.model)
            losses[k, positions] = table.losses(candidate.model)
            row = self._row(candidate, table, group, order)
            rows.append(row | {"loss": float(losses[k, positions].mean())})
        self._rows = rows
        self._over_seeds = OverSeeds(
            correct,
            self.grouping,
            scored["cluster"].to_numpy(),
            losses=losses,
            answered=answered,
            minimum_images=minimum_images,
            resamples=resamples,
            seed=seed,
        )
        for row, worst in zip(rows, self._over_seeds.seen["worst_loss"][:, 0], strict=True):
            row["worst_loss"] = float(worst)

    @property
    def images(self) -> int:
        """How many images the figures are about, each counted once."""
        return len(self._ids)

    @property
    def same_images(self) -> bool:
        """Whether every candidate was scored on all of them."""
        return bool(self._over_seeds.answered.all())

    @property
    def group_names(self) -> tuple[str, ...]:
        """Groups that hold an image, "unknown" left out."""
        return self._over_seeds.group_names

    def frame(self) -> pd.DataFrame:
        """One row per candidate, in the order given.

        Returns
        -------
        pandas.DataFrame
            Columns method, title, bits, seed, images, accuracy, worst, worst_low, worst_high (Wilson), worst_group,
            gap, "accuracy: <group>" ..., bits_achieved, size_bytes, minutes, key, loss, worst_loss (the highest
            mean loss of a group).

        Units
        -----
        Accuracies and gap are fractions; losses in nats; minutes of the whole run.
        """
        return pd.DataFrame(self._rows).astype({"bits": float})

    def summary(self, reference: str | None = None) -> pd.DataFrame:
        """One row per method and budget: the mean over seeds of each seed's figure, and its spread.

        Parameters
        ----------
        reference
            A method; columns of :meth:`differences` from it are then added for accuracy, worst and gap.

        Returns
        -------
        pandas.DataFrame
            method, title, bits, seeds, images (of one seed, on average), then for accuracy, worst, gap, both losses and
            every group the mean under the name itself and the standard deviation over seeds under "<name>_sd" (NaN
            for one seed), the groups that were worst, and the means of worst_low, worst_high (so bounds for one
            seed, not for the mean), bits_achieved, size_bytes and minutes.
        """
        table = mean_over_seeds(self.frame())
        if reference is None:
            return table
        changes = self.differences(reference)
        for figure in COMPARED:
            own = changes[changes["figure"] == figure].reset_index(drop=True)
            for name in ("difference", "low", "high"):
                table[f"{figure}_{name}"] = own[name]
            table["paired_seeds"] = own["seeds"]
        return table

    def differences(self, reference: str) -> pd.DataFrame:
        """Each method less the reference at the same budget, over the same images and the same seeds.

        A reference without a budget (full precision) serves every budget. The figure of every seed is taken first
        (so the worst group may be another one in each), then the difference, then the mean over seeds. For the
        intervals see :class:`~fairquant_core.audit.over_seeds.OverSeeds`.

        Returns
        -------
        pandas.DataFrame
            method, title, bits, reference, figure ("accuracy", "worst", "gap", "loss", "worst_loss" or
            "accuracy: <group>"), seeds (that both have), changed (images whose answer became right or wrong, or whose
            loss changed, over all seeds), difference, low, high: 95 % bounds, NaN with fewer than 10 changed.

        Raises
        ------
        EvaluationError
            The reference is none of the methods on the board.
        """
        frame = self.frame()
        if reference not in set(frame["method"]):
            known = ", ".join(dict.fromkeys(frame["method"]))
            raise EvaluationError(
                f"No finished candidate is of the method '{reference}'. There are: {known}."
            )
        rows = []
        for (method, title, bits), part in settings_of(frame):
            base = frame[frame["method"] == reference]
            if bits is not None and base["bits"].notna().any():
                base = base[base["bits"] == bits]
            if base["bits"].nunique() > 1 or base["title"].nunique() > 1:
                base = base.iloc[:0]  # which of its budgets or settings would be meant?
            ours = dict(zip(part["seed"], part.index, strict=True))
            theirs = dict(zip(base["seed"], base.index, strict=True))
            seeds = sorted(set(ours) & set(theirs))
            pair = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
            common = {"method": method, "title": title, "bits": bits, "reference": reference}
            rows += [common | row for row in self._over_seeds.changes(*pair)]
        return pd.DataFrame(rows)

    def pareto(self) -> pd.DataFrame:
        """:meth:`frame` with ``on_front``: no other candidate is as small and serves its worst group better."""
        frame = self.frame()
        frame["on_front"] = on_front(frame["size_bytes"], frame["worst"])
        return frame

    def _row(
        self, candidate: Candidate, table: Predictions, groups: pd.Series, order: list[str]
    ) -> dict[str, Any]:
        found = group_accuracy(
            table,
            candidate.model,
            groups,
            order=order,
            minimum=self.minimum_images,
            resamples=1,  # only the Wilson intervals are read
        )
        worst = found.worst
        row: dict[str, Any] = {
            "method": candidate.method,
            "title": candidate.title,
            "bits": candidate.bits,
            "seed": candidate.seed,
            "images": len(table),
            "accuracy": found.overall["accuracy"],
            "worst": np.nan if worst is None else worst["accuracy"],
            "worst_low": np.nan if worst is None else worst["low"],
            "worst_high": np.nan if worst is None else worst["high"],
            "worst_group": found.worst_group,
            "gap": np.nan if found.gap is None else found.gap,
        }
        by_group = found.by_group[
            found.by_group["estimable"] & (found.by_group["group"] != UNKNOWN)
        ]
        for name, accuracy in zip(by_group["group"], by_group["accuracy"], strict=True):
            row[ACCURACY_PREFIX + name] = accuracy
        return row | {
            "bits_achieved": candidate.bits_achieved,
            "size_bytes": candidate.size_bytes,
            "minutes": candidate.minutes,
            "key": candidate.key,
        }


def _scored_images(
    candidates: Sequence[Candidate], tables: Sequence[Predictions], groups: Sequence[pd.Series]
) -> pd.DataFrame:
    """Every image that some candidate was scored on, once: id, label, cluster, group."""
    first_of_seed: dict[int, pd.DataFrame] = {}
    for candidate, table, group in zip(candidates, tables, groups, strict=True):
        frame = table.frame[["id", "label", "cluster"]].assign(group=group).set_index("id")
        first = first_of_seed.setdefault(candidate.seed, frame)
        same = len(frame) == len(first) and frame["label"].reindex(first.index).equals(
            first["label"]
        )
        if not same:
            raise EvaluationError(OTHER_IMAGES.format(title=candidate.title, seed=candidate.seed))
    together = pd.concat(first_of_seed.values())
    return together[~together.index.duplicated()].reset_index()


def mean_over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per method and budget from one row per candidate; see :meth:`Board.summary` for the columns."""
    figures = [name for name in (*COMPARED, *LOSSES) if name in frame]
    figures += [str(name) for name in frame if str(name).startswith(ACCURACY_PREFIX)]
    rows = []
    for (method, title, bits), part in settings_of(frame):
        row: dict[str, Any] = {"method": method, "title": title, "bits": bits}
        row |= {"seeds": part["seed"].nunique(), "images": round(part["images"].mean())}
        for name in figures:
            row |= {name: part[name].mean(), f"{name}_sd": part[name].std(ddof=1)}
        row["worst_groups"] = ", ".join(dict.fromkeys(part["worst_group"].dropna()))
        for name in ("worst_low", "worst_high", "bits_achieved", "size_bytes", "minutes"):
            row[name] = part[name].astype(float).mean()
        rows.append(row)
    return pd.DataFrame(rows).astype({"bits": float})


def settings_of(
    frame: pd.DataFrame,
) -> list[tuple[tuple[str, str, float | None], pd.DataFrame]]:
    """Rows per method, title and budget; those without a budget first, then by budget, else as given."""
    parts: list[tuple[tuple[str, str, float | None], pd.DataFrame]] = []
    for _, part in frame.groupby(["method", "title", "bits"], dropna=False, sort=False):
        first = part.iloc[0]
        bits = None if pd.isna(first["bits"]) else float(first["bits"])
        parts.append(((first["method"], first["title"], bits), part))
    return sorted(parts, key=lambda entry: -1.0 if entry[0][2] is None else entry[0][2])


def on_front(size: Sequence[float] | pd.Series, quality: Sequence[float] | pd.Series) -> np.ndarray:
    """Which points no other point beats: none is as small and better, or as good and smaller.

    Points with an unknown size or quality are never on the front; equal points are on it together.

    Examples
    --------
    >>> on_front([1, 2, 3, 2], [0.5, 0.7, 0.6, 0.4]).tolist()
    [True, True, False, False]
    """
    small, good = np.asarray(size, float), np.asarray(quality, float)
    known = np.isfinite(small) & np.isfinite(good)
    no_worse = (small[None, :] <= small[:, None]) & (good[None, :] >= good[:, None])
    better = (small[None, :] < small[:, None]) | (good[None, :] > good[:, None])
    return known & ~(no_worse & better & known[None, :]).any(axis=1)
