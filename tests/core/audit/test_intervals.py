"""The paired score interval against its definition, a published example and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm

from fairquant_core.audit.intervals import design_effect, paired_score_interval


def test_published_example() -> None:
    """Bentur et al. 2009 as worked in Fagerland, Lydersen & Laake 2014: -0.517 to -0.026."""
    low, high = paired_score_interval(7, 1, 21)
    assert (round(float(low), 3), round(float(high), 3)) == (-0.517, -0.026)


@pytest.mark.parametrize(("lost", "gained", "n"), [(7, 1, 21), (0, 3, 30), (12, 9, 127)])
def test_bounds_solve_the_score_equation(lost: int, gained: int, n: int) -> None:
    """At a bound the statistic is +-1.96, with the constrained likelihood maximised numerically."""
    for bound, target in zip(paired_score_interval(lost, gained, n), (1.96, -1.96), strict=True):
        delta = float(bound)

        def unlikely(q: float, delta: float = delta) -> float:
            cells = np.array([q, q + delta, 1 - 2 * q - delta])
            seen = np.array([lost, gained, n - lost - gained])
            return -float((seen * np.log(np.maximum(cells, 1e-300))).sum())

        span = (max(0.0, -delta), (1 - delta) / 2)
        q = minimize_scalar(unlikely, bounds=span, method="bounded", options={"xatol": 1e-12}).x
        score = (gained - lost - n * delta) / np.sqrt(n * (2 * q + delta - delta**2))
        assert score == pytest.approx(target, abs=2e-3)


@pytest.mark.parametrize("n", [1, 20, 500])
def test_without_any_change_the_interval_has_width(n: int) -> None:
    low, high = paired_score_interval(0, 0, n)
    z2 = norm.ppf(0.975) ** 2
    assert (low, high) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), abs=1e-9)


def test_extremes_and_empty() -> None:
    assert paired_score_interval(5, 0, 5)[0] == pytest.approx(-1)
    assert paired_score_interval(0, 5, 5)[1] == pytest.approx(1)
    assert np.isnan(paired_score_interval(0, 0, 0)).all()


@pytest.mark.parametrize("n", [30, 60, 150])
@pytest.mark.parametrize(("p_lost", "p_gained"), [(0.02, 0.02), (0.08, 0.03), (0.15, 0.05)])
def test_coverage_by_enumeration(n: int, p_lost: float, p_gained: float) -> None:
    """Exact coverage: sum of the probabilities of all outcomes whose interval holds the truth."""
    lost, gained = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = lost + gained <= n
    lost, gained = lost[possible], gained[possible]
    chance = binom.pmf(lost, n, p_lost) * binom.pmf(gained, n - lost, p_gained / (1 - p_lost))
    likely = chance > 1e-9
    low, high = paired_score_interval(lost[likely], gained[likely], n)
    truth = p_gained - p_lost
    coverage = chance[likely][(low <= truth) & (truth <= high)].sum()
    # With fewer than about five changed images, outcomes are too coarse for 95%: cautious instead.
    assert 0.93 <= coverage <= (0.97 if n * (p_lost + p_gained) >= 5 else 1)


def test_design_effect_of_twins_is_two() -> None:
    rng = np.random.default_rng(0)
    once = (rng.random(400) < 0.5).astype(int)
    twins, clusters = np.repeat(once, 2), np.repeat(np.arange(400), 2)
    assert design_effect(twins, clusters) == pytest.approx(2, rel=0.01)
    assert design_effect(twins, np.arange(800)) == 1.0


def test_design_effect_without_any_change_is_the_cautious_one() -> None:
    clusters = np.repeat(np.arange(10), 3)
    assert design_effect(np.zeros(30), clusters) == 3.0
    assert design_effect(np.zeros(0), np.zeros(0)) == 1.0
