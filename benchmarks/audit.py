"""Can the audit's figures be trusted, and how long do they take? Synthetic classifiers, known truth.

    python benchmarks/audit.py [--audits 400] [--json FILE]

Four tables: the time for all measures of 1,200 images x 21 classes x 6 groups with 2,000 resamples;
how often 95 % intervals hold the truth (of single figures, of paired changes, of gaps between
groups; `coverage.py` has many more designs of one group); how likely a loss is flagged, by group
size; and how often any of several groups is flagged though none is harmed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fairquant_core.audit.bootstrap import Bootstrap
from fairquant_core.audit.differences import difference_table
from fairquant_core.audit.fairness import fairness_tables
from fairquant_core.audit.group_metrics import metric_table
from fairquant_core.audit.grouping import OVERALL, Grouping
from fairquant_core.audit.intervals import paired_score_interval
from fairquant_core.audit.limits import Limits, Verdict
from fairquant_core.audit.measures import Measure, standard_measures
from fairquant_core.audit.paired_tests import level_among
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.replicates import Replicates, Sample, Scores
from fairquant_core.audit.spread import spread_table
from fairquant_core.audit.summary import audit_summary

#: Skill of the classifier in each group: how far the right class stands out, in standard deviations.
SKILLS = (1.5, 1.1, 1.3)
#: Images of the audit in the issue that set the time, by Fitzpatrick type.
SIZES = (220, 400, 240, 170, 105, 65)
#: Parts in which the truth is found; each is large enough for the bias of a ratio to vanish.
PARTS, PART = 40, 600

#: What it is about (measure, group), low, high.
Interval = tuple[tuple[str, str], float, float]


def classifier(
    sizes: Sequence[int],
    classes: int,
    rng: np.random.Generator,
    *,
    models: int = 1,
    drift: float = 0.5,
    skills: Sequence[float] = SKILLS,
) -> Predictions:
    """Random images and the probabilities of one classifier and of noisier copies of it."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = rng.integers(0, classes, len(groups))
    logits = rng.normal(size=(len(groups), classes))
    logits[np.arange(len(groups)), labels] += np.resize(skills, len(sizes))[groups]
    names = tuple(f"class {index}" for index in range(classes))
    ids = [f"image {index}" for index in range(len(groups))]
    table = pd.DataFrame(
        {
            "id": ids,
            "label": np.array(names)[labels],
            "split": "audit",
            "cluster": ids,
            "tone": (groups + 1).astype(str),
        }
    )
    outputs = {}
    for model in range(models):
        odds = np.exp(1.2 * (logits + drift * model * rng.normal(size=logits.shape)))
        values = odds / odds.sum(axis=1, keepdims=True)
        outputs[f"model {model}"] = values.astype(np.float32)
    return Predictions.build(table, names, outputs)


def samples(
    table: Predictions, measures: Sequence[Measure], resamples: int, seed: int
) -> list[Sample]:
    """Every model of a table, resampled with the same counts."""
    groups = table.groups("tone", "values")
    grouping = Grouping.build(groups, len(table), sorted(set(groups)))
    clusters = table.frame["cluster"].to_numpy()
    plan = Bootstrap(grouping.codes, clusters, resamples=resamples, seed=seed)
    return [Sample.of(Scores(table, model, grouping, measures), plan) for model in table.models]


def coverage(
    *,
    sizes: Sequence[int],
    classes: int,
    audits: int,
    resamples: int = 1000,
    seed: int = 0,
    gaps: bool = True,
) -> pd.DataFrame:
    """How often intervals hold the truth; without gaps only those of figures and changes.

    Returns
    -------
    pandas.DataFrame
        Columns measure, group, truth, covered, low_too_high, high_too_low (shares of audits), width.
    """
    rng = np.random.default_rng(seed)
    measures = standard_measures(("class 0",), (0.1, 0.3))
    truth = _truth(sizes, classes, measures, rng)
    counts: dict[tuple[str, str], np.ndarray] = {}
    for audit in range(audits):
        table = classifier(sizes, classes, rng, models=2)
        pair = samples(table, measures, resamples, audit)
        found = _intervals(*pair) + (_gap_intervals(pair[0], table.classes) if gaps else [])
        for key, low, high in found:
            row = counts.setdefault(key, np.zeros(4))
            inside = low <= truth[key] <= high
            row += [inside, low > truth[key], high < truth[key], high - low]
    return pd.DataFrame(
        [
            {
                "measure": measure,
                "group": group,
                "truth": truth[measure, group],
                **dict(
                    zip(
                        ("covered", "low_too_high", "high_too_low", "width"),
                        row / audits,
                        strict=True,
                    )
                ),
            }
            for (measure, group), row in counts.items()
        ]
    )


def _intervals(first: Sample, second: Sample) -> list[Interval]:
    """Intervals of one audit's figures and of their changes."""
    table = metric_table(first.scores, first.seen, first.drawn)
    changes = difference_table(first, second)
    changes["measure"] = "change of " + changes["measure"]
    return [
        ((row["measure"], row["group"]), row["low"], row["high"])
        for row in [*table.to_dict("records"), *changes.to_dict("records")]
        if row["group"] != OVERALL
    ]


