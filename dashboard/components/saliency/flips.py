"""How many flips of each group have maps, maps of further ones, and those of unknown skin tone."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard.backend.saliency.views import SaliencyChoice, SaliencyView
from dashboard.backend.views import CaseView, JobView, RunView
from dashboard.components import state
from dashboard.components.saliency import gallery
from dashboard.components.saliency.gallery import Shelf
from dashboard.components.words import UNKNOWN_TONE, counted, escaped
from fairquant_core.data.skin_tone import UNKNOWN
from fairquant_core.errors import FairQuantError

NAME_WIDTH = 220
ABOUT = (
    "A flip is a photograph that was right and is wrong now, or the other way round. A job draws their maps beside "
    "those that are there; the figures per group stay those of the photographs drawn at random."
)
ABOUT_UNKNOWN = (
    "Nobody noted the skin tone of these photographs, so they count in no group: neither in its figures nor in its "
    "verdict. Only flips are shown."
)


def section(run: RunView, choice: SaliencyChoice, view: SaliencyView, job: JobView | None) -> None:
    """How many flips of every known group have maps, with a button for more; nothing without flips.

    Parameters
    ----------
    job : the newest job of these maps; while it draws, nothing else can be asked for.
    """
    flips = view.flips
    if flips is None or flips.empty:
        return
    st.subheader("Photographs that flipped", anchor=False)
    st.caption(ABOUT)
    for row in flips.itertuples():
        if row.group != UNKNOWN:
            _row(run, choice, str(row.group), int(row.flips), int(row.asked), job)


def unknown(
    case: CaseView,
    run: RunView,
    choice: SaliencyChoice,
    view: SaliencyView,
    shelf: Shelf,
    job: JobView | None,
) -> None:
    """The flips of unknown skin tone, with their maps; nothing where there are none.

    Parameters
    ----------
    shelf : of the gallery above, whose overlay and colour scale count here too.
    """
    flips = view.flips
    if flips is None or UNKNOWN not in set(flips["group"]):
        return
    st.subheader(UNKNOWN_TONE, anchor=False)
    st.caption(ABOUT_UNKNOWN)
    row = flips.set_index("group").loc[UNKNOWN]
    _row(run, choice, UNKNOWN, int(row["flips"]), int(row["asked"]), job)
    rows = gallery.ordered(view, UNKNOWN, flips_first=True)
    if rows.empty:
        return
    pages = gallery.page_count(rows)
    # A second pagination would be a landmark of the same name for people who do not see the page.
    number = (
        st.selectbox(
            "Page",
            range(1, pages + 1),
            format_func=lambda page: f"{page} of {pages}",
            key="saliency_unknown_page",
            width=110,
        )
        if pages > 1
        else 1
    )
    own = gallery.page_of(replace(shelf, rows=rows), number)
    gallery.pictures(case, run, view, own, "saliency_unknown")


def flip_words(group: str, flips: int, asked: int) -> str:
    """How many of a group's flips have been drawn.

    Examples
    --------
    >>> flip_words("FST V-VI", 50, 8), flip_words("unknown", 1, 1)
    ('FST V-VI: 8 of 50 flips shown', 'Skin tone unknown: 1 of 1 flip shown')
    """
    name = UNKNOWN_TONE if group == UNKNOWN else group
    return f"{name}: {asked} of {counted(flips, 'flip')} shown"


def _row(
    run: RunView,
    choice: SaliencyChoice,
    group: str,
    flips: int,
    asked: int,
    job: JobView | None,
) -> None:
    """The count of one group, and what can be drawn beside it."""
    busy = job is not None and job.state.active
    left, step = flips - asked, choice.per_group
    counts = [step, None] if left > step else [None]
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown(escaped(flip_words(group, flips, asked)), width=NAME_WIDTH)
        if not left:
            st.caption("all of them", width="content")
            return
        for count in counts:
            label = f"Draw {count} more" if count else f"Draw all {left}"
            pressed = st.button(
                label,
                key=f"flips_{group}_{count or 'all'}",
                icon=":material/add_photo_alternate:",
                disabled=busy,
                help=f"Maps of flips: {UNKNOWN_TONE if group == UNKNOWN else escaped(group)}",
            )
            if pressed:
                _ask(run, choice, group, count)


def _ask(run: RunView, choice: SaliencyChoice, group: str, count: int | None) -> None:
    try:
        state.services().request_more_flips(run.id, choice, group, count)
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    state.services().ensure_worker()
    st.rerun()
