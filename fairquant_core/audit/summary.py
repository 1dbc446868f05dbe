"""All figures of one audit as one JSON document, and that document as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fairquant_core.audit.bootstrap import RESAMPLES, Bootstrap
from fairquant_core.audit.criteria import JUDGING
from fairquant_core.audit.group_metrics import metric_table
from fairquant_core.audit.group_questions import GroupQuestions
from fairquant_core.audit.grouping import UNKNOWN, Grouping
from fairquant_core.audit.limits import Limits
from fairquant_core.audit.measures import THRESHOLDS, Measure, standard_measures
from fairquant_core.audit.metrics import class_rates, group_accuracy
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.replicates import Sample, Scores
from fairquant_core.audit.summary_parts import (
    accuracy_json,
    balanced_accuracy_json,
    comparison,
    metric_differences,
    model_metrics,
    plain,
    records,
)
from fairquant_core.audit.summary_text import print_table, summary_table, table_text
from fairquant_core.data.skin_tone import SCHEMES, ordered
from fairquant_core.errors import EvaluationError

__all__ = [
    "audit_summary",
    "compare",
    "measure_rows",
    "measures_of",
    "print_table",
    "summary_table",
    "table_text",
]

FORMAT = 1
LEVEL = 0.95


def audit_summary(
    predictions: Predictions,
    *,
    reference: str = "full precision",
    candidate: str | None = "candidate",
    group_column: str,
    scheme: str,
    limits: Limits,
    must_not_miss: Sequence[str] = (),
    thresholds: Sequence[float] = THRESHOLDS,
    split: str | None = "audit",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict:
    """Everything an audit says, ready for JSON (not estimable = null, with the reason beside it).

    Parameters
    ----------
    candidate:
        Model that the verdict is about; None audits the reference alone (no verdict).
    must_not_miss:
        Classes whose sensitivity, specificity, AUROC and net benefit are reported.
    thresholds:
        Probabilities at which the net benefit is reported.
    split:
        Images to judge on; None takes all, for a cohort that was never trained on.

    Returns
    -------
    dict
        "accuracy", "balanced_accuracy" and "must_not_miss_rates" per model; "measures" (what each
        measure is) and "metrics" (all of them per model); "comparisons" of every other model with
        the reference (differences, verdicts, flips, gap_change, metric_differences) and
        "other_comparisons" of the candidate with the rest; "questions" (the same with other
        groups); "verdict", "sentence" of the candidate; "notes" on what could not be estimated.

    Raises
    ------
    EvaluationError
        A model, column or class is missing, or no image is in the split.
    """
    table = predictions if split is None else predictions.part(split)
    for model in (reference, *((candidate,) if candidate else ())):
        if model not in table.models:
            raise EvaluationError(
                f"the predictions table has no model '{model}'; it has {', '.join(table.models)}"
            )
    groups = table.groups(group_column, scheme)
    order = _order(groups, scheme)
    grouping = Grouping.build(groups, len(table), order)
    clusters = int(table.frame["cluster"].nunique())
    measures = measures_of(limits, must_not_miss, thresholds)
    case = _Case(table, groups, grouping, limits, measures, resamples, seed)
    metrics = {
        model: model_metrics(
            case.sample(model),
            table.classes,
            must_not_miss,
            limits,
            level=LEVEL,
            resamples=resamples,
            seed=seed,
        )
        for model in table.models
    }
    comparisons = {
        model: case.comparison(reference, model) for model in table.models if model != reference
    }
    others = [model for model in table.models if model not in (reference, candidate)]
    questions = GroupQuestions(
        table, reference, candidate, limits, level=LEVEL, resamples=resamples, seed=seed
    )
    result = {
        "format": FORMAT,
        "split": split,
        "images": len(table),
        "clusters": clusters,
        "classes": list(table.classes),
        "models": list(table.models),
        "reference": reference,
        "candidate": candidate,
        "group_column": group_column,
        "scheme": scheme,
        "scheme_title": SCHEMES[scheme].title,
        "groups": list(grouping.known),
        "unknown": int((groups == UNKNOWN).sum()),
        "must_not_miss": list(must_not_miss),
        "limits": limits.to_json(),
        "limits_fingerprint": limits.fingerprint,
        "method": {
            "level": LEVEL,
            "resamples": resamples,
            "seed": seed,
            "judging": JUDGING,
            "clustered": clusters < len(table),
        },
        "accuracy": {
            model: accuracy_json(
                group_accuracy(
                    table,
                    model,
                    groups,
                    order=order,
                    minimum=limits.minimum_images,
                    level=LEVEL,
                    seed=seed,
                    bootstrap=case.bootstrap,
                )
            )
            for model in table.models
        },
        "balanced_accuracy": {
            model: balanced_accuracy_json(found["by_group"]) for model, found in metrics.items()
        },
        "must_not_miss_rates": {
            model: records(
                class_rates(table, model, groups, must_not_miss, order=order, level=LEVEL)
            )
            for model in table.models
            if must_not_miss
        },
        "measures": [measure.to_json() for measure in measures],
        "metrics": metrics,
        "comparisons": comparisons,
        "other_comparisons": [case.comparison(other, candidate) for other in others if candidate],
        "questions": questions.about(group_column, scheme),
        "verdict": comparisons[candidate]["verdict"] if candidate else None,
        "sentence": comparisons[candidate]["sentence"] if candidate else None,
        "notes": [*_notes(grouping, limits), *_ties(table)],
    }
    return plain(result)


def compare(
    predictions: Predictions,
    before: str,
    after: str,
    *,
    group_column: str,
    scheme: str,
    limits: Limits,
    must_not_miss: Sequence[str] = (),
    thresholds: Sequence[float] = THRESHOLDS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict:
    """Any two models of one table, as in "comparisons" of `audit_summary`."""
    groups = predictions.groups(group_column, scheme)
    grouping = Grouping.build(groups, len(predictions), _order(groups, scheme))
    measures = measures_of(limits, must_not_miss, thresholds)
    case = _Case(predictions, groups, grouping, limits, measures, resamples, seed)
    return plain(case.comparison(before, after))


def measure_rows(
    predictions: Predictions,
    measure: Measure,
    *,
    group_column: str,
    scheme: str,
    limits: Limits,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[dict]:
    """One measure of every model with any grouping: rows as in "metrics", with the model's name."""
    groups = predictions.groups(group_column, scheme)
    grouping = Grouping.build(groups, len(predictions), _order(groups, scheme))
    case = _Case(predictions, groups, grouping, limits, (measure,), resamples, seed)
    rows: list[dict] = []
    for model in predictions.models:
        sample = case.sample(model)
        table = metric_table(sample.scores, sample.seen, sample.drawn, level=LEVEL)
        rows += records(table.assign(model=model))
    return plain(rows)


