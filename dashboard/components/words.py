"""Numbers, names and states as a person would say them. Pure functions; no Streamlit.

What the report says alike is taken from there; its figures differ: they keep a number and its unit on
one line and have a longer minus, which a page that is searched and copied from should not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairquant_core.report.words import NOT_ESTIMABLE as NOT_ESTIMABLE
from fairquant_core.report.words import capital as capital
from fairquant_core.report.words import counted as counted
from fairquant_core.report.words import joined as joined
from fairquant_core.report.words import known as known
from fairquant_core.report.words import short as short
from fairquant_core.report.words import when as when

MINUTE = 60.0
HOUR = 3600.0

VERDICT_LABELS = {
    "WITHIN": "Within the limit",
    "OUTSIDE": "Outside the limit",
    "INSUFFICIENT EVIDENCE": "Insufficient evidence",
}
"""What a chip says. The third is a verdict of its own and never a pass."""

SMALL_NUMBERS = (
    *("no", "one", "two", "three", "four", "five"),
    *("six", "seven", "eight", "nine", "ten"),
)

SCHEME_TITLES = {
    "fst6": "six types, I to VI",
    "fst3": "three groups: I-II, III-IV, V-VI",
    "fst2": "two groups: I-III, IV-VI",
    "mst10": "ten Monk tones, 1 to 10",
    "mst3": "three groups: Monk 1-3, 4-6, 7-10",
    "values": "each value of the column",
}

KIND_TITLES = {
    "prepare": "Preparing the case",
    "sensitivity": "Measuring the layers",
    "run": "Run",
    "saliency": "Drawing where it looks",
    "export": "Checking the files",
    "report": "Writing the report",
}


def spelled(number: int) -> str:
    """Return small numbers as words, as prose does.

    Examples
    --------
    >>> spelled(2), spelled(14)
    ('two', '14')
    """
    return SMALL_NUMBERS[number] if 0 <= number < len(SMALL_NUMBERS) else f"{number:,}"


def percent(fraction: float | None, digits: int = 0) -> str:
    """Return a fraction as a percentage; a missing one as "not estimable".

    Examples
    --------
    >>> percent(0.462), percent(0.4625, 1), percent(None)
    ('46 %', '46.2 %', 'not estimable')
    """
    if fraction is None or math.isnan(fraction):
        return NOT_ESTIMABLE
    return f"{_unsigned_zero(100 * fraction, digits)} %"


def points(fraction: float | None, digits: int = 1, sign: bool = False) -> str:
    """Return a difference of accuracies in percentage points.

    Examples
    --------
    >>> points(0.031), points(0.01), points(-0.02, sign=True)
    ('3.1 points', '1.0 point', '-2.0 points')
    """
    if fraction is None or math.isnan(fraction):
        return NOT_ESTIMABLE
    text = _unsigned_zero(100 * fraction, digits)
    if sign and fraction > 0 and float(text) != 0:
        text = f"+{text}"
    return f"{text} {'point' if abs(float(text)) == 1 else 'points'}"


def nats(value: float | None) -> str:
    """Return a rise of the loss with just enough digits.

    Examples
    --------
    >>> nats(0.0612), nats(0.0004), nats(1.5)
    ('0.06 nats', '0.0004 nats', '1.50 nats')
    """
    if value is None or math.isnan(value):
        return NOT_ESTIMABLE
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.2f} nats"
    return f"{value:.1g} nats"


def interval(low: float | None, high: float | None, digits: int = 0, unit: str = " %") -> str:
    """Return a 95 % interval of fractions in per cent, or "not estimable".

    Examples
    --------
    >>> interval(0.38, 0.55)
    '38 to 55 %'
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return NOT_ESTIMABLE
    return f"{_unsigned_zero(100 * low, digits)} to {_unsigned_zero(100 * high, digits)}{unit}"