def _gap_intervals(sample: Sample, classes: Sequence[str]) -> list[Interval]:
    """Intervals of gaps and means over groups, and of the fairness criteria."""
    table = metric_table(sample.scores, sample.seen, sample.drawn)
    found: list[Interval] = []
    for row in spread_table(sample.scores, table, sample.drawn).to_dict("records"):
        if row["measure"] in ("accuracy", "balanced accuracy", "macro AUROC"):
            found.append(((f"gap of {row['measure']}", "all"), row["gap_low"], row["gap_high"]))
            found.append(
                ((f"mean of {row['measure']}", "all"), row["macro_low"], row["macro_high"])
            )
    criteria, _ = fairness_tables(
        sample.scores, sample.seen, classes, resamples=len(sample.drawn.values)
    )
    found += [
        ((row["criterion"], "all"), row["low"], row["high"])
        for row in criteria.to_dict("records")
        if row["estimable"]
    ]
    return found


def _truth(
    sizes: Sequence[int], classes: int, measures: Sequence[Measure], rng: np.random.Generator
) -> dict[tuple[str, str], float]:
    """The figures of an endless population, from many large samples."""
    parts: list[list[Replicates]] = []
    for _ in range(PARTS):
        table = classifier([PART] * len(sizes), classes, rng, models=2)
        pair = samples(table, measures, 1, 0)
        parts.append([sample.seen for sample in pair])
    groups = pair[0].scores.groups
    values = [np.mean([part[k].values[0] for part in parts], axis=0) for k in (0, 1)]
    for k, value in enumerate(values):
        # Bins are averaged before their sizes are taken: the error itself is biased upwards.
        bins = np.mean([part[k].miscalibration[0] for part in parts], axis=0)
        value[[m.metric for m in measures].index("ece")] = np.abs(bins).sum(axis=1)
    truth = {}
    for index, measure in enumerate(measures):
        for position, group in enumerate(groups):
            old, new = (value[index, position] for value in values)
            truth[measure.title, group] = float(old)
            truth[f"change of {measure.title}", group] = float(new - old)
        truth[f"gap of {measure.title}", "all"] = float(np.ptp(values[0][index, 1:]))
        truth[f"mean of {measure.title}", "all"] = float(values[0][index, 1:].mean())
    rates = [
        np.mean([getattr(part[0], name)[0, 1:] for part in parts], axis=0)
        for name in ("true_positive_rate", "false_positive_rate")
    ]
    gaps = [np.ptp(rate, axis=0).mean() for rate in rates]
    truth["equal opportunity", "all"] = float(gaps[0])
    truth["equalised odds", "all"] = float(np.mean(gaps))
    return truth


def chances(
    n: int, p_lost: float, p_gained: float, margin: float = 0.02, among: int = 1
) -> dict[Verdict, float]:
    """Exact chance of a verdict on n images: every outcome, weighted by its probability.

    Parameters
    ----------
    among:
        How many results are judged together, none of them found harmed before this one.
    """
    from scipy.stats import multinomial

    lost, gained = (side.ravel() for side in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    possible = lost + gained <= n
    lost, gained = lost[possible], gained[possible]
    outcomes = np.column_stack([lost, gained, n - lost - gained])
    weight = multinomial(n, [p_lost, p_gained, 1 - p_lost - p_gained]).pmf(outcomes)
    likely = weight > 1e-9
    weight = weight[likely]
    low, _ = paired_score_interval(lost[likely], gained[likely], n)
    _, high = paired_score_interval(lost[likely], gained[likely], n, level_among(among))
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
            high = paired_score_interval(*pairs, size, level_among(among))[1][place.ravel()]
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
    table = classifier(SIZES, 21, np.random.default_rng(0), models=3)
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
        gaps = spread_table(sample.scores, figures, sample.drawn, minimum_images=20)
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audits", type=int, default=400, help="simulated audits per setting")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    seconds = timing()
    print("1,200 images x 21 classes x 6 groups, 2,000 resamples, 5 classes not to be missed:")
    print(seconds.round(2).to_string(index=False))
    settings = (((100, 140), 3), ((120, 200, 400), 4), ((300, 300, 300, 300, 300, 300), 8))
    tables = []
    for sizes, classes in settings:
        found = coverage(sizes=sizes, classes=classes, audits=options.audits)
        tables.append(found.assign(sizes=str(sizes), classes=classes))
        shown = found.groupby("measure", sort=False)[
            ["truth", "covered", "low_too_high", "high_too_low", "width"]
        ].mean()
        print(f"\nCoverage of 95 % intervals, groups of {sizes}, {classes} classes:")
        print(shown.round(3).to_string())
    power = power_table()
    print("\nVerdicts on accuracy, limit 2 points, 2 % of images gained (exact):")
    print(power.round(3).to_string(index=False))
    family = family_table()
    print("\nAny of the groups called OUTSIDE, judged alone and together (limit 2 points):")
    print(family.round(3).to_string(index=False))
    if options.json:
        content = {
            "seconds": seconds.to_dict("records"),
            "coverage": pd.concat(tables).to_dict("records"),
            "power": power.to_dict("records"),
            "family": family.to_dict("records"),
        }
        options.json.write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
