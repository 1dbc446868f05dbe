"""Areas under the curve against scikit-learn, with weights and ties."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fairquant_core.audit import auroc as module
from fairquant_core.audit.auroc import area, class_areas
from fairquant_core.audit.intervals import area_interval


def case(images: int = 90, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, classes, images)
    scores = np.round(rng.random((images, classes)) + 0.3 * np.eye(classes)[labels], 1)
    weights = rng.integers(0, 4, (3, images)).astype(np.float32)
    return scores, labels, weights


def test_equals_scikit_learn_with_weights_and_ties() -> None:
    scores, labels, weights = case()
    found = class_areas(scores, labels, weights)
    for row, weight in enumerate(weights):
        for code in range(scores.shape[1]):
            expected = roc_auc_score(labels == code, scores[:, code], sample_weight=weight)
            assert found[row, code] == pytest.approx(expected, abs=1e-9)
            alone = area(scores[:, code], labels == code, weights)
            assert alone[row] == pytest.approx(expected, abs=1e-9)


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels, weights = case()
    whole, single = class_areas(scores, labels, weights), area(scores[:, 0], labels == 0, weights)
    monkeypatch.setattr(module, "_PAIRS", 7 * len(labels))
    assert np.array_equal(class_areas(scores, labels, weights), whole)
    assert np.array_equal(area(scores[:, 0], labels == 0, weights), single)


def test_one_class_only_is_not_estimable() -> None:
    scores, labels, weights = case()
    one = labels == 1
    assert np.isnan(class_areas(scores[one], labels[one], weights[:, one])).all()
    for side in (True, False):
        assert np.isnan(area(scores[:, 0], np.full(len(scores), side), weights)).all()
    assert np.isnan(class_areas(scores[:0], labels[:0], np.ones((2, 0)))).all()


def test_constant_scores_are_a_coin() -> None:
    scores = np.full((20, 2), 0.5)
    assert class_areas(scores, np.arange(20) % 2, np.ones((1, 20))) == pytest.approx(0.5)


@pytest.mark.parametrize("found", [0.5, 0.83, 0.99], ids=str)
def test_score_interval_solves_its_equation(found: float) -> None:
    positives, negatives = 25, 60
    for bound in area_interval(found, positives, negatives):
        others = (positives + negatives) / 2 - 1
        factor = 1 + others * ((1 - bound) / (2 - bound) + bound / (1 + bound))
        error = np.sqrt(bound * (1 - bound) * factor / (positives * negatives))
        assert abs(found - bound) == pytest.approx(1.959963984540054 * error, abs=1e-9)


def test_perfect_areas_keep_doubt() -> None:
    low, high = area_interval([1.0, 1.0], [5, 50], [100, 100])
    assert low[0] < 0.85 < 0.95 < low[1] and (high == 1).all()
    assert np.isnan(area_interval(0.5, 0, 10)).all()
