"""A run over its epochs: accuracy, loss, average bits and the bits of every layer."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.components.charts.palette import (
    ACCENT,
    INK,
    NEUTRAL,
    OKABE_ITO,
    OUTLINE,
    framed,
    group_styles,
)
from dashboard.components.sentences import MOVED_BITS
from dashboard.components.words import percent

ACCURACY_PREFIX = "accuracy: "
NAMED_LINES = 6
"""Layers that get a colour and a name; more would not be told apart."""


def accuracy_curves(epochs: pd.DataFrame, groups: Sequence[str]) -> go.Figure:
    """Worst-group accuracy (thick) and each group's accuracy (thin), validation photographs."""
    styles = group_styles(groups)
    figure = go.Figure()
    for group in groups:
        column = f"{ACCURACY_PREFIX}{group}"
        if column not in epochs or epochs[column].isna().all():
            continue
        style = styles[group]
        figure.add_scatter(
            x=epochs["epoch"],
            y=epochs[column],
            name=group,
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 1.8},
            marker={"symbol": style.symbol, "size": 8, "line": {"color": OUTLINE, "width": 1}},
            hovertemplate=group + ", epoch %{x}: %{y:.1%}<extra></extra>",
        )
    figure.add_scatter(
        x=epochs["epoch"],
        y=epochs["worst_group_accuracy"],
        name="worst group",
        mode="lines+markers",
        line={"color": NEUTRAL, "width": 5},
        marker={"size": 4, "color": NEUTRAL},
        opacity=0.55,
        hovertemplate="worst group, epoch %{x}: %{y:.1%}<extra></extra>",
    )
    framed(figure, 340)
    figure.update_yaxes(title_text="accuracy (validation)", tickformat=".1~%")
    return _over_epochs(figure, epochs)


def loss_curves(epochs: pd.DataFrame) -> go.Figure:
    """Training and validation loss."""
    figure = go.Figure()
    for column, name, style in (
        ("loss", "training", ("#0072B2", "solid", "circle")),
        ("validation_loss", "validation", ("#D55E00", "dash", "diamond")),
    ):
        colour, dash, symbol = style
        figure.add_scatter(
            x=epochs["epoch"],
            y=epochs[column],
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 8},
            hovertemplate=name + ", epoch %{x}: %{y:.3f}<extra></extra>",
        )
    framed(figure, 260)
    figure.update_yaxes(title_text="loss (nats)")
    return _over_epochs(figure, epochs)


def bits_curve(epochs: pd.DataFrame, budget: float) -> go.Figure:
    """Average bits per weight against the budget line."""
    figure = go.Figure(
        go.Scatter(
            x=epochs["epoch"],
            y=epochs["average_bits"],
            name="average bits",
            mode="lines+markers",
            line={"color": OKABE_ITO[2], "width": 2.5},
            marker={"size": 8},
            hovertemplate="epoch %{x}: %{y:.3f} bits<extra></extra>",
        )
    )
    framed(figure, 260, showlegend=False)
    figure.add_hline(
        y=budget,
        line={"color": ACCENT, "width": 2, "dash": "dash"},
        annotation={"text": f"budget {budget:g} bits", "font": {"color": INK}},
        annotation_position="top left",
    )
    values = [*epochs["average_bits"].dropna().tolist(), budget]
    figure.update_yaxes(title_text="average bits", range=[min(values) - 0.25, max(values) + 0.35])
    return _over_epochs(figure, epochs)


def trajectory(bits: pd.DataFrame) -> go.Figure:
    """Mean bits of every layer after every epoch; those that moved most are named, the rest grey.

    A width that never changed is drawn as a flat line, not hidden: training left it alone.

    Parameters
    ----------
    bits : [epoch, layer, bits].
    """
    table = bits.pivot(index="epoch", columns="layer", values="bits").sort_index()
    spread = (table.max() - table.min()).sort_values(ascending=False)
    named = [layer for layer in spread.index[:NAMED_LINES] if spread[layer] > MOVED_BITS]
    figure = go.Figure()
    for layer in table.columns:
        if layer in named:
            continue
        figure.add_scatter(
            x=table.index,
            y=table[layer],
            mode="lines+markers",
            line={"color": NEUTRAL, "width": 1},
            marker={"size": 3, "color": NEUTRAL},
            opacity=0.55,
            showlegend=False,
            hovertemplate=f"{layer}, epoch %{{x}}: %{{y:.2f}} bits<extra></extra>",
        )
    styles = group_styles(named)
    for layer in named:
        style = styles[layer]
        figure.add_scatter(
            x=table.index,
            y=table[layer],
            name=layer,
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 2.5},
            marker={"symbol": style.symbol, "size": 8},
            hovertemplate=f"{layer}, epoch %{{x}}: %{{y:.2f}} bits<extra></extra>",
        )
    framed(figure, 340)
    figure.update_yaxes(title_text="mean bits of the layer")
    figure.update_xaxes(title_text="epoch", dtick=max(1, len(table) // 10))
    return figure


def accuracy_alt(epochs: pd.DataFrame) -> str:
    """Return the takeaway of :func:`accuracy_curves`."""
    if epochs.empty:
        return "Accuracy over the epochs; none has finished."
    first, last = epochs.iloc[0], epochs.iloc[-1]
    return (
        f"Worst-group accuracy goes from {percent(first['worst_group_accuracy'])} after epoch "
        f"{int(first['epoch'])} to {percent(last['worst_group_accuracy'])} after epoch "
        f"{int(last['epoch'])}."
    )


def bits_alt(epochs: pd.DataFrame, budget: float) -> str:
    """Return the takeaway of :func:`bits_curve`."""
    if epochs.empty:
        return f"Average bits against a budget of {budget:g}; no epoch has finished."
    return f"Average bits are {epochs.iloc[-1]['average_bits']:.2f}; the budget is {budget:g}."


def _over_epochs(figure: go.Figure, epochs: pd.DataFrame) -> go.Figure:
    """Scale the axis to all planned epochs, so that what is still to come is visible."""
    planned = int(epochs["epochs"].max()) if not epochs.empty else 1
    first = min(1, int(epochs["epoch"].min())) if not epochs.empty else 1
    figure.update_xaxes(
        title_text="epoch", range=[first - 0.3, planned + 0.3], dtick=max(1, planned // 10)
    )
    return figure
