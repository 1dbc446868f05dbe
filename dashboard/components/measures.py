"""The one figure that pages need and the audit does not hold: each group's measured loss rise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fairquant_core.audit.predictions import Predictions


def loss_rise(
    table: Predictions, before: str, after: str, assigned: pd.Series, groups: Sequence[str]
) -> dict[str, float]:
    """Return the rise of each group's mean cross-entropy from one model to another.

    It stands beside the predicted rise of the budget page, in the same unit; below zero means that
    the group is served better than before.

    Parameters
    ----------
    assigned : group of every row of the table. groups : those asked for; empty ones are left out.

    Units
    -----
    nats
    """
    # A probability of exactly 0 would make the loss infinite; the smallest float32 stands for it.
    tiny = float(np.finfo(np.float32).tiny)
    change = table.losses(after, tiny) - table.losses(before, tiny)
    names = assigned.astype(str).to_numpy()
    return {group: float(change[names == group].mean()) for group in groups if group in names}
