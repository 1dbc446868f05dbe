"""The compare page: verdict cards, the chosen measure, and its controls."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.backend.views import CaseView
from dashboard.components import chips, choices, tables
from dashboard.components.data import CANDIDATE, FULL_PRECISION
from dashboard.components.limit_words import Shown, measure_words
from dashboard.components.words import (
    SCHEME_TITLES,
    capital,
    counted,
    escaped,
    interval,
    known,
    points,
)
from fairquant_core.audit.limits import Limits
from fairquant_core.audit.verdict_text import counted_images

MOST_BESIDE = 2
"""Further candidates in the main figure; more marks in a row cannot be told apart."""

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
