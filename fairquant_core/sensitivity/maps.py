"""What every width costs every group: predicted per unit, and measured per layer."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fairquant_core.errors import EvaluationError
from fairquant_core.files import atomic_path
from fairquant_core.quantization.plan import PRUNED
from fairquant_core.sensitivity.checks import (
    MEASURED_COLUMNS,
    check_map,
    check_measured,
    quoted,
)
from fairquant_core.sensitivity.measures import REVISION
from fairquant_core.sensitivity.reducers import HALF, REDUCERS, reduce_groups

__all__ = ["MEASURED_COLUMNS", "MeasuredMap", "SensitivityMap", "monotone_in_bits"]

FORMAT = "fairquant-sensitivity"
VERSION = 1

UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What reading a damaged .npz file can end in."""


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
    damage : (G, U, B) float32, at least 0. Units: those of the measure's card; for measures that
        predict loss nats, mean per image.
    spread : (2, G, L, B) float32 or None: how far below and above a layer's damage its 95 % interval
        reaches; not a number where it is not estimable. Units: as the damage.
    revision : of the measures, :data:`fairquant_core.sensitivity.measures.REVISION` when this one was made.

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
    spread: np.ndarray | None = None
    revision: int = REVISION

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        object.__setattr__(self, "menu", tuple(int(bits) for bits in self.menu))
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "images", {g: int(self.images.get(g, 0)) for g in self.groups})
        for name, kind in (("weights", np.int64), ("layer_index", np.int64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name)).astype(kind))
        object.__setattr__(self, "damage", np.asarray(self.damage, dtype=np.float32))
        if self.spread is not None:
            object.__setattr__(self, "spread", np.asarray(self.spread, dtype=np.float32))
        check_map(self)

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
        """Damage as allocation and predictions use it, monotone in bits: (G, U, B) float64.

        The widths do not depend on whether the menu holds pruning; a pruned unit is taken to cost at
        least what it costs at the narrowest width.
        """
        widths = int(self.menu[0] == PRUNED and len(self.menu) > 1)
        damage = monotone_in_bits(self.damage[..., widths:])
        if not widths:
            return damage
        pruned = np.maximum(self.damage[..., :1], damage[..., :1])
        return np.concatenate([pruned, damage], axis=-1)

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
                f"The sensitivity map has no group {quoted(absent)}; it has {quoted(self.groups)}."
            )
        rows = [self.groups.index(group) for group in groups]
        return replace(
            self,
            groups=tuple(groups),
            images={group: self.images[group] for group in groups},
            damage=self.damage[rows],
            spread=None if self.spread is None else self.spread[:, rows],
        )

    def reduced(self, how: str, *, alpha: float = HALF) -> SensitivityMap:
        """Return the map with all groups joined into one, named after the way they were joined.

        Parameters
        ----------
        how, alpha : see :func:`fairquant_core.sensitivity.reducers.reduce_groups`.
        """
        narrowest = next((k for k, bits in enumerate(self.menu) if bits != PRUNED), 0)
        damage = self.monotone_damage
        totals = damage[:, :, narrowest].sum(axis=1)
        joined = reduce_groups(how, damage, self.weights, totals, alpha)
        title = REDUCERS[how].title
        return replace(
            self,
            groups=(title,),
            images={title: sum(self.images.values())},
            damage=joined[None],
            spread=None,
        )

    def layer_frame(self, bits: int) -> pd.DataFrame:
        """Return one row per layer and group: what that whole layer costs at ``bits``.

        Returns
        -------
        DataFrame with columns layer, bits, group, value, low, high, n; the ends of the 95 % interval are
        missing where they are not estimable.
        """
        column = self._columns(np.array([bits]))[0]
        value = self.by_layer().monotone_damage[:, :, column]
        below, above = np.full((2, *value.shape), np.nan)
        if self.spread is not None:
            below, above = self.spread[..., column]
        return pd.DataFrame(
            {
                "layer": np.repeat(self.layers, len(self.groups)),
                "bits": bits,
                "group": np.tile(self.groups, len(self.layers)),
                "value": value.T.ravel(),
                "low": np.maximum(value - below, 0).T.ravel(),
                "high": (value + above).T.ravel(),
                "n": np.tile([self.images[group] for group in self.groups], len(self.layers)),
            }
        )

    def frame(self) -> pd.DataFrame:
        """Return :meth:`layer_frame` of every width, one below the other."""
        return pd.concat([self.layer_frame(bits) for bits in self.menu], ignore_index=True)

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
            "revision": self.revision,
        }
        arrays = {name: getattr(self, name) for name in ("weights", "layer_index", "damage")}
        if self.spread is not None:
            arrays["spread"] = self.spread
        with atomic_path(path) as part, part.open("wb") as handle:
            np.savez_compressed(
                handle, header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8), **arrays
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
                    content.get("spread"),
                    int(header.get("revision", 0)),
                )
        except UNREADABLE as error:
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
            raise EvaluationError(f"The measured map lacks the columns {quoted(absent)}.")
        frame = self.frame.loc[:, list(MEASURED_COLUMNS)].reset_index(drop=True)
        check_measured(frame)
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
            self.frame.to_parquet(part, index=False, write_page_checksum=True)

    @classmethod
    def load(cls, path: Path) -> MeasuredMap:
        """Read what :meth:`save` wrote; raises EvaluationError when it is something else."""
        try:
            frame = pd.read_parquet(path, page_checksum_verification=True)
        except (OSError, ValueError) as error:  # pyarrow's errors derive from ValueError
            raise EvaluationError(
                f"{path} cannot be read as a measured map: {error}. Measure it again."
            ) from error
        return cls(frame)
