"""Do 95 % intervals hold the truth in 95 % of audits? Every figure of an audit, in many designs.

    python benchmarks/interval_coverage.py [--audits 400] [--json FILE]

Three parts. One group: every measure, its level and its change, over designs (images of a group,
accuracy, share of answers that the second model changes, photographs per patient). Several groups,
some of few images per class: the same, the gaps between groups, the means over groups and the fairness
criteria. And, exactly, the interval for the change of a share beside other published ones, where few
answers change and no interval can be held to 95 %.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import script_parser, write_figures
from benchmarks.synthetic import (
    MARKED,
    MEASURES,
    Design,
    Truth,
    class_names,
    outcomes,
    samples,
    simulate,
    true_criteria,
    truth,
)
from fairquant_core.audit.differences import difference_table
from fairquant_core.audit.fairness import fairness_tables
from fairquant_core.audit.group_metrics import metric_table
from fairquant_core.audit.grouping import OVERALL
from fairquant_core.audit.intervals import paired_score_interval
from fairquant_core.audit.replicates import Sample
from fairquant_core.audit.spread import spread_table

#: Classes where there is one group.
CLASSES = 3
#: Audits of one group that are evaluated in one table, as groups of it.
TOGETHER = 10
DESIGNS = tuple(
    Design(images, accuracy, turnover, photographs)
    for accuracy, turnover, images, photographs in product(
        (0.5, 0.8, 0.97), (0.05, 0.1, 0.2), (30, 60, 120), (1, 2)
    )
)
#: Fields that tell these designs apart.
FIELDS = ("images", "accuracy", "turnover", "photographs")


@dataclass(frozen=True)
class Several:
    """An audit of several groups, by a classifier of that many classes."""

    classes: int
    groups: tuple[Design, ...]

    def __str__(self) -> str:
        """Classes, images of every group, and accuracies.

        >>> str(Several(3, (Design(100, 0.8, 0.1), Design(140, 0.7, 0.1))))
        '3 classes, 100/140 at 80/70 %'
        """
        sizes = "/".join(str(group.images) for group in self.groups)
        accuracies = "/".join(f"{100 * group.accuracy:g}" for group in self.groups)
        return f"{self.classes} classes, {sizes} at {accuracies} %"


#: Groups apart and groups alike, many images of every class and hardly any, and a marked class that
#: some groups have more often.
SEVERAL = (
    Several(3, (Design(100, 0.8, 0.1), Design(140, 0.7, 0.1))),
    Several(3, (Design(60, 0.97, 0.05), Design(60, 0.9, 0.05))),
    Several(3, tuple(Design(images, 0.8, 0.1) for images in (30, 60, 120))),
    Several(
        4,
        (
            Design(120, 0.75, 0.1, 2),
            Design(200, 0.6, 0.1, 2, marked=0.2),
            Design(400, 0.7, 0.1, 2, marked=0.1),
        ),
    ),
    Several(8, tuple(Design(images, 0.6, 0.1) for images in (60, 120, 240))),
    Several(8, 2 * tuple(Design(300, accuracy, 0.2) for accuracy in (0.55, 0.45, 0.5))),
    Several(
        21,
        tuple(
            Design(images, accuracy, 0.2)
            for accuracy, sizes in ((0.6, (220, 400, 240)), (0.5, (170, 105)), (0.4, (65,)))
            for images in sizes
        ),
    ),
)


def coverage(design: Design, audits: int, *, resamples: int = 300, seed: int = 0) -> pd.DataFrame:
    """How often the intervals of one group hold the truth.

    Returns
    -------
    pandas.DataFrame
        Columns kind ("level" of the first model or "change"), measure, intervals (how many there
        were: audits in which it was estimable), covered, low_too_high, high_too_low (shares of
        these), width, truth (means over these), design (`FIELDS` in words), and the fields of the
        design.
    """
    true = truth(design, CLASSES)
    found = []
    for start in range(0, audits, TOGETHER):
        rng = np.random.default_rng([seed, start])
        count = min(TOGETHER, audits - start)
        table = simulate([design] * count, CLASSES, rng)
        before, after = samples(table, MEASURES, resamples, start)
        found.append(_of_groups(before, after, [true] * count))
    fields = asdict(design)
    words = ", ".join(f"{fields[name]:g}" for name in FIELDS)
    return _shares(pd.concat(found)).assign(design=words, **fields)


def coverage_of_several(
    audit: Several,
    audits: int,
    *,
    resamples: int = 300,
    seed: int = 0,
    between_only: bool = False,
) -> pd.DataFrame:
    """How often the intervals of an audit of several groups hold the truth.

    Parameters
    ----------
    between_only:
        Leave out levels and changes, which takes half the time.

    Returns
    -------
    pandas.DataFrame
        As of `coverage`, without the fields of a design. More kinds: "gap" and "mean" over groups of
        a measure's level, and "criterion". Levels and changes of all groups are taken together.
    """
    truths = [truth(group, audit.classes) for group in audit.groups]
    found = []
    for number in range(audits):
        rng = np.random.default_rng([seed, number])
        table = simulate(audit.groups, audit.classes, rng, models=1 if between_only else 2)
        before, *others = samples(table, MEASURES, resamples, number)
        found += [_of_groups(before, after, truths) for after in others]
        found.append(_between_groups(before, audit.classes, truths))
    return _shares(pd.concat(found)).assign(design=str(audit))


def _of_groups(before: Sample, after: Sample, truths: Sequence[Truth]) -> pd.DataFrame:
    """Intervals of all groups' levels and changes, with the truth: kind, measure, low, high, truth."""
    position = {name: index for index, name in enumerate(before.scores.groups[1:])}
    found = []
    for kind, table in (
        ("level", metric_table(before.scores, before.seen, before.drawn)),
        ("change", difference_table(before, after)),
    ):
        rows = table[table["group"] != OVERALL]
        names = zip(rows["group"], rows["measure"], strict=True)
        true = [truths[position[group]].figures[kind, measure] for group, measure in names]
        found.append(rows[["measure", "low", "high"]].assign(kind=kind, truth=true))
    return pd.concat(found)


