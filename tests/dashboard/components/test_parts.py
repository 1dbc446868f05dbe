"""Small parts of the pages: glossary, chips, measures, labels and the order of pictures."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from dashboard.backend.views import DecisionKind, JobKind, JobState, ReviewState
from dashboard.components import cards, chips, glossary, header, live, measures
from dashboard.components.budget import sections as budget_sections
from dashboard.components.review import sections as review_sections
from tests.dashboard.made_data import GROUPS, job_view, predictions, run_view

ROOT = Path(__file__).resolve().parents[3]


def test_glossary_has_plain_and_technical_words_for_every_entry() -> None:
    raw = json.loads((ROOT / "assets" / "glossary.json").read_text("utf-8"))

    assert all(set(entry) == {"plain", "technical"} for entry in raw.values())
    assert all(entry.plain.endswith(".") for entry in glossary.entries().values())


def test_every_tip_that_the_pages_ask_for_exists() -> None:
    sources = [
        *(ROOT / "dashboard" / "components").rglob("*.py"),
        *(ROOT / "dashboard" / "app_pages").glob("*.py"),
    ]
    asked = {
        piece.split('"')[0]
        for source in sources
        for piece in source.read_text("utf-8").split('tip("')[1:]
    }

    assert asked
    assert asked <= set(glossary.entries())


def test_missing_evidence_does_not_look_like_a_pass() -> None:
    chip = chips.verdict_chip("INSUFFICIENT EVIDENCE")

    assert chip.colour != chips.verdict_chip("WITHIN").colour
    assert chip.icon != chips.verdict_chip("WITHIN").icon
    assert chips.verdict_chip(None) is chips.NOT_JUDGED


def test_every_state_has_a_chip_and_every_decision_a_title() -> None:
    assert set(chips.STATES) == set(JobState)
    assert set(chips.REVIEWS) == set(ReviewState)
    assert set(review_sections.DECISIONS) == set(DecisionKind)


def test_cancelled_is_not_shown_as_failed() -> None:
    assert chips.STATES[JobState.CANCELLED] != chips.STATES[JobState.FAILED]


def test_progress_is_a_step_of_steps_never_beyond_the_ends() -> None:
    assert live.fraction(job_view(state=JobState.RUNNING, step=3, steps=12)) == 0.25
    assert live.fraction(job_view(state=JobState.RUNNING, step=9, steps=0)) == 0.0
    assert live.fraction(job_view(state=JobState.RUNNING, step=13, steps=12)) == 1.0


def test_progress_within_an_epoch_counts_what_is_done() -> None:
    job = job_view(state=JobState.RUNNING, step=1, steps=2, figures={"epoch_share": 0.5})

    assert live.fraction(job) == 0.25


def test_unfinished_run_says_its_state_in_the_list() -> None:
    assert header.run_label(run_view()) == "Learned bit-widths (BAQ), 4 bits, seed 0"
    assert header.run_label(run_view(state=JobState.FAILED)).endswith("(failed)")


@pytest.mark.parametrize(
    ("job", "place"),
    [
        (run_view(), ("compare", "run-1")),
        (run_view(state=JobState.FAILED), ("runs", "run-1")),
        (job_view(JobKind.SALIENCY, run_id="run-1"), ("saliency", "run-1")),
        (job_view(JobKind.SENSITIVITY), ("sensitivity", None)),
    ],
    ids=["finished run", "failed run", "saliency", "sensitivity"],
)
def test_every_job_opens_where_its_result_is(job, place) -> None:
    assert cards.destination(job) == place


def test_loss_rise_is_the_mean_cross_entropy_per_group() -> None:
    table = predictions().part("audit")
    assigned = table.groups("skin_type", "fst3")

    rises = measures.loss_rise(table, "full precision", "candidate", assigned, GROUPS)

    one = (assigned == "FST V-VI").to_numpy()
    own = np.arange(len(table)), table.labels
    before = -np.log(table.probabilities("full precision")[own])[one]
    after = -np.log(table.probabilities("candidate")[own])[one]
    assert rises["FST V-VI"] == pytest.approx((after - before).mean(), abs=1e-6)


def test_loss_rise_leaves_out_groups_without_images() -> None:
    table = predictions().part("audit")
    assigned = table.groups("skin_type", "fst3")

    rises = measures.loss_rise(table, "full precision", "full precision", assigned, ["FST IX"])

    assert rises == {}


@pytest.mark.parametrize(
    ("naive", "words"),
    [
        (0.16, "38 % less harm"),
        (1.0, "far less harm"),
        (0.1, "as much harm"),
        (0.05, "more harm"),
        (None, "pays most"),
    ],
)
def test_consequence_is_told_beside_the_simple_way(naive: float | None, words: str) -> None:
    assert words in budget_sections.plain_consequence(0.1, naive, 4, "pays most")


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_theme_has_enough_contrast(mode: str) -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))
    theme = config["theme"][mode]

    for surface in ("backgroundColor", "secondaryBackgroundColor"):
        assert contrast(theme["textColor"], theme[surface]) >= 7
        assert contrast(theme["linkColor"], theme[surface]) >= 4.5
    assert contrast("#FFFFFF", theme["primaryColor"]) >= 4.5
    for name in ("green", "red", "orange", "yellow", "blue", "violet", "gray"):
        assert contrast(theme[f"{name}TextColor"], theme[f"{name}BackgroundColor"]) >= 4.5


def test_nothing_is_sent_and_only_this_machine_is_served() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))

    assert config["browser"]["gatherUsageStats"] is False
    assert config["server"]["address"] == "127.0.0.1"
    assert config["client"]["showErrorDetails"] == "none"


STYLE_ONLY = 'st.html(ROOT / "dashboard" / "style.css")'
"""A file that holds nothing but what the theme cannot say."""

SCROLL_ONLY = "st.html(SCROLL_UP, unsafe_allow_javascript=True)"
"""A constant that nothing anybody typed can reach."""


def test_no_page_uses_raw_html() -> None:
    # Split, so that this file does not find itself.
    forbidden = ("unsafe_allow" + "_html", "st.html(", "components.v1")
    for source in (ROOT / "dashboard").rglob("*.py"):
        text = source.read_text("utf-8").replace(STYLE_ONLY, "").replace(SCROLL_ONLY, "")
        assert not any(word in text for word in forbidden), source
