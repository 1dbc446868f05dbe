"""A board of candidates as text for a terminal and as plain values for a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fairquant_core.audit.board import Board
from fairquant_core.audit.over_seeds import ACCURACY_PREFIX, COMPARED, LOSSES

FIGURE_TITLES = {
    "accuracy": "accuracy",
    "worst": "worst group",
    "gap": "gap",
    "loss": "loss",
    "worst_loss": "worst loss",
}


def board_text(board: Board, references: Sequence[str]) -> str:
    """The summary, then the differences from every reference that has a finished candidate."""
    summary = board.summary()
    images = f"{board.images} images"
    if not board.same_images:
        images += ", of which each seed saw its own part: compare methods that have the same seeds"
    parts = [
        f"{board.split} split, {images}. Percent, mean over seeds and, after +-, the standard deviation over "
        "seeds.",
        _summary_lines(board, summary),
    ]
    for reference in references:
        if reference in set(summary["method"]):
            parts += ["", _difference_lines(board, reference)]
        else:
            parts += [
                "",
                f"No candidate of '{reference}' is finished, so nothing is compared with it.",
            ]
    if summary["seeds"].max() < 5:
        parts += [
            "",
            f"With {summary['seeds'].max()} seed(s) the spread over seeds is known badly, and the intervals lean on "
            "the images.",
        ]
    return "\n".join(parts)


def board_values(board: Board, references: Sequence[str]) -> dict[str, Any]:
    """Everything on the board, not estimable = null."""
    methods = {candidate.method for candidate in board.candidates}
    return {
        "split": board.split,
        "images": board.images,
        "groups": list(board.group_names),
        "minimum_images": board.minimum_images,
        "resamples": board.resamples,
        "candidates": _records(board.pareto()),
        "summary": _records(board.summary()),
        "differences": {
            reference: _records(board.differences(reference))
            for reference in references
            if reference in methods
        },
    }


def candidate_line(board: Board) -> str:
    """The figures of the last candidate of a board on one line."""
    row = board.frame().iloc[-1]
    groups = ", ".join(
        f"{name} {100 * row[ACCURACY_PREFIX + name]:.1f}" for name in board.group_names
    )
    bits = "" if pd.isna(row["bits_achieved"]) else f", {row['bits_achieved']:.3f} bits"
    budget = "" if pd.isna(row["bits"]) else f" {row['bits']:g} bits"
    return (
        f"{row['method']}{budget} seed {row['seed']}: accuracy {100 * row['accuracy']:.1f}, worst group "
        f"{100 * row['worst']:.1f} ({groups}){bits}, {row['size_bytes'] / 1e6:.3f} MB, "
        f"{row['minutes']:.1f} min"
    )


def _summary_lines(board: Board, summary: pd.DataFrame) -> str:
    rows = []
    for row in summary.to_dict("records"):
        line = {"method": row["method"], "bits": _number(row["bits"], "g"), "seeds": row["seeds"]}
        for name in ("accuracy", "worst", "gap"):
            line[FIGURE_TITLES[name]] = _spread(row[name], row[f"{name}_sd"])
        for group in board.group_names:
            name = ACCURACY_PREFIX + group
            line[group] = _spread(row[name], row[f"{name}_sd"])
        for name in LOSSES:
            line[FIGURE_TITLES[name]] = _number(row[name], ".3f")
        line["achieved"] = _number(row["bits_achieved"], ".3f")
        line["MB"] = _number(row["size_bytes"] / 1e6, ".3f")
        line["minutes"] = _number(row["minutes"], ".1f")
        rows.append(line)
    return pd.DataFrame(rows).to_string(index=False)


def _difference_lines(board: Board, reference: str) -> str:
    changes = board.differences(reference)
    changes = changes[changes["seeds"] > 0]
    head = (
        f"Points above {reference} at the same budget [95 %], paired over images and seeds; losses in nats, where "
        "below zero is better:"
    )
    rows = []
    for (method, bits), part in changes.groupby(["method", "bits"], dropna=False, sort=False):
        if method == reference:
            continue
        by_figure = {row["figure"]: row for row in part.to_dict("records")}
        line = {"method": method, "bits": _number(bits, "g"), "seeds": part["seeds"].iloc[0]}
        names = [*COMPARED, *(ACCURACY_PREFIX + name for name in board.group_names)]
        for name in names:
            one = by_figure[name]
            title = FIGURE_TITLES.get(name, name.removeprefix(ACCURACY_PREFIX))
            line[title] = _interval(one, 100, "+z.1f")
        for name in LOSSES:
            line[FIGURE_TITLES[name]] = _interval(by_figure[name], 1, "+z.2f")
        rows.append(line)
    if not rows:
        return f"{head} nothing shares a seed with it yet."
    return head + "\n" + pd.DataFrame(rows).to_string(index=False)


def _number(value: Any, form: str) -> str:
    return "" if pd.isna(value) else f"{value:{form}}"


def _spread(mean: Any, deviation: Any) -> str:
    if pd.isna(mean):
        return ""
    return f"{100 * mean:.1f}" + ("" if pd.isna(deviation) else f" +-{100 * deviation:.1f}")


def _interval(row: Mapping[Any, Any], scale: float, form: str) -> str:
    value, low, high = (scale * row[name] for name in ("difference", "low", "high"))
    if pd.isna(value):
        return ""
    bounds = "too few changed" if pd.isna(low) else f"{low:{form}}, {high:{form}}"
    return f"{value:{form}} [{bounds}]"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(table.to_json(orient="records"))
