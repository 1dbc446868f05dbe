"""Figures and their twins: every chart has an alt text and a table with a download."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

CHART_CONFIG = {"displaylogo": False, "displayModeBar": False, "scrollZoom": False}


def chart(figure: go.Figure, key: str, alt: str) -> None:
    """Draw a figure; `alt` says what it shows to people who do not see it."""
    st.plotly_chart(figure, key=key, config=CHART_CONFIG, alt=alt)


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
    st.dataframe(
        frame, hide_index=True, column_config=dict(columns or {}), alt=name, placeholder="–"
    )
    st.download_button(
        "Download as CSV",
        frame.to_csv(index=False).encode(),
        file_name=f"{name.lower().replace(' ', '_')}.csv",
        mime="text/csv",
        key=f"{key}_csv",
        icon=":material/download:",
        on_click="ignore",
        type="tertiary",
    )


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
