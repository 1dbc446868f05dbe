"""Which image is in which group, with the groups that hold no image kept in the list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fairquant_core.data.skin_tone import UNKNOWN
from fairquant_core.errors import EvaluationError

__all__ = ["OVERALL", "UNKNOWN", "Grouping"]

#: Name of the row over all images, so no group may carry it.
OVERALL = "overall"


@dataclass(frozen=True)
class Grouping:
    """Images sorted into groups.

    Attributes
    ----------
    names:
        All groups in display order, "unknown" last, groups without images included.
    codes:
        Position in `names` of every image's group. Shapes: (N,) int64.
    """

    names: tuple[str, ...]
    codes: np.ndarray

    @property
    def known(self) -> tuple[str, ...]:
        """Groups that a verdict, a gap or a worst group may be about."""
        return tuple(name for name in self.names if name != UNKNOWN)

    @property
    def sizes(self) -> np.ndarray:
        """Images per group. Shapes: (G,)."""
        return np.bincount(self.codes, minlength=len(self.names))

    def mask(self, name: str) -> np.ndarray:
        """Which images belong to the group. Shapes: (N,) bool."""
        return self.codes == self.names.index(name)

    def one_hot(self) -> np.ndarray:
        """Membership matrix. Shapes: (N, G) float32."""
        return np.eye(len(self.names), dtype=np.float32)[self.codes]

    @classmethod
    def build(cls, groups: pd.Series, images: int, order: Sequence[str] | None = None) -> Grouping:
        """Sort images into groups.

        Parameters
        ----------
        groups:
            Group name of every image, aligned with the predictions table. Missing values count
            as "unknown".
        images:
            Number of images in the predictions table.
        order:
            Groups in display order. Groups without an image stay in the list (they are then
            "not estimable"); groups that occur but are not named here are appended. Without it,
            the categories of a categorical series, else alphabetical order.

        Raises
        ------
        EvaluationError
            The length differs from the table, or a group is called "overall".
        """
        if len(groups) != images:
            raise EvaluationError(
                f"the group column has {len(groups)} values but the predictions table has "
                f"{images} images; compute the groups from the same table"
            )
        if order is None and isinstance(groups.dtype, pd.CategoricalDtype):
            order = [str(category) for category in groups.cat.categories]
        values = groups.astype(object).where(groups.notna(), UNKNOWN).astype(str).to_numpy()
        listed = dict.fromkeys(order or ())
        found = sorted(set(values) - set(listed))
        names = [name for name in (*listed, *found) if name != UNKNOWN]
        if UNKNOWN in listed or UNKNOWN in found:
            names.append(UNKNOWN)
        if OVERALL in names:
            raise EvaluationError(
                f'a group is called "{OVERALL}", which is the name of the row over all images; '
                "rename the group in the cohort table"
            )
        position = {name: index for index, name in enumerate(names)}
        codes = np.fromiter((position[value] for value in values), dtype=np.int64, count=images)
        return cls(tuple(names), codes)
