"""Skin-tone groups: how raw annotations become the groups that are compared.

The scale is Fitzpatrick (FST I to VI) or, in columns that say so, Monk (MST 1 to 10). Annotations
arrive as numbers, roman numerals or already joined pairs; what is missing or ``-1`` becomes
:data:`UNKNOWN` and stays visible, it is never dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from fairquant_core.errors import CohortError

UNKNOWN = "unknown"

UNKNOWN_SCHEME = "unknown grouping {scheme!r}: choose one of {known}"
NOT_A_TONE = (
    "column {column!r} holds {values}, which is not a Fitzpatrick type (1 to 6, I to VI, FST I, or "
    "a pair such as I-II): choose the grouping 'values' for this column, or correct the table"
)

NOT_A_MONK_TONE = (
    "column {column!r} holds {values}, which is not a Monk skin tone (1 to 10, MST 1): choose the "
    "grouping 'values' for this column, or correct the table"
)

ROMAN = ("I", "II", "III", "IV", "V", "VI")

#: Spellings that mean "nobody said"; compared in lower case after trimming.
MISSING_SPELLINGS = frozenset(
    {
        "",
        "-1",
        "-1.0",
        "nan",
        "na",
        "n/a",
        "none",
        "null",
        "<na>",
        "unknown",
        "unk",
        "not specified",
        "unspecified",
        "none_selected",
    }
)


@dataclass(frozen=True)
class Scheme:
    """A way of joining raw annotations into groups.

    Attributes
    ----------
    name : key in :data:`SCHEMES`.
    title : words for people.
    groups : the known groups in their natural order; empty when the values themselves are the
        groups.
    """

    name: str
    title: str
    groups: tuple[str, ...]


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("fst3", "FST I-II / III-IV / V-VI", ("FST I-II", "FST III-IV", "FST V-VI")),
        Scheme("fst6", "FST I to VI", tuple(f"FST {numeral}" for numeral in ROMAN)),
        Scheme("fst2", "FST I-III / IV-VI", ("FST I-III", "FST IV-VI")),
        Scheme("mst3", "MST 1-3 / 4-6 / 7-10", ("MST 1-3", "MST 4-6", "MST 7-10")),
        Scheme("mst10", "MST 1 to 10", tuple(f"MST {number}" for number in range(1, 11))),
        Scheme("values", "the values as they are", ()),
    )
}

# Which types one annotation can mean: a single type, or the pair that some collections (DDI)
# record.
_TYPES: dict[str, tuple[int, ...]] = {}
for _number, _numeral in enumerate(ROMAN, start=1):
    _TYPES[str(_number)] = _TYPES[f"{_number}.0"] = _TYPES[_numeral] = (_number,)
for _low, _high in ((1, 2), (3, 4), (5, 6)):
    for _pair in (
        f"{_low}-{_high}",
        f"{_low}{_high}",
        f"{_low}{_high}.0",
        f"{ROMAN[_low - 1]}-{ROMAN[_high - 1]}",
    ):
        _TYPES[_pair] = (_low, _high)
# A zero is no Fitzpatrick type; tables use it for "not recorded".
_TYPES["0"] = _TYPES["0.0"] = ()

_PREFIX = re.compile(r"^(FITZPATRICK|FST|SKIN\s*TYPE|TYPE)[\s_:]*")
_MONK = re.compile(r"^(MST|MONK)?[\s_:-]*(10|[1-9])(\.0)?$")
# Six of the ten Monk tones are written like Fitzpatrick types; only the column's name tells them apart.
_MONK_COLUMN = re.compile(r"(^|[^a-z])(monk|mst)([^a-z]|$)")
# PAD-UFES-20 spells it "fitspatrick".
_TONE_COLUMN = re.compile(r"fit[sz]patrick|fst|skin|tone|photo_?type")
_NUMBER = re.compile(r"[\d.]+")


def is_missing(values: pd.Series) -> pd.Series:
    """True where the annotation says nothing (empty, ``nan``, ``-1``, "unknown", ...)."""
    return _cleaned(values).str.lower().isin(MISSING_SPELLINGS)


def fitzpatrick_types(values: pd.Series) -> pd.Series:
    """The types that each annotation can mean, as a tuple; ``()`` where it is unknown.

    Raises
    ------
    CohortError
        When a value is neither a Fitzpatrick annotation nor a missing one.
    """
    cleaned = _cleaned(values)
    types: dict[str, tuple[int, ...]] = {}
    strange: list[str] = []
    for value in cleaned.unique():
        found = _types_of(value)
        if found is None:
            strange.append(value)
        else:
            types[value] = found
    if strange:
        shown = ", ".join(repr(value) for value in sorted(strange)[:5])
        raise CohortError(NOT_A_TONE.format(column=str(values.name), values=shown))
    # A list, not Series.map: pandas would take a tuple for several columns.
    return pd.Series([types[value] for value in cleaned], index=values.index, dtype=object)


def is_monk(values: pd.Series) -> bool:
    """True when the column's name says Monk, every known value is one, and at least one is known."""
    if not _MONK_COLUMN.search(str(values.name).lower()):
        return False
    known = [value for value in _cleaned(values).unique() if value.lower() not in MISSING_SPELLINGS]
    return bool(known) and all(_MONK.match(value.upper()) for value in known)


