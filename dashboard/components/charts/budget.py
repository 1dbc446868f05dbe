"""How small the file gets, and who pays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.components.charts.palette import (
    ACCENT,
    GRID,
    INK,
    NEUTRAL,
    OKABE_ITO,
    OUTLINE,
    framed,
    group_styles,
)
from dashboard.components.words import nats

WORST = "worst"
LABEL_SIDES = ("bottom left", "top right", "bottom right", "top left")
"""Names of runs take turns around their marks: runs of one budget lie close together."""

LEFT_END = 1.02
"""Sizes up to so many times that of the narrowest width everywhere count as the left end of the figure."""

RUN_COLOURS = tuple(OKABE_ITO[place] for place in (2, 3, 5, 1))


class Chosen(NamedTuple):
    """The plan that the controls ask for; with wishes it lies off the curve."""

    label: str
    megabytes: float
    loss_rise: float


def tradeoff(curve: pd.DataFrame, chosen: Chosen, runs: pd.DataFrame) -> go.Figure:
    """File size against the worst group's loss: the plan's curve, uniform widths, finished runs.

    Parameters
    ----------
    curve : [kind, bits, megabytes, group, predicted_loss_rise]; group "worst" is drawn.
    runs : [method, bits, megabytes, loss_rise]; measured on the audit photographs, may be empty.
    """
    worst = curve[curve["group"] == WORST]
    plan = worst[worst["kind"] == "minimax"].sort_values("megabytes")
    uniform = worst[worst["kind"] == "uniform"].sort_values("megabytes")
    figure = go.Figure()
    figure.add_scatter(
        x=plan["megabytes"],
        y=plan["predicted_loss_rise"],
        customdata=plan["bits"],
        name="fair bit plan (predicted)",
        mode="lines",
        line={"color": OKABE_ITO[0], "width": 3},
        hovertemplate="%{customdata:.1f} bits, %{x:.2f} MB<br>%{y:.3f} nats<extra>bit plan</extra>",
    )
    figure.add_scatter(
        x=uniform["megabytes"],
        y=uniform["predicted_loss_rise"],
        text=[f"{bits:g} bits" for bits in uniform["bits"]],
        cliponaxis=False,
        name="same bits everywhere (predicted)",
        mode="markers+text",
        textposition="middle right",
        marker={
            "symbol": "square",
            "size": 11,
            "color": OKABE_ITO[4],
            "line": {"color": OUTLINE, "width": 1},
        },
        hovertemplate="%{text}, %{x:.2f} MB<br>%{y:.3f} nats<extra>uniform</extra>",
    )
    narrowest = uniform["megabytes"].min()
    axis = _loss_axis(plan, uniform, chosen)
    _add_runs(figure, runs, axis.least)
    figure.add_scatter(
        x=[chosen.megabytes],
        y=[chosen.loss_rise],
        name="chosen plan (predicted)",
        mode="markers",
        cliponaxis=False,
        marker={
            "symbol": "star",
            "size": 17,
            "color": ACCENT,
            "line": {"color": OUTLINE, "width": 1},
        },
        hovertemplate="%{x:.2f} MB<br>%{y:.3f} nats<extra>chosen</extra>",
    )
    framed(figure, 400)
    figure.add_vline(
        x=chosen.megabytes,
        line={"color": ACCENT, "width": 2, "dash": "dash"},
        annotation={
            "text": f"chosen: {chosen.label}",
            "font": {"color": INK, "size": 13},
            # At the left end there is room on its left, and on its right stands the label of the narrowest width.
            "xanchor": "right" if chosen.megabytes < LEFT_END * narrowest else "left",
            "yanchor": "top",
        },
    )
    figure.update_xaxes(title_text="size of the file (MB)", rangemode="tozero")
    figure.update_yaxes(title_text="rise of the loss, worst group (nats)", **axis.settings)
    return figure


class LossAxis(NamedTuple):
    """How the vertical axis is drawn; on a logarithmic one nothing lies below `least`."""

    settings: dict[str, object]
    least: float | None


def _loss_axis(plan: pd.DataFrame, uniform: pd.DataFrame, chosen: Chosen) -> LossAxis:
    """Use a logarithmic axis when the predictions span over two decades and none is below zero."""
    values = pd.concat([plan["predicted_loss_rise"], uniform["predicted_loss_rise"]])
    lowest = min(values.min(), chosen.loss_rise)
    if values.empty or not lowest > 0:
        return LossAxis({}, None)
    if values.max() / lowest <= 100:
        return LossAxis({"rangemode": "tozero"}, None)
    decades = [math.floor(math.log10(lowest)), math.log10(values.max()) + 0.3]
    settings = {"type": "log", "dtick": 1, "tickformat": "~g", "range": decades}
    return LossAxis(settings, 10.0 ** decades[0])


def _add_runs(figure: go.Figure, runs: pd.DataFrame, least: float | None) -> None:
    """A diamond per finished run, one colour per method; without a rise on the lower edge, and it says so."""
    by_method = runs.reset_index(drop=True).groupby("method", sort=False)
    for place, (method, part) in enumerate(by_method):
        drawn = part["loss_rise"] if least is None else part["loss_rise"].clip(lower=least)
        named = [
            f"{bits:g} bits" + ("" if rise > 0 else ", no rise")
            for bits, rise in zip(part["bits"].round(2), part["loss_rise"], strict=True)
        ]
        sides = [LABEL_SIDES[number % len(LABEL_SIDES)] for number in part.index]
        # Below the lower edge stand the numbers of the axis.
        above = [side.replace("bottom", "top") for side in sides]
        figure.add_scatter(
            x=part["megabytes"],
            y=drawn,
            text=named,
            customdata=part["loss_rise"],
            name=f"{method} (measured)",
            mode="markers+text",
            textposition=np.where(drawn == least, above, sides).tolist(),
            cliponaxis=False,
            marker={
                "symbol": "diamond",
                "size": 13,
                "color": RUN_COLOURS[place % len(RUN_COLOURS)],
                "line": {"color": OUTLINE, "width": 1},
            },
            hovertemplate=(
                f"{method}<br>%{{text}}, %{{x:.2f}} MB<br>measured rise %{{customdata:.3f}} nats"
                "<extra></extra>"
            ),
        )


def tradeoff_alt(curve: pd.DataFrame, chosen_bits: float) -> str:
    """Return the takeaway of :func:`tradeoff`."""
    worst = curve[(curve["group"] == WORST)]
    plan = worst[worst["kind"] == "minimax"]
    if plan.empty:
        return "Size of the file against the loss of the worst group; nothing predicted yet."
    near = plan.loc[(plan["bits"] - chosen_bits).abs().idxmin()]
    text = (
        f"Smaller files cost more: at {near['bits']:.1f} bits and {near['megabytes']:.2f} MB the "
        f"plan costs the worst group {nats(near['predicted_loss_rise'])}"
    )
    uniform = worst[(worst["kind"] == "uniform") & (worst["bits"] == round(chosen_bits))]
    if uniform.empty:
        return text + "."
    naive = nats(uniform.iloc[0]["predicted_loss_rise"])
    return f"{text}; {round(chosen_bits)} bits everywhere cost {naive}."


def plan_bars(layers: pd.DataFrame) -> go.Figure:
    """Mean bits of every layer, with the narrowest and widest channel as a thin line.

    Parameters
    ----------
    layers : [layer, bits, weights] and, if the plan is per channel, [lowest, highest].
    """
    names = [f"{place} · {layer}" for place, layer in enumerate(layers["layer"], 1)]
    error = None
    if {"lowest", "highest"} <= set(layers.columns):
        error = {
            "type": "data",
            "symmetric": False,
            "array": (layers["highest"] - layers["bits"]).tolist(),
            "arrayminus": (layers["bits"] - layers["lowest"]).tolist(),
            "color": NEUTRAL,
            "thickness": 1,
            "width": 2,
        }
    figure = go.Figure(
        go.Bar(
            x=names,
            y=layers["bits"],
            error_y=error,
            customdata=layers["weights"],
            marker={"color": OKABE_ITO[0], "line": {"color": OUTLINE, "width": 0.5}},
            hovertemplate="%{x}<br>%{y:.2f} bits, %{customdata:,} weights<extra></extra>",
        )
    )
    framed(figure, 280, margin={"l": 8, "r": 8, "t": 12, "b": 8})
    figure.update_yaxes(title_text="bits", range=[0, 8.4], tickvals=[0, 2, 4, 6, 8], gridcolor=GRID)
    figure.update_xaxes(
        tickangle=-60 if len(names) > 8 else 0, tickfont={"size": 11 if len(names) <= 30 else 9}
    )
    return figure


def plan_alt(layers: pd.DataFrame) -> str:
    """Return the takeaway of :func:`plan_bars`."""
    if layers.empty:
        return "The bit plan has no layer."
    low, high = layers.loc[layers["bits"].idxmin()], layers.loc[layers["bits"].idxmax()]
    return (
        f"Bits per layer, from {low['bits']:.1f} for {low['layer']} to {high['bits']:.1f} for "
        f"{high['layer']}."
    )


def group_bars(predicted: dict[str, float], groups: Sequence[str]) -> go.Figure:
    """Predicted rise of the loss per group at the chosen budget."""
    styles = group_styles(groups)
    named = [group for group in groups if group in predicted]
    figure = go.Figure(
        go.Bar(
            y=named,
            x=[predicted[group] for group in named],
            orientation="h",
            text=[nats(predicted[group]) for group in named],
            textposition="outside",
            cliponaxis=False,
            marker={
                "color": [styles[group].colour for group in named],
                "line": {"color": OUTLINE, "width": 1},
            },
            hovertemplate="%{y}: %{x:.4f} nats<extra></extra>",
        )
    )
    framed(figure, 70 + 44 * len(named), margin={"l": 8, "r": 60, "t": 8, "b": 8})
    figure.update_yaxes(autorange="reversed")
    top = max((predicted[group] for group in named), default=0.0)
    figure.update_xaxes(
        title_text="predicted rise of the loss (nats)", range=[0, 1.25 * (top or 0.01)]
    )
    return figure
