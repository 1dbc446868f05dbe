"""Made-up classifiers whose true figures are known, for the benchmarks of the audit. No script of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.stats import multinomial

from fairquant_core.audit.bootstrap import Bootstrap
from fairquant_core.audit.fairness import DEMOGRAPHIC_PARITY, EQUAL_OPPORTUNITY, EQUALISED_ODDS
from fairquant_core.audit.grouping import Grouping
from fairquant_core.audit.measures import Measure, standard_measures
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.replicates import Sample, Scores

#: The class that must not be missed, and what is measured because of it.
MARKED = "class 0"
MEASURES = standard_measures((MARKED,), (0.1, 0.3))
#: Rates per class that the fairness criteria are made of.
RATES = ("true_positive_rate", "false_positive_rate", "called_rate")
#: How much photographs of one patient have in common (correlation), in what is hard about them.
ALIKE = 0.5
#: Parts in which the truth is found; each is small enough for the areas under the curve.
PARTS, PART = 150, 600
#: Images from which skill and noise are found for given shares.
IMAGES = 200_000


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
    marked:
        Share of patients who have the class that must not be missed, beside those who have it
        because all classes are alike.
    """

    images: int
    accuracy: float
    turnover: float
    photographs: int = 1
    marked: float = 0.0


@dataclass(frozen=True)
class Truth:
    """The figures of an endless group.

    Attributes
    ----------
    figures:
        Per ("level", title of a measure) of the first model; per ("change", title) of the second
        less the first.
    rates:
        Per name in `RATES`, of the first model. Shapes: (C,).
    """

    figures: dict[tuple[str, str], float]
    rates: dict[str, np.ndarray]


def class_names(classes: int) -> tuple[str, ...]:
    """Names of that many classes, `MARKED` first."""
    return tuple(f"class {index}" for index in range(classes))


def simulate(
    groups: Sequence[Design], classes: int, rng: np.random.Generator, *, models: int = 2
) -> Predictions:
    """Random images of some groups, and the probabilities of a classifier and of noisier copies of it.

    Returns
    -------
    Predictions
        Models "model 0", "model 1", ...; the column "tone" holds "1", "2", ... in the order of the
        groups. The third model has twice the noise of the second, and so on.
    """
    patients = [_patients(group, rng) for group in groups]
    photographs = np.concatenate(patients)
    who = np.repeat(np.arange(len(photographs)), photographs)
    of_patient = rng.integers(0, classes, len(photographs))
    marked = np.repeat([group.marked for group in groups], [len(sizes) for sizes in patients])
    if marked.any():
        of_patient[rng.random(len(photographs)) < marked] = 0
    labels = of_patient[who]
    own = np.repeat(np.arange(len(groups)), [group.images for group in groups])
    skill, drift = np.array(
        [setting(group.accuracy, group.turnover, classes) for group in groups]
    ).T
    logits = _noise(photographs, classes, rng)
    logits[np.arange(len(labels)), labels] += skill[own]
    outputs = {}
    for model in range(models):
        noise = model * _noise(photographs, classes, rng) if model else 0.0
        odds = np.exp(1.2 * (logits + drift[own, None] * noise))
        outputs[f"model {model}"] = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    names = class_names(classes)
    frame = pd.DataFrame(
        {
            "id": [f"image {index}" for index in range(len(labels))],
            "label": np.array(names)[labels],
            "split": "audit",
            "cluster": [f"patient {index}" for index in who],
            "tone": (own + 1).astype(str),
        }
    )
    return Predictions.build(frame, names, outputs)


def samples(
    table: Predictions, measures: Sequence[Measure], resamples: int, seed: int
) -> list[Sample]:
    """Every model of a table, resampled with the same counts."""
    scores = _scores(table, measures)
    clusters = table.frame["cluster"].to_numpy()
    plan = Bootstrap(scores[0].codes, clusters, resamples=resamples, seed=seed)
    return [Sample.of(one, plan) for one in scores]


def _scores(table: Predictions, measures: Sequence[Measure]) -> list[Scores]:
    """Every model of a table; groups keep their order."""
    groups = table.groups("tone", "values")
    grouping = Grouping.build(groups, len(table), list(dict.fromkeys(groups)))
    return [Scores(table, model, grouping, measures) for model in table.models]


