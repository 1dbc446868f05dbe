"""What is said about a run: how far it is, what came out, how far its widths moved. Pure functions."""

from __future__ import annotations

import pandas as pd

from dashboard.backend.views import JobState, RunView
from dashboard.components.words import (
    capital,
    known,
    megabytes,
    percent,
    time_left,
)

MOVED_BITS = 0.05
"""A layer's mean width has moved when it changed by more than this; less cannot be seen."""

LEAST_SHARE = 0.001
"""Smaller shares of moved widths are not told apart."""


def run_sentence(run: RunView, epochs: pd.DataFrame) -> str:
    """Say how training goes: "Epoch 3 of 10, worst group 46 %, 12 minutes left.\""""
    if run.state == JobState.QUEUED:
        return "Waiting for its turn; one job runs at a time."
    if run.state == JobState.RUNNING:
        parts = []
        if not epochs.empty and epochs["epoch"].iloc[-1] > 0:
            last = epochs.iloc[-1]
            done = min(int(last["epoch"]), int(last["epochs"]))
            parts.append(f"epoch {done} of {int(last['epochs'])} is done")
            if known(last["worst_group_accuracy"]):
                parts.append(f"worst group {percent(last['worst_group_accuracy'])}")
        else:
            parts.append(run.stage or "starting")
        if run.seconds_left is not None:
            parts.append(time_left(run.seconds_left))
        return capital(", ".join(parts)) + "."
    if run.state == JobState.FINISHED:
        return f"Finished: {achieved(run)}."
    if run.state == JobState.CANCELLED:
        return (
            "Cancelled by a person; nothing is wrong. It can be resumed from its last checkpoint."
        )
    if run.state == JobState.INTERRUPTED:
        return "Interrupted: the worker stopped. Resume continues from the last checkpoint."
    return f"Failed: {run.error or 'no reason was recorded'}"


def moment(epoch: float, epochs: float) -> str:
    """Return what a point of the curves is: "epoch 3", or the average that follows the last epoch."""
    return "averaging" if epoch > epochs else f"epoch {int(epoch)}"


def averaging_sentence(epochs: pd.DataFrame) -> str:
    """Say what the averaging after the last epoch did; "" where nothing was averaged."""
    ended = epochs[epochs["epoch"] > epochs["epochs"]]
    trained = epochs[epochs["epoch"] == epochs["epochs"]]
    if ended.empty or trained.empty:
        return ""
    before, after = (percent(rows["worst_group_accuracy"].iloc[0]) for rows in (trained, ended))
    return (
        "After the last epoch the trained weights were averaged with those before the training and rounded "
        f"anew: worst group {before} before, {after} after (validation photographs)."
    )


def achieved(run: RunView) -> str:
    """Return asked and achieved bits with the size of the packed file."""
    text = f"{run.bits:g} bits asked"
    if run.achieved_bits is not None:
        text += f", {run.achieved_bits:.2f} achieved"
    if run.bytes_packed:
        text += f", {megabytes(run.bytes_packed)}"
    return text


def trajectory_sentence(bits: pd.DataFrame, moved: float, unit: str) -> str:
    """Say how many widths are no longer those of the plan, and how far layers moved on average.

    Parameters
    ----------
    bits : [epoch, layer, bits].
    moved : share of the units with another width than planned; NaN where that was not kept.
    unit : what has a width of its own, "channel" or "layer".

    Examples
    --------
    >>> bits = pd.DataFrame({"epoch": [0, 1], "layer": "a", "bits": [4.0, 4.02]})
    >>> trajectory_sentence(bits, 0.017, "channel")
    "1.7 % of the channels have another width than planned; no layer's mean moved by more than 0.05 bits."
    """
    if bits.empty:
        return "No epoch has finished yet."
    if bits["epoch"].nunique() < 2:
        return "The widths of the plan; whether they move is seen after the first epoch."
    spread = bits.groupby("layer")["bits"].agg(lambda widths: widths.max() - widths.min())
    far = int((spread > MOVED_BITS).sum())
    means = f"no layer's mean moved by more than {MOVED_BITS:g} bits."
    if spread.max() == 0:
        means = f"all {len(spread)} lines are flat."
    elif far:
        means = (
            f"the mean of {far} of {len(spread)} layers moved by more than {MOVED_BITS:g} bits, at most "
            f"by {spread.max():.2f}."
        )
    if not known(moved):
        return capital(means)
    if not moved:
        return f"Every {unit} has the width that was planned; {means}"
    share = percent(moved, 1) if moved >= LEAST_SHARE else f"Less than {percent(LEAST_SHARE, 1)}"
    return f"{share} of the {unit}s have another width than planned; {means}"
