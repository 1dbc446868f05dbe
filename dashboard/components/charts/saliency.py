"""Where the classifier looks: overlays on the photograph and the drift per group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image, ImageDraw, ImageFont
from plotly.colors import sample_colorscale, unlabel_rgb
from scipy.ndimage import gaussian_filter

from dashboard.components.charts.palette import (
    NEUTRAL,
    OUTLINE,
    Style,
    error_arms,
    framed,
    group_styles,
    model_styles,
    row_label,
)
from dashboard.components.words import NOT_ESTIMABLE, joined, known, percent

BLUR = 0.02
"""Width of the smoothing as a share of the picture's side."""

TOP = 99.5
"""Percentile of the strongest map drawn at full strength: single pixels do not set the scale."""

STEP = 0.22
"""Vertical distance between the candidates of one group, in rows."""

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


def shared_scale(maps: Sequence[np.ndarray]) -> float | None:
    """Return the value drawn at full strength in all maps of one image.

    One scale for all, so that a weaker map also looks weaker. None if no map shows anything.
    """
    drawn = [np.abs(values) for values in maps if np.isfinite(values).all()]
    # Where fewer pixels than the percentile leaves out are all there is, the largest counts.
    for top in (lambda values: np.percentile(values, TOP), np.max):
        scale = max((float(top(values)) for values in drawn), default=0.0)
        if scale > 0:
            return scale
    return None


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


def colour_bar(width: int = 220, height: int = 12) -> Image.Image:
    """The colours from "does not matter" to "matters most"."""
    row = CIVIDIS_TABLE[np.linspace(0, 255, width).astype(int)].astype(np.uint8)
    return Image.fromarray(np.repeat(row[None], height, axis=0))


def framed_square(photograph: Image.Image, side: int, crop: float = 1.0) -> Image.Image:
    """Cut out what the classifier sees, a square in the middle, and scale it to `side` pixels.

    Parameters
    ----------
    crop : share of the shorter side that the classifier keeps.
    """
    width, height = photograph.size
    edge = max(1, round(crop * min(width, height)))
    left, top = (width - edge) // 2, (height - edge) // 2
    square = photograph.crop((left, top, left + edge, top + edge))
    return square.resize((side, side), Image.Resampling.LANCZOS)


def no_photograph(side: int) -> Image.Image:
    """A grey square in the place of a photograph that is gone."""
    return Image.new("RGB", (side, side), (128, 128, 128))


