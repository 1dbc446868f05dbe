"""Colours, symbols and the frame that all figures share.

Groups use Okabe and Ito's colours, which people with colour-vision deficiency can tell apart; every
group and model also has its own symbol and dash, so colour never carries meaning alone.

Source
------
Okabe & Ito 2008, Color Universal Design; Nunez, Anderton & Renslow 2018 (cividis).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

NEUTRAL = "#7C8D95"
"""Grey that keeps a contrast above 3:1 on the light and on the dark background."""

GRID = "rgba(124, 141, 149, 0.25)"
OUTLINE = "rgba(60, 72, 78, 0.9)"
CLEAR = "rgba(0,0,0,0)"
INK = "#000037"
"""Text of all figures. Streamlit's front end replaces this exact colour by the strong text colour
of the light or dark theme (elements/lib/streamlit_plotly_theme.py); left alone it is nearly black.
"""

FONT_SIZE = 13
ACCENT = "#D14A12"
"""Lines and marks only: as text it is too faint on one of the two backgrounds, as every orange is."""

CIVIDIS = "Cividis"
BLUE_ORANGE = [
    [0.0, "#0B4F8A"],
    [0.25, "#6BA6D2"],
    [0.5, "#F4F1EC"],
    [0.75, "#EA9B54"],
    [1.0, "#97480A"],
]
"""Blue: better than before. Orange: worse than before. The middle is no change."""


@dataclass(frozen=True)
class Style:
    """How one series looks."""

    colour: str
    symbol: str
    dash: str


def group_styles(groups: Sequence[str]) -> dict[str, Style]:
    """Give every group its own colour, symbol and dash; "unknown" is grey and comes last.

    The order of `groups` decides, so a group keeps its look on every page.
    """
    named = [group for group in groups if group not in ("unknown", "overall")]
    styles = {
        group: Style(
            OKABE_ITO[place % len(OKABE_ITO)],
            SYMBOLS[place % len(SYMBOLS)],
            DASHES[place % len(DASHES)],
        )
        for place, group in enumerate(named)
    }
    grey = Style(NEUTRAL, "x", "dot")
    return styles | {group: grey for group in groups if group not in styles}


def model_styles(models: Sequence[str]) -> dict[str, Style]:
    """Give full precision, uniform baselines and the candidate their looks."""
    fixed = {
        "full precision": Style("#7C8D95", "circle", "solid"),
        "candidate": Style("#0072B2", "diamond", "solid"),
    }
    spare = [
        Style("#E69F00", "square", "dot"),
        Style("#CC79A7", "triangle-up", "dash"),
        Style("#009E73", "cross", "dashdot"),
    ]
    others = [model for model in models if model not in fixed]
    extra = {model: spare[place % len(spare)] for place, model in enumerate(others)}
    return {model: fixed.get(model) or extra[model] for model in models}


def framed(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    """Give a figure the common frame: transparent, small margins, legend above, readable text."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 36, "b": 8},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        legend={
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.02,
            "xanchor": "left",
            "x": 0,
            "title": None,
            "font": {"color": INK, "size": FONT_SIZE},
        },
        font={"color": INK, "size": FONT_SIZE},
        hoverlabel={"align": "left"},
        modebar={"bgcolor": CLEAR, "color": NEUTRAL, "activecolor": NEUTRAL},
        dragmode=False,
    )
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "automargin": True,
        "tickfont": {"color": INK, "size": FONT_SIZE},
        "title": {"font": {"color": INK, "size": FONT_SIZE}},
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    if layout:
        figure.update_layout(**layout)
    return figure


def row_label(name: str, images: str) -> str:
    """Name of a row with its images below; the space in front is for the wider letters of a saved picture."""
    return f"\u2002{name}<br><sup>{images} images</sup>"


def error_arms(
    values: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str
) -> dict[str, Any]:
    """Return Plotly error bars from interval ends; missing ends draw no arm."""
    up = [_arm(upper - value) for value, upper in zip(values, high, strict=True)]
    down = [_arm(value - lower) for value, lower in zip(values, low, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": up,
        "arrayminus": down,
        "thickness": 1.6,
        "width": 4,
        "color": colour,
    }


def _arm(length: float) -> float:
    """Replace a missing or negative arm (not-a-number compares false) by none."""
    return float(length) if length > 0 else 0.0
