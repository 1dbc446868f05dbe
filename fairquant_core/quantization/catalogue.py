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
"""Widths a unit may have, in bits, unless a run says otherwise; 0 (pruned) may be added."""

LEGAL_MENU: tuple[int, ...] = (0, *MENU)

GRANULARITIES: tuple[str, ...] = ("channel", "layer")

FAIRNESS_TERMS: tuple[str, ...] = ("none", "gap", "worst")

ACTIVATION_BITS: tuple[int | None, ...] = (None, 8)


@dataclass(frozen=True)
class MethodCard:
    """What a method is, for a person and for the code that runs it.

    Parameters
    ----------
    trains, learns_bits, mixed
        Whether weights are trained, whether the widths are, and whether widths differ within the network.
    measure
        The sensitivity it plans from (see :mod:`fairquant_core.quantization.measures`); empty without a plan.
    reduce
        How the groups are joined into one before planning; empty where the allocation sees every group.
    allocate
        A key of :data:`fairquant_core.quantization.allocation.ALLOCATORS`.
    rounding
        ``"absmax"`` ranges, ``"mse"`` ranges, or ``"compensated"``: MSE ranges, then each rounding error is made
        up for by the weights that are rounded after it.
    fairness
        The fairness term it trains with unless the run says otherwise.
    source
        Where a method of others was published, and what is approximated.
    """

    name: str
    title: str
    sentence: str
    trains: bool = False
    learns_bits: bool = False
    mixed: bool = False
    measure: str = ""
    reduce: str = ""
    allocate: str = ""
    rounding: str = "mse"
    fairness: str = "none"
    source: str = ""


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
            measure="fisher",
            allocate="minimax",
            fairness="worst",
        ),
        MethodCard(
            "static_qat",
            "Planned bit-widths, then training",
            "Bits are planned once from the sensitivity map and stay; weights and ranges are trained.",
            trains=True,
            mixed=True,
            measure="fisher",
            allocate="minimax",
        ),
        MethodCard(
            "uniform_qat",
            "The same bits everywhere, then training",
            "Every layer gets the same width; weights and ranges are trained. The hard baseline.",
            trains=True,
            source="LSQ (arXiv 1902.08153)",
        ),
        MethodCard(
            "minimax_ptq",
            "Planned bit-widths, no training",
            "Bits are planned so that the worst-served group loses least; nothing is trained.",
            mixed=True,
            measure="fisher",
            allocate="minimax",
            rounding="compensated",
        ),
        MethodCard(
            "uniform_ptq",
            "The same bits everywhere, no training",
            "Every layer is rounded to the same width, with the best range per channel.",
        ),
        MethodCard(
            "absmax_ptq",
            "The same bits everywhere, widest range, no training",
            "Every layer is rounded to the same width, up to its largest weight. The usual way, and the "
            "one that does harm.",
            rounding="absmax",
        ),
        MethodCard(
            "blind_qat",
            "Planned without groups, then training",
            "As planned bit-widths, but every photograph counts alike. Shows what looking at groups is worth.",
            trains=True,
            mixed=True,
            measure="fisher",
            allocate="mean",
        ),
        MethodCard(
            "fairquant_qat",
            "FairQuant as published, fixed bits",
            "A fifth of the weights at 2 bits, two fifths at 4 and at 8, by importance balanced over groups.",
            trains=True,
            mixed=True,
            measure="grape",
            reduce="balanced",
            allocate="quantile",
            source="FairQuant (arXiv 2602.23192), static variant; the shares are moved to the budget",
        ),
        MethodCard(
            "fairgrape_qat",
            "FairGRAPE-style",
            "The paper's split by importance, where a weight counts as much as for the group that needs it most.",
            trains=True,
            mixed=True,
            measure="grape",
            reduce="max",
            allocate="quantile",
            source="FairGRAPE (arXiv 2207.10888); a pruning method, here its importance ranks the widths",
        ),
        MethodCard(
            "fairquantize_qat",
            "FairQuantize-style",
            "The paper's split by importance for the worst-served group less that for the best-served one.",
            trains=True,
            mixed=True,
            measure="grape",
            reduce="subtractive",
            allocate="quantile",
            source="FairQuantize (MICCAI 2024); its weight-wise choice becomes one per output channel",
        ),
        MethodCard(
            "hawq_qat",
            "HAWQ-style",
            "Bits are planned from the loss curvature over all photographs; groups are not looked at.",
            trains=True,
            mixed=True,
            measure="hessian",
            allocate="mean",
            source="HAWQ-V2 (arXiv 1911.03852); Hutchinson diagonal per channel instead of one trace per layer",
        ),
        MethodCard(
            "full_precision",
            "Full precision, trained on equally long",
            "The control: the uncompressed classifier after the same extra training.",
            trains=True,
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
        Left empty it becomes the method's own.
    fairness_weight
        Weight of that term. Units: none (both are mean losses in nats).
    bit_learning_rate
        Step of the widths themselves. Units: bits per optimiser step, before annealing.
    images_per_group
        How many images per group the sensitivity pass reads at most.
    menu
        Widths a unit may have; with 0 channels may be pruned.
    floors, pins
        Layer name to its smallest width, and to the one width that all its channels keep.
    size_bytes
        Budget as the size of the exported file instead of ``bits``.
    activation_bits
        8 rounds activations too, for an int8 runtime; None leaves them in float.
    """

    method: str = "baq"
    bits: float = 4.0
    epochs: int = 4
    seed: int = 0
    granularity: str = "channel"
    batch_size: int = 32
    learning_rate: float = 1e-3
    bit_learning_rate: float = 0.03
    fairness: str = ""
    fairness_weight: float = 0.5
    distillation: bool = True
    images_per_group: int = 256
    menu: tuple[int, ...] = field(default=MENU)
    floors: dict[str, int] = field(default_factory=dict)
    pins: dict[str, int] = field(default_factory=dict)
    size_bytes: int | None = None
    activation_bits: int | None = None
    version: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "menu", tuple(sorted({int(width) for width in self.menu})))
        if self.method not in METHODS:
            raise TrainingError(
                f"Method '{self.method}' is not known. Choose one of: {', '.join(METHODS)}."
            )
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
