"""Verdict chips, differences and flips of the compare page."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.backend.views import CaseView, ComparisonView
from dashboard.components import chips, data, tables
from dashboard.components.charts import comparison as charts
from dashboard.components.data import CANDIDATE, FULL_PRECISION
from dashboard.components.glossary import tip
from dashboard.components.words import SCHEME_TITLES, counted, escaped, interval, points
from fairquant_core.errors import FairQuantError

PERCENTAGES = ("before", "after", "difference", "low", "high")
FLIPS_SHOWN = 12
PER_ROW = 4

DIFFERENCE_COLUMNS = {
    "group": "Group",
    "n": "Images",
    "before": tables.share("Before"),
    "after": tables.share("After"),
    "difference": tables.number("Change (points)", 1),
    "low": tables.number("95 % from", 1),
    "high": tables.number("95 % to", 1),
    "lost": st.column_config.NumberColumn("Lost", help="Right before, wrong now."),
    "gained": st.column_config.NumberColumn("Gained", help="Wrong before, right now."),
    "p_value": tables.number("p (exact McNemar)", 3),
    "p_holm": tables.number("p after Holm", 3, "Adjusted for looking at several groups."),
}


def chosen_scheme(case: CaseView) -> str:
    """The grouping to show; verdicts always use the case's own."""
    scheme = st.session_state.get("compare_scheme")
    return scheme if scheme in _schemes(case) else case.scheme


def scheme_control(case: CaseView) -> None:
    """Choose how finely to group, where the case is grouped by skin type."""
    schemes = _schemes(case)
    if len(schemes) < 2:
        return
    st.session_state["compare_scheme"] = chosen_scheme(case)
    st.segmented_control(
        "Groups",
        schemes,
        format_func=lambda name: SCHEME_TITLES[name],
        required=True,
        key="compare_scheme",
        help="The verdict always uses the grouping that was set with the limits.",
    )


def _schemes(case: CaseView) -> list[str]:
    return ["fst2", "fst3", "fst6"] if case.scheme.startswith("fst") else [case.scheme]


def in_order(models: tuple[str, ...]) -> list[str]:
    """Full precision first, the candidate last, what it is measured against between them."""
    return sorted(models, key=lambda model: (model != FULL_PRECISION, model == CANDIDATE))


def verdict_row(verdicts: pd.DataFrame, differences: pd.DataFrame) -> None:
    """One card per group: the verdict, the change and its interval."""
    rows = verdicts[verdicts["group"] != "overall"]
    changes = differences.set_index("group")
    if rows.empty:
        return
    with st.grid(min(4, max(2, len(rows)))):
        for _, row in rows.iterrows():
            with st.container(border=True, height="stretch", gap="xsmall"):
                st.markdown(f"**{escaped(str(row['group']))}**")
                chips.verdict_chip(row["verdict"]).draw(str(row["sentence"]))
                if row["group"] in changes.index:
                    change = changes.loc[row["group"]]
                    st.caption(
                        f"{points(change['difference'], sign=True)}, 95 %: "
                        f"{interval(change['low'], change['high'], 1, ' points')} · "
                        f"{int(change['n']):,} images"
                    )


def in_full(case: CaseView, view: ComparisonView) -> None:
    """Differences with intervals and tests, and the sentence behind every verdict."""
    st.subheader("Change per group against the limit", anchor=False)
    groups = [group for group in view.groups if group != "unknown"]
    margin = case.limits.margin
    tables.chart(
        charts.difference_dots(view.differences, ["overall", *groups], margin),
        "difference_dots",
        charts.difference_alt(view.differences, margin),
    )
    columns = [name for name in DIFFERENCE_COLUMNS if name in view.differences]
    shown = tables.in_percent(view.differences[columns], PERCENTAGES)
    tables.table(shown, "Differences per group", "differences", DIFFERENCE_COLUMNS)
    for _, row in view.verdicts.iterrows():
        st.markdown(f"{chips.verdict_chip(row['verdict']).markdown()} {escaped(row['sentence'])}")
    st.caption(tip("verdict").split("\n")[0])


def flips(case: CaseView, frame: pd.DataFrame) -> None:
    """Photographs on which the decision changed, lost ones first."""
    lost = int((frame["kind"] == "lost").sum())
    label = (
        f"Photographs that changed: {counted(lost, 'lost', 'lost')}, "
        f"{counted(len(frame) - lost, 'gained', 'gained')}"
    )
    with tables.details(label, "compare_flips", ":material/swap_horiz:") as is_open:
        if not is_open:
            return
        if frame.empty:
            st.caption("No decision changed.")
            return
        groups = ["all groups", *dict.fromkeys(frame["group"])]
        group = st.selectbox("Group", groups, key="flips_group", width=300)
        rows = frame if group == groups[0] else frame[frame["group"] == group]
        _pictures(case, rows.head(FLIPS_SHOWN))
        if len(rows) > FLIPS_SHOWN:
            st.caption(f"The first {FLIPS_SHOWN} of {len(rows)}; the table holds all.")
        tables.table(rows, "Flips", "flips")


def _pictures(case: CaseView, rows: pd.DataFrame) -> None:
    with st.grid(PER_ROW, min_column_width=190):
        for _, row in rows.iterrows():
            with st.container(border=True, gap="xsmall"):
                try:
                    picture = data.photograph(case, row["id"])
                except FairQuantError as error:
                    st.error(escaped(str(error)))
                else:
                    alt = f"{row['label']}, {row['group']}, {row['kind']}"
                    st.image(picture, width="stretch", alt=alt)
                word = ":red-badge[lost]" if row["kind"] == "lost" else ":green-badge[gained]"
                st.markdown(f"{word} {escaped(row['label'])} · {escaped(row['group'])}")
                st.caption(f"was: {escaped(row['before'])} → now: {escaped(row['after'])}")
