"""Joining groups: against the definitions written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fairquant_core.errors import EvaluationError
from fairquant_core.sensitivity.reducers import BEST_SERVED_SHARE, REDUCERS, reduce_groups
from tests.core.sensitivity.made_up_maps import made_up_map

WEIGHTS = np.array([9, 9, 90])
DAMAGE = np.array(
    [
        [[4.0, 1.0], [8.0, 2.0], [0.0, 0.0]],
        [[6.0, 2.0], [2.0, 0.5], [16.0, 4.0]],
        [[1.0, 0.5], [1.0, 0.5], [8.0, 3.0]],
    ]
)
TOTALS = DAMAGE[:, :, 0].sum(axis=1)


def joined(how: str, damage: np.ndarray = DAMAGE, **more: float) -> list[float]:
    totals = damage[:, :, 0].sum(axis=1)
    return reduce_groups(how, damage, WEIGHTS, totals, **more)[:, 0].tolist()


def test_mean_and_max() -> None:
    assert joined("mean") == pytest.approx([11 / 3, 11 / 3, 8])
    assert joined("max") == [6.0, 8.0, 16.0]


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.01, [6, 8, 16]), (1 / 3, [6, 8, 16]), (0.5, [5, 5, 12]), (1.0, [11 / 3, 11 / 3, 8])],
)
def test_worst_k_is_the_mean_of_the_tail(alpha: float, expected: list[float]) -> None:
    assert joined("worst_k", alpha=alpha) == pytest.approx(expected)


def test_balanced_is_the_largest_share() -> None:
    shares = DAMAGE / TOTALS[:, None, None]
    np.testing.assert_allclose(
        joined("balanced"), shares.max(axis=0)[:, 0] * TOTALS.mean(), rtol=1e-12
    )
    louder = DAMAGE * np.array([1.0, 100.0, 1.0])[:, None, None]
    order = np.argsort(joined("balanced")), np.argsort(joined("balanced", louder))
    np.testing.assert_array_equal(*order)


def test_balanced_stands_a_group_without_damage() -> None:
    silent = DAMAGE * np.array([1.0, 0.0, 1.0])[:, None, None]
    assert np.isfinite(joined("balanced", silent)).all()


def test_subtractive_ranks_by_the_difference_per_weight() -> None:
    worst, best = DAMAGE[1, :, 0], DAMAGE[2, :, 0]
    difference = (worst - BEST_SERVED_SHARE * best) / WEIGHTS
    found = np.array(joined("subtractive")) / WEIGHTS
    np.testing.assert_allclose(found, difference - difference.min(), atol=1e-12)
    assert found.min() == 0


def test_subtractive_of_equal_groups_keeps_the_order_of_either() -> None:
    same = DAMAGE[[0, 0]]
    per_weight = np.array(joined("subtractive", same)) / WEIGHTS
    np.testing.assert_array_equal(np.argsort(per_weight), np.argsort(same[0, :, 0] / WEIGHTS))


@pytest.mark.parametrize("how", sorted(REDUCERS))
def test_reduced_maps_are_maps_and_keep_the_scale_of_nothing_negative(how: str) -> None:
    source = made_up_map(60, 3)
    found = source.reduced(how)
    assert found.damage.shape == (1, 60, 7)
    assert (found.damage >= 0).all() and found.damage.max() > 0


def test_bad_requests() -> None:
    with pytest.raises(EvaluationError, match="no way 'median' to join groups.*worst_k"):
        joined("median")
    for alpha in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(EvaluationError, match="above 0 and at most 1"):
            joined("worst_k", alpha=alpha)
    with pytest.raises(EvaluationError, match="only one"):
        joined("subtractive", DAMAGE[:1])