def _between_groups(sample: Sample, classes: int, truths: Sequence[Truth]) -> pd.DataFrame:
    """Intervals of gaps and means over groups and of the fairness criteria, as `_of_groups`.

    Only where all groups count.
    """
    found: list[tuple[str, str, float, float, float]] = []
    table = metric_table(sample.scores, sample.seen, sample.drawn)
    for row in spread_table(sample, table).to_dict("records"):
        if row["groups_counted"] == len(truths):
            measure = row["measure"]
            true = [one.figures["level", measure] for one in truths]
            gap, mean = float(np.ptp(true)), float(np.mean(true))
            found.append(("gap", measure, row["gap_low"], row["gap_high"], gap))
            found.append(("mean", measure, row["macro_low"], row["macro_high"], mean))
    criteria, _ = fairness_tables(
        sample.scores,
        sample.seen,
        class_names(classes),
        must_not_miss=(MARKED,),
        resamples=len(sample.drawn.values),
    )
    values = true_criteria(sample, truths)
    for row in criteria.to_dict("records"):
        name = row["criterion"]
        found.append(("criterion", name, row["low"], row["high"], values[name]))
    return pd.DataFrame(found, columns=["kind", "measure", "low", "high", "truth"])


def _shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Per kind and measure: how many intervals there are, and the shares that hold the truth."""
    rows = rows.dropna()
    too_high = rows["low"] > rows["truth"] + 1e-12
    too_low = rows["high"] < rows["truth"] - 1e-12
    rows = rows.assign(
        covered=~(too_high | too_low),
        low_too_high=too_high,
        high_too_low=too_low,
        width=rows["high"] - rows["low"],
    )
    by_measure = rows.groupby(["kind", "measure"], sort=False)
    columns = ["covered", "low_too_high", "high_too_low", "width", "truth"]
    return by_measure[columns].mean().assign(intervals=by_measure.size()).reset_index()


def paired_methods(n: int, p_lost: float, p_gained: float) -> dict[str, float]:
    """Exact coverage of intervals for the change of a share: every outcome, weighted by its probability.

    Returns
    -------
    dict
        "none changes" (chance of it), and the coverage of "score", the interval in use, and of others.

    Source
    ------
    "score": Tango 1998, Statistics in Medicine 17:891. "Agresti-Min": Agresti & Min 2005, ibid. 24:729.
    "Bonett-Price": Bonett & Price 2012, Journal of Educational and Behavioral Statistics 37:479.
    "normal": the difference with its standard error. Fagerland, Lydersen & Laake 2014, Statistics in
    Medicine 33:2850 compare them.
    """
    lost, gained, weight = outcomes(n, p_lost, p_gained)
    true = p_gained - p_lost

    def held(low: np.ndarray, high: np.ndarray) -> float:
        return float(weight[(low <= true + 1e-12) & (true - 1e-12 <= high)].sum())

    def adjusted(pairs: float, images: float) -> float:
        worse, better = ((side + pairs) / (n + images) for side in (lost, gained))
        error = np.sqrt((worse + better - (better - worse) ** 2) / (n + images))
        half = norm.ppf(0.975) * error
        return held(better - worse - half, better - worse + half)

    return {
        "none changes": float((1 - p_lost - p_gained) ** n),
        "score": held(*paired_score_interval(lost, gained, n)),
        "Agresti-Min": adjusted(0.5, 2),
        "Bonett-Price": adjusted(1, 2),
        "normal": adjusted(0, 0),
    }


def paired_table() -> pd.DataFrame:
    """`paired_methods` from a handful of changed answers to many."""
    return pd.DataFrame(
        [
            {
                "images": n,
                "turnover": turnover,
                "lost": lost,
                **paired_methods(n, (turnover + lost) / 2, (turnover - lost) / 2),
            }
            for n in (10, 20, 40, 60, 120)
            for turnover in (0.05, 0.1, 0.2)
            for lost in (0, 0.03)
        ]
    )


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per kind and measure: mean, smallest and largest coverage over designs in %, with the worst design."""
    rows = []
    for (kind, measure), part in table.groupby(["kind", "measure"], sort=False):
        covered = 100 * part["covered"]
        rows.append(
            {
                "kind": kind,
                "measure": measure,
                "mean": covered.mean(),
                "smallest": covered.min(),
                "largest": covered.max(),
                "smallest at": part["design"].iloc[covered.argmin()],
            }
        )
    return pd.DataFrame(rows)


