"""What the check of the files found, as sentences and tables. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dashboard.backend.export.exports import ExportView
from dashboard.backend.views import JobState
from dashboard.components.words import counted, group_words, groups_words, megabytes

Check = Mapping[str, Any]

NOT_CHECKED = (
    "Not known yet: the file that would leave has not been written. It will be opened in a stock runtime, and every "
    "audit photograph will be classified with it again."
)
BEING_CHECKED = (
    "The file is being written and compared with the audited model on every audit photograph."
)
GONE = "Not known any more: the files that were checked are gone."
NOTHING = "–"
STOPPED = "Not known: the check did not reach its end."


def same_sentence(view: ExportView | None) -> str:
    """Answer "Is the file really the model that was audited?" in plain words."""
    if view is None:
        return NOT_CHECKED
    if view.check is None:
        if view.job.state.active:
            return BEING_CHECKED
        return GONE if view.job.state == JobState.FINISHED else STOPPED
    audited, parity = view.check["audited"], view.check["parity"]
    images = counted(audited["images"], "audit photograph")
    if view.own_audit is not None:
        other = audited["images"] - audited["same_class"]
        return (
            "Not to the last bit, because this model also rounds what flows between its layers: "
            f"{other} of {images} get another class. The file was therefore audited on its own; its verdict is "
            f"{view.own_audit.get('verdict')}."
        )
    if view.objections:
        return "No. The file may not leave as it is; the reasons stand below."
    groups = [row["group"] for row in parity["by_group"]]
    return (
        f"Yes. On all {images} the file names the same class as the model that was audited: "
        f"for {groups_words(groups)} alike."
    )


def difference_sentence(check: Check) -> str:
    """Say how far the scores lie apart, for the engineer."""
    parity, audited = check["parity"], check["audited"]
    return (
        f"Largest difference of a logit: {parity['overall']['largest_difference']:.1e} of the largest logit "
        f"(limit {parity['limit']:.0e}); of a probability beside the audited table: "
        f"{audited['largest_difference']:.1e}."
    )


def parity_frame(view: ExportView) -> pd.DataFrame:
    """[group, photographs, same class, largest difference] of the exact file, and of the fast one if offered."""
    assert view.check is not None
    rows = _by_group(view.check)
    if view.fast is not None and view.fast_audit is not None:
        other = _by_group(view.fast).set_index("group")
        rows["same class, fast file"] = rows["group"].map(other["same class"])
    return rows


def _by_group(check: Check) -> pd.DataFrame:
    parity = check["parity"]
    parts = [*parity["by_group"], {**parity["overall"], "group": "overall"}]
    return pd.DataFrame(
        {
            "group": [part["group"] for part in parts],
            "photographs": [part["images"] for part in parts],
            "same class": [part["same_class"] for part in parts],
            "largest difference": [part["largest_difference"] for part in parts],
        }
    )


def group_name(group: str) -> str:
    """A group at the beginning of a row."""
    return "All photographs" if group == "overall" else group_words(group)


def cost_frame(view: ExportView) -> pd.DataFrame:
    """What the exact file costs beside an ordinary float32 file, and the fast one where it was measured.

    Returns
    -------
    DataFrame with the columns figure, exact file, float32 file and perhaps fast file; texts with their units.
    """
    check = view.check
    assert check is not None
    size, latency = check["size"], check["latency"]
    asked = size["bits_requested"]
    achieved = f"{size['bits_achieved']:.3f}" + (f" (asked: {asked:g})" if asked else "")
    rows = {
        "Size on disk": (megabytes(size["on_disk"]), megabytes(size["float32"])),
        "Ideal: packed weights, scales, widths, kept numbers": (ideal_words(size), NOTHING),
        "Bits per weight": (achieved, "32"),
        "Time to open": (seconds(check["opening"]), seconds(check["opening_float32"])),
        "Memory once open": (memory(check["opening"]), memory(check["opening_float32"])),
        "Time for one photograph": (
            milliseconds(latency["milliseconds"]),
            milliseconds(latency["baseline_milliseconds"]),
        ),
        "Time beside the float32 file": (ratio(latency), "1"),
    }
    frame = pd.DataFrame(
        [(name, *values) for name, values in rows.items()],
        columns=["figure", "exact file", "float32 file"],
    )
    fast = view.fast
    if fast is not None:
        frame["fast file"] = [
            megabytes(fast["size"]["on_disk"]),
            NOTHING,
            achieved,
            seconds(fast["opening"]),
            memory(fast["opening"]),
            milliseconds(fast["latency"]["milliseconds"]),
            ratio(fast["latency"]),
        ]
    return frame


def ideal_words(size: Check) -> str:
    """Say how small the file could be, how many times that it takes, and whether that is more than aimed at.

    >>> ideal_words({"on_disk": 1_070_000, "ideal": 1_000_000, "limit": 1.05})
    '1.0 MB; the file takes 1.070 times that, more than the 1.05 times aimed at'
    """
    ratio, limit = size["on_disk"] / size["ideal"], size.get("limit")
    text = f"{megabytes(size['ideal'])}; the file takes {ratio:.3f} times that"
    if limit is None:
        return text
    more = f"more than the {limit:.2f} times aimed at"
    return f"{text}, {more}" if ratio > limit else f"{text} (aimed at: at most {limit:.2f})"


def seconds(opening: Check) -> str:
    """How long opening takes."""
    return f"{opening['seconds']:.2f} s"


def memory(opening: Check) -> str:
    """What stays in memory once it is open."""
    return megabytes(opening["bytes_after"])


def milliseconds(value: float) -> str:
    """Median time of one photograph."""
    return f"{value:.1f} ms"


def ratio(latency: Check) -> str:
    """How long it takes beside the float32 file, with the interval.

    >>> ratio({"ratio": 0.38, "low": 0.36, "high": 0.4})
    '0.38 times (95 %: 0.36 to 0.40)'
    """
    low, high = latency["low"], latency["high"]
    return f"{latency['ratio']:.2f} times (95 %: {low:.2f} to {high:.2f})"


def fast_sentence(view: ExportView) -> str:
    """Say whether there is a fast file, how fast it is and what its own audit says; or why there is none."""
    if not view.fast_offered:
        return view.fast_why_not
    assert view.fast is not None and view.fast_audit is not None
    audited = view.fast["audited"]
    other = audited["images"] - audited["same_class"]
    return (
        f"There is a fast file too: it takes {ratio(view.fast['latency'])} the time of the float32 file here. It "
        f"computes with whole numbers and is therefore another classifier: {other} of "
        f"{counted(audited['images'], 'audit photograph')} get another class. It has an audit and a verdict of its "
        "own, and leaves only together with an approval that has seen them."
    )


def runtime_frame(check: Check) -> pd.DataFrame:
    """[program, computes in, weights, checked]."""
    frame = pd.DataFrame(check["runtimes"])
    return frame.rename(columns={"computes_in": "computes in"})
