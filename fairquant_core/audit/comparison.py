"""What changed between two models on the same images: paired differences, tests and flips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fairquant_core.audit.bootstrap import RESAMPLES, Bootstrap
from fairquant_core.audit.differences import difference_table, high_among
from fairquant_core.audit.grouping import Grouping
from fairquant_core.audit.measures import JUDGED, METRICS, Measure
from fairquant_core.audit.paired_tests import clustered_mcnemar, holm, mcnemar
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.replicates import Sample, Scores
from fairquant_core.errors import EvaluationError

__all__ = [
    "GAINED",
    "LOST",
    "clustered_mcnemar",
    "flips",
    "holm",
    "mcnemar",
    "paired_difference",
]

LOST, GAINED = "lost", "gained"


def paired_difference(
    predictions: Predictions,
    before: str,
    after: str,
    groups: pd.Series,
    *,
    metric: str = "accuracy",
    positive: Sequence[str] = (),
    order: Sequence[str] | None = None,
    minimum_positives: int = 1,
    minimum_negatives: int = 1,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    bootstrap: Bootstrap | None = None,
) -> pd.DataFrame:
    """Change of one metric from one model to another, overall and per group.

    Parameters
    ----------
    metric:
        One that limits can be set on: "accuracy"; "sensitivity" over the images whose label is one
        of `positive` (right when any of them is predicted); "specificity" over the others; "auroc"
        of `positive` against the rest; "balanced accuracy" and "macro auroc" over all classes.
    minimum_positives, minimum_negatives:
        A class counts in a mean over classes from this many images of it (and of other classes).
    bootstrap:
        Resampling plan of the same images and groups, if there is one already.

    Returns
    -------
    pandas.DataFrame
        "overall" first, then every group ("unknown" last, groups without an image included):
        group, the columns of `differences.difference_table`, which also names the intervals, and
        high_among (see `differences.high_among`).

    Units
    -----
    Fractions; negative differences are losses.
    """
    if metric not in JUDGED:
        raise EvaluationError(
            f"'{metric}' is no metric of a limit; choose from {', '.join(JUDGED)}"
        )
    about = tuple(positive) if METRICS[metric].about_classes else ()
    if about:
        predictions.is_any_of(before, about)
    grouping = Grouping.build(groups, len(predictions), order)
    plan = bootstrap or Bootstrap(
        grouping.codes, predictions.frame["cluster"].to_numpy(), resamples=resamples, seed=seed
    )
    old, new = (
        Sample.of(
            Scores(
                predictions,
                model,
                grouping,
                (Measure(metric, about),),
                minimum_positives=minimum_positives,
                minimum_negatives=minimum_negatives,
            ),
            plan,
        )
        for model in (before, after)
    )
    table = difference_table(old, new, level=level).drop(columns="measure")
    table["high_among"] = high_among(old, new, level=level)
    if positive and not about:
        # Limits may ask for enough of these images although the metric is about all classes.
        truth = predictions.is_any_of(before, positive)[0]
        table["n_positive"] = [int(truth[rows].sum()) for rows in old.scores.inside]
        table["n_negative"] = [int((~truth[rows]).sum()) for rows in old.scores.inside]
    return table


def flips(predictions: Predictions, before: str, after: str, groups: pd.Series) -> pd.DataFrame:
    """Images that were right and are wrong now ("lost"), and the reverse ("gained").

    Returns
    -------
    pandas.DataFrame
        Columns id, group, label, before, after (predicted classes), kind; lost ones first.
    """
    grouping = Grouping.build(groups, len(predictions))
    was, now = predictions.correct(before), predictions.correct(after)
    table = pd.DataFrame(
        {
            "id": predictions.frame["id"],
            "group": np.asarray(grouping.names, dtype=object)[grouping.codes],
            "label": predictions.frame["label"],
            "before": predictions.predicted(before),
            "after": predictions.predicted(after),
            "kind": np.where(was, LOST, GAINED),
        }
    )
    position = pd.Series(grouping.codes, index=table.index)
    rows = pd.DataFrame({"gained": ~was, "position": position})[was != now]
    return table.loc[rows.sort_values(["gained", "position"], kind="stable").index].reset_index(
        drop=True
    )