def megabytes(size: float) -> str:
    """Return a size in megabytes of 10^6 bytes.

    Examples
    --------
    >>> megabytes(1_400_000), megabytes(250_000)
    ('1.4 MB', '0.25 MB')
    """
    amount = size / 1e6
    return (
        f"{amount:.0f} MB"
        if amount >= 100
        else f"{amount:.1f} MB"
        if amount >= 1
        else f"{amount:.2f} MB"
    )


def duration(seconds: float | None) -> str:
    """Return a rough length of time.

    Examples
    --------
    >>> duration(12), duration(700), duration(5400), duration(None)
    ('12 seconds', '12 minutes', '1.5 hours', 'time unknown')
    """
    if seconds is None or math.isnan(seconds):
        return "time unknown"
    if seconds < 90:
        whole = max(1, round(seconds))
        return counted(whole, "second")
    if seconds < 1.5 * HOUR:
        return counted(round(seconds / MINUTE), "minute")
    return f"{seconds / HOUR:.1f} hours"


def time_left(seconds: float | None) -> str:
    """Return the remaining time as the end of a sentence, or "" when it is not known yet."""
    return "" if seconds is None else f"about {duration(seconds)} left"


UNKNOWN_TONE = "Skin tone unknown"
"""The heading over photographs whose skin tone nobody noted."""


def group_words(group: str) -> str:
    """Return a group's name inside a sentence.

    Examples
    --------
    >>> group_words("FST V-VI"), group_words("FST IV"), group_words("female")
    ('types V-VI', 'type IV', 'female')
    >>> group_words("unknown")
    'photographs of unknown type'
    """
    if group.startswith("FST "):
        types = group.removeprefix("FST ")
        return f"types {types}" if "-" in types else f"type {types}"
    special = {"unknown": "photographs of unknown type", "overall": "all photographs together"}
    return special.get(group, group)


def groups_words(groups: Sequence[str]) -> str:
    """Return several groups inside a sentence, the word "types" once.

    Examples
    --------
    >>> groups_words(["FST I-II", "FST V-VI"]), groups_words(["FST V-VI", "overall"])
    ('types I-II and V-VI', 'types V-VI and all photographs together')
    """
    if len(groups) > 1 and all(group.startswith("FST ") for group in groups):
        return f"types {joined(group.removeprefix('FST ') for group in groups)}"
    return joined(group_words(group) for group in groups)


def margin_words(margin: float) -> str:
    """Return a limit in points without needless digits.

    Examples
    --------
    >>> margin_words(0.02), margin_words(0.015)
    ('2 points', '1.5 points')
    """
    text = f"{100 * margin:g}"
    return f"{text} {'point' if text == '1' else 'points'}"


def groups_with_source(groups: Sequence[str], source: str) -> str:
    """Return the groups with scale and source, as they must always be named.

    Examples
    --------
    >>> groups_with_source(["FST I-II", "FST V-VI"], "Scale AI annotators")
    'FST I-II, V-VI (Scale AI annotators)'
    """
    named = [group for group in groups if group != "unknown"]
    if named and all(group.startswith("FST ") for group in named):
        text = "FST " + ", ".join(group.removeprefix("FST ") for group in named)
    else:
        text = ", ".join(named)
    return f"{text} ({source})" if source else text


def layer_words(layer: str, layers: Sequence[str]) -> str:
    """Return where a layer stands in the network, for people who do not read layer names.

    Examples
    --------
    >>> layer_words("blocks.0.conv", ["conv_stem", "blocks.0.conv", "classifier"])
    'layer 2 of 3 (blocks.0.conv)'
    """
    place = list(layers).index(layer) + 1
    return f"layer {place} of {len(layers)} ({layer})"


def _unsigned_zero(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def escaped(text: str) -> str:
    r"""Return text that people typed so that Markdown shows it as it is.

    Examples
    --------
    >>> escaped("a_b [x](y) $1")
    'a\\_b \\[x\\](y) \\$1'
    """
    for mark in "\\`*_[]#$:<>|~":
        text = text.replace(mark, f"\\{mark}")
    return text
