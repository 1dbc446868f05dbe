"""Spending bits greedily for the group that is worst: a method of its own, and the end of others."""

from __future__ import annotations

import numpy as np

from fairquant_core.allocation.problem import Problem

BATCH_SHARE = 0.05
"""Share of the bits that are left that one step may spend on many units at once; one unit at least.
Singly, 26,000 units would take 150,000 steps."""

SINGLY_BELOW = 0.001
"""Share of the budget that is spent unit by unit: here the single best fit matters."""


def greedy_choice(problem: Problem) -> np.ndarray:
    """From the smallest widths up: widen where the worst group gains most per bit.

    Shapes: (U,) columns.
    """
    return spend_rest(problem, problem.lowest)


def spend_rest(problem: Problem, choice: np.ndarray) -> np.ndarray:
    """Spend the bits that are left where they help the group that is worst at the moment.

    Where nothing affordable helps the worst group, the next group is served, and so on, so that no
    bit that helps anybody is wasted; since damage is monotone in bits, nobody is ever worse off.
    Large rests are spent by gain per bit and in batches, the end by gain and singly.
    """
    choice = choice.copy()
    unit_index = np.arange(problem.units)
    while (rest := problem.limit - problem.bits_used(choice)) > 0:
        extra = problem.bits - problem.bits[choice, unit_index]
        affordable = problem.allowed & (extra > 0) & (extra <= rest)
        gain = _gain_of_the_worst_helped(problem, choice, affordable)
        if gain is None:
            break
        batch = rest > SINGLY_BELOW * problem.limit
        merit = (
            np.divide(gain, extra, out=np.zeros(gain.shape), where=affordable) if batch else gain
        )
        column = merit.argmax(axis=0)
        best = merit[column, unit_index]
        taken = np.array([best.argmax()])
        if batch:
            order = np.argsort(-best, kind="stable")
            order = order[best[order] > 0]
            spent = np.cumsum(extra[column[order], order])
            taken = order[: max(1, int(np.searchsorted(spent, rest * BATCH_SHARE)))]
        choice[taken] = column[taken]
    return choice


def _gain_of_the_worst_helped(
    problem: Problem, choice: np.ndarray, affordable: np.ndarray
) -> np.ndarray | None:
    """(B, U) gain of the worst group that any affordable widening helps, 0 elsewhere; or None."""
    unit_index = np.arange(problem.units)
    for group in np.argsort(-problem.losses(choice)):
        cost = problem.cost[group]
        gain = np.where(affordable, cost[choice, unit_index] - cost, 0.0)
        if gain.max() > 0:
            return gain
    return None
