"""The Lagrangian dual of the min-max allocation: a bound, and a plan next to it.

The allocation is a linear programme with one row per unit, but only G + 1 rows couple the units:
one loss per group and the budget. With multipliers for those rows every unit chooses on its own,

    bound(lambda, mu) = sum_u min_b [ sum_g lambda_g cost_g(u, b) + mu bits(u, b) ] - mu limit,

lambda on the simplex, mu >= 0. Every choice made on the way is a plane above this concave function;
Kelley's cutting planes climb to its top in some tens of evaluations. The planes do not depend on
the budget except through their bits, so a whole Pareto curve shares them.

Source: METHOD.md section 3; Kelley (1960), cutting planes; Everett (1963), generalised multipliers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from fairquant_core.allocation.greedy import spend_rest
from fairquant_core.allocation.problem import Problem

TOLERANCE = 1e-5
"""Relative distance between bound and planes at which climbing stops."""

MOST_EVALUATIONS = 400
"""Some 50 are needed in practice; the certificate tells if these were not enough."""

FREE_UNITS = 200
"""Units with nearly equal choices that the closing programme may still move; x 4 while too few."""

GOOD_PROGRAMME = 2e-4
"""Relative distance of the closing programme from the bound at which no more units are freed."""

GOOD_PLAN = 1e-3
"""Relative distance of the plan from the bound that is good enough at once; each larger programme that would
have to be solved doubles it."""

KEPT_PLANES = 120
"""Planes carried over to the next budget of a curve."""


@dataclass(frozen=True)
class DualSolution:
    """A plan within the budget and what it is worth.

    Shapes: ``choice`` (U,) columns, ``multipliers`` (G + 1,) with the price of a bit last.
    """

    choice: np.ndarray
    bound: float
    multipliers: np.ndarray


class DualSolver:
    """Solves one problem for as many budgets as wanted; the planes found are kept between them."""

    def __init__(self, problem: Problem) -> None:
        groups, widths, units = problem.cost.shape
        self.unit_index = np.arange(units)
        self.average = 1.0 / problem.weight_count
        # Damages are tiny numbers; the programme solver's tolerances are absolute.
        self.scale = problem.worst(problem.lowest) or 1.0
        self.cost = problem.cost / self.scale
        self.flat_cost = self.cost.reshape(groups, widths * units)
        self.bits = problem.bits * self.average
        self.forbidden = np.where(problem.allowed, 0.0, np.inf)
        self.constrained = not problem.allowed.all()
        self.planes: list[np.ndarray] = []
        self._add_plane(problem.lowest)
        self._add_plane(problem.highest)

    def solve(self, problem: Problem) -> DualSolution:
        """Return bound and plan for ``problem``; only its budget may differ from the first."""
        groups = len(self.cost)
        even = np.append(np.full(groups, 1.0 / groups), 0.0)
        if problem.bits_used(problem.highest) <= problem.limit:
            bound = problem.worst(problem.highest)
            return DualSolution(problem.highest, bound, even)
        if problem.bits_used(problem.lowest) == problem.limit:
            bound = problem.worst(problem.lowest)
            return DualSolution(problem.lowest, bound, even)
        limit = problem.limit * self.average
        bound, multipliers, fallback = self._climb(problem, limit)
        bound = max(bound, 0.0)
        best = spend_rest(problem, fallback)
        least = problem.worst(best)
        if least <= bound * self.scale * (1 + GOOD_PLAN):
            return DualSolution(best, bound * self.scale, multipliers)
        for place, choice in enumerate(
            self._closing_choices(problem, limit, bound, multipliers), start=1
        ):
            if choice is not None and problem.bits_used(choice) <= problem.limit:
                choice = spend_rest(problem, choice)
                if (worst := problem.worst(choice)) < least:
                    best, least = choice, worst
            # Every programme takes many times as long as the one before, so it must be worth more.
            if least <= bound * self.scale * (1 + GOOD_PLAN * 2**place):
                break
        return DualSolution(best, bound * self.scale, multipliers)

    def reduced_cost(self, multipliers: np.ndarray) -> np.ndarray:
        """(B, U) what each width costs above the unit's best one, at these multipliers (scaled)."""
        score = self._score(multipliers)
        return score - score.min(axis=0)

    def _score(self, multipliers: np.ndarray) -> np.ndarray:
        score = (multipliers[:-1] @ self.flat_cost).reshape(self.bits.shape)
        score += multipliers[-1] * self.bits
        if self.constrained:
            score += self.forbidden
        return score

    def _add_plane(self, choice: np.ndarray) -> np.ndarray:
        """Keep the plane of this choice: its (G,) losses and its average bits."""
        losses = self.cost[:, choice, self.unit_index].sum(axis=1)
        plane = np.append(losses, self.bits[choice, self.unit_index].sum())
        self.planes.append(plane)
        return plane

    def _climb(self, problem: Problem, limit: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the best bound, its multipliers, and the best choice within the budget met."""
        best, best_multipliers = -np.inf, np.append(np.zeros(len(self.cost)), 0.0)
        fallback, fallback_loss = problem.lowest, np.inf
        level = 1.0
        for _ in range(MOST_EVALUATIONS):
            multipliers, ceiling = self._highest_point(limit, level)
            level = max(ceiling, 1e-12)
            choice = self._score(multipliers).argmin(axis=0)
            plane = self._add_plane(choice)
            height = float(multipliers @ plane - multipliers[-1] * limit)
            if height > best:
                best, best_multipliers = height, multipliers
            if plane[-1] <= limit and plane[:-1].max() < fallback_loss:
                fallback, fallback_loss = choice, plane[:-1].max()
            if ceiling - best <= TOLERANCE * level:
                break
        self._forget_idle_planes(limit, best_multipliers)
        return best, best_multipliers, fallback

    def _highest_point(self, limit: float, level: float) -> tuple[np.ndarray, float]:
        """Return the multipliers where the lowest plane is highest, and that height.

        ``level`` is the height expected; the programme is scaled so that it is near 1.
        """
        planes = np.array(self.planes)
        planes[:, :-1] /= level
        planes[:, -1] -= limit
        groups = planes.shape[1] - 1
        result = linprog(
            np.append(np.zeros(groups + 1), -1.0),
            A_ub=np.hstack([-planes, np.ones((len(planes), 1))]),
            b_ub=np.zeros(len(planes)),
            A_eq=np.append(np.ones(groups), [0.0, 0.0])[None],
            b_eq=[1.0],
            bounds=[(0, None)] * (groups + 1) + [(None, None)],
            method="highs",
        )
        if result.status != 0:
            raise RuntimeError(f"The planes of the dual could not be searched: {result.message}")
        multipliers = result.x[:-1].copy()
        # The solver may leave -1e-17 or a sum of 1 + 1e-16: the bound must hold without such slips.
        multipliers[:-1] = np.maximum(multipliers[:-1], 0)
        multipliers[:-1] /= multipliers[:-1].sum()
        multipliers[-1] = max(multipliers[-1], 0.0) * level
        return multipliers, float(-result.fun * level)

    def _forget_idle_planes(self, limit: float, multipliers: np.ndarray) -> None:
        """Keep the two planes that bound every budget and those that are low at the optimum."""
        if len(self.planes) <= KEPT_PLANES:
            return
        planes = np.array(self.planes[2:])
        heights = planes @ multipliers - multipliers[-1] * limit
        order = np.argsort(heights, kind="stable")[: KEPT_PLANES - 2]
        self.planes = self.planes[:2] + [planes[place] for place in np.sort(order)]

    def _closing_choices(
        self, problem: Problem, limit: float, bound: float, multipliers: np.ndarray
    ) -> Iterator[np.ndarray | None]:
        """Solve linear programmes over the units that are nearly indifferent, and round down.

        A basic solution has at most G + 1 units between two widths; each takes the smaller one.
        Yields None where the budget is missed; ends when more units would not help.
        """
        excess = self.reduced_cost(multipliers)
        choice = excess.argmin(axis=0)
        second = excess.copy()
        second[choice, self.unit_index] = np.inf
        second = second.min(axis=0)
        free, value = min(FREE_UNITS, problem.units), np.inf
        while True:
            units = np.argpartition(second, free - 1)[:free]
            reach = np.inf if free == problem.units else second[units].max()
            offered = (excess[:, units] <= reach) & problem.allowed[:, units]
            found = self._closing_programme(limit, bound, multipliers[-1], choice, units, offered)
            if found is None:
                yield None
            else:
                columns, value = found
                rounded = choice.copy()
                rounded[units] = columns
                yield rounded
            if free == problem.units or value - bound <= GOOD_PROGRAMME * bound:
                return
            free = min(4 * free, problem.units)

    def _closing_programme(
        self,
        limit: float,
        bound: float,
        price: float,
        choice: np.ndarray,
        units: np.ndarray,
        offered: np.ndarray,
    ) -> tuple[np.ndarray, float] | None:
        """Return the rounded columns of ``units`` and the value; None if the budget is missed."""
        groups = len(self.cost)
        level = max(bound, 1e-12)
        column, place = np.nonzero(offered)
        unit = units[place]
        fixed = np.ones(len(choice), dtype=bool)
        fixed[units] = False
        fixed_loss = self.cost[:, choice[fixed], self.unit_index[fixed]].sum(axis=1)
        fixed_bits = self.bits[choice[fixed], self.unit_index[fixed]].sum()

        count = len(unit)  # variables: a share per offered width, the worst loss, bits above limit
        rows = np.zeros((groups + 1, count + 2))
        rows[:groups, :count] = self.cost[:, column, unit] / level
        rows[:groups, count] = -1.0
        rows[groups, :count] = self.bits[column, unit]
        rows[groups, count + 1] = -1.0
        one_width = sparse.csr_matrix(
            (np.ones(count), (place, np.arange(count))), shape=(len(units), count + 2)
        )
        goal = np.zeros(count + 2)
        goal[count] = 1.0
        # Dear enough never to pay, so the programme always has a solution to start from.
        goal[count + 1] = 100.0 * (price / level + 1.0)
        result = linprog(
            goal,
            A_ub=sparse.csr_matrix(rows),
            b_ub=np.append(-fixed_loss / level, limit - fixed_bits),
            A_eq=one_width,
            b_eq=np.ones(len(units)),
            method="highs-ds",
        )
        if result.status != 0 or result.x[count + 1] > 1e-6:
            return None
        used = result.x[:count] > 1e-7
        columns = np.full(len(units), len(self.bits))
        np.minimum.at(columns, place[used], column[used])
        return columns, float(result.x[count] * level)
