"""The compare page: verdict cards, the chosen measure, any two classifiers, and flips."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.backend.views import CaseView, RunView
from dashboard.components import chips, choices, data, tables
from dashboard.components.charts import comparison as charts
from dashboard.components.data import CANDIDATE, FULL_PRECISION
from dashboard.components.glossary import tip
from dashboard.components.limit_words import Shown, measure_words
from dashboard.components.words import (
    SCHEME_TITLES,
    VERDICT_LABELS,
    capital,
    counted,
    escaped,
    interval,
    known,
    points,
)
from fairquant_core.audit.limits import Limits
from fairquant_core.audit.measures import COUNTED
from fairquant_core.audit.verdict_text import counted_images
from fairquant_core.errors import FairQuantError

FLIPS_SHOWN = 12
PER_ROW = 4
MOST_BESIDE = 2
"""Further candidates in the main figure; more marks in a row cannot be told apart."""

PERCENTAGES = ("before", "after")
POINTS = ("difference", "low", "high")
NOTE = {"note": st.column_config.TextColumn("Note", width="medium")}


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
    choices.segmented(
        "Groups",
        schemes,
        format_func=lambda name: SCHEME_TITLES[name],
        required=True,
        key="compare_scheme",
        help="The verdict always uses the grouping that was set with the limits.",
    )


def _schemes(case: CaseView) -> list[str]:
    scale = case.scheme.rstrip("0123456789")
    return [name for name in ("fst2", "fst3", "fst6", "mst3", "mst10") if name[:3] == scale] or [
        case.scheme
    ]


def chosen_measure(case: CaseView, measures: list[dict[str, Any]]) -> Shown:
    """The measure to show, at first that of the limits."""
    kinds = {kind["measure"]: kind for kind in measures}
    wanted = st.session_state.get("compare_measure")
    title = str(wanted) if wanted in kinds else case.limits.measure.title
    return Shown(title, kinds[title]["metric"], kinds[title]["higher_is_better"])


def measure_control(case: CaseView, shown: Shown, measures: list[dict[str, Any]]) -> None:
    """Choose what is compared."""
    st.session_state["compare_measure"] = shown.title
    kind = next(kind for kind in measures if kind["measure"] == shown.title)
    st.selectbox(
        "Measure",
        [kind["measure"] for kind in measures],
        key="compare_measure",
        width=290,
        help=f"{kind['meaning']} The limits of this case are about {measure_words(case.limits)}.",
    )


def chosen_beside(choices: dict[str, str]) -> tuple[str, ...]:
    """Ids of further candidates in the main figure."""
    wanted = st.session_state.get("compare_beside", [])
    return tuple(one for one in wanted if one in choices)


def beside_control(choices: dict[str, str], beside: tuple[str, ...]) -> None:
    """Choose further candidates of the case for the main figure."""
    if not choices:
        return
    st.session_state["compare_beside"] = list(beside)
    st.multiselect(
        "Candidates beside this one",
        list(choices),
        format_func=lambda one: choices[one],
        key="compare_beside",
        max_selections=MOST_BESIDE,
        width=310,
        placeholder="none",
    )


def in_order(models: tuple[str, ...]) -> list[str]:
    """Full precision first, the candidate last, what it is measured against between them."""
    return sorted(models, key=lambda model: (model != FULL_PRECISION, model == CANDIDATE))


def verdict_row(verdicts: pd.DataFrame, differences: pd.DataFrame, limits: Limits) -> None:
    """One card per group: the verdict, the change and its interval."""
    rows = verdicts[verdicts["group"] != "overall"]
    changes = differences.set_index("group")
    images = counted_images(limits)
    kinds = (images.replace("images", "image", 1), images)
    if rows.empty:
        return
    with st.grid(min(4, max(2, len(rows)))):
        for _, row in rows.iterrows():
            with st.container(border=True, height="stretch", gap="xsmall"):
                st.markdown(f"**{escaped(str(row['group']))}**")
                chips.verdict_chip(row["verdict"]).draw(escaped(str(row["sentence"])))
                if row["group"] in changes.index:
                    change = changes.loc[row["group"]]
                    st.caption(
                        f"{points(change['difference'], sign=True)}, 95 %: "
                        f"{interval(change['low'], change['high'], 1, ' points')} · "
                        f"{escaped(counted(int(change['n']), *kinds))}"
                        f"{settle_words(row['images_to_settle'])}"
                    )


def settle_words(images: float) -> str:
    """How many images of the group would settle an open verdict; "" where it is settled or none would.

    Examples
    --------
    >>> settle_words(1200.0), settle_words(float("nan"))
    (' · about 1,200 would settle it', '')
    """
    return f" · about {int(images):,} would settle it" if known(images) else ""


def pair_controls(run: RunView) -> tuple[str, str]:
    """Choose any two classifiers: those of this run, and the candidates of the other runs."""
    choices = data.comparable(run)
    keys = list(choices)
    for name, default in (("before", FULL_PRECISION), ("after", CANDIDATE)):
        if st.session_state.get(f"compare_{name}") not in keys:
            st.session_state[f"compare_{name}"] = default if default in keys else keys[0]
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        for name, label in (("before", "From"), ("after", "to")):
            st.selectbox(
                label,
                keys,
                format_func=lambda key: choices[key],
                key=f"compare_{name}",
                width=330,
            )
    return st.session_state["compare_before"], st.session_state["compare_after"]


def measure_twin(rows: pd.DataFrame, shown: Shown) -> None:
    """The main figure as a table."""
    figure = tables.share if shown.in_percent else tables.plain
    figures = ["value", "low", "high"]
    frame = rows.assign(note=tables.notes(rows))
    frame = tables.in_percent(frame, figures) if shown.in_percent else frame
    columns = (
        {"group": "Group", "model": "Model"}
        | tables.COUNTS
        | {"value": figure(capital(shown.title)), "low": figure("95 % from")}
        | {"high": figure("95 % to")}
        | NOTE
    )
    tables.twin(
        frame[list(columns)],
        f"{capital(shown.title)} per group and model",
        "compare_dots",
        columns,
    )


def pair_in_full(
    case: CaseView, run: RunView, chosen: tuple[str, str], scheme: str, shown: Shown
) -> None:
    """Differences with intervals and tests of two classifiers, and what the limits say of them."""
    if chosen[0] == chosen[1]:
        st.info("Choose two different classifiers.", icon=":material/compare_arrows:")
        return
    try:
        pair = data.pair(run, *chosen, scheme)
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    names = data.comparable(run)
    judged = shown.title == case.limits.measure.title
    margin = case.limits.margin if judged else None
    groups = ["overall", *(group for group in pair.groups if group != "unknown")]
    rows = pair.differences[pair.differences["measure"] == shown.title]
    st.caption(escaped(f"From {names[pair.before]} to {names[pair.after]}, the same photographs."))
    tables.chart(
        charts.difference_dots(rows, groups, shown, margin),
        "compare_change",
        charts.difference_alt(rows, shown, margin),
    )
    difference_table(rows, shown, f"Change of {shown.title} per group", "compare_change")
    if judged and pair.before == FULL_PRECISION:
        for _, row in pair.verdicts.iterrows():
            chip = chips.verdict_chip(row["verdict"]).markdown()
            st.markdown(f"{chip} {escaped(row['sentence'])}")
        st.caption(tip("verdict").split("\n")[0])
    elif judged:
        st.caption("The limits are about the loss from full precision; here nothing is judged.")
    label = "The change of every measure"
    with tables.details(label, "compare_every_change", ":material/table_rows:") as is_open:
        if is_open:
            every_change(pair.differences)


def difference_table(rows: pd.DataFrame, shown: Shown, name: str, key: str) -> None:
    """The differences of one measure, in its own unit, with the test that fits it."""
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
        "verdict": "Verdict",
        **tables.COUNTS,
        "classes_estimable": st.column_config.NumberColumn(
            "Classes", help="Classes with enough photographs to enter the mean."
        ),
        "before": figure("Before"),
        "after": figure("After"),
        "difference": tables.number(change, digits),
        "low": tables.number("95 % from", digits),
        "high": tables.number("95 % to", digits),
        "lost": st.column_config.NumberColumn("Lost", help="Right before, wrong now."),
        "gained": st.column_config.NumberColumn("Gained", help="Wrong before, right now."),
        "p_value": tables.number(test, 3),
        "p_holm": tables.number("p after Holm", 3, "Adjusted for looking at several groups."),
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
    tables.table(frame[kept], name, key, columns)


def every_change(differences: pd.DataFrame) -> None:
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
    figures |= {"p_value": tables.plain("p"), "p_holm": tables.plain("p after Holm")}
    columns = {"measure": "Measure", "group": "Group"} | tables.COUNTS | figures | NOTE
    frame = differences.assign(note=tables.notes(differences))
    tables.table(frame[list(columns)], "Change of every measure", "compare_every", columns)


def flips(case: CaseView, run: RunView, chosen: tuple[str, str], scheme: str) -> None:
    """Photographs on which the decision of two classifiers differs, lost ones first."""
    if chosen == (FULL_PRECISION, CANDIDATE):
        frame = data.comparison(run, scheme).flips
    elif chosen[0] == chosen[1]:
        return
    else:
        try:
            frame = data.pair(run, *chosen, scheme).flips
        except FairQuantError:
            return  # said above, where the two were chosen
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
        if st.session_state.get("flips_group") not in groups:
            st.session_state["flips_group"] = groups[0]
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
