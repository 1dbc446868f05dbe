"""Numbers and names in words; the examples in the docstrings are tests too."""

from __future__ import annotations

import doctest
import math

import pytest

from dashboard.components import words


def test_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(words).failed == 0


@pytest.mark.parametrize(
    "say", [words.percent, words.points, words.nats], ids=lambda say: say.__name__
)
@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_figure_is_not_estimable_and_never_zero(say, missing) -> None:
    assert say(missing) == "not estimable"


def test_interval_with_one_missing_end_is_not_estimable() -> None:
    assert words.interval(0.1, math.nan) == "not estimable"


@pytest.mark.parametrize(("value", "text"), [(-0.0001, "0.0 points"), (0.0004, "0.0 points")])
def test_rounded_zero_has_no_sign(value: float, text: str) -> None:
    assert words.points(value, sign=True) == text


def test_groups_keep_scale_and_source() -> None:
    text = words.groups_with_source(("FST I-II", "FST V-VI", "unknown"), "Scale AI annotators")

    assert text == "FST I-II, V-VI (Scale AI annotators)"


def test_groups_that_are_no_skin_types_keep_their_names() -> None:
    assert words.groups_with_source(("female", "male"), "") == "female, male"


@pytest.mark.parametrize("typed", ["**bold**", ":red[x]", "<b>", "a_b", "`x`", "$y$", "[l](u)"])
def test_typed_text_is_not_markdown(typed: str) -> None:
    marks = "*:`$[<_"
    escaped = words.escaped(typed)

    assert escaped.replace("\\", "") == typed
    assert all(f"\\{mark}" in escaped for mark in marks if mark in typed)


def test_a_strange_time_stamp_is_shown_as_it_is() -> None:
    assert words.when("yesterday") == "yesterday"
