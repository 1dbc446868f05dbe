"""Does anyone lose: the paired change of one measure per group, with the limit."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.components.charts.palette import (
    ACCENT,
    INK,
    NEUTRAL,
    OUTLINE,
    error_arms,
    framed,
    group_styles,
    row_label,
)
from dashboard.components.limit_words import Shown
from dashboard.components.words import points

ACCURACY = Shown("accuracy")


def difference_dots(
    differences: pd.DataFrame,
    groups: Sequence[str],
    shown: Shown = ACCURACY,
    margin: float | None = None,
    pair: str = "",
) -> go.Figure:
    """Paired change per group with its interval, and the limit as a line.

    Parameters
    ----------
    differences : [group, n, difference, low, high] as fractions, after minus before.
    shown : the measure, which says in what unit and on which side it is worse.
    margin : the limit on the loss, as a fraction; None draws no line.
    pair : "from ... to ...", which a saved picture must carry.
    """
    styles = group_styles(groups)
    rows = differences.set_index("group").reindex(list(groups))
    scale = 100 if shown.in_points else 1
    figure = go.Figure()
    labels = []
    for place, (group, row) in enumerate(rows.iterrows()):
        style = styles[str(group)]
        value, low, high = (scale * row[name] for name in ("difference", "low", "high"))
        images = int(row["n"]) if pd.notna(row["n"]) else 0
        labels.append(row_label(str(group), f"{images:,}"))
        figure.add_scatter(
            x=[value],
            y=[place],
            error_x=error_arms([value], [low], [high], style.colour),
            mode="markers",
            marker={
                "color": style.colour,
                "symbol": style.symbol,
                "size": 12,
                "line": {"color": OUTLINE, "width": 1},
            },
            showlegend=False,
            hovertemplate=(
                f"{group}: {change_words(row['difference'], shown)} "
                f"(95 %: {change_words(row['low'], shown)} to {change_words(row['high'], shown)})"
                "<extra></extra>"
            ),
        )
        # The number stands at the end of the interval, where no line crosses it.
        ends = [end for end in (high, value, 0.0) if pd.notna(end)]
        figure.add_scatter(
            x=[ends[0]],
            y=[place],
            mode="text",
            text=[f"\u2002{change_words(row['difference'], shown)}"],
            textposition="middle right",
            cliponaxis=False,
            showlegend=False,
            hoverinfo="skip",
        )
    framed(figure, 100 + 46 * max(1, len(rows)), margin={"l": 8, "r": 84, "t": 48, "b": 8})
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1})
    if margin is not None:
        figure.add_vline(
            x=-scale * margin,
            line={"color": ACCENT, "width": 2, "dash": "dash"},
            annotation={
                "text": f"limit: {points(margin)} lost",
                "font": {"color": INK},
                "xanchor": "right",
                "yanchor": "bottom",
            },
        )
    figure.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=labels, range=[len(labels) - 0.4, -0.6]
    )
    side = "left" if shown.higher_is_better else "right"
    unit = " in points" if shown.in_points else ""
    about = f"<br>{pair}" if pair else ""
    figure.update_xaxes(title_text=f"change of {shown.title}{unit} ({side} = worse){about}")
    return figure


def difference_alt(
    differences: pd.DataFrame,
    shown: Shown = ACCURACY,
    margin: float | None = None,
    pair: str = "",
) -> str:
    """Return the takeaway of :func:`difference_dots`."""
    rows = differences[~differences["group"].isin(["unknown", "overall"])].dropna(
        subset=["difference"]
    )
    about = f" {pair}" if pair else ""
    if rows.empty:
        return f"No group's change of {shown.title}{about} can be estimated."
    worst = rows.sort_values("difference", ascending=shown.higher_is_better).iloc[0]
    against = "" if margin is None else f", against a limit of {points(margin)} lost"
    return (
        f"Change of {shown.title} per group{about}{against}: {worst['group']} loses most or gains least, "
        f"{change_words(worst['difference'], shown)}."
    )


def change_words(change: float | None, shown: Shown) -> str:
    """Return a change in the unit of its measure, with its sign.

    Examples
    --------
    >>> change_words(-0.031, Shown("accuracy"))
    '-3.1 points'
    >>> change_words(0.0123, Shown("Brier score", "brier", False))
    '+0.012'
    """
    if shown.in_points or change is None or pd.isna(change):
        return points(change, sign=True)
    return f"{change:+z.3f}"
