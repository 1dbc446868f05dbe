"""One allocation problem in numbers: what each width costs, what is allowed, the limit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np

from fairquant_core.errors import BudgetError
from fairquant_core.quantization.bounds import (
    Bounds,
    allowed_widths,
    check_wishes,
    lifted_layers,
)
from fairquant_core.quantization.catalogue import GRANULARITIES
from fairquant_core.quantization.plan import PRUNED
from fairquant_core.sensitivity.maps import SensitivityMap

BELOW_MINIMUM = (
    "A budget of {budget:g} bits per weight cannot be met: the smallest reachable average is "
    "{minimum:.3f} bits{reason}. Raise the budget to at least {minimum:.3f}{remedy}."
)


class Wishes(TypedDict, total=False):
    """Keyword arguments of :func:`build_problem`, for the allocators that pass them on."""

    granularity: str
    menu: Iterable[int] | None
    group_weights: Mapping[str, float] | None
    floors: Mapping[str, int] | None
    pins: Mapping[str, int] | None
    pruned_counts: float


@dataclass(frozen=True, eq=False)
class Problem:
    """Choose one column (width) per unit; no group's loss may rise more than it must.

    Shapes: G groups, B widths, U units (channels or layers).

    Parameters
    ----------
    source : the map that was given; results are reported on its units.
    granularity : "channel" or "layer".
    menu : (B,) widths in bits, rising.
    cost : (G, B, U) float64, damage times group weight, non-increasing along B; pruning counts as often as asked.
    bits : (B, U) int64, bits that the unit takes at each width.
    allowed : (B, U) bool, after floors and pins.
    group_weights : (groups of the source,) how much a group's rise counts.
    requested_bits : the budget asked for, average bits per weight.
    limit : the budget in bits, over all weights.
    """

    source: SensitivityMap
    granularity: str
    menu: np.ndarray
    cost: np.ndarray
    bits: np.ndarray
    allowed: np.ndarray
    group_weights: np.ndarray
    requested_bits: float
    limit: int

    @property
    def units(self) -> int:
        """Number of units whose width is chosen."""
        return self.bits.shape[1]

    @property
    def weight_count(self) -> int:
        """Number of weights under the budget."""
        return int(self.source.weights.sum())

    @property
    def lowest(self) -> np.ndarray:
        """(U,) column of the smallest allowed width."""
        return self.allowed.argmax(axis=0)

    @property
    def highest(self) -> np.ndarray:
        """(U,) column of the largest allowed width."""
        return len(self.menu) - 1 - self.allowed[::-1].argmax(axis=0)

    @property
    def bounds(self) -> Bounds:
        """Layer -> its smallest and its largest allowed width."""
        layers = self.source.layers
        one_each = len(layers) == self.units
        index = np.arange(self.units) if one_each else self.source.layer_index
        starts = np.searchsorted(index, np.arange(len(layers)))
        ends = zip(self.menu[self.lowest[starts]], self.menu[self.highest[starts]], strict=True)
        return {
            layer: (int(low), int(high)) for layer, (low, high) in zip(layers, ends, strict=True)
        }

    def losses(self, choice: np.ndarray) -> np.ndarray:
        """(G,) weighted loss rise of every group under ``choice`` (U,) columns."""
        return self.cost[:, choice, np.arange(self.units)].sum(axis=1)

    def worst(self, choice: np.ndarray) -> float:
        """Largest weighted loss rise of any group under ``choice``."""
        return float(self.losses(choice).max())

    def bits_used(self, choice: np.ndarray) -> int:
        """Bits over all weights under ``choice``."""
        return int(self.bits[choice, np.arange(self.units)].sum())

    def widths(self, choice: np.ndarray) -> np.ndarray:
        """(U of the source,) uint8 widths: a layer's width goes to each of its channels."""
        widths = self.menu[choice].astype(np.uint8)
        if self.units == self.source.units:
            return widths
        return widths[self.source.layer_index]

    def with_budget(self, average_bits: float) -> Problem:
        """Return the same problem under another budget.

        Raises
        ------
        BudgetError
            The budget is below what menu, floors and pins allow.
        """
        if not math.isfinite(average_bits) or average_bits <= 0:
            raise BudgetError(f"A budget of {average_bits} bits per weight is not a usable number.")
        # Rounding first: 2.3 * 10 is 22.999999999999996, which must not cost a bit.
        limit = math.floor(round(average_bits * self.weight_count, 6))
        minimum = self.bits_used(self.lowest)
        if limit < minimum:
            reached = math.ceil(1000 * minimum / self.weight_count) / 1000
            reason, remedy = self._who_is_to_blame()
            raise BudgetError(
                BELOW_MINIMUM.format(
                    budget=average_bits, minimum=reached, reason=reason, remedy=remedy
                )
            )
        return replace(self, requested_bits=float(average_bits), limit=limit)

    def pooled(self, shares: Mapping[str, float]) -> Problem:
        """Return the problem that knows one group only: the weighted mean of all groups."""
        weights = np.array([shares[group] for group in self.source.groups], dtype=np.float64)
        pooled = np.tensordot(weights / weights.sum(), self.cost, axes=1)[None]
        return replace(self, cost=pooled)

    def _who_is_to_blame(self) -> tuple[str, str]:
        """Name the menu, or the layers whose floor or pin lifts the minimum above the menu's."""
        layers = self.source.layers
        weights = np.bincount(self.source.layer_index, self.source.weights, len(layers))
        smallest = int(self.menu.min())
        held = lifted_layers(self.bounds, dict(zip(layers, weights, strict=True)), smallest)
        if not held:
            return f" (the menu starts at {smallest} bits)", " or add a smaller width"
        return f" because of floors and pins ({held})", " or loosen these floors and pins"


