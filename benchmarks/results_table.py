"""The table of RESULTS.md, from the figures that ``accuracy.py --references baq full_precision --json FILE`` wrote.

python benchmarks/results_table.py FILE
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fairquant_core.report.words import MINUS, change_number, span

Row = dict[str, Any]

OWN, CONTROL = "baq", "full_precision"
HEAD = (
    *("method", "bits", "MB", "accuracy", "worst", "V-VI", "loss", "loss, worst group"),
    *("worst against the control", "worst against BAQ"),
)
DARKEST = -1
"""The last group of the cohort is that of the darkest skin."""


def main() -> None:
    """Print the table, budgets falling, as one row per method and budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", type=Path)
    found = json.loads(parser.parse_args().figures.read_text())
    print(_line(HEAD))
    print(_line("---" for _ in HEAD))
    for row in sorted(found["summary"], key=_place):
        print(_line(_cells(row, found)))


def _place(row: Row) -> tuple[float, bool, str]:
    """Full precision first, then falling budgets, each with the learned widths first."""
    return -(row["bits"] or 32), row["method"] != OWN, row["method"]


def _cells(row: Row, found: Row) -> list[str]:
    title = f"**{row['title']}**" if row["method"] == OWN else row["title"]
    shares = (row["accuracy"], row["worst"], row[f"accuracy: {found['groups'][DARKEST]}"])
    return [
        title,
        f"{row['bits'] or 32:g}",
        f"{row['size_bytes'] / 1e6:.2f}",
        *(f"{100 * share:.1f}" for share in shares),
        *(f"{row[name]:.2f}" for name in ("loss", "worst_loss")),
        _change(row, found["differences"].get(CONTROL, [])),
        _change(row, found["differences"].get(OWN, [])) if row["bits"] else "",
    ]


def _change(row: Row, differences: list[Row]) -> str:
    """Points of the worst group above a reference, with the interval; nothing where there is none."""
    key = (row["method"], row["bits"], "worst")
    for one in differences:
        if (one["method"], one["bits"], one["figure"]) == key and one["low"] is not None:
            ends = span(one["low"], one["high"], "accuracy", signed=True)
            text = f"{change_number(one['difference'], 'accuracy')} ({ends})"
            return text.replace(MINUS, "-")
    return ""


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
