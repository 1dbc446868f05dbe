"""The exact min-max allocation of few units (layers) as a mixed-integer programme."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from fairquant_core.allocation.dual import DualSolution, DualSolver
from fairquant_core.allocation.greedy import spend_rest
from fairquant_core.allocation.problem import Problem

RELATIVE_GAP = 1e-6
MOST_EXCHANGES = 100
SECONDS = 20.0
"""Far above what 60 layers need; where it strikes, the certificate shows what is left open."""

SLACK = 1e-6
"""The solver's own tolerance on the budget row, in average bits."""


def solve_exact(
    problem: Problem, solver: DualSolver, relative_gap: float = RELATIVE_GAP
) -> DualSolution:
    """Return the best plan there is, starting from the dual's plan and bound.

    A width whose reduced cost lifts the bound above the value of the known plan can be in no better
    plan, so it is left out; what remains is a small programme. With a larger ``relative_gap`` the
    search ends as soon as the plan is known to be that close to the best.
    """
    start = solver.solve(problem)
    excess = solver.reduced_cost(start.multipliers) * solver.scale
    value = problem.worst(start.choice)
    offered = problem.allowed & (excess <= (value - start.bound) * (1 + 1e-6))
    start = replace(start, choice=_exchange(problem, start.choice, offered))
    value = problem.worst(start.choice)
    if value <= start.bound * (1 + relative_gap):
        return start
    offered &= excess <= (value - start.bound) * (1 + 1e-6)
    margin = 0.0
    for _ in range(3):
        found = _branch_and_bound(problem, offered, value, margin, relative_gap)
        if found is None:
            break
        choice, bound = found
        if problem.bits_used(choice) > problem.limit:
            # The solver used its tolerance on the budget: ask again, a little below.
            margin += 2 * SLACK
            continue
        choice = min(start.choice, spend_rest(problem, choice), key=problem.worst)
        if margin == 0:  # else the bound is that of a smaller budget
            start = replace(start, bound=min(max(bound, start.bound), problem.worst(choice)))
        return replace(start, choice=choice)
    return start


def _exchange(problem: Problem, choice: np.ndarray, offered: np.ndarray) -> np.ndarray:
    """Change two units at a time as long as that lowers the worst loss within the budget."""
    choice = choice.copy()
    column, unit = np.nonzero(offered)
    for _ in range(MOST_EXCHANGES):
        losses = problem.losses(choice)
        rest = problem.limit - problem.bits_used(choice)
        change = problem.cost[:, column, unit] - problem.cost[:, choice[unit], unit]
        extra = problem.bits[column, unit] - problem.bits[choice[unit], unit]
        worst = np.full((len(unit), len(unit)), -np.inf)
        for loss, row in zip(losses, change, strict=True):
            np.maximum(worst, loss + row[:, None] + row, out=worst)
        worst[(extra[:, None] + extra > rest) | (unit[:, None] == unit)] = np.inf
        if not worst.size or worst.min() >= losses.max() * (1 - 1e-9):
            break
        for place in divmod(int(worst.argmin()), len(unit)):
            choice[unit[place]] = column[place]
    return spend_rest(problem, choice)


def _branch_and_bound(
    problem: Problem, offered: np.ndarray, value: float, margin: float, relative_gap: float
) -> tuple[np.ndarray, float] | None:
    """Return (choice, bound), or None when nothing better than ``value`` was found in time."""
    groups = len(problem.cost)
    column, unit = np.nonzero(offered)
    count = len(unit)
    # Scaled so that the worst loss is near 1 and the budget is an average: tolerances are absolute.
    losses = np.hstack([problem.cost[:, column, unit] / value, -np.ones((groups, 1))])
    bits = np.append(problem.bits[column, unit] / problem.weight_count, 0.0)
    one_width = sparse.csr_matrix(
        (np.ones(count), (unit, np.arange(count))), shape=(problem.units, count + 1)
    )
    result = milp(
        np.append(np.zeros(count), 1.0),
        integrality=np.append(np.ones(count), 0.0),
        bounds=Bounds(0.0, np.append(np.ones(count), np.inf)),
        constraints=[
            LinearConstraint(losses, ub=0.0),
            LinearConstraint(bits, ub=problem.limit / problem.weight_count - margin),
            LinearConstraint(one_width, 1.0, 1.0),
        ],
        options={"mip_rel_gap": relative_gap, "time_limit": SECONDS},
    )
    if result.x is None:
        return None
    taken = result.x[:count] > 0.5
    choice = np.zeros(problem.units, dtype=np.int64)
    choice[unit[taken]] = column[taken]
    return choice, float(result.mip_dual_bound) * value
