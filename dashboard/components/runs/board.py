"""Several methods at once: the form that starts them, and the board of all candidates of the case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.backend.views import BoardView, CaseView, JobState, RunView, SweepPlan
from dashboard.components import data, state, tables
from dashboard.components.charts import board as charts
from dashboard.components.glossary import tip
from dashboard.components.limit_words import measure_words
from dashboard.components.words import (
    VERDICT_LABELS,
    capital,
    counted,
    duration,
    escaped,
    joined,
    megabytes,
    percent,
)
from fairquant_core.audit.board import AS_GIVEN
from fairquant_core.audit.over_seeds import ACCURACY_PREFIX
from fairquant_core.errors import FairQuantError
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.quantization.combinations import WITHOUT_BUDGET

BUDGETS = (2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
CHOSEN_BUDGETS = (3.0, 4.0)
CHOSEN_METHODS = ("baq", "static_qat", "uniform_qat", WITHOUT_BUDGET)
MOST_SEEDS = 10
FEWEST = 2
"""Finished runs from which a board says more than the run itself."""

COLUMNS = {
    "method": "Method",
    "bits": tables.number("Bits asked", 1, tip("budget")),
    "bits_achieved": tables.number("Bits achieved", 3),
    "megabytes": tables.number("Size (MB)", 2),
    "seeds": st.column_config.NumberColumn("Seeds"),
    "seed": st.column_config.NumberColumn("Seed"),
    "worst": tables.share("Worst group", tip("worst group")),
    "worst_low": tables.share("from", tip("interval")),
    "worst_high": tables.share("to", tip("interval")),
    "worst_sd": tables.number("Spread over seeds (points)", 1),
    "worst_group": "Which group",
    "accuracy": tables.share("All photographs"),
    "gap": tables.share("Gap", tip("gap")),
    "minutes": tables.number("Minutes", 1),
    "verdict": "Verdict",
    "on_front": st.column_config.CheckboxColumn("Not beaten"),
}

CHANGE_COLUMNS = {
    "method": "Method",
    "bits": COLUMNS["bits"],
    "seed": COLUMNS["seed"],
    "group": "Group",
    "n": st.column_config.NumberColumn("Images"),
    "difference": tables.number("Change (points)", 1),
    "low": tables.number("95 % from", 1, tip("interval")),
    "high": tables.number("95 % to", 1, tip("interval")),
    "verdict": "Verdict",
}


def several(case: CaseView) -> None:
    """The form behind a click; it needs a prepared case."""
    with tables.details("Compare several methods", "sweep", ":material/stacks:") as is_open:
        if is_open and case.ready:
            form(case)
        elif is_open:
            st.caption("The case is still being prepared.")


def form(case: CaseView) -> None:
    """Choose methods, budgets and seeds, see what that means, and start all of it."""
    methods = {method.name: method for method in state.services().methods()}
    names = st.multiselect(
        "Methods",
        list(methods),
        [name for name in CHOSEN_METHODS if name in methods],
        format_func=lambda name: methods[name].title,
        key="sweep_methods",
    )
    left, middle, right = st.columns([2, 1, 1])
    budgets = left.multiselect(
        "Budgets (average bits per weight)",
        BUDGETS,
        CHOSEN_BUDGETS,
        format_func=lambda bits: f"{bits:g}",
        key="sweep_budgets",
        help=tip("budget"),
    )
    seeds = middle.number_input(
        "Seeds",
        1,
        MOST_SEEDS,
        1,
        key="sweep_seeds",
        help="Every run again with another seed shows how much is chance; three are a start.",
    )
    epochs = right.number_input("Epochs", 1, 1000, RunConfig().epochs, key="sweep_epochs")
    person = st.text_input(
        "Your name",
        key="person",
        persist_state="session",
        placeholder="for the audit log; without sign-in it is not checked",
    )
    wanted = (case.id, names, budgets, range(int(seeds)), {"epochs": int(epochs)})
    try:
        plan = state.services().plan_sweep(*wanted)
    except FairQuantError as error:
        st.info(escaped(str(error)))
        return
    st.caption(escaped(plan_words(plan)))
    new = len(plan.configs) - plan.existing
    label = f"Start {counted(new, 'run')}" if new else "Nothing to start"
    if st.button(label, type="primary", icon=":material/play_arrow:", disabled=not new):
        _start(case, (*wanted, person.strip()))


def plan_words(plan: SweepPlan) -> str:
    """Say how many runs it is, how long they may take, and what cannot be run and why."""
    total = len(plan.configs)
    text = f"{capital(counted(total, 'run'))} in all"
    if plan.existing:
        text += f", {plan.existing} of them there already"
    text += ". They run one after the other and can be interrupted."
    if plan.seconds:
        text += f" Going by the finished runs, that takes about {duration(plan.seconds)}."
    why: dict[str, list[str]] = {}
    for title, bits, reason in plan.skipped:
        why.setdefault(reason.replace(f"{bits:g}", "…"), []).append(f"{title} at {bits:g} bits")
    for names in why.values():
        text += f" Left out, because that cannot be run: {joined(names)}."
    return text


def _start(case: CaseView, wanted: tuple[Any, ...]) -> None:
    try:
        run_ids = state.services().start_sweep(*wanted)
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    state.services().ensure_worker()
    state.go("runs", case.id, next_run(run_ids, state.services().runs(case.id)))


def next_run(run_ids: Sequence[str], runs: Sequence[RunView]) -> str:
    """The first of these runs that is still to come, to be watched."""
    active = {run.id for run in runs if run.state.active}
    return next((run_id for run_id in run_ids if run_id in active), run_ids[0])


def board(case: CaseView, runs: Sequence[RunView]) -> None:
    """The chart of all candidates with its tables; nothing before there are two."""
    if sum(run.state == JobState.FINISHED for run in runs) < FEWEST:
        return
    found = data.board(case, tuple(runs))
    if found is None:
        return
    st.subheader("All candidates of this case", anchor=False)
    st.markdown(escaped(board_sentence(found)))
    tables.chart(
        charts.pareto(found.candidates, found.means), "pareto", charts.pareto_alt(found.means)
    )
    st.caption(
        "Audit photographs. Bars: where the true accuracy of that group probably lies. Which group is served "
        "worst may differ from candidate to candidate. Methods of one size are drawn a little apart. Small dots are "
        "single seeds; choosing the luckiest of them would promise too much."
    )
    if found.unreadable:
        names = joined(escaped(name) for name in found.unreadable)
        st.warning(f"The files of these runs were damaged, so they are not shown: {names}.")
    tables.twin(means_table(found), "Candidates", "pareto", COLUMNS)
    label = "What each group lost or gained"
    with tables.details(label, "pareto_changes", ":material/compare_arrows:") as is_open:
        if is_open:
            _changes(case, found)
    with tables.details("Every single run", "pareto_all", ":material/list:") as is_open:
        if is_open:
            tables.table(single_table(found), "Single runs", "pareto_all", COLUMNS)


def _changes(case: CaseView, found: BoardView) -> None:
    """The paired changes of every run, so that no group hides behind the worst-served one."""
    st.caption(
        escaped(
            f"Change of {measure_words(case.limits)} from the classifier as given to each run, on the same "
            "photographs, in points; below zero is a loss. Two runs beside each other: on the compare page."
        )
    )
    tables.table(changes_table(found), "Changes per group", "pareto_changes", CHANGE_COLUMNS)


def changes_table(found: BoardView) -> pd.DataFrame:
    """One row per run and group, in points."""
    frame = tables.in_percent(found.changes, ["difference", "low", "high"])
    verdicts = frame["verdict"].map(lambda verdict: VERDICT_LABELS.get(verdict, ""))
    frame = frame.assign(verdict=verdicts)
    names = ["title", "bits", "seed", "group", "n", "difference", "low", "high", "verdict"]
    return frame[names].rename(columns={"title": "method"})


def board_sentence(found: BoardView) -> str:
    """Say which candidate is the smallest that costs the worst group nothing to speak of."""
    means = found.means
    made = means[~means["method"].isin([AS_GIVEN, WITHOUT_BUDGET]) & means["worst"].notna()]
    if made.empty:
        return "No group has enough photographs to be called the worst-served one."
    best = made.sort_values("worst", ascending=False, kind="stable").iloc[0]
    smallest = made.sort_values("size_bytes", kind="stable").iloc[0]
    text = f"{_said(best)} serves its worst group best"
    if best.name != smallest.name:
        text += f"; the smallest is {_said(smallest)}"
    rest = [
        counted(number, "run") + f" {word}"
        for number, word in ((found.waiting, "still to come"), (found.stopped, "stopped early"))
        if number
    ]
    return f"{text}." + (f" {capital(joined(rest))}." if rest else "")


def _said(row: Mapping[Any, Any] | pd.Series) -> str:
    return (
        f"{charts.name_of(dict(row))} ({percent(row['worst'], 1)}, {megabytes(row['size_bytes'])})"
    )


def means_table(found: BoardView) -> pd.DataFrame:
    """One row per method and budget, in percent."""
    means = found.means
    frame = means.assign(
        worst_group=means["worst_groups"],
        worst_sd=100 * means["worst_sd"],
        seeds=means["seeds"].where(means["seeds"] > 0),  # the classifier as given has none
    )
    return _table(frame, "seeds", "worst_sd")


def single_table(found: BoardView) -> pd.DataFrame:
    """One row per run, in percent."""
    return _table(found.candidates, "seed", "verdict")


def _table(frame: pd.DataFrame, counter: str, last: str) -> pd.DataFrame:
    groups = [
        str(name)
        for name in frame
        if str(name).startswith(ACCURACY_PREFIX) and not str(name).endswith("_sd")
    ]
    shares = ["worst", "worst_low", "worst_high", "accuracy", "gap", *groups]
    frame = tables.in_percent(frame, shares).assign(
        method=frame["title"], megabytes=frame["size_bytes"].astype(float) / 1e6
    )
    names = ["method", "bits", counter, "megabytes", "bits_achieved", *shares[:3], "worst_group"]
    names += ["accuracy", "gap", *groups, "minutes", last, "on_front"]
    return frame[names].rename(columns={name: f"{name} (%)" for name in groups})
