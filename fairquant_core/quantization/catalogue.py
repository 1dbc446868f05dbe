"""What can be run: the methods by name and the configuration of one run. Needs no torch.

The web process draws its menus from here; :mod:`fairquant_core.training.methods` holds the code that each
name stands for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from fairquant_core.errors import BudgetError, TrainingError
from fairquant_core.quantization.bounds import check_wishes
from fairquant_core.quantization.cards import (
    METHODS,
    PLANNED_FROM,
    PRUNING_BELOW,
    RECOMMENDED,
    MethodCard,
)

__all__ = [
    "ACTIVATION_BITS",
    "FAIRNESS_TERMS",
    "GRANULARITIES",
    "LEGAL_MENU",
    "MENU",
    "METHODS",
    "PLANNED_FROM",
    "PRUNING_BELOW",
    "RECOMMENDED",
    "MethodCard",
    "RunConfig",
]

MENU: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
"""Widths of a unit that is kept, in bits."""

LEGAL_MENU: tuple[int, ...] = (0, *MENU)

GRANULARITIES: tuple[str, ...] = ("channel", "layer")

FAIRNESS_TERMS: tuple[str, ...] = ("none", "gap", "worst")

ACTIVATION_BITS: tuple[int | None, ...] = (None, 8)

AVERAGING_FROM = 3.0
"""Budgets from there on, in average bits, leave room to round an average of trained and original weights anew; below
it the training is what makes the rounding bearable. Against training alone, at 3 bits: loss 0.04 lower at the same
accuracy (before steps had signs 0.05, and 2.1 points more were right). At 2.5 bits nothing was gained that held: with a
share of 0.7 the loss was 0.05 lower on validation images, but no lower on others. Fitzpatrick17k, MobileNetV2, means of
three classifiers with a split each; benchmarks/accuracy.py."""

TRAINED_SHARE = 0.3
"""Share of the trained weights in that average."""

VERSION = 4
"""Of a stored configuration; older ones lack fields that are listed in :data:`BEFORE`, or have today's defaults."""

BEFORE: dict[int, dict[str, Any]] = {3: {"trained_share": 1.0}, 4: {"pruned_counts": 1.0}}
"""Version -> what the fields that are new in it were before, where today's default is something else."""

NO_PLAN = (
    "'{title}' does not choose widths, so it cannot take {what}. Choose a method that plans its bits, or leave "
    "them out."
)
BLIND = (
    "'{title}' does not look at groups, so it cannot weigh them. Choose a method that plans for the worst-served "
    "group, or leave the group weights out."
)
SPLIT_MENU = "'{title}' splits the weights into 2, 4 and 8 bits; the menu {menu} lacks {absent}."
OUT_OF_REACH = (
    "A budget of {bits:g} bits per weight cannot be met: the menu{pins} reaches from {lowest} to {highest} bits. "
    "Choose a budget in that range."
)
ONE_WIDTH = (
    "The menu holds one width, {width} bits, so the budget can only be {width} bits, not {bits:g}. Ask for that, "
    "or add widths to the menu."
)