def build_problem(
    sensitivity: SensitivityMap,
    average_bits: float,
    *,
    granularity: str = "channel",
    menu: Iterable[int] | None = None,
    group_weights: Mapping[str, float] | None = None,
    floors: Mapping[str, int] | None = None,
    pins: Mapping[str, int] | None = None,
    pruned_counts: float = 1.0,
) -> Problem:
    """Check the wishes and turn them into numbers.

    Parameters
    ----------
    average_bits : budget, average over all weights of the map.
    granularity : "channel" chooses per unit of the map, "layer" per layer.
    menu : widths to choose from; default: all widths of the map but 0, which has to be asked for.
    group_weights : how much a group's loss rise counts; 1 where not named.
    floors : layer -> smallest width.
    pins : layer -> the width that all its channels get; may lie outside ``menu``.
    pruned_counts : how many times its predicted damage a pruned unit counts, at least 1.

    Raises
    ------
    BudgetError
        A name or width is unknown, a pin contradicts a floor, or the budget cannot be met.
    """
    if not 1 <= pruned_counts < math.inf:
        raise BudgetError(
            f"A pruned channel can count {pruned_counts:g} times its damage only if that is at least once."
        )
    if granularity not in GRANULARITIES:
        raise BudgetError(f"Granularity '{granularity}' is not known; use 'channel' or 'layer'.")
    floors, pins = dict(floors or {}), dict(pins or {})
    wanted = _wanted_menu(sensitivity, menu)
    _check_layers(sensitivity, floors, pins, wanted)
    columns = np.array(sorted(set(wanted) | set(pins.values())), dtype=np.int64)
    units = sensitivity.by_layer() if granularity == "layer" else sensitivity

    per_layer = [
        np.isin(columns, allowed_widths(wanted, floors.get(layer), pins.get(layer)))
        for layer in units.layers
    ]
    allowed = np.ascontiguousarray(np.array(per_layer).T[:, units.layer_index])

    places = np.searchsorted(units.menu, columns)
    weights = _group_weights(units.groups, group_weights)
    cost = units.monotone_damage.transpose(0, 2, 1)[:, places] * weights[:, None, None]
    cost[:, columns == PRUNED] *= pruned_counts
    problem = Problem(
        source=sensitivity,
        granularity=granularity if sensitivity.granularity == "channel" else "layer",
        menu=columns,
        cost=np.ascontiguousarray(cost),
        bits=columns[:, None] * units.weights,
        allowed=allowed,
        group_weights=weights,
        requested_bits=float("nan"),
        limit=0,
    )
    return problem.with_budget(average_bits)


def _wanted_menu(sensitivity: SensitivityMap, menu: Iterable[int] | None) -> tuple[int, ...]:
    if menu is None:
        return tuple(bits for bits in sensitivity.menu if bits != PRUNED) or sensitivity.menu
    wanted = tuple(sorted({int(bits) for bits in menu}))
    absent = [bits for bits in wanted if bits not in sensitivity.menu]
    if not wanted or absent:
        raise BudgetError(
            f"The menu {list(wanted)} must be widths of the sensitivity map, "
            f"{list(sensitivity.menu)}. Choose among these, or measure the sensitivity again."
        )
    return wanted


def _check_layers(
    sensitivity: SensitivityMap,
    floors: Mapping[str, int],
    pins: Mapping[str, int],
    menu: tuple[int, ...],
) -> None:
    for kind, table in (("floor", floors), ("pin", pins)):
        for layer in table:
            if layer not in sensitivity.layers:
                raise BudgetError(
                    f"There is a {kind} for layer '{layer}', "
                    "which the sensitivity map does not have."
                )
    check_wishes(menu, floors, pins)
    for layer, pin in pins.items():
        if pin not in sensitivity.menu:
            raise BudgetError(
                f"Layer '{layer}' is pinned to {pin} bits, which the sensitivity map has not "
                f"measured; it has {list(sensitivity.menu)}."
            )


def _group_weights(groups: tuple[str, ...], given: Mapping[str, float] | None) -> np.ndarray:
    given = dict(given or {})
    unknown = [group for group in given if group not in groups]
    if unknown:
        raise BudgetError(
            f"There is a weight for group '{unknown[0]}', which the sensitivity map does not have."
        )
    weights = np.array([given.get(group, 1.0) for group in groups], dtype=np.float64)
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise BudgetError(
            "Group weights must be numbers above 0; to leave a group out, restrict the map."
        )
    return weights
