"""The navigation. Its links carry the case and run, which Streamlit's own navigation would drop.

Writing them back into the address afterwards is no way out: each page would then leave several
entries in the browser's history, and its back button would never get past them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard.components import choices, glossary, state, tables


def draw(sections: Mapping[str, Sequence[st.Page]], place: state.Place) -> None:
    """Links to all pages at the present place, the glossary, and what local use means."""
    query = state.address(place)
    with st.sidebar:
        for section, pages in sections.items():
            with st.container(gap="xsmall"):
                if section:
                    st.caption(section)
                for page in pages:
                    st.page_link(page, query_params=query, width="stretch")
        st.space("small")
        if st.button("What do the words mean?", icon=":material/menu_book:", type="tertiary"):
            glossary.show()
        choices.segmented(
            "Save charts as",
            tables.PICTURE_FORMATS,
            default=tables.PICTURE_FORMATS[0],
            required=True,
            format_func=str.upper,
            key=tables.PICTURE_FORMAT,
            help="The camera in the corner of a chart saves it as a picture.",
        )
        st.caption(
            "Local use without sign-in: names are typed, not checked. Nothing leaves this machine."
        )