def show(table: pd.DataFrame, audits: int, designs: Sequence[str]) -> None:
    """Print the coverage over designs, then of each; these columns tell them apart."""
    error = 100 * np.sqrt(0.95 * 0.05 / audits)
    print(f"\nCoverage of 95 % intervals in %, simulation error {error:.1f} points per design:")
    print(summary(table).round(1).to_string(index=False))
    each = table.pivot_table(
        index=list(designs), columns=["kind", "measure"], values="covered", sort=False
    )
    print("\nPer design:")
    print((100 * each).round(1).T.to_string())


def main() -> None:
    """Print the tables; write them where asked."""
    parser = script_parser(__doc__)
    parser.add_argument("--audits", type=int, default=400, help="simulated audits per design")
    options = parser.parse_args()
    methods = paired_table()
    print("Change of a share, exact coverage of published intervals:")
    print(methods.round(3).to_string(index=False))
    tables = []
    for design in DESIGNS:
        tables.append(coverage(design, options.audits))
        print(design, flush=True)
    one = pd.concat(tables, ignore_index=True)
    show(one, options.audits, FIELDS)
    tables = []
    for audit in SEVERAL:
        tables.append(coverage_of_several(audit, options.audits))
        print(audit, flush=True)
    several = pd.concat(tables, ignore_index=True)
    show(several, options.audits, ["design"])
    content = {"coverage": one, "several groups": several, "paired methods": methods}
    write_figures(options, {name: rows.to_dict("records") for name, rows in content.items()})


if __name__ == "__main__":
    main()
