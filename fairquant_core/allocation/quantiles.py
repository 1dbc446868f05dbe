"""The published allocation, to compare with: a split by importance quantiles."""

from __future__ import annotations

import numpy as np

from fairquant_core.allocation.problem import Problem
from fairquant_core.errors import BudgetError

PAPER_WIDTHS = (2, 4, 8)
PAPER_SHARES = (0.2, 0.4, 0.4)
"""FairQuant (arXiv 2602.23192): a fifth at 2 bits, two fifths at 4, the most important two at 8."""


def quantile_choice(problem: Problem) -> np.ndarray:
    """Split the units, sorted by importance, into 2, 4 and 8 bits.

    Importance is the mean over groups of the damage per weight at 2 bits. Floors and
    pins lift a unit to the next width that they allow.

    Shapes: (U,) columns.

    Raises
    ------
    BudgetError
        The menu lacks one of the three widths.

    Source: FairQuant, static split ("2/4/8 at .2/.4/.4"). Deviations: shares are of weights, not of
    units, because the budget is; and the shares are moved towards all-2 or all-8 until the budget
    is met (at 5.2 bits they are the paper's).
    """
    absent = [bits for bits in PAPER_WIDTHS if bits not in problem.menu]
    if absent:
        raise BudgetError(
            f"The quantile split needs the widths 2, 4 and 8; the menu lacks {absent}."
        )
    weights = problem.bits[-1] // problem.menu[-1]
    lowest = np.searchsorted(problem.menu, PAPER_WIDTHS[0])
    importance = problem.cost[:, lowest].mean(axis=0) / weights
    order = np.argsort(importance, kind="stable")
    position = np.empty(problem.units)
    # A unit stands at the middle of its own weights.
    position[order] = (np.cumsum(weights[order]) - 0.5 * weights[order]) / weights.sum()

    low, high = 0.0, 2.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        if problem.bits_used(_split(problem, position, middle)) <= problem.limit:
            low = middle
        else:
            high = middle
    top = _split(problem, position, 2.0)
    if problem.bits_used(top) <= problem.limit:
        return top
    return _split(problem, position, low)


def _split(problem: Problem, position: np.ndarray, height: float) -> np.ndarray:
    """Columns at ``height``: 0 = all at 2 bits, 1 = the paper's shares, 2 = all at 8 bits."""
    low, middle, high = np.searchsorted(problem.menu, PAPER_WIDTHS)
    # Shares of the weights above 2 bits, and at 8 bits.
    above_low = np.interp(height, [0, 1, 2], [0, 1 - PAPER_SHARES[0], 1])
    at_high = np.interp(height, [0, 1, 2], [0, PAPER_SHARES[2], 1])
    wanted = np.full(problem.units, low)
    wanted[position > 1 - above_low] = middle
    wanted[position > 1 - at_high] = high
    return _next_allowed(problem, wanted)


def _next_allowed(problem: Problem, wanted: np.ndarray) -> np.ndarray:
    """The smallest allowed column at or above the wanted one, else the largest allowed."""
    columns = np.arange(len(problem.menu))[:, None]
    at_or_above = problem.allowed & (columns >= wanted)
    return np.where(at_or_above.any(axis=0), at_or_above.argmax(axis=0), problem.highest)