def is_fitzpatrick(values: pd.Series) -> bool:
    """True when every known value is a Fitzpatrick annotation and at least one is known.

    Sex, sites and stages are coded 1, 2, 3 as well: mere numbers are types only in a column whose name
    says so.
    """
    if is_monk(values):
        return False
    found = {value: _types_of(value) for value in _cleaned(values).unique()}
    known = [value for value, types in found.items() if types]
    if not known or any(types is None for types in found.values()):
        return False
    named = _TONE_COLUMN.search(str(values.name).lower())
    return bool(named) or not all(map(_NUMBER.fullmatch, known))


def default_scheme(values: pd.Series) -> str:
    """ "fst3" for a Fitzpatrick column, "mst3" for Monk, "values" for any other (sex, ...)."""
    if is_monk(values):
        return "mst3"
    return "fst3" if is_fitzpatrick(values) else "values"


def assign(values: pd.Series, scheme: str) -> pd.Series:
    """Give every image its group.

    Parameters
    ----------
    values : raw annotations, in any spelling.
    scheme : key in :data:`SCHEMES`.

    Returns
    -------
    Group names with the index and name of `values`. An annotation that a scheme cannot place (the
    pair "I-II" in the six single types) is unknown.

    Raises
    ------
    CohortError
        Unknown scheme, or a value that is not a Fitzpatrick annotation.

    Examples
    --------
    >>> list(assign(pd.Series(["1", "FST IV", "V-VI", "-1"]), "fst3"))
    ['FST I-II', 'FST III-IV', 'FST V-VI', 'unknown']
    """
    chosen = _scheme(scheme)
    if not chosen.groups:
        return _cleaned(values).mask(is_missing(values), UNKNOWN)
    if scheme.startswith("mst"):
        return _assign_monk(values, chosen)
    width = 6 // len(chosen.groups)
    names = []
    for types in fitzpatrick_types(values):
        places = {(number - 1) // width for number in types}
        names.append(chosen.groups[places.pop()] if len(places) == 1 else UNKNOWN)
    return pd.Series(names, index=values.index, name=values.name, dtype="str")


def _assign_monk(values: pd.Series, scheme: Scheme) -> pd.Series:
    """Ten tones one by one, or joined as 1-3 (light), 4-6 (medium) and 7-10 (dark)."""
    names, strange = [], []
    for value in _cleaned(values):
        found = _MONK.match(value.upper())
        if value.lower() in MISSING_SPELLINGS:
            names.append(UNKNOWN)
        elif found:
            tone = int(found.group(2))
            place = tone - 1 if len(scheme.groups) == 10 else (tone > 3) + (tone > 6)
            names.append(scheme.groups[place])
        else:
            strange.append(value)
    if strange:
        shown = ", ".join(repr(value) for value in sorted(set(strange))[:5])
        raise CohortError(NOT_A_MONK_TONE.format(column=str(values.name), values=shown))
    return pd.Series(names, index=values.index, name=values.name, dtype="str")


def ordered(groups: Iterable[str], scheme: str) -> list[str]:
    """The distinct groups in the order in which people expect them; unknown comes last."""
    present = set(groups)
    natural = _scheme(scheme).groups
    known = [group for group in natural if group in present]
    others = sorted(present - set(natural) - {UNKNOWN})
    return known + others + ([UNKNOWN] if UNKNOWN in present else [])


def _scheme(name: str) -> Scheme:
    if name not in SCHEMES:
        raise CohortError(UNKNOWN_SCHEME.format(scheme=name, known=", ".join(SCHEMES)))
    return SCHEMES[name]


def _cleaned(values: pd.Series) -> pd.Series:
    return values.astype("object").where(values.notna(), "").astype("str").str.strip()


def _types_of(value: str) -> tuple[int, ...] | None:
    """Types that a cleaned value can mean, ``()`` for unknown, None for a value of another kind."""
    if value.lower() in MISSING_SPELLINGS:
        return ()
    key = _PREFIX.sub("", value.upper()).replace("–", "-").replace("/", "-").replace(" ", "")
    return _TYPES.get(key)
