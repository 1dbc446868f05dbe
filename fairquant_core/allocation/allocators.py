"""Which unit gets how many bits: min-max over groups under a budget, with a certificate.

Torch-free and fast, so that the budget slider answers at once in the web process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import pandas as pd

from fairquant_core.allocation.dual import DualSolution, DualSolver
from fairquant_core.allocation.exact import RELATIVE_GAP, solve_exact
from fairquant_core.allocation.greedy import greedy_choice, spend_rest
from fairquant_core.allocation.problem import (
    Problem,
    Wishes,
    build_problem,
)
from fairquant_core.allocation.quantiles import quantile_choice
from fairquant_core.errors import BudgetError
from fairquant_core.quantization.plan import PRUNED, BitPlan
from fairquant_core.sensitivity.maps import SensitivityMap

CURVE_GAP = 0.01
"""A curve of layer plans stops searching this close to the best: 60 exact plans take 20 seconds."""

EXACT_UNITS = 200
"""Up to here channels are solved exactly too: with so few, rounding would cost per cents."""


@dataclass(frozen=True, eq=False)
class Allocation:
    """Widths for every unit of a sensitivity map, and what they are predicted to cost.

    Parameters
    ----------
    method, granularity : how it was found.
    source : the sensitivity map.
    widths : (U,) uint8, one per unit of the map.
    requested_bits, achieved_bits : average bits per weight; achieved is never above requested, and clearly
        below it only where more bits would help no group.
    predicted : group -> predicted rise of its mean loss.
    worst_group : the group with the largest weighted rise.
    objective : what was minimised: that largest weighted rise (for "mean", the pooled rise), with pruned units
        counted as often as was asked.
    bound : no plan within the budget has a smaller objective; None where the method gives no bound.

    Units
    -----
    bits per weight; loss in nats per image.
    """

    method: str
    granularity: str
    source: SensitivityMap
    widths: np.ndarray
    requested_bits: float
    achieved_bits: float
    predicted: dict[str, float]
    worst_group: str
    objective: float
    bound: float | None

    @property
    def certificate_gap(self) -> float | None:
        """(objective - bound) / bound: the best plan is no further off; None without a bound."""
        if self.bound is None:
            return None
        if self.objective <= self.bound:
            return 0.0
        return (self.objective - self.bound) / self.bound if self.bound > 0 else float("inf")

    def widths_by_layer(self) -> dict[str, np.ndarray]:
        """Return layer -> uint8 widths of its units, in channel order."""
        parts = np.split(self.widths, np.flatnonzero(np.diff(self.source.layer_index)) + 1)
        return dict(zip(self.source.layers, parts, strict=True))

    def plan(self, channels: Mapping[str, int] | None = None, kept_parameters: int = 0) -> BitPlan:
        """Return the bit plan.

        Parameters
        ----------
        channels : layer -> output channels; needed only when the map's units are whole layers.
        """
        widths, weights = self.widths_by_layer(), {}
        starts = np.searchsorted(self.source.layer_index, np.arange(len(self.source.layers)))
        first_weights = self.source.weights[starts].tolist()
        for layer, per_unit in zip(self.source.layers, first_weights, strict=True):
            if channels is None:
                weights[layer] = per_unit
                continue
            if len(widths[layer]) == 1:
                widths[layer] = np.repeat(widths[layer], channels[layer])
                weights[layer] = per_unit // channels[layer]
            else:
                weights[layer] = per_unit
        plan = BitPlan(widths, weights, kept_parameters)
        if plan.weight_count != int(self.source.weights.sum()):
            raise BudgetError(
                "The channels given do not divide the layers' weights evenly; "
                "take them from the classifier that the map was measured on."
            )
        return plan


def minimax(
    sensitivity: SensitivityMap, average_bits: float, **wishes: Unpack[Wishes]
) -> Allocation:
    """Minimise the largest weighted loss rise of any group under an average-bits budget.

    Parameters
    ----------
    sensitivity : predicted damage per group, unit and width.
    average_bits : the budget, over all weights of the map; never exceeded.
    wishes : see :func:`~fairquant_core.allocation.problem.build_problem`; whole layers are solved exactly,
        channels by their dual and rounding.

    Raises
    ------
    BudgetError
        The budget is below the smallest that menu, floors and pins allow, or a name is unknown.

    Source: METHOD.md section 3. Deviation from the FairQuant paper, whose widths come from a fixed
    split by importance quantiles (:func:`quantile`): here the budget and the worst group decide.
    """
    problem = build_problem(sensitivity, average_bits, **wishes)
    return _report("minimax", problem, *_solve(problem, DualSolver(problem)))


def mean(sensitivity: SensitivityMap, average_bits: float, **wishes: Unpack[Wishes]) -> Allocation:
    """Group-blind ablation: minimise the pooled loss rise, every image counting alike.

    Wishes as in :func:`minimax`; ``group_weights`` replace the images' shares.
    """
    shares = dict(wishes.pop("group_weights", None) or sensitivity.images)
    problem = build_problem(sensitivity, average_bits, **wishes)
    pooled = problem.pooled({group: shares.get(group, 1.0) for group in sensitivity.groups})
    return _report("mean", pooled, *_solve(pooled, DualSolver(pooled)))


def greedy(
    sensitivity: SensitivityMap, average_bits: float, **wishes: Unpack[Wishes]
) -> Allocation:
    """Largest gain per bit for the group that is worst at the moment; wishes as in minimax."""
    problem = build_problem(sensitivity, average_bits, **wishes)
    return _report("greedy", problem, greedy_choice(problem), None)


def quantile(
    sensitivity: SensitivityMap, average_bits: float, **wishes: Unpack[Wishes]
) -> Allocation:
    """The paper's split by importance quantiles, moved to the budget; wishes as in minimax."""
    problem = build_problem(sensitivity, average_bits, **wishes)
    return _report("quantile", problem, quantile_choice(problem), None)


