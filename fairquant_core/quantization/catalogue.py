"""What can be run: the methods by name and the configuration of one run. Needs no torch.

The web process reads this file to draw its menus; :mod:`fairquant_core.quantization.methods` holds the code
that each name stands for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from fairquant_core.errors import BudgetError, TrainingError

MENU: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
"""Widths a unit may have, in bits. 0 (pruned) is not offered by default."""

GRANULARITIES: tuple[str, ...] = ("channel", "layer")


@dataclass(frozen=True)
class MethodCard:
    """How a method presents itself to a person."""

    name: str
    title: str
    sentence: str
    trains: bool
    learns_bits: bool
    mixed: bool


METHODS: dict[str, MethodCard] = {
    card.name: card
    for card in (
        MethodCard(
            "baq",
            "Learned bit-widths (BAQ)",
            "Bits, ranges and weights are trained together; the worst-served group counts most.",
            trains=True,
            learns_bits=True,
            mixed=True,
        ),
        MethodCard(
            "static_qat",
            "Planned bit-widths, then training",
            "Bits are planned once from the sensitivity map and stay; weights and ranges are trained.",
            trains=True,
            learns_bits=False,
            mixed=True,
        ),
        MethodCard(
            "uniform_qat",
            "The same bits everywhere, then training",
            "Every layer gets the same width; weights and ranges are trained. The hard baseline.",
            trains=True,
            learns_bits=False,
            mixed=False,
        ),
        MethodCard(
            "minimax_ptq",
            "Planned bit-widths, no training",
            "Bits are planned so that the worst-served group loses least; nothing is trained.",
            trains=False,
            learns_bits=False,
            mixed=True,
        ),
        MethodCard(
            "uniform_ptq",
            "The same bits everywhere, no training",
            "Every layer is rounded to the same width. The usual way, and the one that does harm.",
            trains=False,
            learns_bits=False,
            mixed=False,
        ),
        MethodCard(
            "full_precision",
            "Full precision, trained on equally long",
            "The control: the uncompressed classifier after the same extra training.",
            trains=True,
            learns_bits=False,
            mixed=False,
        ),
    )
}


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the outcome of one run, apart from the case itself.

    Parameters
    ----------
    method
        A key of :data:`METHODS`.
    bits
        Budget. Units: average bits per quantised weight.
    epochs
        Passes over the training images; methods without training ignore it.
    granularity
        Whether widths are chosen per output channel or per layer.
    fairness
        Which fairness term joins the task loss: ``"none"``, ``"gap"`` (FairQuant: largest minus smallest
        group loss) or ``"worst"`` (group distributionally robust: weights follow the worse-served groups).
    fairness_weight
        Weight of that term. Units: none (both are mean losses in nats).
    bit_learning_rate
        Step of the widths themselves. Units: bits per optimiser step, before annealing.
    images_per_group
        How many images per group the sensitivity pass reads at most.
    """

    method: str = "baq"
    bits: float = 4.0
    epochs: int = 4
    seed: int = 0
    granularity: str = "channel"
    batch_size: int = 32
    learning_rate: float = 1e-3
    bit_learning_rate: float = 0.03
    fairness: str = "worst"
    fairness_weight: float = 0.5
    distillation: bool = True
    images_per_group: int = 256
    menu: tuple[int, ...] = field(default=MENU)
    version: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "menu", tuple(int(width) for width in self.menu))
        if self.method not in METHODS:
            raise TrainingError(
                f"Method '{self.method}' is not known. Choose one of: {', '.join(METHODS)}."
            )
        if self.granularity not in GRANULARITIES:
            raise TrainingError(
                f"Granularity '{self.granularity}' is not known. Choose 'channel' or 'layer'."
            )
        if self.fairness not in ("none", "gap", "worst"):
            raise TrainingError(
                f"Fairness term '{self.fairness}' is not known. Choose 'none', 'gap' or 'worst'."
            )
        if not self.menu or not set(self.menu) <= set(range(2, 9)):
            raise BudgetError(f"The bit menu {list(self.menu)} may hold widths from 2 to 8 only.")
        if not min(self.menu) <= self.bits <= max(self.menu):
            raise BudgetError(
                f"A budget of {self.bits:g} bits per weight cannot be met: the menu reaches from "
                f"{min(self.menu)} to {max(self.menu)} bits. Choose a budget in that range."
            )
        if not METHODS[self.method].mixed and self.method != "full_precision" and self.bits % 1:
            raise BudgetError(
                f"'{METHODS[self.method].title}' needs a whole number of bits, not {self.bits:g}."
            )
        for name, low, high in (
            ("epochs", 1, 1000),
            ("batch_size", 2, 1024),
            ("images_per_group", 1, 100_000),
            ("learning_rate", 1e-7, 1.0),
            ("fairness_weight", 0.0, 100.0),
            ("bit_learning_rate", 0.0, 1.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise TrainingError(
                    f"'{name}' is {getattr(self, name)}; it must lie between {low:g} and {high:g}."
                )

    @property
    def card(self) -> MethodCard:
        """The method's presentation."""
        return METHODS[self.method]

    @property
    def title(self) -> str:
        """One line for lists, e.g. ``Learned bit-widths (BAQ), 4 bits, seed 0``."""
        if self.method == "full_precision":
            return f"{self.card.title}, seed {self.seed}"
        return f"{self.card.title}, {self.bits:g} bits, seed {self.seed}"

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
        """Read what :meth:`to_json` wrote; unknown fields are an error, missing ones take defaults."""
        known = {entry.name for entry in dataclasses.fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise TrainingError(f"The run configuration has unknown fields: {', '.join(unknown)}.")
        return cls(**data)
