"""Joining the groups of a sensitivity map into one, as published methods do. Needs no torch.

The plans of our own methods see every group and need none of these; they serve the methods we compare with
and the order in which the sensitivity page lists layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fairquant_core.errors import EvaluationError

UNKNOWN_REDUCER = "There is no way '{name}' to join groups. Choose one of: {known}."
BAD_SHARE = "The share of groups that count must be above 0 and at most 1, not {alpha:g}."
ONE_GROUP = "Joining by difference compares two groups, and the map has only one. Choose another way to join."

BEST_SERVED_SHARE = 5 / 9
"""FairQuantize (MICCAI 2024) weighs the worse-served group with 9 and the better-served one with -5."""

HALF = 0.5


@dataclass(frozen=True)
class Stack:
    """What a reducer sees.

    Shapes: ``damage`` (G, U, B) float64, ``weights`` (U,), ``totals`` (G,): the damage of the whole network at its
    narrowest width that is not pruning.
    """

    damage: np.ndarray
    weights: np.ndarray
    totals: np.ndarray
    alpha: float = HALF


@dataclass(frozen=True)
class Reducer:
    """A way to join groups: its name, a title in plain words, and the function (Stack -> (U, B))."""

    name: str
    title: str
    join: Callable[[Stack], np.ndarray]


def _mean(stack: Stack) -> np.ndarray:
    return stack.damage.mean(axis=0)


def _max(stack: Stack) -> np.ndarray:
    return stack.damage.max(axis=0)


def _worst_k(stack: Stack) -> np.ndarray:
    """Mean of the k largest, ``k = ceil(alpha G)``: the tail mean (CVaR) over groups.

    **Deviation** from the public FairQuant code, where alpha = 0.1 keeps ``ceil(0.9 G)`` groups, which is
    the plain mean for up to nine groups; here alpha is the share of groups that count.
    """
    count = math.ceil(stack.alpha * len(stack.damage))
    return np.sort(stack.damage, axis=0)[-count:].mean(axis=0)


def _balanced(stack: Stack) -> np.ndarray:
    """Every group is scaled to the same total, then the largest counts.

    Source: the public FairQuant code divides each group's importance by its share of the total and takes the
    maximum; there per weight, here per unit. A group without any damage stays at 0.
    """
    factor = np.divide(
        stack.totals.mean(), stack.totals, out=np.ones(len(stack.totals)), where=stack.totals > 0
    )
    return (stack.damage * factor[:, None, None]).max(axis=0)


def _subtractive(stack: Stack) -> np.ndarray:
    """The worst-served group less 5/9 of the best-served one, per weight, lifted so that the smallest is 0.

    Worst and best served are the groups with the largest and the smallest total damage; with more than two
    groups, those between do not count. The difference per weight can be negative (of use to the best-served
    group only); at each width all are raised by the same amount, which keeps their order.

    Source: FairQuantize (MICCAI 2024), which ranks by ``9 h_worst - 5 h_best``. **Deviation**: it names the two
    groups beforehand, by accuracy, and ranks within a layer.
    """
    if len(stack.totals) < 2:
        raise EvaluationError(ONE_GROUP)
    worst, best = int(stack.totals.argmax()), int(stack.totals.argmin())
    if worst == best:
        # Equal totals: the first and the last group, so that there is a difference at all.
        worst, best = 0, len(stack.totals) - 1
    weights = stack.weights[:, None]
    per_weight = (stack.damage[worst] - BEST_SERVED_SHARE * stack.damage[best]) / weights
    return (per_weight - per_weight.min(axis=0)) * weights


REDUCERS: dict[str, Reducer] = {
    reducer.name: reducer
    for reducer in (
        Reducer("max", "the group that needs it most", _max),
        Reducer("worst_k", "the worse-off half of the groups", _worst_k),
        Reducer("mean", "all groups alike", _mean),
        Reducer("balanced", "the group that needs it most, each at the same total", _balanced),
        Reducer("subtractive", "the worst-served less the best-served group", _subtractive),
    )
}


def reduce_groups(
    how: str, damage: np.ndarray, weights: np.ndarray, totals: np.ndarray, alpha: float = HALF
) -> np.ndarray:
    """Join the groups of a damage array into one.

    Parameters
    ----------
    how : a key of :data:`REDUCERS`.
    totals : damage of the whole network per group, for the reducers that compare groups.
    alpha : share of the groups that count, for ``"worst_k"``.

    Shapes: ``damage`` (G, U, B), ``weights`` (U,), ``totals`` (G,) -> (U, B).

    Raises
    ------
    EvaluationError
        Unknown name, alpha outside (0, 1], or "subtractive" with a single group.

    Examples
    --------
    >>> damage = np.array([[[4.0], [1.0]], [[2.0], [3.0]]])
    >>> reduce_groups("max", damage, np.ones(2), damage.sum(axis=(1, 2))).ravel().tolist()
    [4.0, 3.0]
    """
    if how not in REDUCERS:
        raise EvaluationError(UNKNOWN_REDUCER.format(name=how, known=", ".join(REDUCERS)))
    if not 0 < alpha <= 1:
        raise EvaluationError(BAD_SHARE.format(alpha=alpha))
    stack = Stack(np.asarray(damage, dtype=np.float64), weights, totals, alpha)
    return REDUCERS[how].join(stack)
