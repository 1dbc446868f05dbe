"""Is a probability of 80 % right in 80 of 100 images? Calibration curve and confusion per group."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fairquant_core.audit.intervals import design_effect, wilson
from fairquant_core.audit.replicates import BINS, Scores


def calibration_curve(scores: Scores, *, level: float = 0.95) -> pd.DataFrame:
    """Accuracy of images by the confidence that the classifier had in its answer.

    Returns
    -------
    pandas.DataFrame
        One row per group ("overall" first) and bin that holds an image: group, bin_low, bin_high
        (edges of the confidence), n, confidence (mean), accuracy, low, high (Wilson).

    Source
    ------
    Guo, Pleiss, Sun & Weinberger 2017, equation 3: the expected calibration error is the mean of
    |accuracy - confidence| over bins, weighted by n.
    """
    rows = []
    for group, members in zip(scores.groups, scores.inside, strict=True):
        for index in np.unique(scores.bins[members]):
            chosen = members[scores.bins[members] == index]
            right = scores.correct[chosen]
            effect = design_effect(right, scores.clusters[chosen])
            low, high = wilson(right.sum() / effect, len(chosen) / effect, level)
            rows.append(
                {
                    "group": group,
                    "bin_low": index / BINS,
                    "bin_high": (index + 1) / BINS,
                    "n": len(chosen),
                    "confidence": scores.confidence[chosen].mean(),
                    "accuracy": right.mean(),
                    "low": float(low),
                    "high": float(high),
                }
            )
    columns = ["group", "bin_low", "bin_high", "n", "confidence", "accuracy", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def confusion(scores: Scores, classes: int) -> dict[str, np.ndarray]:
    """How often each class (row) was called each class (column), per group. Shapes: (C, C) int64."""
    found = {}
    for group, members in zip(scores.groups, scores.inside, strict=True):
        pairs = scores.labels[members] * classes + scores.predicted[members]
        found[group] = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return found
