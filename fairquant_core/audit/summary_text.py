"""The audit document as a table and as plain text for the command line."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import TextIO

import pandas as pd

from fairquant_core.audit.comparison import GAINED, LOST
from fairquant_core.audit.grouping import OVERALL


def summary_table(summary: dict) -> pd.DataFrame:
    """One row per group, "overall" first: accuracy per model, then change and verdict.

    Returns
    -------
    pandas.DataFrame
        Columns group, n; per model "<model>", "<model> low", "<model> high"; with a candidate
        difference, low, high (after minus before on the metric of the limits), lost, gained,
        p_holm, verdict ("" where none is given). Units: fractions, NaN = not estimable.
    """
    columns: dict[str, list] = {}
    for model in summary["models"]:
        accuracy = summary["accuracy"][model]
        rows = [accuracy["overall"], *accuracy["by_group"]]
        columns["group"] = [row["group"] for row in rows]
        columns["n"] = [row["n"] for row in rows]
        columns[model] = _numbers(row["accuracy"] for row in rows)
        columns[f"{model} low"] = _numbers(row["low"] for row in rows)
        columns[f"{model} high"] = _numbers(row["high"] for row in rows)
    if summary["candidate"]:
        comparison = summary["comparisons"][summary["candidate"]]
        changes = {row["group"]: row for row in comparison["differences"]}
        verdicts = {row["group"]: row["verdict"] for row in comparison["verdicts"]}
        for name in ("difference", "low", "high", "p_holm"):
            columns[name] = _numbers(changes[group][name] for group in columns["group"])
        for name in (LOST, GAINED):
            columns[name] = [changes[group][name] for group in columns["group"]]
        columns["verdict"] = [verdicts.get(group, "") for group in columns["group"]]
    return pd.DataFrame(columns)


def table_text(summary: dict) -> str:
    """The audit as plain text: a table in percent and points, the verdicts and the notes."""
    table = summary_table(summary)
    shown = pd.DataFrame({"group": table["group"], "n": table["n"].astype(str)})
    for model in summary["models"]:
        shown[model] = [
            _percent(value, low, high)
            for value, low, high in table[[model, f"{model} low", f"{model} high"]].to_numpy(float)
        ]
    metric = summary["limits"]["metric"]
    if summary["candidate"]:
        shown[f"change ({metric}, points)"] = [
            _percent(value, low, high, sign="+")
            for value, low, high in table[["difference", "low", "high"]].to_numpy(float)
        ]
        shown["lost/gained"] = [
            f"{lost}/{gained}" for lost, gained in zip(table[LOST], table[GAINED], strict=True)
        ]
        shown["verdict"] = table["verdict"]
    lines = [
        f"{summary['images']} images, groups by {summary['group_column']} "
        f"({summary['scheme_title']}); accuracy in % with 95% interval",
        "",
        *_aligned(shown),
        "",
    ]
    for model in summary["models"]:
        accuracy = summary["accuracy"][model]
        gap = accuracy["gap"]
        if gap["value"] is not None:
            lines.append(
                f"{model}: worst group {accuracy['worst_group']}, largest gap between groups "
                f"{_percent(gap['value'], gap['low'], gap['high'])} points"
            )
    lines += ["", *_aligned(measures_table(summary)), "", *_fairness_lines(summary)]
    if summary["candidate"]:
        comparison = summary["comparisons"][summary["candidate"]]
        lines += ["", *(row["sentence"] for row in comparison["verdicts"])]
        lines += ["", f"Verdict: {summary['verdict']}. {summary['sentence']}"]
        lines += [swap["sentence"] for swap in summary["questions"]["annotators"]]
    lines += [f"Note: {note}" for note in summary["notes"]]
    return "\n".join(lines)


def measures_table(summary: dict) -> pd.DataFrame:
    """All measures over all images, one column per model, as texts in percent."""
    table = {"all images": [row["measure"] for row in summary["measures"]]}
    for model in summary["models"]:
        rows = {
            row["measure"]: row
            for row in summary["metrics"][model]["by_group"]
            if row["group"] == OVERALL
        }
        table[model] = [
            _percent(value, low, high)
            for value, low, high in (
                _numbers(rows[name][key] for key in ("value", "low", "high"))
                for name in table["all images"]
            )
        ]
    return pd.DataFrame(table)


def _fairness_lines(summary: dict) -> list[str]:
    lines = []
    for model in summary["models"]:
        for row in summary["metrics"][model]["fairness"]:
            about = f" ({row['about']})" if row["about"] else ""
            if not row["estimable"]:
                lines.append(f"{model}: {row['criterion']}{about} not estimable: {row['reason']}")
                continue
            line = (
                f"{model}: {row['criterion']} gap{about} "
                f"{_percent(row['value'], row['low'], row['high'])} points, "
                f"{100 * row['by_chance']:.1f} expected by chance alone"
            )
            if not row["about"]:
                line += f"; {row['classes_estimable']} of {row['classes']} classes estimable"
            lines.append(line)
    return lines


def print_table(summary: dict, file: TextIO | None = None) -> None:
    """Print `table_text`, to standard output unless told otherwise."""
    print(table_text(summary), file=file or sys.stdout)


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]


def _percent(value: float, low: float, high: float, sign: str = "") -> str:
    if value is None or math.isnan(value):
        return "not estimable"
    return f"{100 * value:{sign}z.1f} ({100 * low:{sign}z.1f} to {100 * high:{sign}z.1f})"


def _aligned(table: pd.DataFrame) -> list[str]:
    """Columns padded to equal width; texts left, figures right."""
    left = {"group", "verdict", "all images"}
    cells = [list(table.columns), *table.astype(str).to_numpy().tolist()]
    widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]))]
    return [
        "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(table.columns, row, widths, strict=True)
        ).rstrip()
        for row in cells
    ]
