"""Several methods at several budgets on one case: which runs that means, and the board of all candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dashboard.backend.run.results import Results
from dashboard.backend.run.runs import Runs
from dashboard.backend.views import BoardView, JobState, RunView, SweepPlan
from fairquant_core.audit.board import AS_GIVEN, AS_GIVEN_TITLE, mean_over_seeds, on_front
from fairquant_core.audit.grouping import UNKNOWN
from fairquant_core.audit.over_seeds import ACCURACY_PREFIX
from fairquant_core.errors import BudgetError, FairQuantError
from fairquant_core.quantization.catalogue import METHODS
from fairquant_core.quantization.combinations import WITHOUT_BUDGET, combinations

NOTHING_CHOSEN = "Choose at least one method, one budget and one seed."
NAMED_BY_ITSELF = {"method", "bits", "seed", "version"}
"""Settings that every row of the board shows anyway."""


CHANGES = ["title", "bits", "seed", "group", "n", "difference", "low", "high", "verdict"]


class Sweeps:
    """Starting many runs at once, and looking at all of them together."""

    def __init__(self, runs: Runs, results: Results) -> None:
        self._runs = runs
        self._results = results

    def plan(
        self,
        case_id: str,
        methods: Sequence[str],
        budgets: Sequence[float],
        seeds: Sequence[int],
        settings: Mapping[str, Any],
    ) -> SweepPlan:
        """Which runs these choices mean, without starting any.

        Raises
        ------
        FairQuantError
            Nothing is chosen, or nothing of it can be run.
        """
        configs, skipped = combinations(methods, budgets, seeds, settings)
        if not configs:
            raise BudgetError(skipped[0].reason if skipped else NOTHING_CHOSEN)
        runs = self._runs.all(case_id)
        there = [run.config for run in runs if run.state.active or run.state == JobState.FINISHED]
        wanted = [config.to_json() for config in configs]
        reasons = {(one.method, one.bits): one.reason for one in skipped}
        missing = [config for config in wanted if config not in there]
        return SweepPlan(
            configs=tuple(wanted),
            existing=len(wanted) - len(missing),
            skipped=tuple(
                (METHODS[method].title, bits, reason) for (method, bits), reason in reasons.items()
            ),
            seconds=_expected_seconds(missing, runs),
        )

    def start(
        self,
        case_id: str,
        methods: Sequence[str],
        budgets: Sequence[float],
        seeds: Sequence[int],
        settings: Mapping[str, Any],
        person: str,
    ) -> list[str]:
        """Queue all of them; a run that exists already is not queued again. Returns the run ids."""
        plan = self.plan(case_id, methods, budgets, seeds, settings)
        return [self._runs.start(case_id, config, person) for config in plan.configs]

    def board(self, case_id: str) -> BoardView | None:
        """Every finished run of the case beside the others; None before the first."""
        import pandas as pd

        runs = self._runs.all(case_id)
        finished = [run for run in reversed(runs) if run.state == JobState.FINISHED]
        rows, changes, unreadable = [], [], []
        titles = _titles(finished)
        given: dict[str, Any] | None = None
        for run in finished:
            try:
                audit = self._results.audit(run.id)
                rows.append(_row(run, titles[run.id], audit))
                changes += _changes(rows[-1], audit)
                given = given or _as_given(audit)
            except (FairQuantError, KeyError):
                unreadable.append(run.title)
        if not rows:
            return None
        if given:
            rows.insert(0, given)
        frame = pd.DataFrame(rows).astype({"bits": float})
        means = mean_over_seeds(frame)
        for table in (frame, means):
            table["on_front"] = on_front(table["size_bytes"], table["worst"])
        return BoardView(
            candidates=frame,
            means=means,
            changes=pd.DataFrame(changes, columns=CHANGES).astype({"bits": float}),
            waiting=sum(run.state.active for run in runs),
            stopped=sum(run.state.resumable for run in runs),
            unreadable=tuple(unreadable),
        )


def _row(run: RunView, title: str, audit: Mapping[str, Any]) -> dict[str, Any]:
    control = run.method == WITHOUT_BUDGET
    return {
        "method": run.method,
        "title": title,
        "bits": None if control else run.bits,
        "seed": run.seed,
        **_figures(audit, str(audit["candidate"])),
        "bits_achieved": run.achieved_bits,
        "size_bytes": run.bytes_packed,
        "minutes": _minutes(run),
        "verdict": run.verdict or "",
        "run_id": run.id,
    }


def _changes(row: Mapping[str, Any], audit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Paired changes per group, as the audit of the run has them: nothing is computed anew."""
    found = audit["comparisons"][audit["candidate"]]
    verdicts = {one["group"]: one["verdict"] for one in found["verdicts"]}
    return [
        {name: row[name] for name in ("title", "bits", "seed")}
        | {"group": change["group"], "n": change["n"], "verdict": verdicts.get(change["group"], "")}
        | {name: _number(change[name]) for name in ("difference", "low", "high")}
        for change in found["differences"]
        if change["group"] != UNKNOWN
    ]


