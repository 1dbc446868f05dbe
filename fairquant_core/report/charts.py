"""Figures of the report: intervals per group, changes against the limit, calibration, bits per layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from fairquant_core.report.svg import BLUE, INK, ORANGE, RULE, SOFT, Drawing, Scale
from fairquant_core.report.words import (
    VERDICTS,
    change,
    cut,
    figure,
    group_title,
    joined,
    known,
    number,
    percent,
    points,
    span,
)

WIDTH = 680
LABELS, NUMBERS = 150, 190
"""Space for the names on the left and for the figures on the right."""

PANELS_PER_ROW, TICKS, GUTTER = 3, 34, 18
FEWEST = 5
"""Bins of the calibration with fewer images say nothing and are not drawn; report.json holds them."""


@dataclass(frozen=True)
class Look:
    """How one model is drawn; the shape tells it apart without colour."""

    shape: str
    filled: bool
    colour: str
    dash: str = ""


LOOKS = (
    Look("circle", False, SOFT),
    Look("diamond", True, BLUE),
    Look("square", False, ORANGE, "4 3"),
    Look("triangle", False, INK, "2 3"),
)


def looks(models: Sequence[str], before: str, after: str) -> dict[str, Look]:
    """The same look for a model in every figure."""
    others = [model for model in models if model not in (before, after)]
    spare = {model: LOOKS[2 + place % 2] for place, model in enumerate(others)}
    return {before: LOOKS[0], after: LOOKS[1]} | spare


def accuracy_chart(found: Mapping[str, Any]) -> Markup:
    """Accuracy per group of every model with 95 % intervals.

    Parameters
    ----------
    found : "results" of the content.
    """
    rows = [row for row in found["accuracy"] if row["group"] != "unknown"]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    # Full precision, the candidate, then the naive ones.
    models.sort(key=lambda name: (name != found["before"], name != found["after"]))
    title = "Share of images that are right, from the original to the small classifier: " + joined(
        f"{group_title(group)} {percent(_of(rows, found['before'], group))} to "
        f"{percent(_of(rows, found['after'], group))}"
        for group in groups
    )
    style = looks(models, found["before"], found["after"])
    step, head = 19, 44
    block = step * len(models) + 12
    drawing = Drawing(WIDTH, head + block * len(groups) + 40, f"{title}.")
    ends = [row[end] for row in rows for end in ("low", "high", "value") if known(row[end])]
    scale = Scale(
        max(0.0, min(ends, default=0.0) - 0.03),
        min(1.0, max(ends, default=1.0) + 0.03),
        LABELS,
        WIDTH - NUMBERS,
    )
    _legend(drawing, style)
    bottom = head + block * len(groups)
    _axis(drawing, scale, head - 8, bottom, percent_axis=True)
    drawing.text(
        (scale.start + scale.end) / 2,
        bottom + 34,
        "share of audit images that are right (95 % interval)",
        anchor="middle",
        colour=SOFT,
    )
    for place, group in enumerate(groups):
        top = head + place * block
        if place:
            drawing.line((0, top - 4), (WIDTH, top - 4), colour=RULE, width=0.6)
        inside = {row["model"]: row for row in rows if row["group"] == group}
        n = max(int(row["n"] or 0) for row in inside.values())
        drawing.text(0, top + 14, cut(group_title(group), 24), bold=True)
        drawing.text(0, top + 30, f"{n:,} images", colour=SOFT, size=11)
        for line, model in enumerate(models):
            _interval_row(drawing, scale, top + 10 + line * step, inside.get(model), style[model])
    return drawing.markup()


def change_chart(found: Mapping[str, Any]) -> Markup:
    """The change per group with its interval, beside the limit that was set before.

    Parameters
    ----------
    found : "verdicts" of the content.
    """
    rows = [row for row in found["rows"] if known(row["difference"])]
    margin, metric = found["margin"], found["metric"]
    title = f"Change of {found['measure']} per group; the limit is a loss of {number(100 * margin, 1)} points: "
    title += joined(
        f"{group_title(row['group'])} {points(row['difference'])}, {VERDICTS[row['verdict']]}"
        for row in rows
    )
    head, block = 34, 40
    drawing = Drawing(WIDTH, head + block * max(1, len(rows)) + 40, f"{title}.")
    ends = [row[end] for row in rows for end in ("low", "high") if known(row[end])]
    reach = max([abs(end) for end in ends] + [1.5 * margin])
    scale = Scale(-1.1 * reach, 1.1 * reach, LABELS, WIDTH - NUMBERS)
    bottom = head + block * max(1, len(rows))
    drawing.hatched(scale.start, head - 8, scale(-margin) - scale.start, bottom - head + 8)
    _axis(drawing, scale, head - 8, bottom, percent_axis=False)
    drawing.line((scale(0), head - 8), (scale(0), bottom), colour=SOFT, width=1.2)
    drawing.line((scale(-margin), head - 16), (scale(-margin), bottom), width=2, dash="6 3")
    words = f"limit: {number(100 * margin, 1)} points lost"
    drawing.text(scale(-margin) + 5, head - 16, words, bold=True, size=11)
    drawing.text(
        (scale.start + scale.end) / 2,
        bottom + 34,
        "change in points; left is worse; hatched: more is lost than was agreed",
        anchor="middle",
        colour=SOFT,
    )
    for place, row in enumerate(rows):
        y = head + place * block + block / 2 - 2
        drawing.text(0, y - 2, cut(group_title(row["group"]), 24), bold=True)
        drawing.text(0, y + 13, f"{int(row['n']):,} images", colour=SOFT, size=11)
        if known(row["low"]) and known(row["high"]):
            drawing.interval(scale(row["low"]), scale(row["high"]), y, colour=BLUE)
        drawing.mark("diamond", scale(row["difference"]), y, BLUE, filled=True)
        text = f"{points(row['difference'])} ({span(row['low'], row['high'], metric, signed=True)})"
        if metric not in ("accuracy", "balanced accuracy", "sensitivity", "specificity"):
            text = f"{change(row['difference'], metric)}"
        drawing.text(WIDTH - NUMBERS + 12, y - 2, text, size=11)
        drawing.text(WIDTH - NUMBERS + 12, y + 13, VERDICTS[row["verdict"]], bold=True, size=11)
    return drawing.markup()


def overlap_chart(found: Mapping[str, Any]) -> Markup:
    """How much of the most important tenth stayed the same, per group.

    Parameters
    ----------
    found : "saliency" of the content.
    """
    rows = [row for row in found["by_group"] if row["group"] != "unknown"]
    title = "Overlap of the most important tenth of the picture, before and after: " + joined(
        f"{group_title(row['group'])} {percent(row['overlap'], 0)}" for row in rows
    )
    head, block = 16, 36
    bottom = head + block * max(1, len(rows))
    drawing = Drawing(WIDTH, bottom + 40, f"{title}.")
    scale = Scale(0, 1, LABELS, WIDTH - NUMBERS)
    _axis(drawing, scale, head - 8, bottom, percent_axis=True)
    drawing.text(
        (scale.start + scale.end) / 2,
        bottom + 34,
        "overlap of where it looks, before and after (100 %: the same place)",
        anchor="middle",
        colour=SOFT,
    )
    for place, row in enumerate(rows):
        y = head + place * block + block / 2 - 2
        drawing.text(0, y - 2, cut(group_title(row["group"]), 24), bold=True)
        drawing.text(0, y + 13, f"{int(row['n'] or 0):,} images", colour=SOFT, size=11)
        value = {
            "value": row["overlap"],
            "low": row["overlap_low"],
            "high": row["overlap_high"],
        }
        _interval_row(drawing, scale, y, value, LOOKS[1])
    return drawing.markup()


def calibration_chart(found: Mapping[str, Any]) -> Markup:
    """How often it is right over how sure it was: one panel per group.

    Parameters
    ----------
    found : "results" of the content.
    """
    rows = [row for row in found["calibration"] if row["group"] != "unknown"]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    style = looks((found["before"], found["after"]), found["before"], found["after"])
    across_page = 4 if len(groups) == 4 else PANELS_PER_ROW
    panel = WIDTH / across_page
    side = panel - TICKS - GUTTER
    lines = -(-len(groups) // across_page)
    title = (
        "Calibration per group: how often the classifier is right over how sure it was, beside the "
        "diagonal"
    )
    drawing = Drawing(WIDTH, 36 + lines * (side + 62), f"{title}.")
    _legend(drawing, style)
    for place, group in enumerate(groups):
        left = (place % across_page) * panel + TICKS
        top = 54 + (place // across_page) * (side + 62)
        across, up = Scale(0, 1, left, left + side), Scale(0, 1, top + side, top)
        drawing.text(left, top - 7, cut(group_title(group), 22), bold=True)
        drawing.rectangle(left, top, side, side, stroke=RULE)
        for tick in (0.0, 0.5, 1.0):
            label = f"{100 * tick:.0f} %"
            drawing.text(
                across(tick), top + side + 13, label, size=10, anchor="middle", colour=SOFT
            )
            drawing.text(left - 4, up(tick) + 4, label, size=10, anchor="end", colour=SOFT)
        drawing.line((left, top + side), (left + side, top), colour=SOFT, dash="3 3")
        words = "how sure it was"
        drawing.text(left + side / 2, top + side + 27, words, size=10, anchor="middle", colour=SOFT)
        for shift, (model, look) in zip((-2, 2), style.items(), strict=True):
            for row in rows:
                if (row["group"], row["model"]) != (group, model) or row["n"] < FEWEST:
                    continue
                x, y = across(row["confidence"]) + shift, up(row["accuracy"])
                if known(row["low"]) and known(row["high"]):
                    ends = (x, up(row["low"])), (x, up(row["high"]))
                    drawing.line(*ends, colour=look.colour, width=0.9)
                drawing.mark(look.shape, x, y, look.colour, filled=look.filled)
    return drawing.markup()


def width_chart(found: Mapping[str, Any]) -> Markup:
    """Share of the weights at every bit width, and the mean width of every layer in its order.

    Parameters
    ----------
    found : "compression" of the content.
    """
    widths, layers = found["widths"], found["layers"]
    title = "Share of the weights at each width: " + joined(
        f"{row['bits']} bits {percent(row['share'], 0)}" for row in widths if row["share"] > 0
    )
    drawing = Drawing(WIDTH, 176, f"{title}.")
    base, tall = 136, 100
    highest = max((row["share"] for row in widths), default=1.0) or 1.0
    for place, row in enumerate(widths):
        x = 6 + place * 30
        height = tall * row["share"] / highest
        drawing.rectangle(x, base - height, 22, height, fill=BLUE)
        if row["share"] > 0:
            words = f"{100 * row['share']:.0f} %" if row["share"] >= 0.005 else "<1 %"
            drawing.text(x + 11, base - height - 4, words, size=10, anchor="middle")
        drawing.text(x + 11, base + 14, str(row["bits"]), size=11, anchor="middle", colour=SOFT)
    drawing.line((0, base), (248, base), colour=SOFT)
    drawing.text(124, base + 32, "bits per weight (0: left out)", anchor="middle", colour=SOFT)
    left, right = 300, WIDTH
    up = Scale(0, 8, base, base - tall)
    for tick in (2, 4, 6, 8):
        drawing.line((left, up(tick)), (right, up(tick)), colour=RULE, width=0.6)
        drawing.text(left - 5, up(tick) + 4, str(tick), size=10, anchor="end", colour=SOFT)
    step = (right - left) / max(1, len(layers))
    for place, row in enumerate(layers):
        top = up(row["bits"])
        drawing.rectangle(left + place * step + 0.1 * step, top, 0.8 * step, base - top, fill=SOFT)
    drawing.line((left, base), (right, base), colour=SOFT)
    drawing.text(left, base + 14, "1", size=10, colour=SOFT)
    drawing.text(right, base + 14, str(len(layers)), size=10, anchor="end", colour=SOFT)
    drawing.text(
        (left + right) / 2,
        base + 32,
        "mean bits of each layer, from the picture (left) to the answer",
        anchor="middle",
        colour=SOFT,
    )
    return drawing.markup()


def _of(rows: Sequence[Mapping[str, Any]], model: str, group: str) -> float | None:
    return next((r["value"] for r in rows if (r["model"], r["group"]) == (model, group)), None)


def _interval_row(
    drawing: Drawing, scale: Scale, y: float, row: Mapping[str, Any] | None, look: Look
) -> None:
    right = WIDTH - NUMBERS + 12
    if row is None or not known(row["value"]):
        drawing.text(right, y + 4, "not estimable", size=11, colour=SOFT)
        return
    if known(row["low"]) and known(row["high"]):
        ends = scale(row["low"]), scale(row["high"])
        drawing.interval(*ends, y, colour=look.colour, dash=look.dash)
    drawing.mark(look.shape, scale(row["value"]), y, look.colour, filled=look.filled)
    ends_words = span(row["low"], row["high"], "accuracy")
    text = figure(row["value"], "accuracy") + (f" ({ends_words})" if ends_words else "")
    drawing.text(right, y + 4, text, size=11)


def _legend(drawing: Drawing, style: Mapping[str, Look]) -> None:
    x = 8.0
    for model, look in style.items():
        drawing.mark(look.shape, x, 12, look.colour, filled=look.filled)
        words = cut({LOOKS[0]: "original", LOOKS[1]: "small"}.get(look, model), 34)
        drawing.text(x + 11, 16, words)
        x += 11 + 6.4 * len(words) + 24


def _axis(drawing: Drawing, scale: Scale, top: float, bottom: float, *, percent_axis: bool) -> None:
    for tick in scale.ticks():
        drawing.line((scale(tick), top), (scale(tick), bottom), colour=RULE, width=0.6)
        text = f"{100 * tick:g} %" if percent_axis else f"{100 * tick:+g}".replace("+0", "0")
        drawing.text(scale(tick), bottom + 15, text, size=11, anchor="middle", colour=SOFT)
