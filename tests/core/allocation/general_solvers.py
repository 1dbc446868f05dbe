"""The best plan by trying all of them and by general solvers: what the allocators are compared with."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from fairquant_core.allocation.problem import Problem


def brute_force(problem: Problem) -> float:
    """The smallest worst loss over all plans within the budget."""
    choices = np.array(list(itertools.product(range(len(problem.menu)), repeat=problem.units)))
    index = np.arange(problem.units)
    fits = problem.bits[choices, index].sum(axis=1) <= problem.limit
    fits &= problem.allowed[choices, index].all(axis=1)
    return float(problem.cost[:, choices[fits], index].sum(axis=2).max(axis=0).min())


def full_programme(problem: Problem) -> float:
    """The linear relaxation with one variable per unit and width, by a general solver."""
    groups, widths, units = problem.cost.shape
    scale = problem.losses(problem.lowest).max()
    rows = np.hstack([problem.cost.reshape(groups, -1) / scale, -np.ones((groups, 1))])
    bits = np.append(problem.bits.ravel() / problem.weight_count, 0.0)[None]
    one_width = sparse.hstack([sparse.identity(units)] * widths + [sparse.csr_matrix((units, 1))])
    ends = np.append(problem.allowed.ravel().astype(float), np.inf)
    result = linprog(
        np.append(np.zeros(widths * units), 1.0),
        bounds=np.stack([np.zeros_like(ends), ends], axis=1),
        A_ub=np.vstack([rows, bits]),
        b_ub=np.append(np.zeros(groups), problem.limit / problem.weight_count),
        A_eq=one_width,
        b_eq=np.ones(units),
        method="highs",
    )
    assert result.status == 0
    return float(result.fun * scale)


def integer_programme(problem: Problem) -> float:
    """The smallest worst loss by a general solver, with a 0-1 variable per unit and width."""
    groups, widths, units = problem.cost.shape
    scale = problem.losses(problem.lowest).max()
    count = widths * units
    rows = np.hstack([problem.cost.reshape(groups, -1) / scale, -np.ones((groups, 1))])
    bits = np.append(problem.bits.ravel() / problem.weight_count, 0.0)
    one_width = np.hstack([np.hstack([np.eye(units)] * widths), np.zeros((units, 1))])
    result = milp(
        np.append(np.zeros(count), 1.0),
        integrality=np.append(np.ones(count), 0),
        bounds=Bounds(0, np.append(problem.allowed.ravel().astype(float), np.inf)),
        constraints=[
            LinearConstraint(rows, ub=0),
            LinearConstraint(bits, ub=problem.limit / problem.weight_count),
            LinearConstraint(one_width, 1, 1),
        ],
        options={"mip_rel_gap": 1e-7},
    )
    assert result.status == 0
    return float(result.fun * scale)
