"""Photograph, full precision and candidates side by side, one photograph per row, with notes."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from dashboard.backend.saliency.views import SaliencyView
from dashboard.backend.views import CaseView, NoteView, RunView
from dashboard.components import data, state
from dashboard.components.charts import lesion as outlines
from dashboard.components.charts import saliency as charts
from dashboard.components.data import FULL_PRECISION
from dashboard.components.glossary import tip
from dashboard.components.saliency import lesion as saliency_lesion
from dashboard.components.words import UNKNOWN_TONE, escaped, known, percent, when
from fairquant_core.data.skin_tone import UNKNOWN
from fairquant_core.errors import FairQuantError

PER_PAGE = 3
SIDE = 320
"""Pixels of a drawn picture; the page shows it as wide as its column."""

FACTS_WIDTH = 0.9
ALL_GROUPS = "all groups"
AUTHOR = "note_author"
"""Where the name of the last note is kept, so that nobody types it again for every photograph."""

BADGES = {"lost": ":red-badge[lost]", "gained": ":green-badge[gained]"}
NO_MAP = "Not estimable: this map is constant or not a number."
ONE_SCALE = "All maps of a photograph share one colour scale: a paler map is a weaker one."
OUTLINED = "White and dark line: the border of the lesion, from the mask that the cohort brings."
OWN_SCALES = "Every map has its own colour scale: only places can be compared, not strengths."
SCALE_NOTE = (
    "Yellow matters most, blue least. {scale} They are smoothed for the eye; the figures are computed "
    "from the maps as they are."
)
COMPLETENESS = (
    "The completeness delta is what a map's values miss of the change of the score that they should add "
    "up to."
)
SHARED = (
    "One scale for all maps of a photograph shows which is weaker; off, each map uses all colours."
)


@dataclass(frozen=True)
class Shelf:
    """The photographs of one page of the gallery, and how the maps are laid over them."""

    rows: pd.DataFrame
    strength: float
    shared: bool
    outline: bool = False
    in_full: bool = False


def controls(view: SaliencyView, in_full: bool = False) -> Shelf:
    """Choose group, order, strength, colour scale and page.

    Parameters
    ----------
    in_full : show the figures for statisticians below every map as well.
    """
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        known_groups = [one for one in dict.fromkeys(view.by_group["group"]) if one != UNKNOWN]
        groups = [ALL_GROUPS, *known_groups]
        if st.session_state.get("saliency_group") not in groups:
            st.session_state["saliency_group"] = ALL_GROUPS
        group = st.selectbox("Group", groups, key="saliency_group", width=170)
        with st.container(gap="xsmall", width=175):
            flips_first = st.toggle(
                "Flips first", value=True, key="saliency_flips", help=tip("flip")
            )
            shared = st.toggle("One colour scale", value=True, key="saliency_shared", help=SHARED)
            outline = view.covers is not None and st.toggle(
                "Outline of the lesion", value=True, key="saliency_outline", help=OUTLINED
            )
        strength = st.slider(
            "Strength of the overlay", 0.0, 1.0, 0.75, 0.05, key="saliency_strength", width=170
        )
        rows = ordered(view, None if group == ALL_GROUPS else group, flips_first)
        pages = page_count(rows)
        number = st.pagination(pages, key="saliency_page") if pages > 1 else 1
    return page_of(Shelf(rows, strength, shared, outline, in_full), number)


def page_count(rows: pd.DataFrame) -> int:
    """How many pages these photographs fill, at least one."""
    return max(1, math.ceil(len(rows) / PER_PAGE))


def page_of(shelf: Shelf, number: int | None) -> Shelf:
    """One page of a shelf with all photographs; the last one where there are fewer."""
    first = PER_PAGE * (min(int(number or 1), page_count(shelf.rows)) - 1)
    return replace(shelf, rows=shelf.rows.iloc[first : first + PER_PAGE])


def ordered(view: SaliencyView, group: str | None, flips_first: bool) -> pd.DataFrame:
    """Photographs of one group or of all known ones: flips by any candidate first, then the largest drift.

    Photographs without a figure come last.

    Returns
    -------
    The frame of the view with the columns "flipped" and "moved" (the largest drift).
    """
    changes = view.changes.assign(flipped=view.changes["flip"].isin(list(BADGES)))
    found = changes.groupby("id").agg(flipped=("flipped", "any"), moved=("drift", "max"))
    rows = view.frame.join(found, on="id")
    rows = rows[rows["group"] != UNKNOWN if group is None else rows["group"] == group]
    keys = ["flipped", "moved"] if flips_first else ["moved"]
    return rows.sort_values(keys, ascending=False, kind="stable", na_position="last")


def pictures(
    case: CaseView, run: RunView, view: SaliencyView, shelf: Shelf, key: str = "saliency"
) -> None:
    """Draw the rows of a page, their facts and notes, the colour scale and the download.

    Parameters
    ----------
    key : unique on the page.
    """
    if shelf.rows.empty:
        st.caption("No photograph of this group has maps.")
        return
    alone = len(view.candidates) == 1
    titles = (
        "Photograph",
        "Full precision looks here",
        *(["Candidate looks here"] if alone else view.candidates),
    )
    widths = [*[1.0] * len(titles), FACTS_WIDTH]
    heads = st.columns(widths, gap="small", vertical_alignment="bottom")
    for head, title in zip(heads, titles, strict=False):
        head.markdown(f"**{escaped(title)}**" if alone else f":small[**{escaped(title)}**]")
    notes = state.services().image_notes(run.id, shelf.rows["id"].tolist())
    drawn: list[tuple[list[Image.Image], str]] = []
    for _, row in shelf.rows.iterrows():
        columns = st.columns(widths, gap="small")
        found = _row(case, view, row, columns, shelf)
        if found:
            drawn.append((found, _words(view, row)))
        with columns[-1]:
            _facts(view, row)
            _notes(run, str(row["id"]), notes.get(str(row["id"]), []))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("least", width="content")
        st.image(
            charts.colour_bar(), width=220, alt="Colour scale from blue, least, to yellow, most"
        )
        st.caption("most", width="content")
        if drawn:
            _download(drawn, titles, key)
    words = [SCALE_NOTE.format(scale=ONE_SCALE if shelf.shared else OWN_SCALES)]
    words += [COMPLETENESS] if shelf.in_full else []
    words += [OUTLINED] if shelf.outline else []
    st.caption(" ".join(words))


def _row(
    case: CaseView,
    view: SaliencyView,
    row: pd.Series,
    columns: list[st.delta_generator.DeltaGenerator],
    shelf: Shelf,
) -> list[Image.Image]:
    """Photograph and maps of one row with their figures; returns the pictures that were drawn."""
    subject = f"{row['label']}, {_group(row)}"
    border = saliency_lesion.outline(view, row) if shelf.outline else None
    fact = saliency_lesion.fact(view, row)
    about = f"Photograph: {subject}{'; ' + fact if fact else ''}{', outlined' if border is not None else ''}"

    def with_border(picture: Image.Image) -> Image.Image:
        return picture if border is None else outlines.outlined(picture, border)

    try:
        loaded = data.photograph(case, row["id"], 2 * SIDE)
        photograph = charts.framed_square(loaded, SIDE, view.crop)
        columns[0].image(with_border(photograph), width="stretch", alt=about)
    except FairQuantError as error:
        photograph = charts.no_photograph(SIDE)
        columns[0].error(escaped(str(error)))
    if row["place"] < 0:
        columns[1].warning(escaped(f"No maps: {row['problem'] or 'none were drawn'}"))
        return []
    names = (FULL_PRECISION, *view.candidates)
    maps = [charts.smoothed(values) for values in view.pictures[:, int(row["place"])]]
    together = charts.shared_scale(maps)
    drawn = [with_border(photograph)]
    for model, (name, values) in enumerate(zip(names, maps, strict=True)):
        with columns[1 + model]:
            share = saliency_lesion.share(view, row, model)
            looks = f"Where {name} looks: {subject}{'; ' + share if share else ''}"
            scale = together if shelf.shared else charts.shared_scale([values])
            if scale is not None and np.isfinite(values).all() and np.ptp(values) > 0:
                picture = with_border(charts.overlay(photograph, values, scale, shelf.strength))
                st.image(picture, width="stretch", alt=looks)
            else:
                picture = with_border(photograph.convert("L").convert("RGB"))
                st.image(picture, width="stretch", alt=f"{NO_MAP} {name}: {subject}")
                st.caption(NO_MAP)
            _figures(view, row, model, share, shelf.in_full)
        drawn.append(picture)
    return drawn


def _figures(view: SaliencyView, row: pd.Series, model: int, share: str, in_full: bool) -> None:
    """Below a map: the decision, whether it looks at the same place, its share on the lesion; in full more."""
    lines = []
    if model == 0:
        lines.append(f"full precision decided: {escaped(str(row['before']))}")
    else:
        own = view.changes[view.changes["candidate"] == view.candidates[model - 1]]
        change = own[own["id"] == row["id"]].iloc[0]
        badge = BADGES.get(str(change["flip"]), "")
        who = "candidate decided" if len(view.candidates) == 1 else "decided"
        lines.append(f"{badge} {who}: {escaped(str(change['after']))}".strip())
        lines.append(f"same place: {percent(change['overlap'])} (overlap)")
        if in_full:
            lines.append(f"drift {charts.DRIFT.words(change['drift'])}")
    if share:
        lines.append(share)
    place = int(row["place"])
    delta, score = view.completeness[model, place], view.score_change[model, place]
    if in_full and known(delta):
        lines.append(f"completeness delta {delta:+z.2f} of {score:z.2f}")
    text = "  \n".join(lines)
    st.markdown(f":small[{text}]")


def _facts(view: SaliencyView, row: pd.Series) -> None:
    """What the photograph shows, how much of it is lesion, and whose score is explained."""
    drawn = "drawn at random" if row["sampled"] else "shown because it flipped"
    st.markdown(f"**{escaped(str(row['label']))}**  \n{escaped(_group(row))}")
    lines = [f"{row['id']}, {drawn}", f"score of: {row['target']}", saliency_lesion.fact(view, row)]
    st.caption("  \n".join(escaped(line) for line in lines if line))


def _notes(run: RunView, image_id: str, notes: list[NoteView]) -> None:
    """Read and leave remarks on a photograph."""
    label = f"Notes ({len(notes)})" if notes else "Note"
    with st.popover(label, icon=":material/edit_note:", key=f"notes_{image_id}"):
        for note in notes:
            person = escaped(note.person) or "without a name"
            st.markdown(f"{escaped(note.text)}  \n:small[{person}, {when(note.time)}]")
        # A new note starts with empty fields: their keys count the notes so far.
        with st.form(f"note_{image_id}_{len(notes)}", border=False):
            text = st.text_area(
                "What do you see?",
                key=f"note_text_{image_id}_{len(notes)}",
                placeholder="for example: looks at the ruler, not at the lesion",
                height=100,
            )
            person = st.text_input(
                "Your name",
                value=st.session_state.get(AUTHOR, st.session_state.get("person", "")),
                key=f"note_person_{image_id}_{len(notes)}",
            )
            kept = st.form_submit_button("Keep the note", icon=":material/save:")
        if kept:
            try:
                state.services().add_image_note(run.id, image_id, person, text)
            except FairQuantError as error:
                st.error(escaped(str(error)))
            else:
                st.session_state[AUTHOR] = person
                st.rerun()


def _words(view: SaliencyView, row: pd.Series) -> str:
    """The facts of a row as one line for the downloaded picture."""
    changes = view.changes[view.changes["id"] == row["id"]]
    parts = [
        f"{'' if len(changes) == 1 else change['candidate'] + ': '}was {row['before']}, now "
        f"{change['after']}, overlap {percent(change['overlap'])}{_on_lesion(change)}"
        for _, change in changes.iterrows()
    ]
    return f"{row['id']} · {row['label']} · {_group(row)} · {' · '.join(parts)}"


def _group(row: pd.Series) -> str:
    return UNKNOWN_TONE.lower() if row["group"] == UNKNOWN else str(row["group"])


def _on_lesion(change: pd.Series) -> str:
    if not known(change["lesion_after"]):
        return ""
    return (
        f", on the lesion {percent(change['lesion_after'])}, was {percent(change['lesion_before'])}"
    )


def _download(
    drawn: list[tuple[list[Image.Image], str]], titles: tuple[str, ...], key: str
) -> None:
    st.download_button(
        "Download these pictures as PNG",
        # Put together only when somebody wants it.
        partial(_sheet, drawn, titles),
        file_name=f"{key}.png",
        mime="image/png",
        key=f"{key}_png",
        icon=":material/download:",
        on_click="ignore",
        type="tertiary",
    )


def _sheet(drawn: list[tuple[list[Image.Image], str]], titles: tuple[str, ...]) -> bytes:
    buffer = io.BytesIO()
    charts.sheet(drawn, titles).save(buffer, "PNG")
    return buffer.getvalue()
