"""How every method presents itself: to a person who chooses, and to the code that runs it."""

from __future__ import annotations

from dataclasses import dataclass

RECOMMENDED: tuple[str, ...] = ("baq", "static_qat", "minimax_ptq")
"""Methods to compress with; the others are there to be compared with."""

PRUNING_BELOW = 2.5
"""Budgets under it, in average bits, need channels that are left out: at 2 bits the plan has no other choice to make.
From there on leaving channels out is predicted to help and harms: without training (benchmarks/post_training.py), and
with learned widths at 2.5 bits, where 1.3 points of accuracy and 2.9 of the worst group's are lost on validation images
at the same loss (Fitzpatrick17k, MobileNetV2, means of three classifiers with a split each)."""

PRUNED_COUNTS = 10.0
"""How many times its predicted damage a channel that is left out counts in a plan whose rounding is compensated: the
weights that are rounded later make up for most of a rounding error, but not for a channel that is gone. At 2 bits, with
1, 3, 10 and 30 times, 31.5, 40.9, 43.1 and 42.1 % of validation images are right without training; after training from
there 10 instead of 1 is worth 1.5 points (mean over four ways to learn the widths or not). Where nothing is compensated
the plan is best as predicted: 48.3 % with 1, 46.5 % with 10 (planned widths, then training). Fitzpatrick17k,
MobileNetV2, means of three classifiers with a split each."""


@dataclass(frozen=True)
class MethodCard:
    """What a method is, for a person and for the code that runs it.

    Parameters
    ----------
    trains, learns_bits, mixed
        Whether weights are trained, whether the widths are, and whether widths differ within the network.
    prunes
        Whether budgets under :data:`PRUNING_BELOW` may leave channels out (0 bits) unless the run says otherwise.
    measure
        The sensitivity it plans from (see :mod:`fairquant_core.sensitivity.measures`); empty without a plan.
    reduce
        How the groups are joined into one before planning; empty where the allocation sees every group.
    allocate
        A key of :data:`fairquant_core.allocation.allocators.ALLOCATORS`.
    rounding
        ``"absmax"`` ranges, ``"mse"`` ranges, or ``"compensated"``: MSE ranges, then each rounding error is made
        up for by the weights that are rounded after it. Training starts from there.
    averages
        Whether generous budgets end with an average of the weights after and before the training, unless the run
        says otherwise.
    learning_rate
        Peak of the schedule unless the run says otherwise. Half of what a classifier is fine-tuned with here:
        validation accuracy 1.8 points higher on average in six pairs of runs (-0.3 to +3.6; learned widths at 2 and
        2.5 bits, planned ones at 3, full precision; Fitzpatrick17k, MobileNetV2), loss the same. A quarter of it
        was between the two, twice it 4.2 points worse (2 bits, one classifier).
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
    prunes: bool = False
    measure: str = ""
    reduce: str = ""
    allocate: str = ""
    rounding: str = "mse"
    averages: bool = False
    learning_rate: float = 5e-4
    fairness: str = "none"
    source: str = ""

    @property
    def pruned_counts(self) -> float:
        """How many times its predicted damage a channel that is left out counts, unless the run says otherwise."""
        return PRUNED_COUNTS if self.rounding == "compensated" else 1.0


METHODS: dict[str, MethodCard] = {
    card.name: card
    for card in (
        MethodCard(
            "baq",
            "Learned bit-widths (BAQ)",
            "Bits, ranges and weights are trained together; the worst-served group counts most. From 3 bits on the "
            "weights are then averaged with those before the training, so that little that was known is lost.",
            trains=True,
            learns_bits=True,
            mixed=True,
            prunes=True,
            measure="centred",
            allocate="minimax",
            rounding="compensated",
            averages=True,
            fairness="worst",
        ),
        MethodCard(
            "static_qat",
            "Planned bit-widths, then training",
            "Bits are planned once from the sensitivity map and stay; weights and ranges are trained.",
            trains=True,
            mixed=True,
            prunes=True,
            measure="centred",
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
            "Bits are planned so that the worst-served group loses least; nothing is trained, so this is the quickest. "
            "At 6 bits that was about half a point of accuracy; with fewer, training takes part of it back.",
            mixed=True,
            prunes=True,
            measure="centred",
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
            prunes=True,
            measure="centred",
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

PLANNED_FROM = METHODS[RECOMMENDED[0]].measure
"""The measure of the map that recommended methods plan from."""
