"""The part of the new-case form that sets the limits: which metric, how much, for whom, on what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.components.glossary import tip
from dashboard.components.limit_words import QUESTIONS, limits_paragraph
from dashboard.components.words import escaped
from fairquant_core.audit.limits import Limits
from fairquant_core.audit.measures import COUNTED, JUDGED, METRICS
from fairquant_core.audit.verdict_text import images_without_change
from fairquant_core.errors import EvaluationError

ANY_OF_THEM = "any of them"
NO_CONDITION = (
    "This limit is about conditions that must not be missed, and none is named: choose one above, "
    "or another limit."
)
AREA_MINIMUM = 5
"""With fewer images on one side, the area under a curve jumps with every single one of them."""


def draw(classes: Sequence[str], groups: Sequence[str]) -> dict[str, Any]:
    """Ask for the limits and say in words what they mean.

    Parameters
    ----------
    classes, groups : what the cohort holds, as far as it is known.

    Returns
    -------
    Fields of a new case: "must_not_miss" and "limits"; `None` for limits that make no sense, which
    is said on the page.
    """
    st.caption("Agreed now and locked with the case: nobody can move the line after the figures.")
    must_not_miss = st.multiselect(
        "Conditions that must not be missed",
        list(classes),
        accept_new_options=True,
        key="new_must_not_miss",
        help=tip("must not miss"),
    )
    left, right = st.columns([2, 1])
    metric = left.selectbox(
        "What must not get worse",
        list(JUDGED),
        format_func=lambda name: QUESTIONS[name],
        key="new_metric",
        help="  \n".join(f"**{METRICS[name].title}**: {METRICS[name].meaning}" for name in JUDGED),
    )
    margin = right.number_input(
        "Acceptable loss per group (points)",
        0.1,
        50.0,
        100 * Limits.margin,
        step=0.5,
        key="new_margin",
        help=tip("limit"),
    )
    positive = _positive(metric, must_not_miss)
    passing = st.multiselect(
        "Groups that must pass",
        list(groups),
        key="new_passing",
        placeholder="all known groups",
        help="Empty: every group with a known skin type or value. A group that is left out is still "
        "shown, but its loss does not decide.",
    )
    minimums = _minimums(metric, positive, must_not_miss)
    if (
        metric == "accuracy"
        and max(minimums["minimum_positives"], minimums["minimum_negatives"]) > 1
    ):
        positive = tuple(must_not_miss)
    fields: dict[str, Any] = {"must_not_miss": tuple(must_not_miss), "limits": None}
    if METRICS[metric].about_classes and not positive:
        st.warning(NO_CONDITION)
        return fields
    try:
        limits = Limits(
            metric, round(margin / 100, 6), groups=tuple(passing), positive=positive, **minimums
        )
    except EvaluationError as error:
        st.warning(escaped(str(error)))
        return fields
    text = limits_paragraph(limits)
    if metric in COUNTED:
        text += (
            f" Even if not one decision changes, a group needs about "
            f"{images_without_change(limits.margin):,} such photographs in the audit part to be "
            "called within this limit."
        )
    st.info(escaped(text), icon=":material/gavel:")
    return fields | {"limits": limits}


def _positive(metric: str, must_not_miss: Sequence[str]) -> tuple[str, ...]:
    """Which of these conditions a limit on finding them is about."""
    if not METRICS[metric].about_classes:
        return ()
    if len(must_not_miss) < 2:
        return tuple(must_not_miss)
    chosen = st.selectbox(
        "About which condition",
        [ANY_OF_THEM, *must_not_miss],
        key="new_positive",
        help="Any of them: taking one for another is then no miss.",
    )
    return tuple(must_not_miss) if chosen == ANY_OF_THEM else (chosen,)


def _minimums(metric: str, positive: Sequence[str], must_not_miss: Sequence[str]) -> dict[str, int]:
    """Fewest images, of the conditions and of others, for a verdict."""
    by_class = metric in ("balanced accuracy", "macro auroc")
    whose = "a condition, so that it counts" if by_class else "what must not be missed"
    least = AREA_MINIMUM if metric == "auroc" else 1
    # Over all conditions alike there is nothing to find and nothing else.
    idle = metric == "accuracy" and not must_not_miss
    columns = st.columns(3)
    minimum = columns[0].number_input(
        "Fewest photographs for a verdict (n)",
        1,
        10_000,
        Limits.minimum_images,
        key="new_minimum",
        help="Below this a group's verdict is always insufficient evidence. Counted are the "
        "photographs that the figure is about: for a sensitivity those of the condition.",
    )
    found = {}
    for column, name, label in (
        (columns[1], "minimum_positives", f"Fewest of {whose} (n+)"),
        (columns[2], "minimum_negatives", "Fewest of other conditions (n−)"),
    ):
        found[name] = column.number_input(
            label,
            1,
            10_000,
            least,
            # Another metric asks another question, with its own default.
            key=f"new_{name}_{metric}",
            disabled=idle,
            help="Name a condition that must not be missed to use this."
            if idle
            else "One image of a rare condition says nothing about a group; 1 asks for no more than that.",
        )
    return {
        "minimum_images": int(minimum),
        **{name: 1 if idle else int(value) for name, value in found.items()},
    }
