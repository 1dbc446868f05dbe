"""Do 95 % intervals hold the truth in 95 % of audits? Every measure, its level and its change, in many designs.

    python benchmarks/coverage.py [--audits 400] [--json FILE]

Two tables: coverage per measure over designs (images of a group, accuracy, share of answers that the
second model changes, photographs per patient); and, exactly, the interval for the change of a share
beside other published ones, where few answers change and no interval can be held to 95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import multinomial, norm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.audit import samples
from fairquant_core.audit.differences import difference_table
from fairquant_core.audit.group_metrics import metric_table
from fairquant_core.audit.grouping import OVERALL
from fairquant_core.audit.intervals import paired_score_interval
from fairquant_core.audit.measures import standard_measures
from fairquant_core.audit.predictions import Predictions

CLASSES = tuple(f"class {index}" for index in range(3))
MEASURES = standard_measures(CLASSES[:1], (0.1, 0.3))
#: How much photographs of one patient have in common (correlation), in what is hard about them.
ALIKE = 0.5
#: Audits that are evaluated in one table, as groups of it.
TOGETHER = 10
#: Parts in which the truth is found; each is small enough for the areas under the curve.
PARTS, PART = 150, 600


@dataclass(frozen=True)
class Design:
    """One group of an audit.

    Parameters
    ----------
    images:
        Images of the group.
    accuracy:
        Of the first model.
    turnover:
        Share of images that the second model, a noisier copy, gives another answer.
    photographs:
        Per patient on average: one, or between one and twice as many less one.
    """

    images: int
    accuracy: float
    turnover: float
    photographs: int = 1


DESIGNS = tuple(
    Design(images, accuracy, turnover, photographs)
    for accuracy, turnover, images, photographs in product(
        (0.5, 0.8, 0.97), (0.05, 0.1, 0.2), (30, 60, 120), (1, 2)
    )
)


def coverage(design: Design, audits: int, *, resamples: int = 300, seed: int = 0) -> pd.DataFrame:
    """How often the intervals of one design hold the truth.

    Returns
    -------
    pandas.DataFrame
        Columns kind ("level" of the first model or "change"), measure, audits (in which it was
        estimable), covered, low_too_high, high_too_low (shares of these), width, truth, and the
        fields of the design.
    """
    truth = _truth(design.accuracy, design.turnover, design.photographs)
    found = []
    for start in range(0, audits, TOGETHER):
        rng = np.random.default_rng([seed, start])
        count = min(TOGETHER, audits - start)
        before, after = samples(_table(design, count, rng), MEASURES, resamples, start)
        levels = metric_table(before.scores, before.seen, before.drawn)
        changes = difference_table(before, after)
        for kind, table in (("level", levels), ("change", changes)):
            rows = table.loc[table["group"] != OVERALL, ["measure", "low", "high"]]
            found.append(rows.assign(kind=kind))
    rows = pd.concat(found).dropna()
    keys = zip(rows["kind"], rows["measure"], strict=True)
    rows["truth"] = [truth[key] for key in keys]
    rows["low_too_high"] = rows["low"] > rows["truth"] + 1e-12
    rows["high_too_low"] = rows["high"] < rows["truth"] - 1e-12
    rows["covered"] = ~(rows["low_too_high"] | rows["high_too_low"])
    rows["width"] = rows["high"] - rows["low"]
    by_measure = rows.groupby(["kind", "measure"], sort=False)
    columns = ["covered", "low_too_high", "high_too_low", "width", "truth"]
    table = by_measure[columns].mean().assign(audits=by_measure.size()).reset_index()
    return table.assign(**asdict(design))


@lru_cache
def setting(accuracy: float, turnover: float) -> tuple[float, float]:
    """How far the right class stands out, and how much noise the second model adds, for these shares."""
    rng = np.random.default_rng(1)
    base, noise = rng.normal(size=(2, 200_000, len(CLASSES)))
    labels = rng.integers(0, len(CLASSES), len(base))
    right = np.eye(len(CLASSES))[labels]
    skill = _solved(
        lambda value: float(((base + value * right).argmax(axis=1) == labels).mean()), accuracy
    )
    first = base + skill * right
    answer = first.argmax(axis=1)
    drift = _solved(
        lambda value: float(((first + value * noise).argmax(axis=1) != answer).mean()), turnover
    )
    return skill, drift


def _solved(rising: Callable[[float], float], target: float) -> float:
    low, high = 0.0, 16.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2


def _table(design: Design, audits: int, rng: np.random.Generator) -> Predictions:
    """That many audits, each a group of one table."""
    sizes = [_patients(design, rng) for _ in range(audits)]
    patients = np.concatenate(sizes)
    labels = np.repeat(rng.integers(0, len(CLASSES), len(patients)), patients)
    skill, drift = setting(design.accuracy, design.turnover)
    logits = _noise(patients, rng)
    logits[np.arange(len(labels)), labels] += skill
    outputs = {}
    for model, values in enumerate((logits, logits + drift * _noise(patients, rng))):
        odds = np.exp(1.2 * values)
        outputs[f"model {model}"] = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    frame = pd.DataFrame(
        {
            "id": [f"image {index}" for index in range(len(labels))],
            "label": np.array(CLASSES)[labels],
            "split": "audit",
            "cluster": np.repeat([f"patient {index}" for index in range(len(patients))], patients),
            "tone": np.repeat([f"{audit:03}" for audit in range(audits)], design.images),
        }
    )
    return Predictions.build(frame, CLASSES, outputs)


def _patients(design: Design, rng: np.random.Generator) -> np.ndarray:
    """Photographs of every patient of one group."""
    sizes: list[int] = []
    while (left := design.images - sum(sizes)) > 0:
        sizes.append(min(left, int(rng.integers(1, 2 * design.photographs))))
    return np.array(sizes)


def _noise(patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Normal numbers, alike within patients. Shapes: (N, C)."""
    shape = (int(patients.sum()), len(CLASSES))
    if (patients == 1).all():
        return rng.normal(size=shape)
    shared = np.repeat(rng.normal(size=(len(patients), len(CLASSES))), patients, axis=0)
    return np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * rng.normal(size=shape)


