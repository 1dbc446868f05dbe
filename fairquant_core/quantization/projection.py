"""From learned, fractional widths to whole ones that meet the budget exactly, never above it."""

from __future__ import annotations

import numpy as np

from fairquant_core.errors import BudgetError

_HALVINGS = 60


def project(
    bits: np.ndarray, weights: np.ndarray, budget: float, menu: tuple[int, ...]
) -> np.ndarray:
    """Whole widths nearest to the learned ones, at most ``budget`` bits per weight on average.

    All units are shifted by one common amount before rounding, the smallest one that meets the budget: this is
    the Lagrangian solution of the weighted least-squares problem. What is left is then spent on the
    units that were closest to the next width.

    Parameters
    ----------
    bits
        Learned widths. Shapes: (U,). Units: bits.
    weights
        Number of weights of each unit. Shapes: (U,).

    Raises
    ------
    BudgetError
        If even the smallest width of the menu is above the budget.

    >>> project(np.array([3.6, 3.6, 2.2]), np.array([1, 1, 1]), 3.0, (2, 3, 4))
    array([4, 3, 2])
    """
    widths = np.asarray(sorted(menu))
    if widths[0] > budget + 1e-9:
        raise BudgetError(
            f"A budget of {budget:g} bits is below the smallest width of the menu, {widths[0]} bits."
        )
    allowed = budget * weights.sum() + 1e-6

    def rounded(shift: float) -> np.ndarray:
        return widths[np.abs((bits - shift)[:, None] - widths).argmin(axis=1)]

    low, high = 0.0, float(bits.max() - widths[0]) + 1.0
    if (rounded(low) * weights).sum() <= allowed:
        high = low
        low = -float(widths[-1] - bits.min()) - 1.0
        if (rounded(low) * weights).sum() <= allowed:
            return rounded(low)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if (rounded(middle) * weights).sum() <= allowed:
            high = middle
        else:
            low = middle
    chosen = rounded(high)
    left = allowed - (chosen * weights).sum()
    position = np.searchsorted(widths, chosen)
    following = widths[np.minimum(position + 1, len(widths) - 1)]
    wish = bits - high - (chosen + following) / 2
    for unit in np.argsort(-wish, kind="stable"):
        extra = (following[unit] - chosen[unit]) * weights[unit]
        if 0 < extra <= left:
            chosen[unit] = following[unit]
            left -= extra
    return chosen
