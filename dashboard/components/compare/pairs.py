"""The compare page: any two classifiers, what changed between them, and the photographs that flipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.backend.views import CaseView, RunView
from dashboard.components import chips, data, tables
from dashboard.components.charts import comparison as charts
from dashboard.components.data import CANDIDATE, FULL_PRECISION
from dashboard.components.glossary import tip
from dashboard.components.limit_words import Shown
from dashboard.components.words import VERDICT_LABELS, capital, counted, escaped, groups_words
from fairquant_core.audit.measures import COUNTED
from fairquant_core.errors import FairQuantError

FLIPS_SHOWN = 12
PER_ROW = 4
PERCENTAGES = ("before", "after")
POINTS = ("difference", "low", "high")
NOTE = {"note": st.column_config.TextColumn("Note", width="medium")}
NAMES = {"from": None, "to": None}
"""Columns that only the downloaded table needs: on the page the names stand above it."""
FLIPS = {
    "id": "Photograph",
    "group": "Group",
    "label": "Diagnosis",
    "before": "Was called",
    "after": "Is called now",
    "kind": "Lost or gained",
}

OTHER_SCHEME = (
    "Nothing is judged here: the limits of this case were set for {groups}. Its verdict stands at the top of "
    "the page."
)
OTHER_PAIR = "Nothing is judged here: the limits of this case are about what a candidate loses from full precision."


@dataclass(frozen=True)
class Pair:
    """Two of the classifiers that can be compared: their keys, and the titles that people read."""

    before: str
    after: str
    before_title: str
    after_title: str

    @property
    def words(self) -> str:
        """Both by name, for captions, alt texts and the names of files."""
        return f"from {self.before_title} to {self.after_title}"

    @property
    def different(self) -> bool:
        """Whether there is anything to compare."""
        return self.before != self.after

    @property
    def own(self) -> bool:
        """Whether it is full precision against the candidate of the page."""
        return (self.before, self.after) == (FULL_PRECISION, CANDIDATE)


def of_the_run(run: RunView) -> Pair:
    """Full precision against the candidate: what the limits are about."""
    return _pair(run, FULL_PRECISION, CANDIDATE)


def _pair(run: RunView, before: str, after: str) -> Pair:
    titles = data.comparable(run)
    return Pair(before, after, titles[before], titles[after])


def controls(run: RunView) -> Pair:
    """Choose any two classifiers: those of this run, and the candidates of the other runs."""
    titles = data.comparable(run)
    keys = list(titles)
    for name, default in (("before", FULL_PRECISION), ("after", CANDIDATE)):
        if st.session_state.get(f"compare_{name}") not in keys:
            st.session_state[f"compare_{name}"] = default if default in keys else keys[0]
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        for name, label in (("before", "From"), ("after", "to")):
            st.selectbox(
                label,
                keys,
                format_func=lambda key: titles[key],
                key=f"compare_{name}",
                width=330,
            )
    return _pair(run, st.session_state["compare_before"], st.session_state["compare_after"])


def in_full(case: CaseView, run: RunView, chosen: Pair, scheme: str, shown: Shown) -> bool:
    """Differences with intervals and tests, and the verdict where there is one.

    Returns
    -------
    Whether the two can be compared; where not, the reason stands on the page.
    """
    if not chosen.different:
        st.info("Choose two different classifiers.", icon=":material/compare_arrows:")
        return False
    try:
        found = data.pair(run, chosen.before, chosen.after, scheme)
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return False
    about_limits = shown.title == case.limits.measure.title
    margin = case.limits.margin if about_limits and found.judged else None
    groups = ["overall", *(group for group in found.groups if group != "unknown")]
    rows = found.differences[found.differences["measure"] == shown.title]
    st.caption(escaped(f"{capital(chosen.words)}, the same photographs."))
    tables.chart(
        charts.difference_dots(rows, groups, shown, margin, chosen.words),
        "compare_change",
        charts.difference_alt(rows, shown, margin, chosen.words),
    )
    name = f"Change of {shown.title} per group {chosen.words}"
    difference_table(rows, shown, name, "compare_change", chosen)
    if about_limits and found.judged:
        whose = "this candidate" if chosen.own else chosen.after_title
        st.markdown(f"**Verdict on {escaped(whose)}, by the limits of the case**")
        for _, row in found.verdicts.iterrows():
            chip = chips.verdict_chip(row["verdict"]).markdown()
            st.markdown(f"{chip} {escaped(row['sentence'])}")
        st.caption(tip("verdict").split("\n")[0])
    elif about_limits:
        st.caption(not_judged(case, scheme))
    label = "The change of every measure"
    with tables.details(label, "compare_every_change", ":material/table_rows:") as is_open:
        if is_open:
            every_change(found.differences, chosen)
    return True


def not_judged(case: CaseView, scheme: str) -> str:
    """Why there is no verdict on a change of the measure that the limits are about."""
    if scheme != case.scheme:
        return OTHER_SCHEME.format(groups=groups_words(case.groups))
    return OTHER_PAIR


def difference_table(
    rows: pd.DataFrame, shown: Shown, name: str, key: str, pair: Pair, verdict: str = "Verdict"
) -> None:
    """The differences of one measure, in its own unit, with the test that fits it.

    Parameters
    ----------
    verdict : what the column "verdict" is called, if there is one.
    """
    counted_images = shown.metric in COUNTED
    figure = tables.share if shown.in_percent else tables.plain
    change = f"Change ({'points' if shown.in_points else 'as it is'})"
    digits = 1 if shown.in_points else 3
    test = "p (exact McNemar)" if counted_images else "p (bootstrap)"
    frame = rows.assign(note=tables.notes(rows))
    if "verdict" in frame:
        frame["verdict"] = frame["verdict"].map(VERDICT_LABELS)
    frame = tables.in_percent(frame, PERCENTAGES) if shown.in_percent else frame
    frame = tables.in_percent(frame, POINTS) if shown.in_points else frame
    columns: dict[str, Any] = {
        "group": "Group",
        "verdict": verdict,
        **tables.COUNTS,
        "classes_estimable": st.column_config.NumberColumn(
            "Classes", help="Classes with enough photographs to enter the mean."
        ),
        "before": figure("Before", pair.before_title),
        "after": figure("After", pair.after_title),
        "difference": tables.number(change, digits),
        "low": tables.number("95 % from", digits),
        "high": tables.number("95 % to", digits),
        "lost": st.column_config.NumberColumn("Lost", help="Right before, wrong now."),
        "gained": st.column_config.NumberColumn("Gained", help="Wrong before, right now."),
        "p_value": tables.chance(test),
        "p_holm": tables.chance("p after Holm", "Adjusted for looking at several groups."),
        **NOTE,
    }
    if not counted_images:
        columns = {name: kind for name, kind in columns.items() if name not in ("lost", "gained")}
    # A column that says nothing about this measure is left out.
    kept = [
        one
        for one in columns
        if one == "group" or (one in frame and (frame[one].notna() & (frame[one] != "")).any())
    ]
    tables.table(_named(frame[kept], pair), name, key, columns | NAMES)


def every_change(differences: pd.DataFrame, pair: Pair) -> None:
    """All measures in one table, as fractions."""
    left_out = int((~differences["estimable"].astype(bool)).sum())
    st.caption(
        f"As fractions: 0.25 is 25 %. {left_out} of {len(differences)} changes are not estimable. "
        "Lost and gained are counted, and p is exact (McNemar), where a figure is a share of right "
        "answers; elsewhere p comes from the bootstrap. Holm corrects for the groups of one measure."
    )
    figures = {name: tables.plain(name.capitalize()) for name in ("before", "after")}
    figures |= {"difference": tables.plain("Change"), "low": tables.plain("95 % from")}
    figures |= {"high": tables.plain("95 % to"), "lost": "Lost", "gained": "Gained"}
    figures |= {"p_value": tables.chance("p"), "p_holm": tables.chance("p after Holm")}
    columns = {"measure": "Measure", "group": "Group"} | tables.COUNTS | figures | NOTE
    frame = differences.assign(note=tables.notes(differences))[list(columns)]
    name = f"Change of every measure {pair.words}"
    tables.table(_named(frame, pair), name, "compare_every", columns | NAMES)


def _named(frame: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """The table with the names of both classifiers, for those who download it."""
    return frame.assign(**{"from": pair.before_title, "to": pair.after_title})


def flips(case: CaseView, run: RunView, chosen: Pair, scheme: str) -> None:
    """Photographs on which the decision of two classifiers differs, lost ones first."""
    if not chosen.different:
        return
    if chosen.own:
        frame = data.comparison(run, scheme).flips
    else:
        try:
            frame = data.pair(run, chosen.before, chosen.after, scheme).flips
        except FairQuantError:
            return  # said above, where the two were chosen
    lost = int((frame["kind"] == "lost").sum())
    if frame.empty:
        st.caption(escaped(f"No right answer was lost or gained {chosen.words}."))
        return
    st.caption(
        escaped(
            f"{capital(chosen.words)}: {counted(lost, 'photograph')} lost (right before, "
            f"wrong now), {len(frame) - lost} gained."
        )
    )
    # The label says no number: an expander whose label changes closes.
    label = "Photographs that were lost or gained"
    with tables.details(label, "compare_flips", ":material/swap_horiz:") as is_open:
        if not is_open:
            return
        groups = ["all groups", *dict.fromkeys(frame["group"])]
        if st.session_state.get("flips_group") not in groups:
            st.session_state["flips_group"] = groups[0]
        group = st.selectbox("Group", groups, key="flips_group", width=300)
        rows = frame if group == groups[0] else frame[frame["group"] == group]
        _pictures(case, rows.head(FLIPS_SHOWN))
        if len(rows) > FLIPS_SHOWN:
            st.caption(f"The first {FLIPS_SHOWN} of {len(rows)}; the table holds all.")
        tables.table(_named(rows, chosen), f"Flips {chosen.words}", "flips", FLIPS | NAMES)


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
