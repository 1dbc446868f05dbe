"""Methods x budgets x seeds as run configurations, in an order of one's choice. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from fairquant_core.errors import BudgetError, TrainingError
from fairquant_core.quantization.catalogue import RunConfig

ORDER: tuple[str, ...] = ("seed", "bits", "method")
"""What changes slowest first: everything with one seed before the next seed begins."""

WITHOUT_BUDGET = "full_precision"
BAD_ORDER = "The order of a sweep names 'seed', 'bits' and 'method' once each, not {order}."


@dataclass(frozen=True)
class Skipped:
    """A combination that cannot be run, and why."""

    method: str
    bits: float
    seed: int
    reason: str


def combinations(
    methods: Sequence[str],
    budgets: Sequence[float],
    seeds: Sequence[int],
    settings: Mapping[str, Any] | None = None,
    order: Sequence[str] = ORDER,
) -> tuple[list[RunConfig], list[Skipped]]:
    """All combinations that can be run, and those that cannot.

    The full-precision control has no budget, so it comes once per seed; methods that train nothing have no
    epochs, so they are the same runs whatever is asked. The same bits everywhere at a fraction of a bit, for
    example, cannot be run.

    Parameters
    ----------
    settings
        Further fields of the configurations, the same for all.
    order
        "seed", "bits" and "method", what changes slowest first; values come in the order given.

    Raises
    ------
    TrainingError
        An unknown method, an impossible setting, or a wrong order.

    Examples
    --------
    >>> configs, skipped = combinations(["uniform_ptq", "minimax_ptq"], [3.0, 2.5], [0])
    >>> [(config.bits, config.method) for config in configs]
    [(3.0, 'uniform_ptq'), (3.0, 'minimax_ptq'), (2.5, 'minimax_ptq')]
    >>> [(one.bits, one.method) for one in skipped]
    [(2.5, 'uniform_ptq')]
    """
    if sorted(order) != sorted(ORDER):
        raise TrainingError(BAD_ORDER.format(order=", ".join(order)))
    values: dict[str, Sequence[Any]] = {"seed": seeds, "bits": budgets, "method": methods}
    configs: dict[str, RunConfig] = {}
    skipped = []
    for chosen in product(*(dict.fromkeys(values[name]) for name in order)):
        one = dict(zip(order, chosen, strict=True))
        method, bits, seed = str(one["method"]), float(one["bits"]), int(one["seed"])
        try:
            config = RunConfig(**{**(settings or {}), "method": method, "seed": seed, "bits": bits})
        except BudgetError as error:
            skipped.append(Skipped(method, bits, seed, str(error)))
            continue
        if method == WITHOUT_BUDGET:
            config = replace(config, bits=RunConfig().bits)
        if not config.card.trains:
            config = replace(config, epochs=RunConfig().epochs)
        configs.setdefault(config.digest, config)
    return list(configs.values()), skipped
