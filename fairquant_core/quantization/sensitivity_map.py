"""What every width costs every group: predicted per unit, and measured per layer."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fairquant_core.errors import EvaluationError
from fairquant_core.files import atomic_path
from fairquant_core.quantization.plan import LEGAL_WIDTHS

FORMAT = "fairquant-sensitivity"
VERSION = 1


def monotone_in_bits(damage: np.ndarray) -> np.ndarray:
    """Make damage non-increasing along its last axis, the widths from low to high.

    A wider channel cannot be a worse approximation; where the estimate says so it is noise. The
    result is midway between the lower envelope (smallest value so far, from low widths up) and the
    upper envelope (largest value so far, from high widths down): both are monotone, so their mean
    is, and unlike either alone it is not biased to one side. Monotone values stay as they are.

    Shapes: (..., B) in and out.

    Examples
    --------
    >>> monotone_in_bits(np.array([4.0, 1.0, 2.0, 0.5])).tolist()
    [4.0, 1.5, 1.5, 0.5]
    """
    values = np.asarray(damage, dtype=np.float64)
    lower = np.minimum.accumulate(values, axis=-1)
    upper = np.maximum.accumulate(values[..., ::-1], axis=-1)[..., ::-1]
    return 0.5 * (lower + upper)


@dataclass(frozen=True, eq=False)
class SensitivityMap:
    """Predicted rise of each group's mean loss when one unit alone goes to a width.

    A unit is one output channel, or a whole layer (see :meth:`by_layer`). Units of one layer stand
    together, in channel order.

    Parameters
    ----------
    measure : name of the measure, for example "fisher".
    groups : group names, in display order.
    images : images that each group's estimate rests on.
    menu : widths in bits, rising; 0 (pruned) may come first.
    layers : layer names, in the classifier's order.
    weights : (U,) int64, weights per unit.
    layer_index : (U,) int64, which layer a unit belongs to.
    damage : (G, U, B) float32, at least 0. Units: loss (nats for cross-entropy), mean per image.

    Raises
    ------
    EvaluationError
        A shape does not fit, a value is negative or not a number, or a group has no images.
    """

    measure: str
    groups: tuple[str, ...]
    images: dict[str, int]
    menu: tuple[int, ...]
    layers: tuple[str, ...]
    weights: np.ndarray
    layer_index: np.ndarray
    damage: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        object.__setattr__(self, "menu", tuple(int(bits) for bits in self.menu))
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "images", {g: int(self.images.get(g, 0)) for g in self.groups})
        for name, kind in (("weights", np.int64), ("layer_index", np.int64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name)).astype(kind))
        object.__setattr__(self, "damage", np.asarray(self.damage, dtype=np.float32))
        self._check_names()
        self._check_units()
        self._check_damage()

    @property
    def units(self) -> int:
        """Number of units: channels, or layers."""
        return len(self.weights)

    @property
    def granularity(self) -> str:
        """Return "layer" where every layer is one unit, else "channel"."""
        return "layer" if self.units == len(self.layers) else "channel"

    @cached_property
    def monotone_damage(self) -> np.ndarray:
        """Damage as allocation and predictions use it, monotone in bits: (G, U, B) float64."""
        return monotone_in_bits(self.damage)

    def by_layer(self) -> SensitivityMap:
        """Return the map whose units are whole layers: damages and weights summed."""
        starts = np.searchsorted(self.layer_index, np.arange(len(self.layers)))
        return replace(
            self,
            weights=np.add.reduceat(self.weights, starts),
            layer_index=np.arange(len(self.layers)),
            damage=np.add.reduceat(self.monotone_damage, starts, axis=1),
        )

    def restrict(self, groups: Sequence[str]) -> SensitivityMap:
        """Return the map of these groups only, in the order given."""
        absent = [group for group in groups if group not in self.groups]
        if absent:
            raise EvaluationError(
                f"The sensitivity map has no group {_quoted(absent)}; "
                f"it has {_quoted(self.groups)}."
            )
        rows = [self.groups.index(group) for group in groups]
        return replace(
            self,
            groups=tuple(groups),
            images={group: self.images[group] for group in groups},
            damage=self.damage[rows],
        )

    def layer_frame(self, bits: int) -> pd.DataFrame:
        """Return one row per layer and group: the damage of that whole layer at ``bits``.

        Returns
        -------
        DataFrame with columns layer, group, damage.
        """
        column = self._columns(np.array([bits]))[0]
        layered = self.by_layer().monotone_damage[:, :, column]
        return pd.DataFrame(
            {
                "layer": np.repeat(self.layers, len(self.groups)),
                "group": np.tile(self.groups, len(self.layers)),
                "damage": layered.T.ravel(),
            }
        )

    def predicted(self, widths: np.ndarray) -> dict[str, float]:
        """Return the predicted rise of each group's loss when every unit has its own width.

        Shapes: ``widths`` is (U,), each in the menu.
        """
        widths = np.asarray(widths)
        if widths.shape != (self.units,):
            raise EvaluationError(
                f"Widths have shape {widths.shape}; the sensitivity map has {self.units} units."
            )
        rise = self.monotone_damage[:, np.arange(self.units), self._columns(widths)].sum(axis=1)
        return dict(zip(self.groups, rise.tolist(), strict=True))

    def save(self, path: Path) -> None:
        """Write one .npz file (arrays and a JSON header, no pickle)."""
        header = {
            "format": FORMAT,
            "version": VERSION,
            "measure": self.measure,
            "groups": self.groups,
            "images": self.images,
            "menu": self.menu,
            "layers": self.layers,
        }
        with atomic_path(path) as part, part.open("wb") as handle:
            np.savez_compressed(
                handle,
                header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
                weights=self.weights,
                layer_index=self.layer_index,
                damage=self.damage,
            )

    @classmethod
    def load(cls, path: Path) -> SensitivityMap:
        """Read what :meth:`save` wrote; raises EvaluationError when it is something else."""
        try:
            with np.load(path, allow_pickle=False) as content:
                header = json.loads(content["header"].tobytes())
                if header["format"] != FORMAT or header["version"] != VERSION:
                    raise ValueError("unknown format or version")
                return cls(
                    header["measure"],
                    tuple(header["groups"]),
                    header["images"],
                    tuple(header["menu"]),
                    tuple(header["layers"]),
                    content["weights"],
                    content["layer_index"],
                    content["damage"],
                )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise EvaluationError(
                f"{path} cannot be read as a sensitivity map: {error}. Measure it again."
            ) from error

    def _columns(self, widths: np.ndarray) -> np.ndarray:
        """Return each width's place in the menu."""
        columns = np.searchsorted(self.menu, widths).clip(max=len(self.menu) - 1)
        absent = np.asarray(self.menu)[columns] != widths
        if absent.any():
            raise EvaluationError(
                f"{widths[absent][0]} bits is not in the sensitivity map's menu "
                f"({', '.join(map(str, self.menu))})."
            )
        return columns

    def _check_names(self) -> None:
        if not self.groups or not self.layers:
            raise EvaluationError("A sensitivity map needs at least one group and one layer.")
        if len(set(self.groups)) < len(self.groups) or len(set(self.layers)) < len(self.layers):
            raise EvaluationError("Groups and layers of a sensitivity map must be named once each.")
        empty = [group for group in self.groups if self.images[group] < 1]
        if empty:
            raise EvaluationError(
                f"No image of group {_quoted(empty)} was measured; "
                "leave the group out or add images."
            )
        rising = list(self.menu) == sorted(set(self.menu))
        if not self.menu or not rising or not set(self.menu) <= set(LEGAL_WIDTHS):
            raise EvaluationError(
                f"The menu {self.menu} must be rising widths out of {LEGAL_WIDTHS}."
            )

    def _check_units(self) -> None:
        index, count = self.layer_index, len(self.layers)
        if self.weights.ndim != 1 or self.weights.shape != index.shape:
            raise EvaluationError(
                f"Weights {self.weights.shape} and layer index {index.shape} must be "
                "one number per unit."
            )
        if not np.array_equal(np.unique(index), np.arange(count)) or (np.diff(index) < 0).any():
            raise EvaluationError(
                f"The layer index must rise from 0 to {count - 1}, "
                "every layer with at least one unit."
            )
        if (self.weights < 1).any():
            unit = int(np.argmax(self.weights < 1))
            raise EvaluationError(
                f"Unit {unit} of layer '{self.layers[index[unit]]}' has no weight."
            )

    def _check_damage(self) -> None:
        expected = (len(self.groups), len(self.weights), len(self.menu))
        if self.damage.shape != expected:
            raise EvaluationError(
                f"Damage has shape {self.damage.shape}; groups, units and widths make {expected}."
            )
        wrong = ~(np.isfinite(self.damage) & (self.damage >= 0))
        if wrong.any():
            group, unit, column = np.argwhere(wrong)[0]
            raise EvaluationError(
                f"Damage of layer '{self.layers[self.layer_index[unit]]}' (unit {unit}) at "
                f"{self.menu[column]} bits for group '{self.groups[group]}' is "
                f"{self.damage[group, unit, column]}; it must be a number of at least 0. "
                "Check the classifier for weights that are not numbers."
            )


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


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


