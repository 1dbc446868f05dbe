"""Agreement of two annotators against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from fairquant_core.audit.agreement import agreement
from fairquant_core.errors import EvaluationError

ORDER = ("one", "two", "three", "four")


def two_annotators(images: int = 200, seed: int = 0) -> tuple[pd.Series, pd.Series]:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 4, images)
    second = np.clip(first + rng.choice([-1, 0, 0, 0, 1, 2], images), 0, 3)
    names = np.array(ORDER)
    return pd.Series(names[first]), pd.Series(names[second])


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(seed: int) -> None:
    first, second = two_annotators(seed=seed)
    found = agreement(first, second, ORDER, resamples=200)
    for key, weights in (
        ("kappa", None),
        ("kappa_linear", "linear"),
        ("kappa_quadratic", "quadratic"),
    ):
        expected = cohen_kappa_score(first, second, labels=list(ORDER), weights=weights)
        assert found[key]["value"] == pytest.approx(expected, abs=1e-9)
        assert found[key]["low"] < expected < found[key]["high"]
    same = int((first == second).sum())
    expected = binomtest(same, len(first)).proportion_ci(method="wilson")
    exact = found["exact"]
    assert exact["value"] == pytest.approx(same / len(first), abs=1e-9)
    assert (exact["low"], exact["high"]) == pytest.approx(expected, abs=1e-9)
    assert found["within_one_step"]["value"] > exact["value"]
    assert np.array(found["table"]).sum() == found["n"] == 200


def test_interval_of_kappa_covers() -> None:
    truth = cohen_kappa_score(*two_annotators(200_000, seed=99))
    covered = 0
    for seed in range(100):
        kappa = agreement(*two_annotators(120, seed=seed), ORDER, resamples=300)["kappa"]
        covered += kappa["low"] <= truth <= kappa["high"]
    assert 89 <= covered <= 99


def test_only_images_that_both_placed_count() -> None:
    first = pd.Series(["one", "two", "unknown", "one"])
    second = pd.Series(["one", "unknown", "two", "two"])
    found = agreement(first, second, ORDER, resamples=50)
    assert found["n"] == 2 and found["exact"]["value"] == 0.5


def test_nothing_to_compare_is_said() -> None:
    unknown = pd.Series(["unknown"] * 3)
    found = agreement(unknown, unknown, ORDER, resamples=50)
    assert not found["kappa"]["estimable"] and "no image" in found["kappa"]["reason"]
    assert not found["exact"]["estimable"] and np.isnan(found["exact"]["value"])
    same = pd.Series(["one"] * 5)
    found = agreement(same, same, ORDER, resamples=50)
    assert found["exact"]["value"] == 1.0
    assert not found["kappa"]["estimable"] and "chance" in found["kappa"]["reason"]


def test_full_agreement_keeps_doubt() -> None:
    first = pd.Series(["one", "two"] * 10)
    kappa = agreement(first, first, ORDER, resamples=50)["kappa"]
    assert kappa["value"] == kappa["high"] == 1 and 0.5 < kappa["low"] < 0.8


def test_clusters_widen_the_interval() -> None:
    first, second = two_annotators(60)
    copies = [pd.concat([column] * 4, ignore_index=True) for column in (first, second)]
    widths = []
    for clusters in (np.tile(np.arange(60), 4), None):
        kappa = agreement(*copies, ORDER, clusters=clusters, resamples=400)["kappa"]
        widths.append(kappa["high"] - kappa["low"])
    assert widths[0] > 1.6 * widths[1]


def test_bad_columns_are_refused() -> None:
    first, second = two_annotators(5)
    with pytest.raises(EvaluationError, match="5 and 4 values"):
        agreement(first, second[:4], ORDER)
    with pytest.raises(EvaluationError, match="seven is no category"):
        agreement(first, pd.Series(["seven"] * 5), ORDER)
