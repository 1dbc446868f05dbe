"""Choices in a row of buttons, readable in the light and in the dark theme."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import streamlit as st

from dashboard.components.words import escaped


def readable(format_func: Callable[[Any], str] = str) -> Callable[[Any], str]:
    """Return a label that keeps its text colour when it is chosen.

    Streamlit writes the chosen option in the accent colour. The same accent lies under the white
    text of buttons, so on the dark background its contrast cannot also reach 4.5 (WCAG AA).

    Examples
    --------
    >>> readable()("In short")
    ':gray[In short]'
    """
    return lambda option: f":gray[{escaped(format_func(option))}]"


def segmented(
    label: str, options: Iterable[Any], *, format_func: Callable[[Any], str] = str, **settings: Any
) -> Any:
    """`st.segmented_control` with readable labels; the frame and the fill show what is chosen."""
    return st.segmented_control(label, list(options), format_func=readable(format_func), **settings)
