"""The glossary: plain words first, the technical term second."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import streamlit as st

FILE = Path(__file__).resolve().parents[2] / "assets" / "glossary.json"


@dataclass(frozen=True)
class Entry:
    """One word of the house."""

    plain: str
    technical: str


@cache
def entries() -> dict[str, Entry]:
    """Read all words once."""
    return {word: Entry(**text) for word, text in json.loads(FILE.read_text("utf-8")).items()}


def tip(word: str) -> str:
    """Return the help text of a widget or label.

    Raises
    ------
    KeyError
        The word is not in assets/glossary.json.
    """
    entry = entries()[word]
    return f"{entry.plain}\n\n*In technical terms: {entry.technical}*"


@st.dialog("What do the words mean?", width="large")
def show() -> None:
    """List all words; opened from the sidebar."""
    wanted = st.text_input("Find a word", type="search", live=True, placeholder="for example: flip")
    for word, entry in sorted(entries().items()):
        text = f"{word} {entry.plain} {entry.technical}".lower()
        if wanted and wanted.lower() not in text:
            continue
        st.markdown(f"**{word.capitalize()}** · {entry.plain}  \n:small[{entry.technical}]")
