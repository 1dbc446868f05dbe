"""Which widths a layer may have: the menu, its floor and its pin. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairquant_core.errors import BudgetError
from fairquant_core.quantization.plan import LEGAL_WIDTHS

Bounds = dict[str, tuple[int, int]]
"""Layer -> its smallest and its largest allowed width."""

NAMED_LAYERS = 6
"""So many layers are named in an error; more would hide the dear ones."""

NOT_A_WIDTH = "The {kind} of layer '{layer}' is {width} bits; a width is 0 (pruned) or a whole number from 2 to 8."
PIN_BELOW_FLOOR = "Layer '{layer}' is pinned to {pin} bits, below its own floor of {floor}. Loosen one of the two."
FLOOR_ABOVE_MENU = (
    "The floor of {floor} bits for layer '{layer}' is above the menu's largest width, {largest}. "
    "Lower the floor, or add a larger width to the menu."
)


def allowed_widths(
    menu: Iterable[int], floor: int | None = None, pin: int | None = None
) -> tuple[int, ...]:
    """The widths that one layer may have, rising; a pin may lie outside the menu.

    Examples
    --------
    >>> allowed_widths((2, 4, 8), floor=3)
    (4, 8)
    >>> allowed_widths((2, 4), pin=8)
    (8,)
    """
    if pin is not None:
        return (pin,)
    return tuple(width for width in sorted(menu) if width >= (floor or 0))


def width_bounds(
    layers: Iterable[str],
    menu: Iterable[int],
    floors: Mapping[str, int],
    pins: Mapping[str, int],
) -> Bounds:
    """The smallest and the largest width of every layer; a pinned layer has the same twice."""
    menu = tuple(menu)
    bounds = {}
    for layer in layers:
        widths = allowed_widths(menu, floors.get(layer), pins.get(layer))
        bounds[layer] = (widths[0], widths[-1])
    return bounds


def check_wishes(menu: Iterable[int], floors: Mapping[str, int], pins: Mapping[str, int]) -> None:
    """Refuse floors and pins that no plan can keep.

    Raises
    ------
    BudgetError
        A width does not exist, a pin is below its layer's floor, or a floor is above the menu.
    """
    for kind, table in (("floor", floors), ("pin", pins)):
        for layer, width in table.items():
            if width not in LEGAL_WIDTHS:
                raise BudgetError(NOT_A_WIDTH.format(kind=kind, layer=layer, width=width))
    largest = max(menu)
    for layer, floor in floors.items():
        if layer in pins:
            if pins[layer] < floor:
                raise BudgetError(PIN_BELOW_FLOOR.format(layer=layer, pin=pins[layer], floor=floor))
        elif floor > largest:
            raise BudgetError(FLOOR_ABOVE_MENU.format(layer=layer, floor=floor, largest=largest))


def lifted_layers(bounds: Bounds, weights: Mapping[str, int], smallest: int) -> str:
    """Name the layers that floors and pins hold above the menu's smallest width, the dearest first.

    Examples
    --------
    >>> bounds = {"stem": (4, 8), "middle": (2, 8), "head": (8, 8)}
    >>> lifted_layers(bounds, {"stem": 10, "middle": 900, "head": 50}, 2)
    'head = 8, stem >= 4'
    """
    lifted = [layer for layer, (lowest, _) in bounds.items() if lowest > smallest]
    lifted.sort(key=lambda layer: -weights[layer] * (bounds[layer][0] - smallest))
    named = []
    for layer in lifted[:NAMED_LAYERS]:
        lowest, highest = bounds[layer]
        named.append(f"{layer} {'=' if lowest == highest else '>='} {lowest}")
    text = ", ".join(named)
    left = len(lifted) - len(named)
    return f"{text} and {left} more" if left else text
