"""What a sensitivity map has to be: the checks, each with an error that names the place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fairquant_core.errors import EvaluationError
from fairquant_core.quantization.plan import LEGAL_WIDTHS

if TYPE_CHECKING:
    from fairquant_core.sensitivity.maps import SensitivityMap

MEASURED_COLUMNS = (
    "layer",
    "bits",
    "group",
    "n",
    "loss_change",
    "loss_low",
    "loss_high",
    "accuracy_change",
    "accuracy_low",
    "accuracy_high",
)


def check_map(sensitivity: SensitivityMap) -> None:
    """Check names, units, damage and spread.

    Raises
    ------
    EvaluationError
        A shape does not fit, a value is negative or not a number, or a group has no images.
    """
    _check_names(sensitivity)
    _check_units(sensitivity)
    _check_damage(sensitivity)
    _check_spread(sensitivity)


def _check_names(sensitivity: SensitivityMap) -> None:
    groups, layers, menu = sensitivity.groups, sensitivity.layers, sensitivity.menu
    if not groups or not layers:
        raise EvaluationError("A sensitivity map needs at least one group and one layer.")
    if len(set(groups)) < len(groups) or len(set(layers)) < len(layers):
        raise EvaluationError("Groups and layers of a sensitivity map must be named once each.")
    empty = [group for group in groups if sensitivity.images[group] < 1]
    if empty:
        raise EvaluationError(
            f"No image of group {quoted(empty)} was measured; leave the group out or add images."
        )
    rising = list(menu) == sorted(set(menu))
    if not menu or not rising or not set(menu) <= set(LEGAL_WIDTHS):
        raise EvaluationError(f"The menu {menu} must be rising widths out of {LEGAL_WIDTHS}.")


def _check_units(sensitivity: SensitivityMap) -> None:
    weights, index = sensitivity.weights, sensitivity.layer_index
    count = len(sensitivity.layers)
    if weights.ndim != 1 or weights.shape != index.shape:
        raise EvaluationError(
            f"Weights {weights.shape} and layer index {index.shape} must be one number per unit."
        )
    if not np.array_equal(np.unique(index), np.arange(count)) or (np.diff(index) < 0).any():
        raise EvaluationError(
            f"The layer index must rise from 0 to {count - 1}, every layer with at least one unit."
        )
    if (weights < 1).any():
        unit = int(np.argmax(weights < 1))
        raise EvaluationError(
            f"Unit {unit} of layer '{sensitivity.layers[index[unit]]}' has no weight."
        )


def _check_damage(sensitivity: SensitivityMap) -> None:
    damage = sensitivity.damage
    expected = (len(sensitivity.groups), len(sensitivity.weights), len(sensitivity.menu))
    if damage.shape != expected:
        raise EvaluationError(
            f"Damage has shape {damage.shape}; groups, units and widths make {expected}."
        )
    wrong = ~(np.isfinite(damage) & (damage >= 0))
    if wrong.any():
        group, unit, column = np.argwhere(wrong)[0]
        raise EvaluationError(
            f"Damage of layer '{sensitivity.layers[sensitivity.layer_index[unit]]}' (unit {unit}) at "
            f"{sensitivity.menu[column]} bits for group '{sensitivity.groups[group]}' is "
            f"{damage[group, unit, column]}; it must be a number of at least 0. "
            "Check the classifier for weights that are not numbers."
        )


def _check_spread(sensitivity: SensitivityMap) -> None:
    if sensitivity.spread is None:
        return
    expected = (2, len(sensitivity.groups), len(sensitivity.layers), len(sensitivity.menu))
    if sensitivity.spread.shape != expected:
        raise EvaluationError(
            f"The spread has shape {sensitivity.spread.shape}; two ends, groups, layers and widths "
            f"make {expected}."
        )
    if (sensitivity.spread < 0).any():
        raise EvaluationError("The spread of a sensitivity map holds a negative distance.")


def check_measured(frame: pd.DataFrame) -> None:
    """Check the rows of a measured map; raises EvaluationError that names the first wrong row."""
    if frame.empty:
        raise EvaluationError("The measured map holds no row; measure at least one layer.")
    whole = pd.api.types.is_integer_dtype(frame["bits"])
    if not whole or not frame["bits"].isin(LEGAL_WIDTHS).all():
        raise EvaluationError(f"Column 'bits' of the measured map must be out of {LEGAL_WIDTHS}.")
    for name in ("n", "loss_change", "accuracy_change"):
        wrong = ~np.isfinite(frame[name].to_numpy(dtype=float))
        if wrong.any():
            raise EvaluationError(f"Measured map: {_row(frame, wrong)}: {name} is not a number.")
    empty = (frame["n"] < 1).to_numpy()
    if empty.any():
        raise EvaluationError(f"Measured map: {_row(frame, empty)} rests on no image.")
    twice = frame.duplicated(["layer", "bits", "group"]).to_numpy()
    if twice.any():
        raise EvaluationError(f"Measured map: {_row(frame, twice)} is there twice.")
    for kind in ("loss", "accuracy"):
        crossed = (frame[f"{kind}_low"] > frame[f"{kind}_high"]).to_numpy()
        if crossed.any():
            raise EvaluationError(
                f"Measured map: {_row(frame, crossed)}: {kind}_low > {kind}_high."
            )


def quoted(names: Sequence[str]) -> str:
    """Names in quotes, for messages."""
    return ", ".join(f"'{name}'" for name in names)


def _row(frame: pd.DataFrame, where: np.ndarray) -> str:
    """Name the first row concerned by what it stands for."""
    row = frame.loc[int(np.argmax(where))]
    return f"layer '{row['layer']}', {row['bits']} bits, group '{row['group']}'"
