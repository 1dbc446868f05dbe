"""Does anyone lose: accuracy per group and model, and the paired differences."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.components.charts.palette import (
    ACCENT,
    NEUTRAL,
    OUTLINE,
    error_arms,
    framed,
    group_styles,
    model_styles,
)
from dashboard.components.words import joined, percent, points

STEP = 0.22
"""Vertical distance between the models of one group, in rows."""


def accuracy_dots(
    accuracy: pd.DataFrame, groups: Sequence[str], models: Sequence[str]
) -> go.Figure:
    """Accuracy per group with 95 % intervals, one mark per model.

    Parameters
    ----------
    accuracy : [model, group, n, accuracy, low, high].
    """
    styles = model_styles(models)
    rows = list(groups)
    labels = []
    for group in rows:
        sizes = accuracy.loc[accuracy["group"] == group, "n"]
        count = int(sizes.max()) if len(sizes) else 0
        labels.append(f"{group}<br><sup>{count:,} images</sup>")
    figure = go.Figure()
    middle = (len(models) - 1) / 2
    for place, model in enumerate(models):
        part = accuracy[accuracy["model"] == model].set_index("group").reindex(rows)
        style = styles[model]
        figure.add_scatter(
            x=part["accuracy"],
            y=[row + STEP * (place - middle) for row in range(len(rows))],
            name=model,
            mode="markers",
            error_x=error_arms(part["accuracy"], part["low"], part["high"], style.colour),
            marker={
                "color": style.colour,
                "symbol": style.symbol,
                "size": 12,
                "line": {"color": OUTLINE, "width": 1},
            },
            customdata=part[["low", "high"]],
            hovertemplate=(
                f"{model}: %{{x:.1%}} (95 %: %{{customdata[0]:.1%}} to %{{customdata[1]:.1%}})"
                "<extra></extra>"
            ),
        )
        # The number stands at the end of the interval, where no other mark covers it.
        figure.add_scatter(
            x=part["high"],
            y=[row + STEP * (place - middle) for row in range(len(rows))],
            mode="text",
            text=["" if pd.isna(value) else f" {percent(value)}" for value in part["accuracy"]],
            textposition="middle right",
            cliponaxis=False,
            showlegend=False,
            hoverinfo="skip",
        )
    framed(figure, 90 + (26 + 26 * len(models)) * len(rows))
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=labels, range=[len(rows) - 0.45, -0.55]
    )
    for row in range(len(rows) - 1):
        figure.add_hline(y=row + 0.5, line={"color": NEUTRAL, "width": 0.5, "dash": "dot"})
    low, high = accuracy["low"].min(), accuracy["high"].max()
    if pd.notna(low) and pd.notna(high):
        margin = 0.04
        figure.update_xaxes(range=[max(0.0, low - margin), min(1.05, high + 1.5 * margin)])
    figure.update_xaxes(
        title_text="accuracy on the audit photographs, with 95 % interval", tickformat=".0%"
    )
    return figure


def accuracy_alt(accuracy: pd.DataFrame, groups: Sequence[str]) -> str:
    """Return the takeaway of :func:`accuracy_dots`."""
    table = accuracy.pivot(index="group", columns="model", values="accuracy")
    if not {"full precision", "candidate"} <= set(table.columns):
        return "Accuracy per group and model."
    parts = [
        f"{group} from {percent(table.loc[group, 'full precision'])} "
        f"to {percent(table.loc[group, 'candidate'])}"
        for group in groups
        if group in table.index and pd.notna(table.loc[group, "candidate"])
    ]
    return f"Accuracy from full precision to the candidate: {joined(parts)}."


def difference_dots(differences: pd.DataFrame, groups: Sequence[str], margin: float) -> go.Figure:
    """Paired change per group with its interval, and the limit as a line.

    Parameters
    ----------
    differences : [group, difference, low, high] as fractions, negative = worse.
    margin : the limit on the drop, as a fraction.
    """
    styles = group_styles(groups)
    rows = differences.set_index("group").reindex(list(groups)).dropna(subset=["difference"])
    figure = go.Figure()
    for group, row in rows.iterrows():
        style = styles[str(group)]
        figure.add_scatter(
            x=[100 * row["difference"]],
            y=[group],
            error_x=error_arms(
                [100 * row["difference"]], [100 * row["low"]], [100 * row["high"]], style.colour
            ),
            mode="markers+text",
            text=[points(row["difference"], sign=True)],
            textposition="top center",
            cliponaxis=False,
            marker={
                "color": style.colour,
                "symbol": style.symbol,
                "size": 12,
                "line": {"color": OUTLINE, "width": 1},
            },
            showlegend=False,
            hovertemplate=f"{group}: %{{x:.1f}} points<extra></extra>",
        )
    framed(figure, 100 + 48 * max(1, len(rows)), margin={"l": 8, "r": 8, "t": 48, "b": 8})
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1})
    figure.add_vline(
        x=-100 * margin,
        line={"color": ACCENT, "width": 2, "dash": "dash"},
        annotation={
            "text": f"limit: {points(margin)} lost",
            "font": {"color": ACCENT},
            "xanchor": "right",
            "yanchor": "bottom",
        },
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text="change of accuracy in points (left = worse)")
    return figure


def difference_alt(differences: pd.DataFrame, margin: float) -> str:
    """Return the takeaway of :func:`difference_dots`."""
    rows = differences[~differences["group"].isin(["unknown", "overall"])].dropna(
        subset=["difference"]
    )
    if rows.empty:
        return "No group's change can be estimated."
    worst = rows.loc[rows["difference"].idxmin()]
    return (
        f"Change per group against a limit of {points(margin)} lost: {worst['group']} changes "
        f"most, {points(worst['difference'], sign=True)}."
    )
