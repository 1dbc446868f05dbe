"""How long does an audit take, how likely is a harm to be flagged, and how often is there a false alarm?

    python benchmarks/audit.py [--json FILE]

Three tables: the time for all measures of 1,200 images x 21 classes x 6 groups with 2,000 resamples;
how likely a loss is flagged, by group size; and how often any of several groups is flagged though none
is harmed. Whether the intervals hold the truth is the question of `interval_coverage.py`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import script_parser, write_figures
from benchmarks.synthetic import Design, outcomes, samples, simulate
from fairquant_core.audit.differences import difference_table
from fairquant_core.audit.fairness import fairness_tables
from fairquant_core.audit.group_metrics import metric_table
from fairquant_core.audit.intervals import paired_score_interval
from fairquant_core.audit.limits import Limits, Verdict
from fairquant_core.audit.measures import standard_measures
from fairquant_core.audit.paired_tests import level_among
from fairquant_core.audit.replicates import Sample
from fairquant_core.audit.spread import spread_table
from fairquant_core.audit.summary import audit_summary

#: The audit that is timed: images by Fitzpatrick type, accuracy there, answers that the second model changes.
SIZES = (220, 400, 240, 170, 105, 65)
ACCURACIES = (0.36, 0.25, 0.3, 0.36, 0.25, 0.3)
TURNOVER = 0.4


def chances(
    n: int, p_lost: float, p_gained: float, margin: float = 0.02, among: int = 1
) -> dict[Verdict, float]:
    """Exact chance of a verdict on n images: every outcome, weighted by its probability.

    Parameters
    ----------
    among:
        How many results are judged together, none of them found harmed before this one.
    """
    lost, gained, weight = outcomes(n, p_lost, p_gained)
    low, _ = paired_score_interval(lost, gained, n)
    _, high = paired_score_interval(lost, gained, n, level_among(among))
    return {
        Verdict.OUTSIDE: float(weight[-high > margin].sum()),
        Verdict.WITHIN: float(weight[-low < margin].sum()),
    }


def power_table(turnover: float = 0.02) -> pd.DataFrame:
    """Chance that a loss is OUTSIDE a limit of 2 points, and that no loss is WITHIN, by group size.

    Alone, and as one of seven results that are judged together (six groups and all images).
    """
    rows = []
    for n in (30, 60, 120, 250, 500):
        row: dict[str, float] = {"images": n}
        for points in (0, 2, 5, 10, 15):
            for among, words in ((1, ""), (7, " of 7")):
                found = chances(n, turnover + points / 100, turnover, among=among)
                row[f"{points} lost: OUTSIDE{words}"] = found[Verdict.OUTSIDE]
        row["none lost: WITHIN"] = chances(n, turnover, turnover)[Verdict.WITHIN]
        rows.append(row)
    return pd.DataFrame(rows)


def family_wise(
    groups: int,
    n: int,
    p_lost: float,
    p_gained: float,
    *,
    margin: float = 0.02,
    cases: int = 20_000,
    seed: int = 0,
) -> dict[str, float]:
    """How often any group, or all images together, is called OUTSIDE; all groups are alike.

    Returns
    -------
    dict
        "alone": if every result were judged by itself; "together": as `criteria.judge` does it
        (Holm's procedure calls any result harmed exactly when its first step does).
    """
    rng = np.random.default_rng(seed)
    lost = rng.binomial(n, p_lost, (cases, groups))
    gained = rng.binomial(n - lost, p_gained / (1 - p_lost))
    found = {}
    for words, among in (("alone", 1), ("together", groups + 1)):
        any_harm = np.zeros(cases, bool)
        for one, other, size in (
            (lost, gained, n),
            (lost.sum(axis=1, keepdims=True), gained.sum(axis=1, keepdims=True), groups * n),
        ):
            pairs, place = np.unique(
                np.stack([one.ravel(), other.ravel()]), axis=1, return_inverse=True
            )
            high = paired_score_interval(pairs[0], pairs[1], size, level_among(among))[1][
                place.ravel()
            ]
            any_harm |= (-high.reshape(one.shape) > margin).any(axis=1)
        found[words] = float(any_harm.mean())
    return found


def family_table() -> pd.DataFrame:
    """`family_wise` for groups that lose nothing on balance, and for groups that lose just the limit."""
    return pd.DataFrame(
        [
            {
                "groups": groups,
                "images each": n,
                "turnover": turnover,
                "lost": lost,
                **family_wise(groups, n, (turnover + lost) / 2, (turnover - lost) / 2),
            }
            for groups in (3, 6, 12)
            for n in (30, 120)
            for turnover in (0.05, 0.1, 0.2)
            for lost in (0, 0.02)
        ]
    )


def timing(resamples: int = 2000) -> pd.DataFrame:
    """Seconds for the measures of three models, for a paired comparison, and for the whole audit."""
    groups = [
        Design(images, accuracy, TURNOVER)
        for images, accuracy in zip(SIZES, ACCURACIES, strict=True)
    ]
    table = simulate(groups, 21, np.random.default_rng(0), models=3)
    marked = table.classes[:5]
    rows = []

    def measure(step: str, work: Callable[[], Any]) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        rows.append(
            {
                "step": step,
                "seconds": time.perf_counter() - wall,
                "processor seconds": time.process_time() - processor,
            }
        )
        return result

    def intervals(sample: Sample) -> tuple[pd.DataFrame, ...]:
        figures = metric_table(sample.scores, sample.seen, sample.drawn)
        gaps = spread_table(sample, figures, minimum_images=20)
        fairness = fairness_tables(sample.scores, sample.seen, table.classes, must_not_miss=marked)
        return figures, gaps, *fairness

    models = measure(
        "all measures of three models, resampled",
        lambda: samples(table, standard_measures(marked), resamples, 0),
    )
    measure(
        "their intervals, gaps and fairness",
        lambda: [intervals(sample) for sample in models],
    )
    measure("paired changes of two models", lambda: difference_table(*models[:2]))
    measure(
        "the whole audit (audit.json)",
        lambda: audit_summary(
            table,
            reference="model 0",
            candidate="model 1",
            group_column="tone",
            scheme="fst6",
            limits=Limits(),
            must_not_miss=marked,
            resamples=resamples,
        ),
    )
    return pd.DataFrame(rows)


def main() -> None:
    """Print the tables; write them where asked."""
    options = script_parser(__doc__).parse_args()
    seconds = timing()
    print("1,200 images x 21 classes x 6 groups, 2,000 resamples, 5 classes not to be missed:")
    print(seconds.round(2).to_string(index=False))
    power = power_table()
    print("\nVerdicts on accuracy, limit 2 points, 2 % of images gained (exact):")
    print(power.round(3).to_string(index=False))
    family = family_table()
    print("\nAny of the groups called OUTSIDE, judged alone and together (limit 2 points):")
    print(family.round(3).to_string(index=False))
    content = {"seconds": seconds, "power": power, "family": family}
    write_figures(options, {name: rows.to_dict("records") for name, rows in content.items()})


if __name__ == "__main__":
    main()
