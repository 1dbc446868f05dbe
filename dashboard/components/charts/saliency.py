"""Where the classifier looks: overlays on the photograph and the drift per group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image
from plotly.colors import sample_colorscale, unlabel_rgb
from scipy.ndimage import gaussian_filter

from dashboard.components.charts.palette import OUTLINE, error_arms, framed, group_styles
from dashboard.components.words import joined, percent

BLUR = 0.02
"""Width of the smoothing as a share of the picture's side."""

TOP = 99.0
"""Percentile drawn at full strength, so that single bright pixels do not set the scale."""

CIVIDIS_TABLE = np.array(
    [
        unlabel_rgb(colour)
        for colour in sample_colorscale("Cividis", np.linspace(0, 1, 256).tolist())
    ]
)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the magnitude of a map, smoothed for the eye; figures use the map as it is.

    Attributions to single pixels flicker from pixel to pixel; what a person compares are regions.
    """
    return gaussian_filter(np.abs(np.asarray(values, dtype=float)), BLUR * len(values))


def shared_scale(before: np.ndarray, after: np.ndarray) -> float:
    """Return the value drawn at full strength in both maps of one image.

    One scale for both maps, so that a weaker map also looks weaker.
    """
    magnitude = np.abs(np.stack([before, after])).astype(float)
    top = float(np.percentile(magnitude, TOP))
    return top if top > 0 else 1.0


def overlay(
    photograph: Image.Image, values: np.ndarray, scale: float, strength: float
) -> Image.Image:
    """Lay a map over the grey photograph: yellow where it matters, plain where it does not.

    Parameters
    ----------
    values : (S, S) map; its magnitude is drawn.
    scale : value at full strength (see :func:`shared_scale`).
    strength : 0 (photograph only) to 1 (map only where it is strongest).
    """
    size = photograph.size
    level = np.clip(np.abs(np.asarray(values, dtype=float)) / scale, 0.0, 1.0)
    resized = Image.fromarray((level * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    index = np.asarray(resized)
    colour = CIVIDIS_TABLE[index]
    grey = np.asarray(photograph.convert("L").convert("RGB"), dtype=float)
    share = (strength * (0.15 + 0.85 * index / 255.0))[..., None]
    return Image.fromarray(np.clip((1 - share) * grey + share * colour, 0, 255).astype(np.uint8))


def framed_square(photograph: Image.Image, side: int) -> Image.Image:
    """Crop the centre to a square, as the classifier does, and scale it to `side` pixels."""
    width, height = photograph.size
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    square = photograph.crop((left, top, left + edge, top + edge))
    return square.resize((side, side), Image.Resampling.LANCZOS)


def overlap_dots(by_group: pd.DataFrame, groups: Sequence[str]) -> go.Figure:
    """Overlap of the most important tenth per group, with its interval.

    Parameters
    ----------
    by_group : [group, n, overlap, overlap_low, overlap_high].
    """
    styles = group_styles(groups)
    rows = by_group.set_index("group").reindex(list(groups)).dropna(subset=["overlap"])
    figure = go.Figure()
    for group, row in rows.iterrows():
        style = styles[str(group)]
        figure.add_scatter(
            x=[row["overlap"]],
            y=[f"{group} · {int(row['n'])} images"],
            error_x=error_arms(
                [row["overlap"]], [row["overlap_low"]], [row["overlap_high"]], style.colour
            ),
            mode="markers+text",
            text=[percent(row["overlap"])],
            textposition="top center",
            cliponaxis=False,
            marker={
                "color": style.colour,
                "symbol": style.symbol,
                "size": 13,
                "line": {"color": OUTLINE, "width": 1},
            },
            showlegend=False,
            hovertemplate=f"{group}: %{{x:.1%}}<extra></extra>",
        )
    framed(figure, 90 + 48 * max(1, len(rows)), margin={"l": 8, "r": 16, "t": 24, "b": 8})
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(
        title_text="overlap of the most important tenth, before and after",
        tickformat=".0%",
        range=[0, 1.02],
    )
    return figure


def overlap_alt(by_group: pd.DataFrame) -> str:
    """Return the takeaway of :func:`overlap_dots`."""
    rows = by_group.dropna(subset=["overlap"])
    parts = [f"{row['group']} {percent(row['overlap'])}" for _, row in rows.iterrows()]
    found = joined(parts) or "nothing measured"
    return f"Overlap of the most important tenth before and after: {found}."
