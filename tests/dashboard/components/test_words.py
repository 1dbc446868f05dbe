"""Numbers and names in words; the examples in the docstrings are tests too."""

from __future__ import annotations

import doctest
import math

import pytest

from dashboard.components import limit_words, words
from fairquant_core.audit.criteria import Limits
from fairquant_core.data.skin_tone import SCHEMES


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


@pytest.mark.parametrize("scheme", [name for name, one in SCHEMES.items() if one.groups])
def test_titles_of_groupings_are_those_of_the_core(scheme: str) -> None:
    title = words.SCHEME_TITLES[scheme]
    names = [group.split(" ", 1)[1] for group in SCHEMES[scheme].groups]

    shown = names if len(names) <= 3 else [names[0], names[-1]]
    assert all(name in title for name in shown)


def test_the_limits_say_everything_that_was_set() -> None:
    assert doctest.testmod(limit_words).failed == 0
    limits = Limits("sensitivity", 0.05, 10, ("FST V-VI",), ("melanoma",), minimum_negatives=30)

    text = limit_words.limits_paragraph(limits)

    assert text.startswith("Types V-VI may not lose more than 5 points of sensitivity for melanoma")
    assert "10 photographs of melanoma and 30 of other conditions" in text
    assert "the other groups are shown, but do not decide" in text
