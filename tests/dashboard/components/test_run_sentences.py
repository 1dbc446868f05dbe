"""What is said about a run, from figures with a known answer."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from dashboard.backend.views import JobState
from dashboard.components import run_sentences
from tests.dashboard.made_data import epochs_frame, run_view

ANOTHER = "of the channels have another width than planned"


def test_running_training_says_epoch_worst_group_and_time() -> None:
    run = run_view(state=JobState.RUNNING, seconds_left=720.0)

    text = run_sentences.run_sentence(run, epochs_frame(3, 10))

    assert text == "Epoch 3 of 10 is done, worst group 46 %, about 12 minutes left."


@pytest.mark.parametrize(
    ("state", "start"),
    [
        (JobState.QUEUED, "Waiting for its turn"),
        (JobState.CANCELLED, "Cancelled by a person; nothing is wrong"),
        (JobState.INTERRUPTED, "Interrupted"),
        (JobState.FAILED, "Failed: out of memory"),
    ],
)
def test_every_end_of_a_run_has_its_own_words(state: JobState, start: str) -> None:
    run = run_view(state=state, error="out of memory")

    assert run_sentences.run_sentence(run, epochs_frame(0)).startswith(start)


def test_what_the_averaging_did_is_said() -> None:
    """The last point of the curves is not an epoch but what came out."""
    epochs = epochs_frame(5, 4)

    text = run_sentences.averaging_sentence(epochs)

    assert text.endswith("worst group 48 % before, 50 % after (validation photographs).")
    assert run_sentences.averaging_sentence(epochs_frame(4, 4)) == ""
    assert [run_sentences.moment(epoch, 4) for epoch in (4, 5)] == ["epoch 4", "averaging"]
    run = run_view(state=JobState.RUNNING, seconds_left=None)
    assert run_sentences.run_sentence(run, epochs) == "Epoch 4 of 4 is done, worst group 50 %."


@pytest.mark.parametrize(
    ("last", "moved", "said"),
    [
        (4, 0.0, "Every channel has the width that was planned; all 2 lines are flat."),
        (4, math.nan, "All 2 lines are flat."),
        (4.01, 0.0004, f"Less than 0.1 % {ANOTHER}; no layer's mean moved"),
        (4.2, 0.017, f"1.7 % {ANOTHER}; the mean of 1 of 2 layers moved"),
    ],
)
def test_how_far_widths_moved_is_told_of_channels_and_layers(
    last: float, moved: float, said: str
) -> None:
    """A layer's mean may stay although its channels changed."""
    bits = pd.DataFrame(
        {"epoch": [0, 1, 0, 1], "layer": ["a", "a", "b", "b"], "bits": [4, last, 3, 3]}
    )

    assert run_sentences.trajectory_sentence(bits, moved, "channel").startswith(said)


def test_one_epoch_alone_is_not_called_flat() -> None:
    bits = pd.DataFrame({"epoch": [1], "layer": ["a"], "bits": [4]})

    assert "flat" not in run_sentences.trajectory_sentence(bits, 0.0, "channel")
