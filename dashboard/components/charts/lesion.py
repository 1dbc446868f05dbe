"""The lesion in the pictures: its outline, and how much of the attention lies on it per group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from dashboard.components.charts.palette import (
    INK,
    NEUTRAL,
    OUTLINE,
    Style,
    error_arms,
    framed,
    model_styles,
    row_label,
)
from dashboard.components.words import joined, known, percent

LINE = 2
"""Width of each of the two lines of an outline, in pixels."""

STEP = 0.24
"""Vertical distance between the classifiers of one group, in rows."""

CHANCE = "the lesion's share of the picture"
REFERENCE = "full precision"


def outlined(picture: Image.Image, cover: np.ndarray) -> Image.Image:
    """Draw the border of the lesion: white inside, dark outside, so that it shows on every skin and map.

    Parameters
    ----------
    cover : share of every pixel that lies on the lesion; NaN where that is not known draws nothing.

    Shapes
    ------
    cover (P, P), any P
    """
    if not np.isfinite(cover).all():
        return picture
    grey = Image.fromarray((255 * cover).astype(np.uint8))
    inside = np.asarray(grey.resize(picture.size, Image.Resampling.BILINEAR)) >= 128
    pixels = np.array(picture.convert("RGB"))
    # A border of ones: where the lesion is cut off by the picture's edge there is no border of it.
    light = inside & ~binary_erosion(inside, iterations=LINE, border_value=1)
    dark = binary_dilation(inside, iterations=LINE) & ~inside
    pixels[light], pixels[dark] = 255, 20
    return Image.fromarray(pixels)


def lesion_dots(
    by_group: pd.DataFrame, groups: Sequence[str], candidates: Sequence[str]
) -> go.Figure:
    """Share of the attention on the lesion per group, full precision above the candidates.

    Parameters
    ----------
    by_group : [candidate, group, lesion_n, lesion_area, lesion_before, lesion_after and their bounds].
    """
    figure = go.Figure()
    parts = {
        name: by_group[by_group["candidate"] == name].set_index("group").reindex(list(groups))
        for name in candidates
    }
    first = parts[candidates[0]]
    series = [(REFERENCE, first, "lesion_before")]
    series += [(name, part, "lesion_after") for name, part in parts.items()]
    looks = _looks(candidates)
    rows, middle = np.arange(len(groups)), (len(series) - 1) / 2
    for place, (name, part, column) in enumerate(series):
        heights = rows + STEP * (place - middle)
        values, low, high = (part[f"{column}{end}"] for end in ("", "_low", "_high"))
        figure.add_scatter(
            x=values,
            y=heights,
            name=name,
            mode="markers",
            error_x=error_arms(values, low, high, looks[name].colour),
            marker={
                "color": looks[name].colour,
                "symbol": looks[name].symbol,
                "size": 12,
                "line": {"color": OUTLINE, "width": 1},
            },
            text=list(groups),
            hovertemplate=f"{name}, %{{text}}: %{{x:.1%}}<extra></extra>",
        )
        figure.add_scatter(
            x=high.fillna(values).fillna(0.0),
            y=heights,
            mode="text",
            text=[f"\u2002{percent(value)}" for value in values],
            textposition="middle right",
            cliponaxis=False,
            showlegend=False,
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=first["lesion_area"],
        y=rows,
        name=CHANCE,
        mode="markers",
        marker={
            "symbol": "line-ns",
            "size": 18 + 14 * len(series),
            "line": {"color": INK, "width": 2},
        },
        text=list(groups),
        hovertemplate=f"{CHANCE}, %{{text}}: %{{x:.1%}}<extra></extra>",
    )
    framed(figure, 90 + (26 + 26 * len(series)) * max(1, len(groups)))
    figure.update_layout(legend_itemsizing="constant")
    counts = [int(count) if known(count) else 0 for count in first["lesion_n"]]
    figure.update_yaxes(
        tickvals=list(rows),
        ticktext=[row_label(group, str(n)) for group, n in zip(groups, counts, strict=True)],
        range=[len(groups) - 0.45, -0.55],
    )
    for row in range(len(groups) - 1):
        figure.add_hline(y=row + 0.5, line={"color": NEUTRAL, "width": 0.5, "dash": "dot"})
    figure.update_xaxes(
        title_text="share of the attention that lies on the lesion",
        tickformat=".0%",
        tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1.0],
        range=[-0.02, 1.12],
    )
    return figure


def lesion_alt(by_group: pd.DataFrame, candidates: Sequence[str]) -> str:
    """Return the takeaway of :func:`lesion_dots`."""
    parts = []
    for candidate in candidates:
        rows = by_group[by_group["candidate"] == candidate].dropna(subset=["lesion_after"])
        values = joined(
            f"{row['group']} {percent(row['lesion_after'])} (full precision "
            f"{percent(row['lesion_before'])}, the lesion fills {percent(row['lesion_area'])})"
            for _, row in rows.iterrows()
        )
        parts.append(f"{candidate}: {values or 'not estimable'}")
    return f"Share of the attention on the lesion. {'; '.join(parts)}."


def _looks(candidates: Sequence[str]) -> dict[str, Style]:
    """The run of the page looks like the candidate elsewhere; the others take the spare looks."""
    own, *others = candidates
    fixed = model_styles([REFERENCE, "candidate"])
    return {REFERENCE: fixed[REFERENCE], own: fixed["candidate"], **model_styles(others)}
