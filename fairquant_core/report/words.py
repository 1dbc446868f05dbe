"""Figures and names as the report prints them. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

NOT_ESTIMABLE = "not estimable"
SPACE = "\u00a0"
"""Keeps a number and its unit on one line."""

MINUS = "\u2212"

IN_PERCENT = frozenset(
    (
        *("accuracy", "balanced accuracy", "sensitivity", "specificity"),
        *("ppv", "npv", "ece", "demographic parity"),
    )
)
"""Metrics that people read as percentages; the others keep three decimals."""

VERDICTS = {
    "WITHIN": "within the limit",
    "OUTSIDE": "outside the limit",
    "INSUFFICIENT EVIDENCE": "insufficient evidence",
}


def known(value: Any) -> bool:
    """Whether a figure is there: neither None nor not-a-number."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as a percentage; a missing one as "not estimable".

    Examples
    --------
    >>> percent(0.4625).replace(SPACE, " "), percent(None)
    ('46.2 %', 'not estimable')
    """
    if not known(fraction):
        return NOT_ESTIMABLE
    assert fraction is not None
    return f"{_signed(100 * fraction, digits)}{SPACE}%"


def points(fraction: float | None, digits: int = 1) -> str:
    """A signed difference in percentage points.

    Examples
    --------
    >>> points(-0.021).replace(MINUS, "-").replace(SPACE, " "), points(0.0).replace(SPACE, " ")
    ('-2.1 points', '0.0 points')
    """
    if not known(fraction):
        return NOT_ESTIMABLE
    assert fraction is not None
    return f"{plus(100 * fraction, digits)}{SPACE}points"


def plus(value: float | None, digits: int) -> str:
    """A number with its sign, also above zero."""
    if not known(value):
        return NOT_ESTIMABLE
    assert value is not None
    text = _signed(value, digits)
    return f"+{text}" if value > 0 and float(f"{value:.{digits}f}") else text


def figure(value: float | None, metric: str) -> str:
    """A measure in the unit in which people read it."""
    if metric in IN_PERCENT:
        return percent(value)
    return number(value, 3)


def change(value: float | None, metric: str) -> str:
    """A difference of a measure in the unit in which people read it."""
    return points(value) if metric in IN_PERCENT else plus(value, 3)


def change_number(value: float | None, metric: str) -> str:
    """A difference of a measure without its unit, which the head of the column names."""
    if not known(value):
        return NOT_ESTIMABLE
    assert value is not None
    return plus(100 * value, 1) if metric in IN_PERCENT else plus(value, 3)


def span(low: float | None, high: float | None, metric: str, *, signed: bool = False) -> str:
    """The ends of an interval, the unit left to the value beside it.

    Examples
    --------
    >>> span(0.38, 0.55, "accuracy"), span(None, 0.5, "accuracy")
    ('38.0 to 55.0', '')
    """
    if not (known(low) and known(high)):
        return ""
    assert low is not None and high is not None
    scale, digits = (100, 1) if metric in IN_PERCENT else (1, 3)
    write = plus if signed else _signed
    return f"{write(scale * low, digits)} to {write(scale * high, digits)}"


def number(value: float | None, digits: int = 2) -> str:
    """A number with a fixed count of decimals; a missing one as "not estimable"."""
    if not known(value):
        return NOT_ESTIMABLE
    assert value is not None
    return _signed(value, digits)


def brief(value: float | None) -> str:
    """Two significant digits, for figures of very different size.

    Examples
    --------
    >>> brief(0.00123), brief(0.25), brief(12.3), brief(0.0)
    ('0.0012', '0.25', '12', '0')
    """
    if not known(value):
        return NOT_ESTIMABLE
    assert value is not None
    if value == 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return _signed(value, min(digits, 5))


def count(value: float | None) -> str:
    """A whole number with separators; "" where there is none."""
    return f"{int(value):,}" if value is not None and known(value) else ""


def counted(value: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    Examples
    --------
    >>> counted(1, "image"), counted(2832, "image"), counted(0, "class", "classes")
    ('1 image', '2,832 images', '0 classes')
    """
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def megabytes(size: float | None) -> str:
    """A size in megabytes of 10^6 bytes.

    Examples
    --------
    >>> megabytes(1_400_000).replace(SPACE, " "), megabytes(250_000).replace(SPACE, " ")
    ('1.4 MB', '0.25 MB')
    """
    if not known(size):
        return "unknown"
    assert size is not None
    amount = size / 1e6
    digits = 0 if amount >= 100 else 1 if amount >= 1 else 2
    return f"{amount:.{digits}f}{SPACE}MB"


def when(stamp: str | None) -> str:
    """A UTC time stamp for reading.

    Examples
    --------
    >>> when("2026-01-31T12:05:09Z"), when("")
    ('31 Jan 2026, 12:05 UTC', '')
    """
    if not stamp:
        return ""
    try:
        moment = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    except ValueError:
        return stamp
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def joined(items: Iterable[str], last: str = "and") -> str:
    """Items as a list in a sentence.

    Examples
    --------
    >>> joined(["I-II", "III-IV", "V-VI"])
    'I-II, III-IV and V-VI'
    """
    names = list(items)
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def group_title(group: str) -> str:
    """A group as the head of a row.

    Examples
    --------
    >>> group_title("overall"), group_title("FST V-VI")
    ('All images', 'FST V-VI')
    """
    return {"overall": "All images", "unknown": "Group unknown"}.get(group, group)


def capital(text: str) -> str:
    """The text with its first letter raised and the rest untouched."""
    return text[:1].upper() + text[1:]


def short(fingerprint: str | None) -> str:
    """The first characters of a SHA-256 sum, enough to compare by eye."""
    return (fingerprint or "")[:12]


def cut(text: str, most: int) -> str:
    """A text that is too long for its place, shortened.

    Examples
    --------
    >>> cut("seborrhoeic keratosis", 12)
    'seborrhoeic…'
    """
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _signed(value: float, digits: int) -> str:
    """A true minus sign, and none before a zero."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        return text.removeprefix("-")
    return text.replace("-", MINUS)