@dataclass(frozen=True, eq=False)
class MeasuredMap:
    """Real change of each group's loss and accuracy with one layer alone at a width.

    Parameters
    ----------
    frame : one row per layer, width and group, columns :data:`MEASURED_COLUMNS`. Interval ends may
        be missing (not estimable), the changes themselves may not.

    Units
    -----
    Loss in nats; accuracy change as a fraction (-0.031 = 3.1 points worse); intervals at 95 %.
    """

    frame: pd.DataFrame

    def __post_init__(self) -> None:
        absent = [name for name in MEASURED_COLUMNS if name not in self.frame.columns]
        if absent:
            raise EvaluationError(f"The measured map lacks the columns {_quoted(absent)}.")
        frame = self.frame.loc[:, list(MEASURED_COLUMNS)].reset_index(drop=True)
        if frame.empty:
            raise EvaluationError("The measured map holds no row; measure at least one layer.")
        whole = pd.api.types.is_integer_dtype(frame["bits"])
        if not whole or not frame["bits"].isin(LEGAL_WIDTHS).all():
            raise EvaluationError(
                f"Column 'bits' of the measured map must be out of {LEGAL_WIDTHS}."
            )
        for name in ("n", "loss_change", "accuracy_change"):
            wrong = ~np.isfinite(frame[name].to_numpy(dtype=float))
            if wrong.any():
                raise EvaluationError(
                    f"Measured map: {_row(frame, wrong)}: {name} is not a number."
                )
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
        object.__setattr__(self, "frame", frame)

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names in the order of their rows."""
        return tuple(self.frame["layer"].unique())

    @property
    def groups(self) -> tuple[str, ...]:
        """Group names in the order of their rows."""
        return tuple(self.frame["group"].unique())

    @property
    def menu(self) -> tuple[int, ...]:
        """Widths that were measured, rising."""
        return tuple(sorted(int(bits) for bits in self.frame["bits"].unique()))

    def save(self, path: Path) -> None:
        """Write one parquet file."""
        with atomic_path(path) as part:
            self.frame.to_parquet(part, index=False)

    @classmethod
    def load(cls, path: Path) -> MeasuredMap:
        """Read what :meth:`save` wrote; raises EvaluationError when it is something else."""
        try:
            frame = pd.read_parquet(path)
        except (OSError, ValueError) as error:  # pyarrow's errors derive from ValueError
            raise EvaluationError(
                f"{path} cannot be read as a measured map: {error}. Measure it again."
            ) from error
        return cls(frame)


def _row(frame: pd.DataFrame, where: np.ndarray) -> str:
    """Name the first row concerned by what it stands for."""
    row = frame.loc[int(np.argmax(where))]
    return f"layer '{row['layer']}', {row['bits']} bits, group '{row['group']}'"
