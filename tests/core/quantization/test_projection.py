"""Whole widths from learned ones: never above the budget, and as near as a common shift allows."""

from __future__ import annotations

import numpy as np
import pytest

from fairquant_core.errors import BudgetError
from fairquant_core.quantization.projection import project

MENU = (2, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize("budget", [2.0, 2.5, 3.0, 4.0, 6.3, 8.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_budget_is_met_exactly(budget: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    bits, weights = generator.uniform(2, 8, 2000), generator.integers(1, 500, 2000)
    widths = project(bits, weights, budget, MENU)
    average = (widths * weights).sum() / weights.sum()
    assert average <= budget + 1e-9
    assert average > budget - 0.02
    assert set(widths) <= set(MENU)


def test_whole_widths_within_the_budget_stay() -> None:
    bits = np.array([2.0, 4.0, 8.0, 2.0])
    assert project(bits, np.ones(4, int), 4.0, MENU).tolist() == [2, 4, 8, 2]


def test_larger_learned_bits_never_end_below_smaller_ones() -> None:
    bits = np.sort(np.random.default_rng(3).uniform(2, 8, 300))
    widths = project(bits, np.full(300, 7), 3.7, MENU)
    assert (np.diff(widths) >= 0).all()


def test_budget_below_the_menu_is_named() -> None:
    with pytest.raises(BudgetError, match="below the smallest width of the menu, 4 bits"):
        project(np.array([4.0]), np.array([10]), 3.0, (4, 8))