def _as_given(audit: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "method": AS_GIVEN,
        "title": AS_GIVEN_TITLE,
        "bits": None,
        "seed": None,
        **_figures(audit, str(audit["reference"])),
        "bits_achieved": None,
        "size_bytes": audit["size"]["bytes_full_precision"],
        "minutes": None,
        "verdict": "",
        "run_id": "",
    }


def _figures(audit: Mapping[str, Any], model: str) -> dict[str, Any]:
    """What the audit of the run says about one model; not estimable becomes NaN."""
    found = audit["accuracy"][model]
    by_group = {row["group"]: row for row in found["by_group"] if row["group"] != UNKNOWN}
    worst = by_group.get(found["worst_group"], {})
    figures = {
        "images": audit["images"],
        "accuracy": _number(found["overall"]["accuracy"]),
        "worst": _number(worst.get("accuracy")),
        "worst_low": _number(worst.get("low")),
        "worst_high": _number(worst.get("high")),
        "worst_group": found["worst_group"],
        "gap": _number(found["gap"]["value"]),
    }
    for name, row in by_group.items():
        if row["estimable"]:
            figures[ACCURACY_PREFIX + name] = _number(row["accuracy"])
    return figures


def _titles(runs: Sequence[RunView]) -> dict[str, str]:
    """Run id -> method, with the settings that tell runs of one method apart."""
    titles = {}
    for run in runs:
        others = [other.config for other in runs if other.method == run.method]
        differing = [
            name
            for name, value in run.config.items()
            if name not in NAMED_BY_ITSELF and any(other.get(name) != value for other in others)
        ]
        words = [f"{name.replace('_', ' ')} {run.config[name]}" for name in differing]
        titles[run.id] = ", ".join([run.method_title or run.method, *words])
    return titles


def _expected_seconds(
    missing: Sequence[Mapping[str, Any]], runs: Sequence[RunView]
) -> float | None:
    """As long as finished runs took, per epoch where something is trained; None without runs to go by.

    A method that was never run is taken to be as slow as the others that train, or do not, like itself.
    """
    taken: dict[str, list[float]] = {}
    for run in runs:
        minutes = _minutes(run)
        if run.state == JobState.FINISHED and minutes is not None and run.method in METHODS:
            taken.setdefault(run.method, []).append(60 * minutes / max(run.epochs, 1))
    total = 0.0
    for config in missing:
        trains = METHODS[config["method"]].trains
        alike = [s for name, own in taken.items() if METHODS[name].trains == trains for s in own]
        known = taken.get(config["method"], alike)
        if not known:
            return None
        total += sum(known) / len(known) * (config["epochs"] if trains else 1)
    return total


def _minutes(run: RunView) -> float | None:
    if not run.started or not run.ended:
        return None
    took = datetime.fromisoformat(run.ended) - datetime.fromisoformat(run.started)
    return took.total_seconds() / 60


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
