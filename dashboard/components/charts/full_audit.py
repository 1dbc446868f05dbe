"""The full audit: measures and gaps with intervals, calibration curves, confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.components.charts.palette import (
    BLUE_ORANGE,
    NEUTRAL,
    OUTLINE,
    error_arms,
    framed,
    model_styles,
    row_label,
)
from dashboard.components.limit_words import Shown
from dashboard.components.words import NOT_ESTIMABLE, capital, counted, joined, percent, points

STEP = 0.22
"""Vertical distance between the models of one row."""

CHANCE = "by chance alone"
SMALLEST, BIGGEST = 5, 18
"""Pixels of the marks of a calibration curve."""

LINE = 34
"""Letters of a line below a confusion matrix; two stand beside one another."""

ROOMY_UP_TO = 12
"""With more classes the cells of a confusion matrix are too small for a number, and their names stand upright."""


def figure_words(value: float | None, in_percent: bool) -> str:
    """Return a measure as a person reads it; a missing one is "not estimable"."""
    if value is None or pd.isna(value):
        return NOT_ESTIMABLE
    return percent(value, 1) if in_percent else f"{value:z.3f}"


def measure_dots(
    rows: pd.DataFrame, groups: Sequence[str], models: Sequence[str], shown: Shown
) -> go.Figure:
    """One measure per group with 95 % intervals, one mark per model; none where not estimable.

    Parameters
    ----------
    rows : [model, group, n, value, low, high].
    """
    figure = _dots(rows, "group", list(groups), models, shown.in_percent)
    labels = []
    for group in groups:
        sizes = rows.loc[rows["group"] == group, "n"].to_numpy(float)
        low, high = (sizes.min(), sizes.max()) if len(sizes) else (0, 0)
        # How many images enter can depend on the answers, for example for a predictive value.
        count = f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
        labels.append(row_label(str(group), count))
    figure.update_yaxes(ticktext=labels)
    better = "" if shown.higher_is_better else " (left = better)"
    figure.update_xaxes(
        title_text=f"{shown.title} on the audit photographs, with 95 % interval{better}",
        tickformat=".0%" if shown.in_percent else None,
    )
    low, high = rows["low"].min(), rows["high"].max()
    if pd.notna(low) and pd.notna(high):
        # The numbers stand to the right of the intervals and need room there.
        reach = max(high - low, 0.05)
        figure.update_xaxes(range=[low - 0.06 * reach, high + 0.14 * reach])
    return figure


def measure_alt(
    rows: pd.DataFrame, groups: Sequence[str], models: Sequence[str], shown: Shown
) -> str:
    """Return the takeaway of :func:`measure_dots`."""
    values = {
        (group, model): value
        for group, model, value in zip(rows["group"], rows["model"], rows["value"], strict=True)
    }
    parts = []
    for group in groups:
        words = [
            f"{model} {figure_words(values.get((group, model)), shown.in_percent)}"
            for model in models
        ]
        parts.append(f"{group}: {joined(words)}")
    return f"{capital(shown.title)} per group. {'; '.join(parts)}."


def gap_dots(rows: pd.DataFrame, models: Sequence[str]) -> go.Figure:
    """Gaps between groups with intervals, beside the gap that chance alone would make.

    Parameters
    ----------
    rows : [model, question, value, low, high, by_chance] as fractions.
    """
    questions = list(dict.fromkeys(rows["question"]))
    figure = _dots(rows, "question", questions, models, in_percent=True)
    middle = (len(models) - 1) / 2
    for place, model in enumerate(models):
        part = rows[rows["model"] == model].set_index("question").reindex(questions)
        figure.add_scatter(
            x=part["by_chance"],
            y=[row + STEP * (place - middle) for row in range(len(questions))],
            name=CHANCE,
            mode="markers",
            legendgroup=CHANCE,
            showlegend=place == 0,
            marker={"color": NEUTRAL, "symbol": "line-ns-open", "size": 16, "line": {"width": 3}},
            hovertemplate=f"{CHANCE}, {model}: %{{x:.1%}}<extra></extra>",
        )
    figure.update_xaxes(
        title_text="largest difference between groups, with 95 % interval",
        tickformat=".0%",
        rangemode="tozero",
    )
    return figure


def gap_alt(rows: pd.DataFrame, after: str) -> str:
    """Return the takeaway of :func:`gap_dots`."""
    parts = [
        f"{row['question']} {points(row['value'])} ({points(row['by_chance'])} {CHANCE})"
        for _, row in rows[rows["model"] == after].iterrows()
        if pd.notna(row["value"])
    ]
    if not parts:
        return "No gap between groups can be estimated."
    return f"Largest differences between groups for {after}: {joined(parts)}."


def _dots(
    rows: pd.DataFrame, by: str, places: list[str], models: Sequence[str], in_percent: bool
) -> go.Figure:
    styles = model_styles(models)
    figure = go.Figure()
    middle = (len(models) - 1) / 2
    for place, model in enumerate(models):
        part = rows[rows["model"] == model].set_index(by).reindex(places)
        part = part[["value", "low", "high"]].astype(float)
        style = styles[model]
        heights = [row + STEP * (place - middle) for row in range(len(places))]
        words = [figure_words(value, in_percent) for value in part["value"]]
        figure.add_scatter(
            x=part["value"],
            y=heights,
            name=model,
            mode="markers",
            error_x=_arms(part, "value", style.colour),
            marker={
                "color": style.colour,
                "symbol": style.symbol,
                "size": 12,
                "line": {"color": OUTLINE, "width": 1},
            },
            customdata=[
                [word, figure_words(low, in_percent), figure_words(high, in_percent)]
                for word, low, high in zip(words, part["low"], part["high"], strict=True)
            ],
            hovertemplate=(
                f"{model}: %{{customdata[0]}} (95 %: %{{customdata[1]}} to %{{customdata[2]}})"
                "<extra></extra>"
            ),
        )
        # The number stands at the end of the interval, where no other mark covers it.
        figure.add_scatter(
            x=part["high"].fillna(part["value"]),
            y=heights,
            mode="text",
            text=[
                "" if pd.isna(value) else f"\u2002{percent(value) if in_percent else word}"
                for value, word in zip(part["value"], words, strict=True)
            ],
            textposition="middle right",
            cliponaxis=False,
            showlegend=False,
            hoverinfo="skip",
        )
    framed(figure, 90 + (26 + 26 * len(models)) * max(1, len(places)))
    figure.update_yaxes(
        tickvals=list(range(len(places))),
        ticktext=[name.replace(" (", "<br>(") for name in places],
        range=[len(places) - 0.45, -0.55],
    )
    for row in range(len(places) - 1):
        figure.add_hline(y=row + 0.5, line={"color": NEUTRAL, "width": 0.5, "dash": "dot"})
    return figure


def _arms(part: pd.DataFrame, value: str, colour: str) -> dict[str, Any]:
    return error_arms(part[value].tolist(), part["low"].tolist(), part["high"].tolist(), colour)


def calibration_curve(rows: pd.DataFrame, models: Sequence[str], group: str) -> go.Figure:
    """How often the classifier is right over how sure it was; the diagonal is perfect.

    The area of a mark counts its photographs.

    Parameters
    ----------
    rows : [model, n, confidence, accuracy, low, high] of one group.
    group : its name, which a saved picture must carry.
    """
    styles = model_styles(models)
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        name="as sure as it should be",
        line={"color": NEUTRAL, "dash": "dash", "width": 1},
        hoverinfo="skip",
    )
    for model in models:
        part = rows[rows["model"] == model].sort_values("confidence")
        style = styles[model]
        figure.add_scatter(
            x=part["confidence"],
            y=part["accuracy"],
            name=model,
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 1.5},
            error_y=_arms(part, "accuracy", style.colour),
            marker={
                "color": style.colour,
                "symbol": style.symbol,
                # The area counts the photographs: a mark of one or two says next to nothing.
                "size": (BIGGEST * np.sqrt(part["n"] / max(1, rows["n"].max()))).clip(SMALLEST),
            },
            customdata=part[["n"]],
            hovertemplate=(
                f"{model}: %{{x:.0%}} sure, right in %{{y:.0%}} of %{{customdata[0]}} photographs"
                "<extra></extra>"
            ),
        )
    framed(figure, 420)
    figure.update_xaxes(title_text=f"how sure it was ({group})", tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(title_text="how often it was right", tickformat=".0%", range=[-0.02, 1.02])
    return figure


def calibration_alt(rows: pd.DataFrame, group: str, models: Sequence[str]) -> str:
    """Return the takeaway of :func:`calibration_curve`: mean confidence against accuracy."""
    parts = []
    for model in models:
        part = rows[rows["model"] == model]
        if part["n"].sum():
            sure = float(np.average(part["confidence"], weights=part["n"]))
            right = float(np.average(part["accuracy"], weights=part["n"]))
            parts.append(
                f"{model} is {percent(sure)} sure on average and right in {percent(right)}"
            )
    return f"Calibration for {group}: {joined(parts) or 'no photograph'}."


def decision_curve(rows: pd.DataFrame, models: Sequence[str], group: str) -> go.Figure:
    """Net benefit over the probability from which one acts, beside treating everybody and nobody.

    Parameters
    ----------
    rows : [model, threshold, n_positive, n_negative, value, low, high] of one group.
    group : its name, which a saved picture must carry.

    Source
    ------
    Vickers & Elkin 2006, Medical Decision Making 26:565.
    """
    styles = model_styles(models)
    figure = go.Figure()
    thresholds = np.array(sorted(rows["threshold"].unique()), dtype=float)
    first = rows.iloc[0]
    images = first["n_positive"] + first["n_negative"]
    if images:
        share = first["n_positive"] / images
        everybody = share - (1 - share) * thresholds / (1 - thresholds)
        figure.add_scatter(
            x=thresholds,
            y=everybody,
            mode="lines",
            name="treat everybody",
            line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
            hovertemplate="treat everybody: %{y:.3f}<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": NEUTRAL, "width": 1, "dash": "dash"})
    for place, model in enumerate(models):
        part = rows[rows["model"] == model].sort_values("threshold")
        style = styles[model]
        figure.add_scatter(
            # A small sideways step keeps the arms of the classifiers apart.
            x=part["threshold"] + 0.003 * (place - (len(models) - 1) / 2),
            y=part["value"],
            name=model,
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 1.5},
            error_y=_arms(part, "value", style.colour),
            marker={"color": style.colour, "symbol": style.symbol, "size": 10},
            customdata=part["threshold"],
            hovertemplate=f"{model}, acting from %{{customdata:.0%}}: %{{y:.3f}}<extra></extra>",
        )
    framed(figure, 380)
    figure.update_xaxes(
        title_text=f"probability from which one acts ({group})",
        tickformat=".0%",
        tickvals=thresholds,
    )
    figure.update_yaxes(title_text="net benefit (0 = treat nobody)")
    # Treating everybody falls far below zero, where no classifier is of interest.
    lowest = min(0.0, float(np.nan_to_num(rows["low"].min())))
    highest = max(0.01, float(np.nan_to_num(rows["high"].max())))
    reach = highest - lowest
    figure.update_yaxes(range=[lowest - 0.05 * reach, highest + 0.05 * reach])
    return figure


def decision_alt(rows: pd.DataFrame, group: str, models: Sequence[str]) -> str:
    """Return the takeaway of :func:`decision_curve`."""
    parts = [
        f"{model} {joined(words)}"
        for model in models
        if (
            words := [
                f"{figure_words(row['value'], False)} at {percent(row['threshold'])}"
                for _, row in rows[rows["model"] == model].sort_values("threshold").iterrows()
            ]
        )
    ]
    return f"Net benefit for {group}: {'; '.join(parts)}."


def confusion_matrix(
    counts: Sequence[Sequence[int]],
    classes: Sequence[str],
    down: str = "truth",
    across: str = "answer",
) -> go.Figure:
    """One naming against another; the shade is the share of the row, the number counts.

    Parameters
    ----------
    counts : rows = `down`, columns = `across`. Shapes: (C, C).
    """
    table = np.asarray(counts, dtype=float)
    totals = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, totals, out=np.full_like(table, np.nan), where=totals > 0)
    names = [str(name) for name in classes]
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=names,
            y=names,
            zmin=0,
            zmax=1,
            colorscale=[[0, BLUE_ORANGE[2][1]], [1, BLUE_ORANGE[0][1]]],
            showscale=False,
            xgap=1,
            ygap=1,
            text=table.astype(int),
            texttemplate="%{text}" if len(names) <= ROOMY_UP_TO else None,
            hovertemplate=(
                f"{down} %{{y}}, {across} %{{x}}: %{{text}} photographs, "
                "%{z:.0%} of the row<extra></extra>"
            ),
        )
    )
    framed(figure, 160 + max(26, 44 - len(names)) * len(names))
    figure.update_xaxes(title_text="<br>".join(wrap(across, LINE)), tickangle=-40, showgrid=False)
    if len(names) > ROOMY_UP_TO:
        # Upright and small, every name fits above its column; slanted, every other one would be left out.
        figure.update_xaxes(tickangle=-90, dtick=1, tickfont_size=9)
    figure.update_yaxes(title_text=down, autorange="reversed", showgrid=False)
    return figure


def confusion_alt(
    counts: Sequence[Sequence[int]], classes: Sequence[str], group: str, model: str
) -> str:
    """Return the takeaway of :func:`confusion_matrix`."""
    table = np.asarray(counts, dtype=int)
    total, right = int(table.sum()), int(np.trace(table))
    text = f"Confusion matrix of {model} for {group}: {right} of {total} photographs right"
    wrong = table - np.diag(np.diag(table))
    if not wrong.any():
        return f"{text}."
    truth, answer = divmod(int(wrong.argmax()), len(wrong))
    return (
        f"{text}; most often {classes[truth]} is taken for {classes[answer]} "
        f"({counted(int(wrong[truth, answer]), 'time')})."
    )