@lru_cache
def _truth(accuracy: float, turnover: float, photographs: int) -> dict[tuple[str, str], float]:
    """The figures of an endless population, from many large samples."""
    rng = np.random.default_rng(2)
    design = Design(PART, accuracy, turnover, photographs)
    parts = [
        [sample.seen for sample in samples(_table(design, 1, rng), MEASURES, 1, 0)]
        for _ in range(PARTS)
    ]
    values = [np.mean([part[k].values[0, :, 1] for part in parts], axis=0) for k in (0, 1)]
    for k, value in enumerate(values):
        # Bins are averaged before their sizes are taken: the error itself is biased upwards.
        bins = np.mean([part[k].miscalibration[0, 1] for part in parts], axis=0)
        value[[measure.metric for measure in MEASURES].index("ece")] = np.abs(bins).sum()
    truth = {}
    for index, measure in enumerate(MEASURES):
        truth["level", measure.title] = float(values[0][index])
        truth["change", measure.title] = float(values[1][index] - values[0][index])
    return truth


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
    lost, gained = (side.ravel() for side in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    possible = lost + gained <= n
    lost, gained = lost[possible], gained[possible]
    outcomes = np.column_stack([lost, gained, n - lost - gained])
    weight = multinomial(n, [p_lost, p_gained, 1 - p_lost - p_gained]).pmf(outcomes)
    likely = weight > 1e-9
    lost, gained, weight = lost[likely], gained[likely], weight[likely]
    truth = p_gained - p_lost

    def held(low: np.ndarray, high: np.ndarray) -> float:
        return float(weight[(low <= truth + 1e-12) & (truth - 1e-12 <= high)].sum())

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
    """Per kind and measure: mean, smallest and largest coverage over designs, with the worst design."""
    rows = []
    for (kind, measure), part in table.groupby(["kind", "measure"], sort=False):
        worst = part.loc[part["covered"].idxmin()]
        rows.append(
            {
                "kind": kind,
                "measure": measure,
                "mean": part["covered"].mean(),
                "smallest": part["covered"].min(),
                "largest": part["covered"].max(),
                "smallest at": ", ".join(f"{worst[name]:g}" for name in asdict(DESIGNS[0])),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Print the tables; write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audits", type=int, default=400, help="simulated audits per design")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    methods = paired_table()
    print("Change of a share, exact coverage of published intervals:")
    print(methods.round(3).to_string(index=False))
    tables = []
    for design in DESIGNS:
        tables.append(coverage(design, options.audits))
        print(design, flush=True)
    table = pd.concat(tables, ignore_index=True)
    error = 100 * np.sqrt(0.95 * 0.05 / options.audits)
    print(f"\nCoverage of 95 % intervals in %, simulation error {error:.1f} points per design:")
    shown = summary(table)
    shown[["mean", "smallest", "largest"]] = (100 * shown[["mean", "smallest", "largest"]]).round(1)
    print(shown.to_string(index=False))
    table["column"] = table["kind"] + " " + table["measure"]
    designs = list(asdict(DESIGNS[0]))
    whole = 100 * table.pivot_table(index=designs, columns="column", values="covered", sort=False)
    print("\nPer design (images, accuracy, turnover, photographs per patient):")
    print(whole.round(1).T.to_string())
    if options.json:
        content = {"coverage": table.drop(columns="column"), "paired methods": methods}
        plain = {name: rows.to_dict("records") for name, rows in content.items()}
        options.json.write_text(json.dumps(plain, indent=2))


if __name__ == "__main__":
    main()
