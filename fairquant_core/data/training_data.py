"""The decoded images of a cohort, with what training and measuring need to know of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fairquant_core.data.skin_tone import UNKNOWN


@dataclass(frozen=True)
class TrainingData:
    """Decoded images of a cohort with their classes, groups and splits, in table order.

    Shapes: ``images`` uint8 (N, S, S, 3), ``labels`` int (N,), ``groups`` and ``split`` str (N,).
    """

    images: np.ndarray
    labels: np.ndarray
    groups: pd.Series
    split: np.ndarray

    def positions(self, split: str) -> np.ndarray:
        """Positions of the images of one split."""
        return np.flatnonzero(self.split == split)

    @property
    def group_names(self) -> list[str]:
        """The known groups, sorted."""
        return sorted(set(self.groups) - {UNKNOWN})
