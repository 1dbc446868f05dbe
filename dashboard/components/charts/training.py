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
from dashboard.components.run_sentences import MOVED_BITS, moment
from dashboard.components.words import percent

ACCURACY_PREFIX = "accuracy: "
NAMED_LINES = 6
"""Layers that get a colour and a name; more would not be told apart."""


def accuracy_curves(epochs: pd.DataFrame, groups: Sequence[str]) -> go.Figure:
    """Worst-group accuracy (thick) and each group's accuracy (thin), validation photographs."""
    styles = group_styles(groups)
    moments = _moments(epochs)
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
            text=moments,
            hovertemplate=group + ", %{text}: %{y:.1%}<extra></extra>",
        )
    figure.add_scatter(
        x=epochs["epoch"],
        y=epochs["worst_group_accuracy"],
        name="worst group",
        mode="lines+markers",
        line={"color": NEUTRAL, "width": 5},
        marker={"size": 4, "color": NEUTRAL},
        opacity=0.55,
        text=moments,
        hovertemplate="worst group, %{text}: %{y:.1%}<extra></extra>",
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
            text=_moments(epochs),
            hovertemplate=name + ", %{text}: %{y:.3f}<extra></extra>",
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
            text=_moments(epochs),
            hovertemplate="%{text}: %{y:.3f} bits<extra></extra>",
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
    moments, worst = _moments(epochs), epochs["worst_group_accuracy"]
    return (
        f"Worst-group accuracy goes from {percent(worst.iloc[0])} after {moments[0]} to "
        f"{percent(worst.iloc[-1])} after {moments[-1]}."
    )


def loss_alt(epochs: pd.DataFrame) -> str:
    """Return the takeaway of :func:`loss_curves`."""
    if epochs.empty:
        return "Loss over the epochs; none has finished."
    return f"Validation loss {epochs['validation_loss'].iloc[-1]:.2f} after {_moments(epochs)[-1]}."


def bits_alt(epochs: pd.DataFrame, budget: float) -> str:
    """Return the takeaway of :func:`bits_curve`."""
    if epochs.empty:
        return f"Average bits against a budget of {budget:g}; no epoch has finished."
    return f"Average bits are {epochs.iloc[-1]['average_bits']:.2f}; the budget is {budget:g}."


def _moments(epochs: pd.DataFrame) -> list[str]:
    return [moment(*pair) for pair in zip(epochs["epoch"], epochs["epochs"], strict=True)]


def _over_epochs(figure: go.Figure, epochs: pd.DataFrame) -> go.Figure:
    """Scale the axis to all planned epochs, so that what is still to come is visible."""
    if epochs.empty:
        return figure.update_xaxes(title_text="epoch", range=[0.7, 1.3], dtick=1)
    planned, last = int(epochs["epochs"].max()), int(epochs["epoch"].max())
    first = min(1, int(epochs["epoch"].min()))
    marks = list(range(first, planned + 1, max(1, planned // 10)))
    names = [str(mark) for mark in marks]
    if last > planned:
        marks, names = [*marks, last], [*names, moment(last, planned)]
    return figure.update_xaxes(
        title_text="epoch",
        range=[first - 0.3, max(planned, last) + 0.3],
        tickvals=marks,
        ticktext=names,
    )
