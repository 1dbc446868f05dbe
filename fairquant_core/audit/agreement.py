"""How far two annotators agree on the skin tone of the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fairquant_core.audit.bootstrap import RESAMPLES, Bootstrap, widened
from fairquant_core.audit.grouping import UNKNOWN
from fairquant_core.audit.intervals import design_effect, wilson
from fairquant_core.errors import EvaluationError

#: Cost of a disagreement by the number of steps between the two categories.
WEIGHTS = {"none": 0, "linear": 1, "quadratic": 2}

NOBODY_TWICE = "no image has a known group from both annotators"
NO_CHOICE = "both annotators give every image the same group, so chance explains any agreement"
DIFFERENT_LENGTHS = (
    "the two columns have {first} and {second} values; compare columns of one predictions table"
)


def agreement(
    first: pd.Series,
    second: pd.Series,
    order: Sequence[str],
    *,
    clusters: np.ndarray | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict:
    """Raw agreement and Cohen's kappa, on the images that both annotators placed.

    Parameters
    ----------
    first, second:
        Groups of the same images by two annotators; "unknown" is left out.
    order:
        Categories in their natural order, which the weights count steps along.
    clusters:
        Patient or duplicate group of every image.

    Returns
    -------
    dict
        "n" (images that both placed), "exact" and "within_one_step" (share with Wilson interval),
        "kappa", "kappa_linear", "kappa_quadratic" (bootstrap interval): each a dict with value, low,
        high, estimable, reason; "table": counts, rows = first annotator, columns = second;
        "categories".

    Raises
    ------
    EvaluationError
        The columns differ in length or hold a category that is not in `order`.

    Source
    ------
    Cohen 1960 (kappa) and 1968 (weighted kappa); the weighted form with linear or quadratic costs
    equals scikit-learn's `cohen_kappa_score`.

    Examples
    --------
    >>> one = pd.Series(["a", "a", "b", "b", "b", "c"])
    >>> other = pd.Series(["a", "b", "b", "b", "c", "c"])
    >>> round(agreement(one, other, "abc", resamples=200)["kappa"]["value"], 3)
    0.478
    """
    if len(first) != len(second):
        raise EvaluationError(DIFFERENT_LENGTHS.format(first=len(first), second=len(second)))
    names = [name for name in order if name != UNKNOWN]
    one, two = (np.asarray(column.astype(str), dtype=object) for column in (first, second))
    strange = sorted({*one, *two} - {*names, UNKNOWN})
    if strange:
        raise EvaluationError(f"{', '.join(strange)} is no category; they are {', '.join(names)}")
    both = (one != UNKNOWN) & (two != UNKNOWN)
    position = {name: index for index, name in enumerate(names)}
    rows = np.array([position[name] for name in one[both]], dtype=np.int64)
    columns = np.array([position[name] for name in two[both]], dtype=np.int64)
    own = np.arange(len(both))[both] if clusters is None else np.asarray(clusters)[both]
    k = len(names)
    cells = np.bincount(rows * k + columns, minlength=k * k)
    steps = np.abs(rows - columns)
    found: dict = {
        "n": int(both.sum()),
        "categories": names,
        "table": cells.reshape(k, k).tolist(),
        "exact": _share(steps == 0, own, level),
        "within_one_step": _share(steps <= 1, own, level),
    }
    plan = Bootstrap(np.zeros(len(rows)), own, resamples=resamples, seed=seed)
    member = np.eye(k * k, dtype=np.float32)[rows * k + columns]
    drawn = plan.statistics(lambda counts: (counts @ member).astype(np.float64))
    for name, power in WEIGHTS.items():
        cost = _costs(k, power)
        value = _kappa(cells[None].astype(float), cost)
        low, high = widened(value, _kappa(drawn, cost)[:, None], np.array([plan.clusters]), level)
        if value[0] == 1:
            # No resample can disagree; as many as the share allows may differ by one step.
            doubt = 1 - found["exact"]["low"]
            low = 1 - doubt / _expected(cells[None].astype(float), cost) * len(rows)
        key = "kappa" if name == "none" else f"kappa_{name}"
        reason = "" if not np.isnan(value[0]) else NO_CHOICE if len(rows) else NOBODY_TWICE
        found[key] = _estimate(value[0], max(low[0], -1.0), min(high[0], 1.0), reason)
    return found


def _costs(k: int, power: int) -> np.ndarray:
    """Shapes: (k * k,)."""
    steps = np.abs(np.subtract.outer(np.arange(k), np.arange(k))).ravel().astype(float)
    return (steps > 0).astype(float) if power == 0 else steps**power


def _kappa(cells: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """1 - observed cost / cost expected by chance; NaN without a choice. Shapes: (r, k*k) -> (r,)."""
    expected, observed = _expected(cells, cost), cells @ cost
    ratio = np.divide(observed, expected, out=np.full(len(cells), np.nan), where=expected > 0)
    return 1 - ratio


def _expected(cells: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Total cost if the annotators were independent. Shapes: (r, k*k) -> (r,)."""
    k = round(np.sqrt(cells.shape[1]))
    table = cells.reshape(-1, k, k)
    chance = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :]
    return (chance.reshape(len(cells), -1) @ cost) / np.maximum(table.sum(axis=(1, 2)), 1)


def _share(hits: np.ndarray, clusters: np.ndarray, level: float) -> dict:
    effect = design_effect(hits, clusters)
    low, high = wilson(hits.sum() / effect, len(hits) / effect, level)
    value = float(hits.mean()) if len(hits) else np.nan
    return _estimate(value, float(low), float(high), "" if len(hits) else NOBODY_TWICE)


def _estimate(value: float, low: float, high: float, reason: str) -> dict:
    estimable = not np.isnan(value)
    return {
        "value": float(value),
        "low": float(low) if estimable else np.nan,
        "high": float(high) if estimable else np.nan,
        "estimable": estimable,
        "reason": reason,
    }
