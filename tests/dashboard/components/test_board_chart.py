"""The chart of all candidates as data: what is drawn, joined and said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dashboard.backend.views import BoardView, SweepPlan
from dashboard.components.charts import board
from dashboard.components.runs import board as board_sections
from fairquant_core.audit.board import mean_over_seeds, on_front

POINTS = (
    ("as_given", "Full precision, as given", np.nan, np.nan, 9_000_000, 0.60),
    ("baq", "BAQ", 4.0, 0, 1_500_000, 0.58),
    ("baq", "BAQ", 4.0, 1, 1_500_000, 0.62),
    ("baq", "BAQ", 3.0, 0, 1_200_000, 0.50),
    ("uniform", "Uniform", 4.0, 0, 1_500_000, 0.40),
)


@pytest.fixture
def candidates() -> pd.DataFrame:
    names = ["method", "title", "bits", "seed", "size_bytes", "worst"]
    frame = pd.DataFrame(POINTS, columns=names).assign(
        images=100,
        accuracy=0.7,
        gap=0.1,
        worst_group="FST V-VI",
        bits_achieved=lambda table: table["bits"],
        minutes=2.0,
        verdict="WITHIN",
        worst_low=lambda table: table["worst"] - 0.1,
        worst_high=lambda table: table["worst"] + 0.1,
    )
    frame["on_front"] = on_front(frame["size_bytes"], frame["worst"])
    return frame


@pytest.fixture
def means(candidates: pd.DataFrame) -> pd.DataFrame:
    table = mean_over_seeds(candidates)
    table["on_front"] = on_front(table["size_bytes"], table["worst"])
    return table


def test_every_candidate_is_drawn(candidates: pd.DataFrame, means: pd.DataFrame) -> None:
    traces = {trace.name: trace for trace in board.pareto(candidates, means).data}
    assert list(traces["BAQ"].x) == pytest.approx([1.2, 1.5])
    assert list(traces["BAQ"].y) == pytest.approx([0.50, 0.60])
    assert list(traces["one seed each"].y) == [0.58, 0.62]
    assert len(traces["Uniform"].x) == len(traces["Full precision, as given"].x) == 1
    assert list(traces["BAQ"].error_y.array) == pytest.approx([0.1, 0.1])
    # As large as BAQ at 4 bits, and drawn beside it.
    assert traces["Uniform"].x[0] == pytest.approx(1.5 * np.exp(0.04))
    looks = {(trace.marker.color, trace.marker.symbol) for name, trace in traces.items()}
    assert len(looks) == len(traces)


def test_front_joins_those_that_nobody_beats(candidates: pd.DataFrame, means: pd.DataFrame) -> None:
    front = next(t for t in board.pareto(candidates, means).data if t.name == board.FRONT)
    # Full precision is larger than the mean of BAQ at 4 bits and no better.
    assert list(front.x) == pytest.approx([1.2, 1.5]) and front.line.shape == "hv"
    alt = board.pareto_alt(means)
    assert alt.startswith("Of 4 candidates") and "BAQ, 3 bits (1.2 MB, 50 %)" in alt
    assert "no candidate can be placed" in board.pareto_alt(means.assign(on_front=False))


def test_hover_names_method_bits_and_seeds(candidates: pd.DataFrame, means: pd.DataFrame) -> None:
    traces = {trace.name: trace for trace in board.pareto(candidates, means).data}
    assert "BAQ, 4 bits" in traces["BAQ"].text[1] and "mean of 2 seeds" in traces["BAQ"].text[1]
    assert "seed 1" in traces["one seed each"].text[1]
    assert "probably 40 to 60 %" in traces["BAQ"].text[0]


@pytest.fixture
def changes() -> pd.DataFrame:
    """One group that lost a little, one without an image."""
    names = ["title", "bits", "seed", "group", "n", "difference", "low", "high", "verdict"]
    rows = [
        ("BAQ", 3.0, 0, "FST V-VI", 128, -0.03, -0.07, 0.01, "INSUFFICIENT EVIDENCE"),
        ("BAQ", 3.0, 0, "FST I-II", 0, np.nan, np.nan, np.nan, ""),
    ]
    return pd.DataFrame(rows, columns=names)


def test_twelve_methods_look_different(means: pd.DataFrame) -> None:
    looks = {board._look(place, f"method {place}") for place in range(12)}
    assert len(looks) == 12


def test_sentence_names_the_best_and_the_smallest(
    candidates: pd.DataFrame, means: pd.DataFrame, changes: pd.DataFrame
) -> None:
    found = BoardView(candidates, means, changes, waiting=2, stopped=1)
    sentence = board_sections.board_sentence(found)
    assert sentence == (
        "BAQ, 4 bits (60.0 %, 1.5 MB) serves its worst group best; the smallest is BAQ, 3 bits (50.0 %, 1.2 MB). "
        "2 runs still to come and 1 run stopped early."
    )
    nothing = BoardView(candidates, means.assign(worst=np.nan), changes, 0, 0)
    assert board_sections.board_sentence(nothing).startswith("No group has enough photographs")


def test_tables_are_in_percent(
    candidates: pd.DataFrame, means: pd.DataFrame, changes: pd.DataFrame
) -> None:
    found = BoardView(candidates, means, changes, 0, 0)
    table = board_sections.means_table(found)
    row = table[(table["method"] == "BAQ") & (table["bits"] == 4)].iloc[0]
    assert row["worst"] == pytest.approx(60) and row["megabytes"] == 1.5
    assert row["worst_sd"] == pytest.approx(100 * np.std([0.58, 0.62], ddof=1))
    assert len(board_sections.single_table(found)) == len(POINTS)
    lost = board_sections.changes_table(found).iloc[0]
    assert lost[["difference", "low", "high"]].tolist() == pytest.approx([-3, -7, 1])
    assert lost["verdict"] == "Insufficient evidence" and pd.isna(
        board_sections.changes_table(found)["low"].iloc[1]
    )


def test_plan_in_words() -> None:
    plan = SweepPlan(
        ({}, {}, {}), 1, (("Uniform", 2.5, "not 2.5"), ("Absmax", 2.5, "not 2.5")), 600
    )
    text = board_sections.plan_words(plan)
    assert text.startswith("3 runs in all, 1 of them there already.")
    assert "about 10 minutes" in text and "Uniform at 2.5 bits and Absmax at 2.5 bits." in text
