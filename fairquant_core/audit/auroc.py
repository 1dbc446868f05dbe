"""Area under the ROC curve of every class, per group and for every resample at once.

The area is the share of (positive, negative) pairs in which the positive image has the larger
score, ties counting one half. How the pairs compare does not depend on the resample, so it is
worked out once; how often each pair was drawn is a matrix product of the counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

#: Pairs compared at once (float32), so that a large cohort stays small in memory.
_PAIRS = 8_000_000


def class_areas(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC of every class against the rest, for every row of weights.

    Parameters
    ----------
    probabilities:
        Shapes: (N, C).
    labels:
        Position of the right class. Shapes: (N,).
    weights:
        How often each image was drawn. Shapes: (r, N).

    Returns
    -------
    numpy.ndarray
        NaN where a class has no positive or no negative image. Shapes: (r, C) float64.

    Source
    ------
    The Mann-Whitney form of the area (Hanley & McNeil 1982, Radiology 143:29).
    """
    images, classes = probabilities.shape
    if not images:
        return np.full((len(weights), classes), np.nan)
    member = np.eye(classes, dtype=weights.dtype)[labels]
    beaten = np.zeros((len(weights), classes))
    for rows in _chunks(images, images):
        own = labels[rows]
        compared = _compared(probabilities[np.arange(images)[rows], own], probabilities.T[own])
        compared[own[:, None] == labels[None, :]] = 0
        beaten += _sums(weights, compared, rows, member[rows])
    positive = (weights @ member).astype(np.float64)
    return _share(beaten, positive, positive.sum(axis=1, keepdims=True) - positive)


def area(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC of one score, for every row of weights; NaN without a positive or a negative image.

    Shapes: scores (N,), truth (N,) bool, weights (r, N) -> (r,) float64.

    Examples
    --------
    >>> area(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]), np.ones((1, 4)))
    array([0.875])
    """
    positives, negatives = np.flatnonzero(truth), np.flatnonzero(~truth)
    beaten = np.zeros((len(weights), 1))
    for rows in _chunks(len(positives), len(negatives)):
        chosen = positives[rows]
        compared = _compared(
            scores[chosen], np.broadcast_to(scores[negatives], (1, len(negatives)))
        )
        drawn = weights[:, negatives] @ compared.T.astype(weights.dtype)
        beaten[:, 0] += (drawn * weights[:, chosen]).sum(axis=1, dtype=np.float64)
    totals = [
        weights[:, part].sum(axis=1, dtype=np.float64)[:, None] for part in (positives, negatives)
    ]
    return _share(beaten, *totals)[:, 0]


def _compared(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1 where the own score is larger, 1/2 where they tie. Shapes: (n,), (n or 1, m) -> (n, m)."""
    above = (own[:, None] > others).astype(np.float32)
    above += np.float32(0.5) * (own[:, None] == others)
    return above


def _sums(weights: np.ndarray, compared: np.ndarray, rows: slice, member: np.ndarray) -> np.ndarray:
    # Sums of halves are exact in float32 up to eight million pairs of one class.
    drawn = weights @ compared.T.astype(weights.dtype, copy=False)
    drawn *= weights[:, rows]
    return drawn @ member


def _share(beaten: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    pairs = positive * negative
    return np.divide(beaten, pairs, out=np.full_like(beaten, np.nan), where=pairs > 0)


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _PAIRS // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
