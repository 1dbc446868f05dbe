"""Who is in the cohort, and how well the full-precision classifier serves them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.components.charts.palette import OUTLINE, error_arms, framed, group_styles
from dashboard.components.words import counted, group_words, joined, percent
from fairquant_core.data.skin_tone import UNKNOWN

OTHERS = "all other classes"
ALL = "all classes"


def cells(
    counts: pd.DataFrame, groups: Sequence[str], must_not_miss: Sequence[str], minimum: int
) -> pd.DataFrame:
    """Count the images of each group in each must-not-miss class and in all others.

    Parameters
    ----------
    counts : [group, label, n] of the split that is looked at.
    minimum : fewest images a cell needs before a figure about it means something.

    Returns
    -------
    [class, group, images, too_small], classes in the order given, the rest last.
    """
    named = counts.assign(
        **{"class": counts["label"].where(counts["label"].isin(list(must_not_miss)), OTHERS)}
    )
    rest = OTHERS if must_not_miss else ALL
    named["class"] = named["class"].replace(OTHERS, rest)
    sums = named.groupby(["class", "group"])["n"].sum()
    order = [*must_not_miss, rest]
    rows = [
        {"class": label, "group": group, "images": int(sums.get((label, group), 0))}
        for label in order
        for group in groups
    ]
    frame = pd.DataFrame(rows, columns=["class", "group", "images"])
    return frame.assign(too_small=frame["images"] < minimum)


def cell_bars(frame: pd.DataFrame, groups: Sequence[str], minimum: int) -> go.Figure:
    """Bars of images per class and group; cells below the minimum are hatched and say so."""
    styles = group_styles(groups)
    figure = go.Figure()
    for group in groups:
        rows = frame[frame["group"] == group]
        figure.add_bar(
            x=rows["class"],
            y=rows["images"],
            name=group,
            text=[
                f"{images:,}{' <br>too few' if small else ''}"
                for images, small in zip(rows["images"], rows["too_small"], strict=True)
            ],
            textposition="outside",
            cliponaxis=False,
            marker={
                "color": styles[group].colour,
                "line": {"color": OUTLINE, "width": 1},
                "pattern": {
                    "shape": ["/" if small else "" for small in rows["too_small"]],
                    "fgcolor": "white",
                    "fillmode": "overlay",
                    "size": 7,
                },
            },
            hovertemplate="%{x}<br>" + group + ": %{y} images<extra></extra>",
        )
    framed(figure, 380, barmode="group", bargap=0.25)
    figure.update_yaxes(title_text="images", rangemode="tozero")
    if not frame.empty and minimum:
        figure.update_yaxes(range=[0, max(1, frame["images"].max()) * 1.18])
    return figure


def cell_alt(frame: pd.DataFrame, minimum: int) -> str:
    """Return the takeaway of :func:`cell_bars`."""
    small = frame[frame["too_small"]]
    if small.empty:
        return f"Images per group and class; every cell holds at least {minimum}."
    worst = small.loc[small["images"].idxmin()]
    return (
        f"Images per group and class; {counted(len(small), 'cell')} of {len(frame)} hold fewer "
        f"than {minimum}. The smallest: {worst['class']} in {worst['group']} with "
        f"{worst['images']}."
    )


def small_cells_sentence(frame: pd.DataFrame, minimum: int) -> str:
    """Say which cells are too small to judge, or that none is."""
    small = frame[frame["too_small"] & (frame["class"] != OTHERS)]
    if small.empty:
        return f"Every cell holds at least {minimum} images."
    names = [
        f"{row['class']} in {group_words(row['group'])} ({row['images']})"
        for _, row in small.head(4).iterrows()
    ]
    more = f" and {len(small) - 4} more" if len(small) > 4 else ""
    return f"Too few images to judge (fewer than {minimum}): {joined(names)}{more}."


def unknown_sentence(counts: pd.DataFrame) -> str:
    """Say how many images are in no bar because nobody knows their group; empty where there is none.

    Parameters
    ----------
    counts : as for :func:`cells`.
    """
    unknown = int(counts.loc[counts["group"] == UNKNOWN, "n"].sum())
    if not unknown:
        return ""
    are = "is" if unknown == 1 else "are"
    return f"{counted(unknown, 'more photograph')} {are} of unknown skin tone and in no group."


def accuracy_dots(table: pd.DataFrame, groups: Sequence[str]) -> go.Figure:
    """Accuracy per group with its 95 % interval, one row per group.

    Parameters
    ----------
    table : [group, n, accuracy, low, high]; "overall" may be among the groups.
    """
    styles = group_styles(groups)
    order = [*groups, *([] if "overall" in groups else ["overall"])]
    figure = go.Figure()
    for group in order:
        row = table[(table["group"] == group) & table["accuracy"].notna()]
        if row.empty:
            continue
        style = styles.get(group) or group_styles(["overall"])["overall"]
        first = row.iloc[0]
        figure.add_scatter(
            x=[first["accuracy"]],
            y=[f"{group} · {int(first['n']):,} images"],
            error_x=error_arms([first["accuracy"]], [first["low"]], [first["high"]], style.colour),
            mode="markers+text",
            text=[percent(first["accuracy"])],
            textposition="top center",
            cliponaxis=False,
            marker={
                "color": style.colour,
                "symbol": style.symbol,
                "size": 13,
                "line": {"color": OUTLINE, "width": 1},
            },
            showlegend=False,
            hovertemplate=f"{group}: {percent(first['accuracy'], 1)}<extra></extra>",
        )
    framed(figure, 90 + 46 * len(order), margin={"l": 8, "r": 16, "t": 24, "b": 8})
    figure.update_xaxes(
        title_text="accuracy on the audit photographs", tickformat=".0%", range=[0, 1]
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def accuracy_alt(table: pd.DataFrame) -> str:
    """Return the takeaway of :func:`accuracy_dots`."""
    rows = table[~table["group"].isin(["overall", "unknown"])].dropna(subset=["accuracy"])
    if rows.empty:
        return "Accuracy per group; no group can be estimated."
    best, worst = rows.loc[rows["accuracy"].idxmax()], rows.loc[rows["accuracy"].idxmin()]
    return (
        f"Accuracy per group, from {percent(worst['accuracy'])} for {worst['group']} to "
        f"{percent(best['accuracy'])} for {best['group']}."
    )
