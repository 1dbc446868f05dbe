"""What the classifier is for, in the words of the people who answer for it: asked for and shown."""

from __future__ import annotations

import streamlit as st

from dashboard.backend.case.new_case import LONGEST_STATEMENT
from dashboard.backend.views import CaseView
from dashboard.components.words import escaped, joined
from fairquant_core.report.facts import INTENDED_USE

EXAMPLES = {
    "purpose": "to help a dermatologist decide which lesions need a biopsy",
    "population": "adults with a lesion that worries them or their doctor",
    "users": "dermatologists, after a day of training",
    "care_pathway": "before the consultation, as a second look at the photograph",
}
"""The statements that nobody can read a report without, each with an example."""

KEY = "new_use_{name}"


def form() -> dict[str, dict[str, str]]:
    """Ask for the statements; returns the field "intended_use" of a new case, without empty ones."""
    st.caption(
        "The report and the model card say this in your words. What nobody says is reported as missing."
    )
    for name, example in EXAMPLES.items():
        _ask(name, f"for example: {example}")
    # Not drawn by demand as elsewhere: a closed expander must not lose what was typed in it.
    with st.expander("More that an ethics board asks for", icon=":material/rule:"):
        for name in INTENDED_USE:
            if name not in EXAMPLES:
                _ask(name)
    said = {name: str(st.session_state.get(KEY.format(name=name)) or "") for name in INTENDED_USE}
    return {"intended_use": {name: text.strip() for name, text in said.items() if text.strip()}}


def _ask(name: str, example: str = "") -> None:
    st.text_area(
        INTENDED_USE[name],
        key=KEY.format(name=name),
        placeholder=example,
        max_chars=LONGEST_STATEMENT,
        height=68,
    )


def statements(case: CaseView) -> None:
    """What was said when the case was made, and what was not."""
    said = {name: case.intended_use[name] for name in INTENDED_USE if name in case.intended_use}
    for name, text in said.items():
        st.markdown(f"**{INTENDED_USE[name]}**  \n{escaped(text)}")
    missing = [title for name, title in INTENDED_USE.items() if name not in said]
    if missing:
        st.caption(
            f"Nobody has said: {joined(title[0].lower() + title[1:] for title in missing)}. The report "
            "lists it as missing."
        )
