"""How much of the attention lies on the lesion: the page's sentence, the figure, its table, new masks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.backend.saliency.views import SaliencyChoice, SaliencyView
from dashboard.backend.views import CaseView, RunView
from dashboard.components import state, tables
from dashboard.components.charts import lesion as charts
from dashboard.components.saliency import sections
from dashboard.components.sentences import saliency_sentence
from dashboard.components.words import NOT_ESTIMABLE, counted, group_words, known, percent, points

MEANS = "The share of the attention that lies on the lesion, mean of the photographs: 100 % is all of it."
AREA = "How much of the picture is lesion: a map that knows nothing would lie on it this much."
CHANGE = "Candidate less full precision on the same photographs."
GROUP_COLUMNS = {
    "candidate": "Candidate",
    "group": "Group",
    "images": st.column_config.NumberColumn("Drawn", help="Photographs drawn at random."),
    "lesion_n": st.column_config.NumberColumn(
        "With a mask", help="Of them with a mask that can be used and both maps estimable."
    ),
    "lesion_area": tables.share("Lesion in the picture", AREA),
    "lesion_before": tables.share("On the lesion, full precision", MEANS),
    "lesion_before_low": tables.share("95 % from"),
    "lesion_before_high": tables.share("95 % to"),
    "lesion_after": tables.share("On the lesion, candidate", MEANS),
    "lesion_after_low": tables.share("95 % from"),
    "lesion_after_high": tables.share("95 % to"),
    "lesion_change": tables.number("Change, points", 1, CHANGE),
    "lesion_change_low": tables.number("95 % from", 1),
    "lesion_change_high": tables.number("95 % to", 1),
}
COUNTS = ("candidate", "group", "images", "lesion_n")
NEW_MASKS = (
    "This cohort has masks of the lesions, but these maps were drawn without them. Draw them again to see "
    "how much of the attention lies on the lesion."
)
OTHER_MASKS = (
    "The masks of the lesions have changed since these maps were drawn. Draw them again to judge them "
    "with the masks that are there now."
)


def answer(view: SaliencyView) -> str:
    """The page's sentence for the run itself: about the lesion where there are masks, else about the drift."""
    own = sections.of_candidate(view, view.candidates[0])
    return lesion_sentence(own) or saliency_sentence(own)


def lesion_sentence(by_group: pd.DataFrame) -> str:
    """Say how much of the attention lies on the lesion where it fell most; "" without any figure.

    Whether the change may be chance is judged on the pairs: intervals of the two means overlap long
    after the difference on the same photographs is beyond doubt.

    Parameters
    ----------
    by_group : one row per group with the columns of `explain.lesion.group_shares`.
    """
    if "lesion_change" not in by_group:
        return ""
    rows = by_group[by_group["group"] != "unknown"].dropna(subset=["lesion_change"])
    if rows.empty:
        return ""
    row = rows.loc[rows["lesion_change"].idxmin()]
    before, after = percent(row["lesion_before"]), percent(row["lesion_after"])
    text = (
        f"For {group_words(row['group'])} {after} of the attention lies on the lesion, which fills "
        f"{percent(row['lesion_area'])} of the picture"
    )
    text += (
        "; at full precision it is the same" if before == after else f"; at full precision {before}"
    )
    low, high = row["lesion_change_low"], row["lesion_change_high"]
    if not known(low):
        return f"{text}. One photograph cannot tell whether that is chance."
    if before == after:
        return f"{text}."
    if low <= 0 <= high:
        return f"{text}, a difference that may be chance."
    return f"{text}, more of a difference than chance explains."


def section(case: CaseView, view: SaliencyView) -> None:
    """The figure per group with its table; nothing where the maps were drawn without masks."""
    if view.covers is None or "lesion_n" not in view.by_group:
        return
    drawn = set(view.by_group["group"])
    groups = [group for group in case.groups if group in drawn]
    st.subheader("How much of the attention lies on the lesion, per group", anchor=False)
    tables.chart(
        charts.lesion_dots(view.by_group, groups, view.candidates),
        "saliency_lesion",
        charts.lesion_alt(view.by_group, view.candidates),
    )
    st.caption(words(view))
    shares = [name for name in GROUP_COLUMNS if name not in COUNTS]
    frame = tables.in_percent(view.by_group[list(GROUP_COLUMNS)], shares)
    tables.twin(frame, "Attention on the lesion per group", "saliency_lesion", GROUP_COLUMNS)


def words(view: SaliencyView) -> str:
    """How to read the figure, the paired changes, and which photographs it leaves out."""
    own = sections.of_candidate(view, view.candidates[0])
    changes = [
        f"{group_words(row['group'])} {points(row['lesion_change'], sign=True)} "
        f"({100 * row['lesion_change_low']:z.1f} to {100 * row['lesion_change_high']:z.1f})"
        for _, row in own.dropna(subset=["lesion_change_low"]).iterrows()
    ]
    text = (
        "The upright line is how much of the picture the lesion fills: a map that knows nothing would lie on "
        "it that much. "
    )
    if changes:
        text += f"Change on the same photographs, with 95 % interval: {', '.join(changes)}. "
    text += (
        f"The figures rest on {int(own['lesion_n'].sum())} of {counted(int(own['images'].sum()), 'photograph')} "
        "drawn at random."
    )
    broken = int((view.frame["mask_problem"] != "").sum())
    if broken:
        text += (
            f" {counted(broken, 'mask')} cannot be used; those photographs have no share, and the pictures "
            "above say why."
        )
    return text


def redraw(run: RunView, choice: SaliencyChoice, view: SaliencyView) -> None:
    """Offer to draw again where the masks of the lesions are not those of the maps."""
    if not state.services().saliency_outdated(run.id, choice):
        return
    st.info(NEW_MASKS if view.covers is None else OTHER_MASKS)
    sections.start(run, choice, "Draw the maps again")


def outline(view: SaliencyView, row: pd.Series) -> np.ndarray | None:
    """Where the lesion is in a photograph of the gallery; None if that is not known."""
    if view.covers is None or row["place"] < 0:
        return None
    cover = view.covers[int(row["place"])]
    return cover if np.isfinite(cover).all() else None


def fact(view: SaliencyView, row: pd.Series) -> str:
    """How much of a photograph is lesion, or why that is not known; "" where there are no masks."""
    if view.covers is None or row["place"] < 0:
        return ""
    if known(row["lesion_area"]):
        return f"the lesion fills {percent(row['lesion_area'])} of the picture"
    return f"on the lesion: {NOT_ESTIMABLE}, {row['mask_problem'] or 'this photograph has no mask'}"


def share(view: SaliencyView, row: pd.Series, model: int) -> str:
    """How much of a map lies on the lesion, "on the lesion 61 %"; "" without a mask."""
    if outline(view, row) is None:
        return ""
    name = view.candidates[max(0, model - 1)]
    own = view.changes[view.changes["candidate"] == name].set_index("id").loc[row["id"]]
    return f"on the lesion {percent(own['lesion_after' if model else 'lesion_before'])}"
