"""Which layers matter to whom: the heatmap and the curve of one layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.components.charts.palette import (
    BLUE_ORANGE,
    CIVIDIS,
    NEUTRAL,
    OUTLINE,
    error_arms,
    framed,
    group_styles,
)
from dashboard.components.words import nats, points
from fairquant_core.sensitivity.reducers import reduce_groups

MEASURES = {
    "accuracy": "Points of accuracy lost",
    "loss": "Rise of the loss",
    "predicted": "Predicted by curvature",
}
"""What the cells show -> its title."""

AXIS_TITLES = {
    "accuracy": "points of accuracy lost",
    "loss": "rise of the loss (nats)",
    "predicted": "predicted rise of the loss (nats)",
}

DARK_TEXT, LIGHT_TEXT = "#10191E", "#FFFFFF"
ROW_HEIGHT = 25


def measured_values(frame: pd.DataFrame, bits: int, measure: str) -> pd.DataFrame:
    """Return what each group loses per layer, so that larger is always worse.

    Parameters
    ----------
    frame : rows of a MeasuredMap. measure : "accuracy" (fraction) or "loss" (nats).

    Returns
    -------
    [layer, group, value, low, high, n]
    """
    rows = frame[frame["bits"] == bits]
    if measure == "accuracy":
        # A change of -0.031 is a loss of 0.031; the interval's ends change places.
        columns = (-rows["accuracy_change"], -rows["accuracy_high"], -rows["accuracy_low"])
    else:
        columns = (rows["loss_change"], rows["loss_low"], rows["loss_high"])
    value, low, high = columns
    return pd.DataFrame(
        {
            "layer": rows["layer"],
            "group": rows["group"],
            "value": value,
            "low": low,
            "high": high,
            "n": rows["n"],
        }
    ).reset_index(drop=True)


def shortlist(
    values: pd.DataFrame, layers: Sequence[str], count: int, how: str = "max"
) -> list[str]:
    """Return the layers that matter most, in the network's order.

    Parameters
    ----------
    how : how the groups are joined to rank the layers, a key of `REDUCERS`.
    """
    known = values[values["group"] != "unknown"]
    table = known.pivot(index="group", columns="layer", values="value").fillna(0.0)
    damage = table.to_numpy(dtype=float)[:, :, None]
    weights, totals = np.ones(damage.shape[1]), damage.sum(axis=(1, 2))
    joined = pd.Series(reduce_groups(how, damage, weights, totals)[:, 0], table.columns)
    top = set(joined.sort_values(ascending=False).head(count).index)
    return [layer for layer in layers if layer in top]


def heatmap(
    values: pd.DataFrame,
    layers: Sequence[str],
    groups: Sequence[str],
    measure: str,
    plan: pd.DataFrame | None = None,
    numbers: dict[str, int] | None = None,
) -> go.Figure:
    """Layer x group heatmap with the numbers in the cells, and the bit plan beside it.

    Parameters
    ----------
    values : [layer, group, value] with larger = worse.
    layers, groups : rows from top to bottom and columns from left to right.
    plan : [layer, bits] of a run's bit plan, drawn as a strip on the right.
    numbers : place of each layer in the whole network, shown before its name.
    """
    scale = 100.0 if measure == "accuracy" else 1.0
    table = values.pivot(index="layer", columns="group", values="value")
    grid = table.reindex(index=list(layers), columns=list(groups)).to_numpy(dtype=float) * scale
    labels = [f"{numbers[layer]} · {layer}" if numbers else layer for layer in layers]
    signed = bool(np.nanmin(grid, initial=0.0) < 0)
    reach = float(np.nanmax(np.abs(grid), initial=0.0)) or 1.0
    figure = make_subplots(
        rows=1,
        cols=2 if plan is not None else 1,
        shared_yaxes=True,
        horizontal_spacing=0.02,
        column_widths=[0.84, 0.16] if plan is not None else None,
    )
    low = -reach if signed else 0.0
    figure.add_trace(
        go.Heatmap(
            z=grid,
            x=list(groups),
            y=labels,
            zmin=low,
            zmax=reach,
            colorscale=BLUE_ORANGE if signed else CIVIDIS,
            xgap=2,
            ygap=2,
            colorbar={"title": {"text": AXIS_TITLES[measure], "side": "right"}, "thickness": 12},
            customdata=_intervals(values, layers, groups, scale),
            hovertemplate="%{y}<br>%{x}: %{z:.3f}%{customdata}<extra></extra>",
        ),
        row=1,
        col=1,
    )
    # A prediction is above zero by construction: there is nothing to be certain about.
    bold = np.zeros(grid.shape, dtype=bool)
    if measure != "predicted":
        certain = certain_cells(values).reindex(index=list(layers), columns=list(groups))
        bold = certain.eq(True).to_numpy()
    _number_cells(figure, grid, bold, groups, labels, (low, reach), measure)
    if plan is not None:
        _bit_strip(figure, plan, layers, labels)
    framed(figure, 110 + ROW_HEIGHT * len(labels), margin={"l": 8, "r": 8, "t": 30, "b": 8})
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(side="top", showgrid=False)
    return figure


def certain_cells(values: pd.DataFrame) -> pd.DataFrame:
    """Layer x group table: whether the measured interval excludes zero."""
    certain = pd.Series(False, index=values.index)
    if {"low", "high"} <= set(values.columns):
        certain = (values["low"] > 0) | (values["high"] < 0)
    return values.assign(certain=certain).pivot(index="layer", columns="group", values="certain")


def _intervals(
    values: pd.DataFrame, layers: Sequence[str], groups: Sequence[str], scale: float
) -> list[list[str]]:
    """Hover text with the 95 % interval of each cell, empty where there is none."""
    if not {"low", "high"} <= set(values.columns):
        return [[""] * len(groups) for _ in layers]
    ends = values.set_index(["layer", "group"])[["low", "high"]] * scale
    ends = ends.reindex(pd.MultiIndex.from_product([layers, groups]))
    words = [
        "" if np.isnan(low) or np.isnan(high) else f"<br>95 %: {low:.3f} to {high:.3f}"
        for low, high in ends.to_numpy(dtype=float)
    ]
    return [words[row : row + len(groups)] for row in range(0, len(words), len(groups))]


def _number_cells(
    figure: go.Figure,
    grid: np.ndarray,
    bold: np.ndarray,
    groups: Sequence[str],
    labels: Sequence[str],
    ends: tuple[float, float],
    measure: str,
) -> None:
    """Write the numbers as two text layers, dark on light cells and light on dark ones."""
    digits = 1 if measure == "accuracy" else 3
    low, high = ends
    place = (grid - low) / (high - low)
    light_cell = np.abs(place - 0.5) < 0.3 if low < 0 else place > 0.55
    for wanted, colour in ((True, DARK_TEXT), (False, LIGHT_TEXT)):
        rows, columns = np.nonzero((light_cell == wanted) & np.isfinite(grid))
        figure.add_trace(
            go.Scatter(
                x=[groups[column] for column in columns],
                y=[labels[row] for row in rows],
                text=[
                    _cell(grid[row, column], digits, bool(bold[row, column]))
                    for row, column in zip(rows, columns, strict=True)
                ],
                mode="text",
                textfont={"color": colour, "size": 12},
                hoverinfo="skip",
                showlegend=False,
            ),
            row=1,
            col=1,
        )


def _cell(value: float, digits: int, bold: bool) -> str:
    text = f"{value:.{digits}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return f"<b>{text}</b>" if bold else text


def _bit_strip(
    figure: go.Figure, plan: pd.DataFrame, layers: Sequence[str], labels: Sequence[str]
) -> None:
    bits = plan.set_index("layer")["bits"].reindex(list(layers))
    figure.add_trace(
        go.Bar(
            x=bits,
            y=labels,
            orientation="h",
            marker={"color": NEUTRAL, "line": {"color": OUTLINE, "width": 0.5}},
            text=["" if np.isnan(width) else f"{width:.1f}" for width in bits],
            textposition="inside",
            insidetextanchor="end",
            textangle=0,
            constraintext="none",
            textfont={"color": DARK_TEXT, "size": 11},
            showlegend=False,
            hovertemplate="%{y}: %{x:.2f} bits<extra></extra>",
        ),
        row=1,
        col=2,
    )
    figure.update_xaxes(
        range=[0, 8], title_text="bits in the run's plan", tickvals=[2, 4, 8], row=1, col=2
    )


def layer_curve(rows: pd.DataFrame, groups: Sequence[str], measure: str) -> go.Figure:
    """What one layer costs each group over the widths, with intervals where there are any.

    Parameters
    ----------
    rows : [bits, group, value, low, high] of one layer; larger = worse.
    """
    scale = 100.0 if measure == "accuracy" else 1.0
    styles = group_styles(groups)
    figure = go.Figure()
    middle = (len(groups) - 1) / 2
    widths = sorted(rows["bits"].unique().tolist())
    # A small sideways step keeps the arms of the groups apart.
    step = 0.02 * max(1, widths[-1] - widths[0])
    for place, group in enumerate(groups):
        part = rows[rows["group"] == group].sort_values("bits")
        if part.empty:
            continue
        style = styles[group]
        value = (part["value"] * scale).tolist()
        figure.add_scatter(
            x=(part["bits"] + step * (middle - place)).tolist(),
            y=value,
            name=group,
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 2},
            marker={"symbol": style.symbol, "size": 10, "line": {"color": OUTLINE, "width": 1}},
            error_y=error_arms(
                value, (part["low"] * scale).tolist(), (part["high"] * scale).tolist(), style.colour
            ),
            hovertemplate=group + ": %{y:.3f} at %{customdata} bits<extra></extra>",
            customdata=part["bits"].tolist(),
        )
    framed(figure, 320)
    figure.add_hline(y=0, line={"color": NEUTRAL, "width": 1})
    figure.update_xaxes(
        title_text="bits of this layer alone", tickvals=widths, autorange="reversed"
    )
    figure.update_yaxes(title_text=AXIS_TITLES[measure])
    return figure


def readable(values: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the values as a table for people: in points or nats, the unit in the column's name."""
    unit = AXIS_TITLES[measure]
    scale = 100.0 if measure == "accuracy" else 1.0
    columns = [name for name in ("value", "low", "high") if name in values]
    scaled = values.assign(**{name: scale * values[name] for name in columns})
    names = {"value": unit, "low": "95 % from", "high": "95 % to", "n": "images"}
    return scaled.rename(columns=names)


def heatmap_alt(values: pd.DataFrame, measure: str, bits: int) -> str:
    """Return the takeaway of :func:`heatmap`."""
    rows = values[values["group"] != "unknown"].dropna(subset=["value"])
    if rows.empty:
        return "Heatmap of layers and groups without values."
    top = rows.loc[rows["value"].idxmax()]
    amount = points(top["value"]) if measure == "accuracy" else nats(top["value"])
    return (
        f"Heatmap of {rows['layer'].nunique()} layers and {rows['group'].nunique()} groups at "
        f"{bits} bits: {top['layer']} costs {top['group']} most, {amount}."
    )


def layer_alt(rows: pd.DataFrame, layer: str, measure: str) -> str:
    """Return the takeaway of :func:`layer_curve`."""
    if rows.empty:
        return f"No values for {layer}."
    top = rows.loc[rows["value"].idxmax()]
    amount = points(top["value"]) if measure == "accuracy" else nats(top["value"])
    return (
        f"Cost of {layer} over its bits: highest for {top['group']} at {int(top['bits'])} bits, "
        f"{amount}."
    )
