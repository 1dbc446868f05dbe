"""A run while it trains: stages, curves, configuration and log."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.backend.views import JobState, JobView, RunView
from dashboard.components import live, state, tables
from dashboard.components.charts import training as charts
from dashboard.components.run_sentences import averaging_sentence, run_sentence, trajectory_sentence
from dashboard.components.words import capital, escaped, when
from fairquant_core.quantization.catalogue import GRANULARITIES

RUN_STAGES = ("images", "sensitivity", "training", "audit")
"""Stages of a run in their order."""

PART_OF = {"measured": "sensitivity", "rounding": "training", "norms": "training"}
"""Stages that a person meets as part of another, before or after it."""


def live_panel(run: RunView, groups: Sequence[str]) -> None:
    """Sentence, progress, stages and curves; refreshed every two seconds until the run ends."""

    def draw(job: JobView) -> None:
        current = state.services().run(job.id)
        epochs = state.services().epochs(job.id)
        st.header(run_sentence(current, epochs), anchor=False)
        if current.state.active:
            live.progress(current)
            stages(current)
        elif current.error:
            live.ended(current)
        curves(current, epochs, groups)

    live.follow(run.id, draw, "run_live")


def stages(run: RunView) -> None:
    """The stages of a run: done, now, still to come."""
    present = PART_OF.get(run.stage, run.stage)
    reached = _reached(state.services().log(run.id), present)
    with st.container(horizontal=True, gap="small"):
        for name in RUN_STAGES:
            title = live.STAGES[name]
            if name == present:
                st.badge(title, icon=":material/progress_activity:", color="blue")
            elif name in reached:
                st.badge(title, icon=":material/check:", color="green")
            else:
                st.badge(title, icon=":material/radio_button_unchecked:", color="gray")


def _reached(log: pd.DataFrame, present: str) -> set[str]:
    """Stages that lie behind: those before the present one, and those in the log."""
    order = list(RUN_STAGES)
    behind = set(order[: order.index(present)]) if present in order else set()
    return behind | set(log["stage"])


def curves(run: RunView, epochs: pd.DataFrame, groups: Sequence[str]) -> None:
    """Accuracy as the main figure; loss, average bits and the layers' bits below it."""
    if epochs.empty:
        if run.state.active:
            st.caption("The curves appear after the first epoch.")
        elif run.state == JobState.FINISHED:
            st.caption("This method trains nothing, so there are no curves.")
        return
    accuracy = charts.accuracy_curves(epochs, groups)
    tables.chart(accuracy, "run_accuracy", charts.accuracy_alt(epochs))
    if averaged := averaging_sentence(epochs):
        st.caption(averaged)
    left, right = st.columns(2)
    with left:
        st.markdown("**Loss**")
        tables.chart(charts.loss_curves(epochs), "run_loss", charts.loss_alt(epochs))
    with right:
        st.markdown("**Average bits against the budget**")
        tables.chart(
            charts.bits_curve(epochs, run.bits), "run_bits", charts.bits_alt(epochs, run.bits)
        )
    bits = state.services().bits_trajectory(run.id)
    if bits.empty:
        return
    unit = run.config.get("granularity", GRANULARITIES[0])
    sentence = trajectory_sentence(bits, epochs["widths_moved"].iloc[-1], unit)
    st.markdown("**Bits of every layer over time**")
    if bits["epoch"].nunique() > 1:
        tables.chart(charts.trajectory(bits), "run_trajectory", sentence)
    st.caption(sentence)


def configuration(run: RunView) -> None:
    """Everything that decides the outcome, and who started it."""
    rows = {escaped(str(name)): escaped(str(value)) for name, value in run.config.items()}
    rows |= {
        "started by": escaped(run.started_by or "not named"),
        "created": when(run.created),
        "started": when(run.started),
        "ended": when(run.ended),
        "run id": f"`{run.id}`",
        "result hash": f"`{run.result_hash or '-'}`",
    }
    st.table(rows, border="horizontal", width="content", alt="Configuration of the run")


def log(run: RunView) -> None:
    """What the job reported, newest first."""
    frame = state.services().log(run.id)
    if frame.empty:
        st.caption("Nothing was logged yet.")
        return
    shown = frame.iloc[::-1].assign(
        time=[when(stamp) for stamp in frame["time"].iloc[::-1]],
        stage=[live.STAGES.get(stage, capital(stage)) for stage in frame["stage"].iloc[::-1]],
    )
    tables.table(shown, "Log of the run", "run_log")
