"""Many methods, budgets and seeds on one cohort as one object that can be interrupted and taken up again.

Every candidate goes through :func:`fairquant_core.pipeline.run`, so what is compared is the packed file of each,
and stays in a folder of its own, named after everything that decides its outcome. Nothing is run twice.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from fairquant_core import pipeline
from fairquant_core.audit.board import AS_GIVEN, AS_GIVEN_TITLE, Board, Candidate
from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.cohort import Cohort
from fairquant_core.errors import (
    BudgetError,
    Cancelled,
    EvaluationError,
    FairQuantError,
    TrainingError,
)
from fairquant_core.files import file_hash, write_json
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Progress, Report, Stop, say
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.quantization.combinations import (
    ORDER,
    WITHOUT_BUDGET,
    Skipped,
    combinations,
)
from fairquant_core.scoring import CANDIDATE, FULL_PRECISION, MODEL_FILE

IDENTITY_FILE = "identity.json"
FAILURE_FILE = "failure.json"

BAD_STARTS = (
    "{starts} classifiers were given for {seeds} seeds. Give one for all seeds, or one per seed."
)
NOTHING_POSSIBLE = "None of these methods can be run at any of these budgets. {reason}"
OTHER_CANDIDATE = (
    "{folder} holds another candidate than its name says. Move it away, or choose another folder."
)


@dataclass(frozen=True, eq=False)
class Start:
    """What the runs of a seed begin with.

    Parameters
    ----------
    cohort
        Split as the classifier's own; every seed may have its own split.
    source
        How the cohort was read, kept in the packed files.
    """

    classifier: Classifier
    cohort: Cohort
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    """One candidate of a sweep before it is run.

    Parameters
    ----------
    key
        SHA-256 over everything that decides the outcome.
    identity
        The same, readable.
    """

    config: RunConfig
    start: Start = field(repr=False)
    folder: Path
    key: str
    identity: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Finished:
    """What one candidate left in its folder."""

    planned: Planned
    audit: dict[str, Any] = field(repr=False)
    predictions: Predictions = field(repr=False)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Methods x budgets x seeds.

    Parameters
    ----------
    starts
        One for all seeds, or one per seed in the order of the seeds. With a split per seed methods are compared
        on more images than one audit split holds.
    methods, budgets, seeds
        Budgets in average bits per weight. A method without a budget (the full-precision control) is run once
        per seed; a method that cannot meet a budget (the same bits everywhere at 2.5) is in :attr:`skipped`.
    folder
        Where every candidate gets a folder of its own.
    limits
        For the audit of every candidate, and the smallest group that may be the worst one.
    settings
        Further fields of :class:`~fairquant_core.quantization.catalogue.RunConfig`, the same for all.
    order
        What changes slowest first. With the default all methods at all budgets are done with the first seed before
        the second begins, so that an interrupted sweep can be read.

    Raises
    ------
    TrainingError, BudgetError
        Methods, budgets or settings of which nothing can be run; the numbers of classifiers and seeds do not fit.
    """

    starts: tuple[Start, ...]
    methods: tuple[str, ...]
    budgets: tuple[float, ...]
    seeds: tuple[int, ...]
    folder: Path
    cache: Path
    group_column: str
    scheme: str
    limits: Limits = field(default_factory=Limits)
    must_not_miss: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    order: tuple[str, ...] = ORDER

    def __post_init__(self) -> None:
        if len(self.starts) not in (1, len(self.seeds)):
            raise TrainingError(BAD_STARTS.format(starts=len(self.starts), seeds=len(self.seeds)))
        if not self.planned:
            reason = self.skipped[0].reason if self.skipped else "Name at least one of each."
            raise BudgetError(NOTHING_POSSIBLE.format(reason=reason))

    @property
    def planned(self) -> tuple[Planned, ...]:
        """All candidates in the order in which they are run."""
        return self._plan[0]

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Combinations that cannot be run."""
        return self._plan[1]

    @cached_property
    def _plan(self) -> tuple[tuple[Planned, ...], tuple[Skipped, ...]]:
        configs, skipped = combinations(
            self.methods, self.budgets, self.seeds, self.settings, self.order
        )
        return tuple(map(self._planned, configs)), tuple(skipped)

    def _planned(self, config: RunConfig) -> Planned:
        start = self.starts[self.seeds.index(config.seed) if len(self.starts) > 1 else 0]
        identity = {
            "config": config.to_json(),
            "classifier": self._fingerprints[id(start)],
            "cohort": start.cohort.fingerprint,
            "group_column": self.group_column,
            "scheme": self.scheme,
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        key = hashlib.sha256(text.encode()).hexdigest()
        budget = "" if config.method == WITHOUT_BUDGET else f"-{config.bits:g}-bits"
        prefix = f"{config.method}{budget}-seed-{config.seed}-"
        before = (path.parent for path in sorted(self.folder.glob(f"{prefix}*/{IDENTITY_FILE}")))
        same = (folder for folder in before if _identity(folder) == identity)
        return Planned(config, start, next(same, self.folder / (prefix + key[:12])), key, identity)

    @cached_property
    def _fingerprints(self) -> dict[int, str]:
        return {id(start): start.classifier.fingerprint for start in self.starts}

    def run(
        self,
        *,
        progress: Report | None = None,
        cancel: Stop | None = None,
        done: Callable[[Finished], None] | None = None,
    ) -> list[Finished]:
        """Run what is not finished yet, in order, and return everything that is.

        A finished folder is reused after its identity and its packed file were checked; an interrupted training
        goes on from its checkpoint. A candidate that fails does not stop the others: the error is kept in its
        folder, listed by :meth:`failures`, and it is tried again next time.

        Parameters
        ----------
        done
            Called with every candidate once it is finished, reused ones included.

        Raises
        ------
        Cancelled
            When ``cancel()`` says so; everything finished stays.
        EvaluationError
            A folder holds another candidate.
        """
        found = []
        for number, planned in enumerate(self.planned):
            say(progress, "sweep", number, len(self.planned), planned.config.title)
            finished = self.finished(planned) or self._attempt(planned, number, progress, cancel)
            if finished is not None:
                found.append(finished)
                if done:
                    done(finished)
        say(progress, "sweep", len(self.planned), len(self.planned), "All candidates were run")
        return found

    def _attempt(
        self, planned: Planned, number: int, progress: Report | None, cancel: Stop | None
    ) -> Finished | None:
        if cancel and cancel():
            raise Cancelled("Cancelled between two candidates.")
        start = f"{number + 1} of {len(self.planned)}, {planned.config.title}: "

        def inner(step: Progress) -> None:
            if progress:
                progress(replace(step, message=start + step.message))

        write_json(planned.folder / IDENTITY_FILE, planned.identity)
        (planned.folder / FAILURE_FILE).unlink(missing_ok=True)
        try:
            result = pipeline.run(
                planned.start.cohort,
                planned.start.classifier,
                planned.config,
                group_column=self.group_column,
                scheme=self.scheme,
                limits=self.limits,
                must_not_miss=self.must_not_miss,
                source=planned.start.source,
                cache=self.cache,
                work=planned.folder,
                progress=inner,
                cancel=cancel,
            )
        except Cancelled:
            raise
        except Exception as error:
            # One candidate out of sixty must not cost the other fifty-nine; it stays visible.
            failure = {"error": type(error).__name__, "message": str(error)}
            failure["trace"] = traceback.format_exc()
            write_json(planned.folder / FAILURE_FILE, failure)
            say(progress, "failed", number, len(self.planned), f"{start}{error}")
            return None
        return Finished(planned, result.audit, result.predictions)

    def finished(self, planned: Planned) -> Finished | None:
        """What the candidate left, or None if it is not finished or not whole.

        Raises
        ------
        EvaluationError
            Its folder holds another candidate.
        """
        folder = planned.folder
        identity = _identity(folder)
        if identity is not None and identity != planned.identity:
            raise EvaluationError(OTHER_CANDIDATE.format(folder=folder))
        audit = _read(folder / pipeline.AUDIT_FILE)
        packed = folder / MODEL_FILE
        if identity is None or audit is None or not packed.exists():
            return None
        if file_hash(packed) != audit["size"]["sha256"]:
            return None
        try:
            predictions = Predictions.load(folder / pipeline.PREDICTIONS_FILE)
        except EvaluationError:
            return None
        return Finished(planned, audit, predictions)

    def all_finished(self) -> list[Finished]:
        """Everything that is finished, without running anything."""
        return [found for found in map(self.finished, self.planned) if found is not None]

    def failures(self) -> pd.DataFrame:
        """Candidates whose last attempt failed: method, bits, seed, error, message, folder."""
        rows = []
        for planned in self.planned:
            failure = _read(planned.folder / FAILURE_FILE)
            if failure is not None:
                config = planned.config
                about = {"method": config.method, "bits": config.bits, "seed": config.seed}
                message = {name: failure.get(name, "") for name in ("error", "message")}
                rows.append(about | message | {"folder": str(planned.folder)})
        return pd.DataFrame(rows, columns=["method", "bits", "seed", "error", "message", "folder"])

    def board(self, *, split: str = "audit") -> Board:
        """Everything that is finished, and the classifiers it started from, side by side.

        Raises
        ------
        EvaluationError
            Nothing is finished yet.
        """
        return self.board_of(self.all_finished(), split=split)

    def board_of(self, found: Sequence[Finished], *, split: str = "audit") -> Board:
        """The same for some candidates only."""
        start = {one.planned.config.seed: one for one in reversed(found)}
        return Board(
            [*(_as_given(start[seed]) for seed in sorted(start)), *map(_candidate, found)],
            group_column=self.group_column,
            scheme=self.scheme,
            minimum_images=self.limits.minimum_images,
            split=split,
        )

    def summary(self, reference: str | None = None, *, split: str = "audit") -> pd.DataFrame:
        """:meth:`fairquant_core.audit.board.Board.summary` of everything that is finished."""
        return self.board(split=split).summary(reference)

    def pareto(self, *, split: str = "audit") -> pd.DataFrame:
        """:meth:`fairquant_core.audit.board.Board.pareto` of everything that is finished."""
        return self.board(split=split).pareto()


def _candidate(finished: Finished) -> Candidate:
    config, size = finished.planned.config, finished.audit["size"]
    whole = config.method == WITHOUT_BUDGET
    return Candidate(
        config.method,
        config.card.title,
        None if whole else config.bits,
        config.seed,
        finished.predictions,
        CANDIDATE,
        size["bytes_on_disk"],
        size.get("bits_achieved"),
        sum(finished.audit["seconds"].values()) / 60,
        finished.planned.key,
    )


def _as_given(finished: Finished) -> Candidate:
    size = finished.audit["size"]["bytes_full_precision"]
    seed = finished.planned.config.seed
    return Candidate(
        AS_GIVEN, AS_GIVEN_TITLE, None, seed, finished.predictions, FULL_PRECISION, size
    )


def _identity(folder: Path) -> dict[str, Any] | None:
    """What a folder holds. A field that run configurations gained since has its default, so nothing is run anew."""
    identity = _read(folder / IDENTITY_FILE)
    if identity is None:
        return None
    try:
        config = RunConfig.from_json(identity["config"]).to_json()
    except (KeyError, FairQuantError):
        return {}  # damaged, or of another version of the program: no candidate of today's
    return {**identity, "config": config}


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON file; None if it is not there or was damaged from outside."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
