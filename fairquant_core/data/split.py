"""Splitting without leakage: images of one patient, lesion or duplicate group stay together.

The assignment is greedy and deterministic. scikit-learn's StratifiedGroupKFold does the same job
one fold at a time but takes several seconds for 17,000 images and gives only equal folds; here
the fractions are free and every class that has enough independent images appears in every split.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fairquant_core.errors import CohortError

SPLITS = ("train", "validation", "audit")
FRACTIONS = (0.60, 0.15, 0.25)

BAD_FRACTIONS = "split fractions {fractions} must be three numbers above 0 that add up to 1"


def connect(identifiers: Sequence[pd.Series], count: int) -> np.ndarray:
    """Join rows that share a value in any of the columns.

    Parameters
    ----------
    identifiers : one Series of cleaned strings per identity column (patient, lesion, duplicate
        group); "" says nothing.
    count : number of rows.

    Returns
    -------
    (N,) cluster number per row, numbered by first appearance.
    """
    rows: list[np.ndarray] = []
    nodes: list[np.ndarray] = []
    total = count
    for column in identifiers:
        codes, values = pd.factorize(column.to_numpy(dtype=object))
        known = np.flatnonzero(column.to_numpy(dtype=object) != "")
        rows.append(known)
        nodes.append(total + codes[known])
        total += len(values)
    if not rows:
        return np.arange(count)
    row, node = np.concatenate(rows), np.concatenate(nodes)
    graph = coo_matrix((np.ones(len(row), dtype=np.int8), (row, node)), shape=(total, total))
    _, members = connected_components(graph, directed=False)
    return pd.factorize(members[:count])[0]


def split_clusters(
    clusters: np.ndarray,
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    seed: int = 0,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> np.ndarray:
    """Assign whole clusters to train, validation and audit, balanced by label, group and both.

    Clusters are taken from the largest to the smallest (ties in an order drawn from `seed`); each
    goes where the chi-square distance between present and wanted counts grows least, summed over
    all images, labels, groups and label-by-group cells. A label (then a group) with just enough
    clusters left for the splits that still lack it is sent to those.

    Returns
    -------
    (N,) array of "train" | "validation" | "audit".
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise CohortError(BAD_FRACTIONS.format(fractions=tuple(fractions)))
    label_codes = pd.factorize(np.asarray(labels, dtype=object), sort=True)[0]
    group_codes = pd.factorize(np.asarray(groups, dtype=object), sort=True)[0]
    cell_codes = np.unique(
        np.column_stack([label_codes, group_codes]), axis=0, return_inverse=True
    )[1].reshape(-1)
    levels = [np.zeros_like(label_codes), label_codes, group_codes, cell_codes]
    offsets = np.cumsum([0] + [int(level.max()) + 1 for level in levels])
    # Column of every (row, level) pair in one flat table of counts.
    columns = np.column_stack([level + offsets[i] for i, level in enumerate(levels)])
    totals = np.bincount(columns.ravel(), minlength=offsets[-1]).astype(float)
    wanted = totals[:, None] * shares
    present = np.zeros_like(wanted)

    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(clusters[order]) != 0])
    members = np.split(order, starts[1:])
    rank = np.random.default_rng(seed).permutation(len(members))
    sequence = sorted(range(len(members)), key=lambda i: (-len(members[i]), rank[i]))

    covered_columns = [_distinct(columns[rows, 1:3]) for rows in members]
    left = np.zeros(offsets[-1], dtype=int)
    for touched in covered_columns:
        left[touched] += 1

    assignment = np.empty(len(clusters), dtype=np.int8)
    for index in sequence:
        rows = members[index]
        touched, counts = np.unique(columns[rows], return_counts=True)
        have, want = present[touched], wanted[touched]
        growth = counts[:, None] * (counts[:, None] + 2 * (have - want)) / want
        cost = growth.sum(axis=0)
        choice = _must_cover(covered_columns[index], present, left)
        assignment[rows] = split = int(choice[np.argmin(cost[choice])])
        present[touched, split] += counts
        left[covered_columns[index]] -= 1
    return np.asarray(SPLITS, dtype=object)[assignment]


def _distinct(columns: np.ndarray) -> np.ndarray:
    return np.unique(columns)


def _must_cover(touched: np.ndarray, present: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Splits that must take this cluster so that a scarce label or group is in all of them."""
    everything = np.arange(len(SPLITS))
    for column in touched:
        lacking = np.flatnonzero(present[column] == 0)
        if len(lacking) and left[column] <= len(lacking):
            return lacking
    return everything