def sheet(rows: Sequence[tuple[Sequence[Image.Image], str]], titles: Sequence[str]) -> Image.Image:
    """Put rows of pictures with a line of text each on one white page, for a download.

    Parameters
    ----------
    rows : pictures of one photograph, all of the same size, and the words below them.
    titles : one per column.
    """
    side, gap, line = rows[0][0][0].width, 12, 26
    columns = max(len(pictures) for pictures, _ in rows)
    width = columns * (side + gap) + gap
    page = Image.new("RGB", (width, line + gap + len(rows) * (side + line + gap)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for column, title in enumerate(titles[:columns]):
        draw.text((gap + column * (side + gap), gap), _cut(title, font, side), "black", font)
    for row, (pictures, words) in enumerate(rows):
        top = line + gap + row * (side + line + gap)
        for column, picture in enumerate(pictures):
            page.paste(picture, (gap + column * (side + gap), top))
        draw.text((gap, top + side + 4), _cut(words, font, width - 2 * gap), "black", font)
    return page


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Shorten a text to a width in pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


@dataclass(frozen=True)
class Measure:
    """One way to say how far the gaze moved."""

    name: str
    title: str
    axis: str
    limit: float
    share: bool

    def words(self, value: float) -> str:
        """A value as a person reads it."""
        if self.share:
            return percent(value)
        return f"{value:.2f}" if known(value) else NOT_ESTIMABLE


OVERLAP = Measure(
    "overlap",
    "Overlap of the most important tenth",
    "overlap of the most important tenth with full precision (100 % = same place)",
    1.0,
    True,
)
DRIFT = Measure(
    "drift",
    "Drift",
    "drift: 1 − rank correlation with full precision (0 = same, 1 = unrelated)",
    2.0,
    False,
)


def drift_dots(
    by_group: pd.DataFrame, groups: Sequence[str], candidates: Sequence[str], measure: Measure
) -> go.Figure:
    """How far each candidate's maps moved per group, with intervals.

    Parameters
    ----------
    by_group : [candidate, group, n, <measure>, <measure>_low, <measure>_high].
    """
    name = measure.name
    alone = len(candidates) == 1
    looks, models = group_styles(groups), _candidate_styles(candidates)
    figure = go.Figure()
    middle = (len(candidates) - 1) / 2
    reach = 0.0
    labels = [""] * len(groups)
    for place, candidate in enumerate(candidates):
        part = by_group[by_group["candidate"] == candidate].set_index("group").reindex(list(groups))
        heights = [row + STEP * (place - middle) for row in range(len(groups))]
        colours = [looks[group].colour if alone else models[candidate].colour for group in groups]
        symbols = [looks[group].symbol if alone else models[candidate].symbol for group in groups]
        for row, group in enumerate(groups):
            figure.add_scatter(
                x=[part[name].iloc[row]],
                y=[heights[row]],
                name=candidate,
                legendgroup=candidate,
                showlegend=not alone and row == 0,
                mode="markers",
                error_x=error_arms(
                    [part[name].iloc[row]],
                    [part[f"{name}_low"].iloc[row]],
                    [part[f"{name}_high"].iloc[row]],
                    colours[row],
                ),
                marker={
                    "color": colours[row],
                    "symbol": symbols[row],
                    "size": 12,
                    "line": {"color": OUTLINE, "width": 1},
                },
                hovertemplate=(
                    f"{candidate}, {group}: %{{x:{'.1%' if measure.share else '.2f'}}}<extra></extra>"
                ),
            )
            count = part["n"].iloc[row]
            labels[row] = row_label(group, str(int(count) if known(count) else 0))
        ends = part[f"{name}_high"].fillna(part[name])
        reach = max(reach, float(np.nanmax([*ends, 0.0])))
        figure.add_scatter(
            x=ends.fillna(0.0),
            y=heights,
            mode="text",
            text=[f"\u2002{measure.words(value)}" for value in part[name]],
            textposition="middle right",
            cliponaxis=False,
            showlegend=False,
            hoverinfo="skip",
        )
    framed(figure, 90 + (26 + 26 * len(candidates)) * max(1, len(groups)))
    figure.update_yaxes(
        tickvals=list(range(len(groups))), ticktext=labels, range=[len(groups) - 0.45, -0.55]
    )
    for row in range(len(groups) - 1):
        figure.add_hline(y=row + 0.5, line={"color": NEUTRAL, "width": 0.5, "dash": "dot"})
    end = 1.12 if measure.share else min(measure.limit, max(0.5, 1.15 * reach))
    figure.update_xaxes(
        title_text=measure.axis,
        tickformat=".0%" if measure.share else None,
        tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1.0] if measure.share else None,
        range=[-0.02 * end, end],
    )
    return figure


def drift_alt(by_group: pd.DataFrame, candidates: Sequence[str], measure: Measure) -> str:
    """Return the takeaway of :func:`drift_dots`."""
    parts = []
    for candidate in candidates:
        rows = by_group[by_group["candidate"] == candidate].dropna(subset=[measure.name])
        values = joined(
            f"{row['group']} {measure.words(row[measure.name])}" for _, row in rows.iterrows()
        )
        parts.append(f"{candidate}: {values or 'not estimable'}")
    return f"{measure.title}, full precision against the candidate. {'; '.join(parts)}."


def _candidate_styles(candidates: Sequence[str]) -> dict[str, Style]:
    """The run of the page looks like the candidate elsewhere; the others take the spare looks."""
    first, *others = candidates
    return {first: model_styles(["candidate"])["candidate"], **model_styles(others)}
