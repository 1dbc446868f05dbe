"""The exact min-max allocation of few units (layers) as a mixed-integer programme."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from fairquant_core.quantization.allocation_problem import Problem, spend_rest
from fairquant_core.quantization.dual import DualSolution, DualSolver

RELATIVE_GAP = 1e-6
SECONDS = 20.0
"""Far above what 60 layers need; where it strikes, the certificate shows what is left open."""

SLACK = 1e-6
"""The solver's own tolerance on the budget row, in average bits."""


def solve_exact(problem: Problem, solver: DualSolver) -> DualSolution:
    """Return the best plan there is, starting from the dual's plan and bound.

    A width whose reduced cost lifts the bound above the value of the known plan can be in no better
    plan, so it is left out; what remains is a small programme.
    """
    start = solver.solve(problem)
    value = float(problem.losses(start.choice).max())
    if value <= start.bound * (1 + RELATIVE_GAP):
        return start
    excess = solver.reduced_cost(start.multipliers) * solver.scale
    offered = problem.allowed & (excess <= (value - start.bound) * (1 + 1e-6))
    margin = 0.0
    for _ in range(3):
        found = _branch_and_bound(problem, offered, value, margin)
        if found is None:
            break
        choice, bound = found
        if problem.bits_used(choice) <= problem.limit:
            choice = spend_rest(problem, choice)
            if problem.losses(choice).max() <= value:
                bound = min(max(bound, start.bound), float(problem.losses(choice).max()))
                return DualSolution(choice, bound, start.multipliers)
            break
        # The solver used its tolerance on the budget: ask again, a little below.
        margin += 2 * SLACK
    return start


def _branch_and_bound(
    problem: Problem, offered: np.ndarray, value: float, margin: float
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
        options={"mip_rel_gap": RELATIVE_GAP, "time_limit": SECONDS},
    )
    if result.x is None:
        return None
    taken = result.x[:count] > 0.5
    choice = np.zeros(problem.units, dtype=np.int64)
    choice[unit[taken]] = column[taken]
    return choice, float(result.mip_dual_bound) * value
