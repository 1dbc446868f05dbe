"""Figures and their twins: every chart has an alt text and a table with a download."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard.components.words import NOT_ESTIMABLE

PICTURE_FORMATS = ("png", "svg")
PICTURE_FORMAT = "picture_format"
"""Where the choice between them is kept; the sidebar asks for it."""

COUNTS = {
    "n": st.column_config.NumberColumn("Images", help="Photographs that enter the figure."),
    "n_positive": st.column_config.NumberColumn("n+", help="Photographs of the group with it."),
    "n_negative": st.column_config.NumberColumn("n−", help="Photographs of the group without it."),
}

LONGEST_NAME = 150
"""Letters of a file's name; some file systems take no more than 255 bytes."""

ROUNDED = r"%\.(\d+)f"
"""The format of a column that shows a fixed number of digits."""

PNG_SCALE = 2
"""Pixels per point of the screen: sharp enough for print at the width of a page."""


def chart(figure: go.Figure, key: str, alt: str) -> None:
    """Draw a figure with a button that saves it; `alt` says what it shows to people who do not see it.

    The saved picture has the page's own background: the text of the dark theme cannot be read on white.
    """
    kind = st.context.theme.type or "light"
    figure.update_layout(paper_bgcolor=st.get_option(f"theme.{kind}.backgroundColor"))
    st.plotly_chart(figure, key=key, config=chart_config(key), alt=alt)


def chart_config(name: str) -> dict[str, Any]:
    """Plotly's settings: one button, which saves the figure under this name."""
    wanted = st.session_state.get(PICTURE_FORMAT)
    wanted = wanted if wanted in PICTURE_FORMATS else PICTURE_FORMATS[0]
    return {
        "displaylogo": False,
        "displayModeBar": True,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {
            "format": wanted,
            "filename": f"fairquant_{name}",
            "scale": PNG_SCALE if wanted == "png" else 1,
        },
        "scrollZoom": False,
    }


@contextmanager
def details(label: str, key: str, icon: str | None = None) -> Iterator[bool]:
    """Yield inside an expander whether it is open; draw its body only then.

    Examples
    --------
    >>> with details("Splits", "case_splits") as is_open:  # doctest: +SKIP
    ...     if is_open:
    ...         st.write("drawn only when someone looks")
    """
    box = st.expander(label, key=key, icon=icon, on_change="rerun")
    with box:
        yield bool(box.open)


def twin(
    frame: pd.DataFrame,
    name: str,
    key: str,
    columns: Mapping[str, Any] | None = None,
    label: str = "The figure as a table",
) -> None:
    """Offer the numbers of a figure as a table and as a CSV file.

    Parameters
    ----------
    name : what the table holds; becomes the alt text and the file name.
    columns : Streamlit column configuration by column name.
    """
    with details(label, f"{key}_twin", ":material/table_chart:") as is_open:
        if is_open:
            table(frame, name, key, columns)


def table(
    frame: pd.DataFrame, name: str, key: str, columns: Mapping[str, Any] | None = None
) -> None:
    """Draw a table with its CSV download."""
    configs = dict(columns or {})
    st.dataframe(
        without_minus_zero(frame, configs),
        hide_index=True,
        column_config=configs,
        alt=name,
        placeholder="–",
    )
    st.download_button(
        "Download as CSV",
        frame.to_csv(index=False).encode(),
        file_name=f"{file_stem(name)}.csv",
        mime="text/csv",
        key=f"{key}_csv",
        icon=":material/download:",
        on_click="ignore",
        type="tertiary",
    )


def without_minus_zero(frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Zero for figures that their column rounds to zero: a minus before 0.0 would say that something was lost.

    Examples
    --------
    >>> frame = pd.DataFrame({"change": [-0.04, -0.06, float("nan")]})
    >>> without_minus_zero(frame, {"change": number("Change", 1)})["change"].tolist()
    [0.0, -0.06, nan]
    """
    for name, config in columns.items():
        how = config.get("type_config") if isinstance(config, dict) else None
        fixed = re.match(ROUNDED, str((how or {}).get("format")))
        if fixed and name in frame:
            size = pd.to_numeric(frame[name], errors="coerce").abs()
            frame = frame.assign(**{name: frame[name].mask(size < 0.5 / 10 ** int(fixed[1]), 0.0)})
    return frame


def file_stem(name: str) -> str:
    """Return a name that every file system takes.

    Examples
    --------
    >>> file_stem("Flips from full precision to BAQ, 4 bits")
    'flips_from_full_precision_to_baq_4_bits'
    """
    return re.sub(r"[^\w−-]+", "_", name.lower()).strip("_")[:LONGEST_NAME]


def hashes(sums: Mapping[str, str]) -> None:
    """Show SHA-256 sums one below the other, ready to be copied."""
    width = max((len(name) for name in sums), default=0)
    lines = [f"{name.ljust(width)}  {value}" for name, value in sums.items()]
    st.code("\n".join(lines), language=None)


def share(label: str, tip: str | None = None) -> Any:
    """Column of percentages; see :func:`in_percent`."""
    return st.column_config.NumberColumn(label, format="%.1f %%", help=tip)


def in_percent(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the table with fractions as percentages, the unit a person reads and downloads."""
    return frame.assign(**{name: 100 * frame[name].astype(float) for name in columns})


def number(label: str, digits: int = 2, tip: str | None = None) -> Any:
    """Column of numbers with a fixed number of digits."""
    return st.column_config.NumberColumn(label, format=f"%.{digits}f", help=tip)


def chance(label: str, tip: str | None = None) -> Any:
    """Column of p values: two digits that count, so that a small one is not shown as zero."""
    return st.column_config.NumberColumn(label, format="%.2g", help=tip)


def plain(label: str, tip: str | None = None) -> Any:
    """Column of figures that are not percentages."""
    return number(label, 3, tip)


def notes(frame: pd.DataFrame) -> list[str]:
    """Why a row is not estimable; "" where it is.

    Parameters
    ----------
    frame : [estimable, reason].
    """
    return [
        "" if fine else f"{NOT_ESTIMABLE}: {why}" if why else NOT_ESTIMABLE
        for fine, why in zip(frame["estimable"], frame["reason"], strict=True)
    ]
