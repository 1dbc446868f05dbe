"""Controls, picture rows and tables of the saliency page."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.backend.views import CaseView, RunView, SaliencyView
from dashboard.components import data, state, tables
from dashboard.components.charts import saliency as charts
from dashboard.components.glossary import tip
from dashboard.components.words import escaped, percent
from fairquant_core.errors import FairQuantError

PER_PAGE = 3
SIDE = 200
COLUMNS = [1, 1, 1, 1.2]
ALL_GROUPS = "all groups"


def chosen_method(methods: dict[str, str]) -> str:
    """The saliency method as its control stands."""
    wanted = st.session_state.get("saliency_method")
    return wanted if wanted in methods else next(iter(methods))


def method_control(methods: dict[str, str]) -> None:
    """Choose the saliency method."""
    st.session_state["saliency_method"] = chosen_method(methods)
    st.selectbox(
        "Method",
        list(methods),
        format_func=lambda name: methods[name],
        key="saliency_method",
        help=tip("saliency"),
        width=230,
    )


def start(run: RunView, method: str) -> None:
    """Start drawing the maps."""
    if st.button("Draw the maps", type="primary", icon=":material/visibility:"):
        try:
            state.services().request_saliency(run.id, method)
        except FairQuantError as error:
            st.error(escaped(str(error)))
            return
        state.services().ensure_worker()
        st.rerun()


def group_means(view: SaliencyView) -> pd.DataFrame:
    """[group, n, overlap, overlap_low, overlap_high, drift, ...] of the view."""
    return view.by_group


def picture_controls(view: SaliencyView, methods: dict[str, str]) -> tuple[pd.DataFrame, float]:
    """Choose method, group, order and strength; returns the rows of this page and the strength."""
    with st.container(horizontal=True, gap="large", vertical_alignment="bottom"):
        method_control(methods)
        groups = [ALL_GROUPS, *dict.fromkeys(view.frame["group"])]
        group = st.selectbox("Group", groups, key="saliency_group", width=200)
        flips_first = st.toggle("Flips first", value=True, key="saliency_flips", help=tip("flip"))
        strength = st.slider(
            "Strength of the overlay", 0.0, 1.0, 0.75, 0.05, key="saliency_strength", width=200
        )
    rows = ordered(view.frame, None if group == ALL_GROUPS else group, flips_first)
    pages = max(1, math.ceil(len(rows) / PER_PAGE))
    number = st.pagination(pages, key="saliency_page") if pages > 1 else 1
    first = PER_PAGE * (min(int(number or 1), pages) - 1)
    return rows.iloc[first : first + PER_PAGE], strength


def ordered(frame: pd.DataFrame, group: str | None, flips_first: bool) -> pd.DataFrame:
    """Rows of one group or all, the most moved first; flips before all others if asked.

    Returns
    -------
    The frame with the column "place": the row's position among the maps.
    """
    rows = frame.assign(place=np.arange(len(frame)), flipped=is_flip(frame))
    if group is not None:
        rows = rows[rows["group"] == group]
    keys = ["flipped", "overlap"] if flips_first else ["overlap"]
    rising = [False, True] if flips_first else [True]
    return rows.sort_values(keys, ascending=rising, kind="stable")


def is_flip(frame: pd.DataFrame) -> pd.Series:
    """Whether the decision changed between right and wrong."""
    return frame["flip"].fillna("").astype(str).isin(["lost", "gained", "True"])


def pictures(case: CaseView, view: SaliencyView, rows: pd.DataFrame, strength: float) -> None:
    """Photograph, full precision and candidate side by side, one photograph per row."""
    if rows.empty:
        st.caption("No photograph of this group has maps.")
        return
    heads = st.columns(COLUMNS, gap="small")
    titles = ("Photograph", "Full precision looks here", "Candidate looks here", "")
    for head, title in zip(heads, titles, strict=True):
        head.markdown(f"**{title}**" if title else "")
    for _, row in rows.iterrows():
        place = int(row["place"])
        before = charts.smoothed(view.maps_before[place])
        after = charts.smoothed(view.maps_after[place])
        scale = charts.shared_scale(before, after)
        columns = st.columns(COLUMNS, gap="small", vertical_alignment="center")
        try:
            photograph = charts.framed_square(data.photograph(case, row["id"], 2 * SIDE), SIDE)
        except FairQuantError as error:
            columns[0].error(escaped(str(error)))
            continue
        name = f"{row['label']}, {row['group']}"
        columns[0].image(photograph, width=SIDE, alt=f"Photograph: {name}")
        for column, values, words in (
            (columns[1], before, "full precision"),
            (columns[2], after, "candidate"),
        ):
            column.image(
                charts.overlay(photograph, values, scale, strength),
                width=SIDE,
                alt=f"Where the {words} looks: {name}",
            )
        with columns[3]:
            _facts(row)
    st.caption(
        "Yellow: matters most. Both maps of a photograph share one colour scale. They are smoothed "
        "for the eye; the figures are computed from the maps as they are."
    )


def _facts(row: pd.Series) -> None:
    if is_flip(row.to_frame().T).iloc[0]:
        lost = str(row["flip"]) != "gained"
        st.markdown(":red-badge[lost]" if lost else ":green-badge[gained]")
    st.markdown(f"**{escaped(str(row['label']))}** · {escaped(str(row['group']))}")
    st.caption(f"was: {escaped(str(row['before']))} → now: {escaped(str(row['after']))}")
    st.caption(f"overlap of the top tenth: {percent(row['overlap'])}")


def image_table(view: SaliencyView) -> None:
    """Figures of every photograph, with the completeness check where the method has one."""
    frame = view.frame.copy()
    if view.completeness_before is not None and view.completeness_after is not None:
        frame["completeness before"] = view.completeness_before
        frame["completeness after"] = view.completeness_after
        st.caption(
            "Completeness: what the map's values miss of the change of the score that they should "
            "add up to; near 0 is good."
        )
    tables.table(frame, "Saliency per photograph", "saliency_images")
