"""Which maps are wanted, and what they say per group and per photograph."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.backend.saliency.views import TARGETS, SaliencyChoice, SaliencyView
from dashboard.backend.views import CaseView, JobState, RunView
from dashboard.components import state, tables
from dashboard.components.charts import saliency as charts
from dashboard.components.data import FULL_PRECISION
from dashboard.components.glossary import tip
from dashboard.components.words import counted, escaped, percent, when
from fairquant_core.errors import FairQuantError

SAMPLES = (8, 16, 32)
MOST_OTHERS = 3
TARGET_TITLES = {
    "predicted": "what full precision decided",
    "candidate": "what the candidate decided",
    "true": "the true diagnosis",
    "class": "another class",
}
POOR_SUM = 0.1
"""Share of the score change that a map may miss before its values are called incomplete."""

GROUP_COLUMNS = {
    "candidate": "Candidate",
    "group": "Group",
    "images": st.column_config.NumberColumn("Drawn", help="Photographs drawn at random."),
    "n": st.column_config.NumberColumn("Estimable", help="Of them with a map in both classifiers."),
    "overlap": tables.share("Overlap", tip("overlap")),
    "overlap_low": tables.share("95 % from"),
    "overlap_high": tables.share("95 % to"),
    "drift": tables.number("Drift", 2, tip("drift")),
    "drift_low": tables.number("95 % from", 2),
    "drift_high": tables.number("95 % to", 2),
    "flips": st.column_config.NumberColumn("Flips", help=tip("flip")),
    "flips_shown": st.column_config.NumberColumn("Flips shown"),
}
IMAGE_COLUMNS = {
    "id": "Photograph",
    "candidate": "Candidate",
    "group": "Group",
    "label": "Diagnosis",
    "flip": st.column_config.TextColumn("Flip", help=tip("flip")),
    "overlap": tables.share("Overlap", tip("overlap")),
    "drift": tables.number("Drift", 2, tip("drift")),
    "lesion_area": tables.share("Lesion in the picture"),
    "lesion_before": tables.share("On the lesion, full precision"),
    "lesion_after": tables.share("On the lesion, candidate"),
    "before": "Full precision decided",
    "after": "Candidate decided",
    "target": st.column_config.TextColumn("Score of", help="The class that is explained."),
    "delta_before": tables.number("Delta, full precision", 3, "Completeness delta."),
    "change_before": tables.number("Score change, full precision", 2),
    "delta_after": tables.number("Delta, candidate", 3, "Completeness delta."),
    "change_after": tables.number("Score change, candidate", 2),
    "sampled": st.column_config.CheckboxColumn("Drawn at random"),
    "problem": "Why it has no maps",
    "mask_problem": "Why its mask cannot be used",
}
LESION_SHARES = ("lesion_area", "lesion_before", "lesion_after")
LESION = (*LESION_SHARES, "mask_problem")
SHARES = ("overlap", "overlap_low", "overlap_high")


def chosen(case: CaseView, run: RunView, methods: dict[str, str]) -> SaliencyChoice:
    """The maps that the controls ask for; at first those that were asked for last.

    What no longer exists falls back to the default.
    """
    last = state.services().last_saliency(run.id) or SaliencyChoice(method=next(iter(methods)))
    kept = st.session_state
    method = kept.get("saliency_method", last.method)
    target = kept.get("saliency_target", last.target)
    named = kept.get("saliency_class", last.target_class)
    per_group = kept.get("saliency_sample", last.per_group)
    others = kept.get("saliency_others", last.others)
    beside = candidates_beside(run)
    target = target if target in TARGETS else TARGETS[0]
    named = named if named in case.classes else case.classes[0]
    return SaliencyChoice(
        method=method if method in methods else next(iter(methods)),
        target=target,
        target_class=named if target == "class" else "",
        others=tuple(sorted(one for one in others if one in beside)),
        per_group=per_group if per_group in SAMPLES else SAMPLES[0],
    )


def candidates_beside(run: RunView) -> dict[str, str]:
    """Id -> title of the other finished runs of the case; two of the same title show their ids."""
    others = [
        one for one in state.current().runs if one.id != run.id and one.state == JobState.FINISHED
    ]
    titles = [one.title for one in others]
    return {
        one.id: one.title if titles.count(one.title) == 1 else f"{one.title} ({one.id[-4:]})"
        for one in others
    }


def choice_controls(
    case: CaseView, run: RunView, choice: SaliencyChoice, methods: dict[str, str]
) -> None:
    """Method, class, candidates beside this one, and size of the sample."""
    kept = st.session_state
    kept["saliency_method"], kept["saliency_target"] = choice.method, choice.target
    kept["saliency_sample"], kept["saliency_others"] = choice.per_group, list(choice.others)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        st.selectbox(
            "Method",
            list(methods),
            format_func=lambda name: methods[name],
            key="saliency_method",
            help=tip("saliency"),
            width=200,
        )
        st.selectbox(
            "Explain the score of",
            TARGETS,
            format_func=lambda name: TARGET_TITLES[name],
            key="saliency_target",
            help="The same class for all classifiers, or their maps could not be compared.",
            width=235,
        )
        if choice.target == "class":
            kept["saliency_class"] = choice.target_class
            st.selectbox("Class", list(case.classes), key="saliency_class", width=220)
        st.selectbox(
            "Drawn per group",
            SAMPLES,
            key="saliency_sample",
            help="Photographs drawn at random from every group of the audit part. More of them make "
            "the intervals narrower and the drawing longer.",
            width=130,
        )
        beside = candidates_beside(run)
        if beside:
            st.multiselect(
                "Candidates beside this one",
                list(beside),
                format_func=lambda one: beside[one],
                key="saliency_others",
                max_selections=MOST_OTHERS,
                width=310,
                placeholder="none",
            )


def start(run: RunView, choice: SaliencyChoice, label: str = "Draw the maps") -> None:
    """Start drawing the maps."""
    if st.button(label, type="primary", icon=":material/visibility:"):
        try:
            state.services().request_saliency(run.id, choice)
        except FairQuantError as error:
            st.error(escaped(str(error)))
            return
        state.services().ensure_worker()
        st.rerun()


def of_candidate(view: SaliencyView, candidate: str) -> pd.DataFrame:
    """The group figures of one candidate."""
    return view.by_group[view.by_group["candidate"] == candidate]


def groups_chart(case: CaseView, view: SaliencyView, measure: charts.Measure) -> None:
    """How far the gaze moved per group, with its table."""
    drawn = set(view.by_group["group"])
    groups = [group for group in case.groups if group in drawn]
    tables.chart(
        charts.drift_dots(view.by_group, groups, view.candidates, measure),
        f"saliency_{measure.name}",
        charts.drift_alt(view.by_group, view.candidates, measure),
    )


def sample_words(view: SaliencyView) -> str:
    """How the photographs were chosen."""
    sampled = int(view.frame["sampled"].sum())
    text = (
        f"The figures rest on {counted(sampled, 'photograph')} of the audit part, up to "
        f"{view.choice.per_group} per group, drawn at random and the same for every candidate."
    )
    if view.flips is not None and not view.flips.empty:
        shown, there = int(view.flips["asked"].sum()), int(view.flips["flips"].sum())
        text += (
            f" {shown} of {counted(there, 'flip')} are shown as well; those that were not drawn at random do not "
            "count, because flips drift more than others."
        )
    return text


def completeness_words(view: SaliencyView) -> str:
    """Whether the values of the maps add up to the scores that they explain, per classifier."""
    if not np.isfinite(view.completeness).any():
        return "This method has no completeness check: its values need not add up to anything."
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = np.abs(view.completeness) / np.abs(view.score_change)
    parts = []
    names = ("candidate",) if len(view.candidates) == 1 else view.candidates
    for name, shares in zip((FULL_PRECISION, *names), missed, strict=True):
        shares = shares[np.isfinite(shares)]
        if len(shares):
            poor = (
                f"{(shares > POOR_SUM).sum()} of {len(shares)} maps more than {percent(POOR_SUM)}"
            )
            parts.append(f"{name}: {percent(float(np.median(shares)), 1)} ({poor})")
    if not parts:
        return (
            "Completeness cannot be judged: no score changes from the baseline to the photograph."
        )
    return (
        "Completeness: the values of a map should add up to the change of the score from a plain "
        f"picture to the photograph. What they miss of it at the median: {'; '.join(parts)}. Where "
        "the score hardly changes, this share means little."
    )


def group_table(view: SaliencyView) -> None:
    """The figures of the chart with their intervals."""
    frame = tables.in_percent(view.by_group[list(GROUP_COLUMNS)], SHARES)
    tables.twin(frame, "Saliency drift per group", "saliency_groups", GROUP_COLUMNS)


def image_table(view: SaliencyView) -> None:
    """Figures of every photograph and candidate."""
    frame = view.changes.merge(view.frame, on="id", how="left")
    places = frame["place"].to_numpy()
    models = {name: place for place, name in enumerate(view.candidates, start=1)}
    rows = frame["candidate"].map(models).to_numpy()
    for name, values in (("delta", view.completeness), ("change", view.score_change)):
        if np.isfinite(values).any():
            frame[f"{name}_before"] = _at(values, np.zeros(len(frame), int), places)
            frame[f"{name}_after"] = _at(values, rows, places)
    frame = tables.in_percent(frame, ["overlap", *LESION_SHARES])
    masked = view.covers is not None
    shown = [name for name in IMAGE_COLUMNS if name in frame and (masked or name not in LESION)]
    tables.table(frame[shown], "Saliency per photograph", "saliency_images", IMAGE_COLUMNS)


def _at(values: np.ndarray, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.where(places >= 0, values[rows, np.maximum(places, 0)], np.nan)


def note_table(run: RunView, view: SaliencyView) -> None:
    """All notes on the photographs of this run."""
    found = state.services().image_notes(run.id, view.frame["id"].tolist())
    known = view.frame.set_index("id")
    rows = [
        {
            "photograph": one,
            "group": known.at[one, "group"],
            "label": known.at[one, "label"],
            "time": when(note.time),
            "person": note.person,
            "note": note.text,
        }
        for one, notes in found.items()
        for note in notes
    ]
    if not rows:
        st.caption("Nobody has left a note on these photographs.")
        return
    tables.table(pd.DataFrame(rows), "Notes on photographs", "saliency_notes")
