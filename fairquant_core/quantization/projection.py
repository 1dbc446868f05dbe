"""From learned, fractional widths to whole ones that meet the budget exactly, never above it."""

from __future__ import annotations

import numpy as np

from fairquant_core.errors import BudgetError

_HALVINGS = 60


def project(
    bits: np.ndarray, weights: np.ndarray, budget: float, menus: np.ndarray | tuple[int, ...]
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
    menus
        The widths that every unit may have, rising; or one menu for all. Short menus are filled up with their
        last width. Shapes: (U, widths) or (widths,).

    Raises
    ------
    BudgetError
        If even the smallest widths are above the budget.

    >>> project(np.array([3.6, 3.6, 2.2]), np.array([1, 1, 1]), 3.0, (2, 3, 4))
    array([4, 3, 2])
    """
    menus = np.broadcast_to(np.atleast_2d(np.asarray(menus)), (len(bits), np.shape(menus)[-1]))
    allowed = budget * weights.sum() + 1e-6
    smallest = float((menus[:, 0] * weights).sum())
    if smallest > allowed:
        raise BudgetError(
            f"A budget of {budget:g} bits is below the smallest width of the menu, "
            f"{smallest / weights.sum():.4g} bits on average."
        )
    units = np.arange(len(bits))

    def places(shift: float) -> np.ndarray:
        return np.abs((bits - shift)[:, None] - menus).argmin(axis=1)

    def fits(shift: float) -> bool:
        return (menus[units, places(shift)] * weights).sum() <= allowed

    low, high = 0.0, float((bits - menus[:, 0]).max()) + 1.0
    if fits(low):
        low, high = -float((menus[:, -1] - bits).max()) - 1.0, low
        if fits(low):
            return menus[units, places(low)]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    place = places(high)
    chosen = menus[units, place]
    left = allowed - (chosen * weights).sum()
    following = menus[units, np.minimum(place + 1, menus.shape[1] - 1)]
    wish = bits - high - (chosen + following) / 2
    for unit in np.argsort(-wish, kind="stable"):
        extra = (following[unit] - chosen[unit]) * weights[unit]
        if 0 < extra <= left:
            chosen[unit] = following[unit]
            left -= extra
    return chosen