ALLOCATORS: dict[str, Callable[..., Allocation]] = {
    "minimax": minimax,
    "mean": mean,
    "greedy": greedy,
    "quantile": quantile,
}


def curve(
    sensitivity: SensitivityMap, budgets: Sequence[float], **wishes: Unpack[Wishes]
) -> pd.DataFrame:
    """Return the Pareto curve: the min-max plan's predictions at each budget.

    Returns
    -------
    DataFrame with one row per budget, rising: bits, achieved_bits, worst (largest weighted rise),
    bound, then one column per group with its own predicted rise. ``worst`` never rises with the
    budget.
    """
    ordered = sorted({float(bits) for bits in budgets})
    if not ordered:
        raise BudgetError("Give the curve at least one budget.")
    first = build_problem(sensitivity, ordered[0], **wishes)
    solver = DualSolver(first)
    rows, last = [], None
    for bits in ordered:
        problem = first.with_budget(bits)
        choice, bound = _solve(problem, solver, last, CURVE_GAP)
        last = choice
        rows.append(_row(bits, _report("minimax", problem, choice, bound)))
    return pd.DataFrame(rows)


def uniform_widths(
    sensitivity: SensitivityMap, *, group_weights: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Return what every single width of the map predicts, with the columns of :func:`curve`.

    A network that is pruned everywhere is none, so 0 bits is left out.
    """
    rows = []
    for bits in sensitivity.menu:
        if bits == PRUNED:
            continue
        problem = build_problem(sensitivity, bits, menu=(bits,), group_weights=group_weights)
        rows.append(_row(bits, _report("uniform", problem, problem.lowest, None)))
    return pd.DataFrame(rows)


def _solve(
    problem: Problem,
    solver: DualSolver,
    known: np.ndarray | None = None,
    relative_gap: float = RELATIVE_GAP,
) -> tuple[np.ndarray, float]:
    """Return choice and bound; ``known`` is a plan of a smaller budget, kept where it is better."""
    few = problem.granularity == "layer" or problem.units <= EXACT_UNITS
    solution: DualSolution = (
        solve_exact(problem, solver, relative_gap) if few else solver.solve(problem)
    )
    choice = solution.choice
    if known is not None and problem.worst(known) < problem.worst(choice):
        choice = spend_rest(problem, known)
    return choice, solution.bound


def _report(method: str, problem: Problem, choice: np.ndarray, bound: float | None) -> Allocation:
    widths = problem.widths(choice)
    widths.setflags(write=False)
    predicted = problem.source.predicted(widths)
    weighted = problem.group_weights * list(predicted.values())
    return Allocation(
        method=method,
        granularity=problem.granularity,
        source=problem.source,
        widths=widths,
        requested_bits=problem.requested_bits,
        achieved_bits=problem.bits_used(choice) / problem.weight_count,
        predicted=predicted,
        worst_group=problem.source.groups[int(weighted.argmax())],
        objective=problem.worst(choice),
        bound=bound,
    )


def _row(bits: float, allocation: Allocation) -> dict[str, float]:
    return {
        "bits": float(bits),
        "achieved_bits": allocation.achieved_bits,
        "worst": allocation.objective,
        "bound": float("nan") if allocation.bound is None else allocation.bound,
        **allocation.predicted,
    }
