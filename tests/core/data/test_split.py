from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from fairquant_core.data.split import BAD_FRACTIONS, SPLITS, connect, split_clusters
from fairquant_core.errors import CohortError


def made_up(seed: int, count: int = 600) -> tuple[np.ndarray, list[str], list[str]]:
    """Clusters of one to eight images, rare classes and rare groups."""
    rng = np.random.default_rng(seed)
    clusters = np.sort(rng.integers(0, count // 2, count))
    shares = rng.dirichlet(np.ones(8))
    labels = [f"class {label}" for label in rng.choice(8, count, p=shares)]
    groups = [f"group {group}" for group in rng.choice(4, count, p=[0.6, 0.3, 0.08, 0.02])]
    return clusters, labels, groups


@pytest.mark.parametrize("seed", range(12))
def test_no_cluster_crosses_splits(seed: int) -> None:
    clusters, labels, groups = made_up(seed)
    split = split_clusters(clusters, labels, groups, seed=seed)
    assert pd.Series(split).groupby(clusters).nunique().max() == 1


@pytest.mark.parametrize("seed", range(6))
def test_shares_hold_for_all_labels_and_groups(seed: int) -> None:
    clusters, labels, groups = made_up(seed, 2000)
    split = split_clusters(clusters, labels, groups, seed=seed)
    for values in ([""] * len(split), labels, groups):
        frame = pd.crosstab(pd.Series(values), pd.Series(split))[list(SPLITS)]
        wanted = frame.sum(axis=1).to_numpy()[:, None] * np.array([0.60, 0.15, 0.25])
        # A cluster of several images cannot be divided, so a few images of difference are allowed.
        assert np.abs(frame.to_numpy() - wanted).max() <= 4


def test_same_seed_same_split_and_another_seed_another() -> None:
    clusters, labels, groups = made_up(0)
    first, again, other = (split_clusters(clusters, labels, groups, seed=s) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_class_with_three_independent_images_is_in_every_split() -> None:
    labels = ["common"] * 300 + ["rare"] * 3
    split = split_clusters(np.arange(303), labels, ["all"] * 303)
    assert set(split[300:]) == set(SPLITS)


def test_a_group_with_three_independent_images_is_in_every_split() -> None:
    groups = ["light"] * 300 + ["dark"] * 3
    split = split_clusters(np.arange(303), ["a", "b", "c"] * 101, groups)
    assert set(split[300:]) == set(SPLITS)


def test_one_huge_cluster_does_not_stop_the_work() -> None:
    clusters = np.array([0] * 500 + list(range(1, 101)))
    split = split_clusters(clusters, ["a", "b"] * 300, ["g"] * 600)
    assert set(split) == set(SPLITS)


def test_identifiers_are_joined_by_connected_components() -> None:
    patients = pd.Series(["a", "a", "b", "", "", "c"])
    lesions = pd.Series(["1", "2", "2", "", "", ""])
    duplicates = pd.Series(["", "", "", "x", "", "x"])
    joined = connect([patients, lesions, duplicates], 6)
    # a and b share lesion 2; rows 3 and 5 are duplicates; row 4 stands alone.
    assert joined.tolist() == [0, 0, 0, 1, 2, 1]


def test_equal_values_of_different_columns_do_not_join() -> None:
    assert connect([pd.Series(["7", ""]), pd.Series(["", "7"])], 2).tolist() == [0, 1]


def test_without_identifiers_every_image_is_alone() -> None:
    assert connect([], 3).tolist() == [0, 1, 2]
    assert connect([pd.Series(["", "", ""])], 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.0, 0.0, 0.0), (0.5, 0.5)])
def test_impossible_fractions(fractions: tuple[float, ...]) -> None:
    with pytest.raises(CohortError) as caught:
        split_clusters(np.arange(3), ["a"] * 3, ["g"] * 3, fractions=fractions)
    assert str(caught.value) == BAD_FRACTIONS.format(fractions=fractions)


def test_seventeen_thousand_images_take_seconds() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 114, 17_000).astype(str)
    groups = rng.integers(0, 4, 17_000).astype(str)
    start = time.process_time()
    split_clusters(np.arange(17_000), labels.tolist(), groups.tolist())
    assert time.process_time() - start < 10