def usual_menu(bits: float, prunes: bool = True) -> tuple[int, ...]:
    """The widths to choose from at a budget of so many average bits, where nobody asks for others.

    Parameters
    ----------
    prunes : whether the method may leave channels out where the budget is small.

    >>> usual_menu(2.0), usual_menu(4.0)
    ((0, 2, 3, 4, 5, 6, 7, 8), (2, 3, 4, 5, 6, 7, 8))
    """
    return LEGAL_MENU if prunes and bits < PRUNING_BELOW else MENU


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the outcome of one run, apart from the case itself.

    Parameters
    ----------
    method
        A key of :data:`METHODS`.
    bits
        Budget. Units: average bits per quantised weight. With ``size_bytes`` it is only a note: what the size
        means in bits is found out when the run plans (see :mod:`fairquant_core.quantization.file_size`).
    epochs
        Passes over the training images; methods without training ignore it.
    granularity
        Whether widths are chosen per output channel or per layer.
    learning_rate
        Peak of the schedule of the weights. Left at 0 it becomes the method's own.
    fairness
        Which fairness term joins the task loss: ``"none"``, ``"gap"`` (FairQuant: largest minus smallest
        group loss) or ``"worst"`` (group distributionally robust: weights follow the worse-served groups).
        Left empty it becomes the method's own.
    fairness_weight
        Weight of that term. Units: none (both are mean losses in nats).
    bit_learning_rate
        Step of the widths themselves. Units: bits per optimiser step, before annealing.
    trained_share
        How much of the trained weights goes into the result; the rest is the weights before the training. What
        comes out is rounded anew, to the widths that were trained. 1 keeps the training as it is; left at 0
        it becomes the method's own.
    images_per_group
        How many images per group the sensitivity pass reads at most.
    menu
        Widths a unit may have; with 0 channels may be pruned. Left empty it becomes the method's own.
    pruned_counts
        How many times its predicted damage a channel that is left out counts when the bits are planned. Left at 0
        it becomes the method's own; without 0 in the menu it is 1.
    floors, pins
        Layer name to its smallest width, and to the one width that all its channels keep, in the menu or not.
    size_bytes
        Budget as the size of the exported file instead of ``bits``; the file is at most that large.
    activation_bits
        8 rounds activations too, for an int8 runtime; None leaves them in float.
    group_weights
        How much a group's predicted loss counts when the bits are planned; 1 where not named.

    Raises
    ------
    TrainingError
        A name is unknown or a setting out of range.
    BudgetError
        Menu, floors, pins and budget contradict each other or do not suit the method.
    """

    method: str = "baq"
    bits: float = 4.0
    epochs: int = 4
    seed: int = 0
    granularity: str = "channel"
    batch_size: int = 32
    learning_rate: float = 0.0
    bit_learning_rate: float = 0.03
    fairness: str = ""
    fairness_weight: float = 0.5
    distillation: bool = True
    trained_share: float = 0.0
    images_per_group: int = 256
    menu: tuple[int, ...] = ()
    pruned_counts: float = 0.0
    floors: dict[str, int] = field(default_factory=dict)
    pins: dict[str, int] = field(default_factory=dict)
    size_bytes: int | None = None
    activation_bits: int | None = None
    group_weights: dict[str, float] = field(default_factory=dict)
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise TrainingError(
                f"Method '{self.method}' is not known. Choose one of: {', '.join(METHODS)}."
            )
        if not self.learning_rate:
            object.__setattr__(self, "learning_rate", self.card.learning_rate)
        if not self.trained_share:
            averaged = self.card.averages and self.bits >= AVERAGING_FROM
            object.__setattr__(self, "trained_share", TRAINED_SHARE if averaged else 1.0)
        if not self.menu:
            object.__setattr__(self, "menu", usual_menu(self.bits, self.card.prunes))
        object.__setattr__(self, "menu", tuple(sorted({int(width) for width in self.menu})))
        if LEGAL_MENU[0] not in self.menu:
            object.__setattr__(self, "pruned_counts", 1.0)
        elif not self.pruned_counts:
            object.__setattr__(self, "pruned_counts", self.card.pruned_counts)
        for name, kind in (("floors", int), ("pins", int), ("group_weights", float)):
            table = {str(key): kind(value) for key, value in getattr(self, name).items()}
            object.__setattr__(self, name, dict(sorted(table.items())))
        if self.size_bytes is not None:
            object.__setattr__(self, "size_bytes", int(self.size_bytes))
        if self.granularity not in GRANULARITIES:
            raise TrainingError(
                f"Granularity '{self.granularity}' is not known. Choose 'channel' or 'layer'."
            )
        if not self.fairness:
            object.__setattr__(self, "fairness", self.card.fairness)
        if self.fairness not in FAIRNESS_TERMS:
            raise TrainingError(
                f"Fairness term '{self.fairness}' is not known. Choose 'none', 'gap' or 'worst'."
            )
        if not set(self.menu) <= set(LEGAL_MENU) or not set(self.menu) & set(MENU):
            raise BudgetError(
                f"The bit menu {list(self.menu)} may hold 0 (pruned) and widths from 2 to 8 only, and needs "
                "at least one of the latter."
            )
        if self.activation_bits not in ACTIVATION_BITS:
            raise BudgetError("Activations can be rounded to 8 bits or stay in float.")
        check_wishes(self.menu, self.floors, self.pins)
        self._check_wishes_of_the_method()
        self._check_budget()
        for name, low, high in (
            ("epochs", 1, 1000),
            ("batch_size", 2, 1024),
            ("images_per_group", 1, 100_000),
            ("learning_rate", 1e-7, 1.0),
            ("trained_share", 0.01, 1.0),
            ("fairness_weight", 0.0, 100.0),
            ("bit_learning_rate", 0.0, 1.0),
            ("pruned_counts", 1.0, 1000.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise TrainingError(
                    f"'{name}' is {getattr(self, name)}; it must lie between {low:g} and {high:g}."
                )

    def _check_wishes_of_the_method(self) -> None:
        card = self.card
        wishes = {"floors": self.floors, "pins": self.pins, "group weights": self.group_weights}
        asked = " and ".join(name for name, table in wishes.items() if table)
        if asked and not card.mixed:
            raise BudgetError(NO_PLAN.format(title=card.title, what=asked))
        if self.group_weights and card.allocate != "minimax":
            raise BudgetError(BLIND.format(title=card.title))
        if not all(0 < weight < math.inf for weight in self.group_weights.values()):
            raise BudgetError(
                "Group weights must be numbers above 0; 1 counts a group like the others."
            )
        absent = sorted({2, 4, 8} - set(self.menu))
        if card.allocate == "quantile" and absent:
            raise BudgetError(
                SPLIT_MENU.format(title=card.title, menu=list(self.menu), absent=absent)
            )

    def _check_budget(self) -> None:
        """What can be told without the network; the rest is checked when the run plans."""
        if self.size_bytes is not None:
            if self.size_bytes < 1:
                raise BudgetError(f"A file of {self.size_bytes} bytes cannot be made.")
            return
        lowest, highest = min(self.widths), max(self.widths)
        if not lowest <= self.bits <= highest:
            if lowest == highest:
                raise BudgetError(ONE_WIDTH.format(width=lowest, bits=self.bits))
            pins = " with the pins" if self.pins else ""
            raise BudgetError(
                OUT_OF_REACH.format(bits=self.bits, pins=pins, lowest=lowest, highest=highest)
            )
        if self.card.mixed or self.method == "full_precision":
            return
        if self.bits % 1:
            raise BudgetError(
                f"'{self.card.title}' needs a whole number of bits, not {self.bits:g}."
            )
        if self.bits not in self.menu:
            raise BudgetError(
                f"'{self.card.title}' at {self.bits:g} bits needs that width in the menu, which is "
                f"{list(self.menu)}."
            )

    @property
    def card(self) -> MethodCard:
        """The method's presentation."""
        return METHODS[self.method]

    @property
    def widths(self) -> tuple[int, ...]:
        """Every width that may occur in the network: the menu and the pins."""
        return tuple(sorted({*self.menu, *self.pins.values()}))

    @property
    def plan_wishes(self) -> dict[str, Any]:
        """What it asks of a plan besides the budget: the wishes of every allocator."""
        names = ("granularity", "menu", "floors", "pins", "group_weights", "pruned_counts")
        return {name: getattr(self, name) for name in names}

    @property
    def title(self) -> str:
        """One line for lists, e.g. ``Learned bit-widths (BAQ), 4 bits, seed 0``."""
        if self.method == "full_precision":
            return f"{self.card.title}, seed {self.seed}"
        budget = f"{self.bits:g} bits"
        if self.size_bytes is not None:
            budget = f"{self.size_bytes / 1e6:.4g} MB"
        return f"{self.card.title}, {budget}, seed {self.seed}"

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON; equal configurations have equal digests."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary that :meth:`from_json` reads back."""
        return {**dataclasses.asdict(self), "menu": list(self.menu)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunConfig:
        """Read what :meth:`to_json` wrote; unknown fields are an error, missing ones take defaults.

        A configuration of an older version becomes one of today's: nothing that it could say means anything
        else now.
        """
        known = {entry.name for entry in dataclasses.fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise TrainingError(f"The run configuration has unknown fields: {', '.join(unknown)}.")
        if data.get("version", VERSION) > VERSION:
            raise TrainingError(
                f"The run configuration was written by a newer program (version {data['version']}): update "
                "this one."
            )
        older = {
            name: value
            for version, fields in BEFORE.items()
            if data.get("version", VERSION) < version
            for name, value in fields.items()
        }
        return cls(**{**older, **data, "version": VERSION})