@lru_cache
def setting(accuracy: float, turnover: float, classes: int) -> tuple[float, float]:
    """How far the right class stands out, and how much noise the second model adds, for these shares."""
    rng = np.random.default_rng(1)
    base, noise = rng.normal(size=(2, IMAGES, classes))
    labels = rng.integers(0, classes, len(base))
    right = np.eye(classes)[labels]
    skill = _solved(
        lambda value: float(((base + value * right).argmax(axis=1) == labels).mean()), accuracy
    )
    first = base + skill * right
    answer = first.argmax(axis=1)
    drift = _solved(
        lambda value: float(((first + value * noise).argmax(axis=1) != answer).mean()), turnover
    )
    return skill, drift


def truth(group: Design, classes: int) -> Truth:
    """The figures of an endless group, from many large samples of `MEASURES`.

    Neither the size of the group nor photographs of one patient change them, and groups that are
    otherwise alike have the very same ones.
    """
    return _truth(replace(group, images=PART, photographs=1), classes)


@lru_cache
def _truth(group: Design, classes: int) -> Truth:
    rng = np.random.default_rng(2)
    once = np.ones((1, PART))
    parts = [
        [one.evaluate(once) for one in _scores(simulate([group], classes, rng), MEASURES)]
        for _ in range(PARTS)
    ]
    values = [np.mean([part[k].values[0, :, 1] for part in parts], axis=0) for k in (0, 1)]
    for k, value in enumerate(values):
        # Bins are averaged before their sizes are taken: the error itself is biased upwards.
        bins = np.mean([part[k].miscalibration[0, 1] for part in parts], axis=0)
        value[[measure.metric for measure in MEASURES].index("ece")] = np.abs(bins).sum()
    figures = {}
    for index, measure in enumerate(MEASURES):
        figures["level", measure.title] = float(values[0][index])
        figures["change", measure.title] = float(values[1][index] - values[0][index])
    rates = {
        name: np.mean([getattr(part[0], name)[0, 1] for part in parts], axis=0) for name in RATES
    }
    return Truth(figures, rates)


def true_criteria(sample: Sample, truths: Sequence[Truth]) -> dict[str, float]:
    """The fairness criteria of endless groups, over the cells and classes that this sample can say something about."""
    there = sample.scores.supports[1:] > 0
    usable = there.sum(axis=0) >= 2
    recall, alarms, called = (
        np.stack([one.rates[name] for one in truths])
        for name in ("true_positive_rate", "false_positive_rate", "called_rate")
    )
    seen = np.where(there, recall, np.nan)[:, usable]
    opportunity = (np.nanmax(seen, axis=0) - np.nanmin(seen, axis=0)).mean()
    return {
        EQUAL_OPPORTUNITY: float(opportunity),
        EQUALISED_ODDS: float((opportunity + np.ptp(alarms[:, usable], axis=0).mean()) / 2),
        DEMOGRAPHIC_PARITY: float(np.ptp(called[:, 0])),
    }


def outcomes(n: int, p_lost: float, p_gained: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every number of images lost and gained out of n that is at all likely, and its probability."""
    lost, gained = (side.ravel() for side in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    possible = lost + gained <= n
    lost, gained = lost[possible], gained[possible]
    counts = np.column_stack([lost, gained, n - lost - gained])
    weight = multinomial(n, [p_lost, p_gained, 1 - p_lost - p_gained]).pmf(counts)
    likely = weight > 1e-9
    return lost[likely], gained[likely], weight[likely]


def _solved(rising: Callable[[float], float], target: float) -> float:
    low, high = 0.0, 16.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2


def _patients(group: Design, rng: np.random.Generator) -> np.ndarray:
    """Photographs of every patient of one group."""
    sizes: list[int] = []
    while (left := group.images - sum(sizes)) > 0:
        sizes.append(min(left, int(rng.integers(1, 2 * group.photographs))))
    return np.array(sizes)


def _noise(photographs: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Normal numbers, alike within patients. Shapes: (N, C)."""
    shape = (int(photographs.sum()), classes)
    if (photographs == 1).all():
        return rng.normal(size=shape)
    shared = np.repeat(rng.normal(size=(len(photographs), classes)), photographs, axis=0)
    return np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * rng.normal(size=shape)
