"""All candidates of a case: size of the file against the accuracy of the worst-served group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.components.charts.palette import (
    ACCENT,
    NEUTRAL,
    OKABE_ITO,
    OUTLINE,
    SYMBOLS,
    error_arms,
    framed,
)
from dashboard.components.words import interval, joined, megabytes, percent
from fairquant_core.audit.board import AS_GIVEN

FRONT = "no other is smaller and serves them better"
MOST_APART, ALL_APART = 0.04, 0.2
"""How far methods of one size are drawn apart, two neighbours and all; shares of the size."""

LEGEND_ROW = 22
PAPER = "#FFFFFF"
SIZES = (0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 500)


def pareto(candidates: pd.DataFrame, means: pd.DataFrame) -> go.Figure:
    """One mark per method and budget with its interval, small dots for single seeds, the front as steps.

    Parameters
    ----------
    candidates, means : see :class:`dashboard.backend.views.BoardView`.
    """
    titles = list(dict.fromkeys(means["title"]))
    means, candidates = _side_by_side(means, titles), _side_by_side(candidates, titles)
    figure = go.Figure()
    front = means[means["on_front"]].sort_values("size_bytes")
    figure.add_scatter(
        x=front["place"],
        y=front["worst"],
        name=FRONT,
        mode="lines",
        line={"color": ACCENT, "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )
    for place, (title, part) in enumerate(means.groupby("title", sort=False)):
        colour, symbol = _look(place, str(part["method"].iloc[0]))
        figure.add_scatter(
            x=part["place"],
            y=part["worst"],
            name=str(title),
            mode="markers",
            error_y=error_arms(
                part["worst"].tolist(),
                part["worst_low"].tolist(),
                part["worst_high"].tolist(),
                colour,
            )
            | {"thickness": 1, "width": 3},
            marker={
                "symbol": symbol,
                "size": 12,
                "color": colour,
                "line": {"color": OUTLINE, "width": 1},
            },
            text=[_hover(row) for row in part.to_dict("records")],
            hovertemplate="%{text}<extra></extra>",
        )
    several = means[(means["seeds"] > 1) & (means["worst_sd"] > 0)]
    repeated = candidates.merge(several[["title", "bits"]], on=["title", "bits"])
    if not repeated.empty:
        figure.add_scatter(
            x=repeated["place"],
            y=repeated["worst"],
            name="one seed each",
            mode="markers",
            marker={"size": 6, "color": OUTLINE, "line": {"color": PAPER, "width": 1}},
            text=[_hover(row) for row in repeated.to_dict("records")],
            hovertemplate="%{text}<extra></extra>",
        )
    framed(figure, 400 + LEGEND_ROW * math.ceil(len(titles) / 2))
    figure.update_yaxes(title_text="accuracy of the worst-served group", tickformat=".0%")
    figure.update_xaxes(
        title_text="size of the file (MB)",
        type="log",
        tickvals=list(SIZES),
        ticktext=[f"{size:g}" for size in SIZES],
    )
    return figure


def _side_by_side(frame: pd.DataFrame, titles: Sequence[str]) -> pd.DataFrame:
    """Add "place", the size in MB moved a little by method: at one budget all files are equally large."""
    step = min(MOST_APART, ALL_APART / max(1, len(titles) - 1))
    shift = frame["title"].map({title: n for n, title in enumerate(titles)}) - (len(titles) - 1) / 2
    return frame.assign(place=frame["size_bytes"].astype(float) / 1e6 * np.exp(step * shift))


def pareto_alt(means: pd.DataFrame) -> str:
    """Return the takeaway of :func:`pareto`."""
    front = means[means["on_front"]].sort_values("size_bytes")
    if front.empty:
        return "Size of the file against worst-group accuracy; no candidate can be placed yet."
    steps = [
        f"{name_of(row)} ({megabytes(row['size_bytes'])}, {percent(row['worst'])})"
        for row in front.to_dict("records")
    ]
    return f"Of {len(means)} candidates these are not beaten in both size and accuracy: {joined(steps)}."


def name_of(row: Mapping[Any, Any]) -> str:
    """Return "Learned bit-widths (BAQ), 4 bits"."""
    return str(row["title"]) if pd.isna(row["bits"]) else f"{row['title']}, {row['bits']:g} bits"


def _look(place: int, method: str) -> tuple[str, str]:
    """Colour and symbol of a method; after six methods the symbols shift, so no pair comes twice."""
    if method == AS_GIVEN:
        return NEUTRAL, "circle"
    turn = place // len(OKABE_ITO)
    return OKABE_ITO[place % len(OKABE_ITO)], SYMBOLS[(place + turn) % len(SYMBOLS)]


def _hover(row: Mapping[Any, Any]) -> str:
    seeds = int(row.get("seeds") or 1)
    lines = [f"<b>{name_of(row)}</b>"]
    if seeds > 1:
        lines.append(f"mean of {seeds} seeds, which differ by {percent(row['worst_sd'], 1)}")
    elif pd.notna(row.get("seed")):
        lines.append(f"seed {int(row['seed'])}")
    lines.append(megabytes(row["size_bytes"]))
    if pd.notna(row.get("bits_achieved")):
        lines[-1] += f", {row['bits_achieved']:.2f} bits achieved"
    groups = row.get("worst_groups") or row.get("worst_group") or "no group is large enough"
    likely = interval(row["worst_low"], row["worst_high"])
    lines.append(f"worst-served: {groups}, {percent(row['worst'], 1)} (probably {likely})")
    lines.append(f"all photographs: {percent(row['accuracy'], 1)}")
    return "<br>".join(lines)