def measures_of(
    limits: Limits, must_not_miss: Sequence[str] = (), thresholds: Sequence[float] = THRESHOLDS
) -> tuple[Measure, ...]:
    """The standard measures, and that of the limits where it is none of them."""
    standard = standard_measures(must_not_miss, thresholds)
    known = {measure.title for measure in standard}
    return standard if limits.measure.title in known else (*standard, limits.measure)


class _Case:
    """One grouping of one table; every model is resampled once, all with the same counts."""

    def __init__(
        self,
        table: Predictions,
        groups: pd.Series,
        grouping: Grouping,
        limits: Limits,
        measures: Sequence[Measure],
        resamples: int,
        seed: int,
    ) -> None:
        for measure in measures:
            if measure.positive:
                table.is_any_of(table.models[0], measure.positive)
        self.table, self.groups, self.grouping = table, groups, grouping
        self.limits = limits
        self.measures = tuple(measures)
        self.bootstrap = Bootstrap(
            grouping.codes, table.frame["cluster"].to_numpy(), resamples=resamples, seed=seed
        )
        self._samples: dict[str, Sample] = {}

    def sample(self, model: str) -> Sample:
        if model not in self._samples:
            positives, negatives = self.limits.class_minimums
            scores = Scores(
                self.table,
                model,
                self.grouping,
                self.measures,
                minimum_positives=positives,
                minimum_negatives=negatives,
            )
            self._samples[model] = Sample.of(scores, self.bootstrap)
        return self._samples[model]

    def comparison(self, before: str, after: str) -> dict[str, Any]:
        found = comparison(
            self.table,
            before,
            after,
            self.groups,
            self.grouping,
            self.limits,
            self.bootstrap,
            level=LEVEL,
        )
        changes = metric_differences(self.sample(before), self.sample(after), level=LEVEL)
        return found | {"metric_differences": changes}


def _notes(grouping: Grouping, limits: Limits) -> list[str]:
    notes = []
    for name, size in zip(grouping.names, grouping.sizes, strict=True):
        if name == UNKNOWN:
            notes.append(f"{size} images have no known group; they count in no group's verdict.")
        elif size == 0:
            notes.append(f"{name}: no image, not estimable.")
        elif size < limits.minimum_images:
            notes.append(
                f"{name}: only {size} images, fewer than the {limits.minimum_images} set; "
                "it is never called the worst group."
            )
    if sum(grouping.mask(name).sum() >= limits.minimum_images for name in grouping.known) < 2:
        notes.append("Fewer than two known groups hold enough images, so there is no gap.")
    return notes


def _order(groups: pd.Series, scheme: str) -> list[str]:
    """All groups of the scheme, also those without an image: absence must be seen."""
    return ordered({*SCHEMES[scheme].groups, *groups}, scheme)


def _ties(table: Predictions) -> list[str]:
    """Where two classes share the highest probability the first one counts; people should know."""
    notes = []
    for model in table.models:
        top = np.sort(table.probabilities(model), axis=1)[:, -2:]
        tied = int((top[:, 0] == top[:, 1]).sum()) if top.shape[1] == 2 else 0
        if tied:
            notes.append(
                f"{model}: {tied} images have two most probable classes; the first one counts."
            )
    return notes
