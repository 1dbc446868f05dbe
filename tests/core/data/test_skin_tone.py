from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fairquant_core.data import skin_tone
from fairquant_core.data.skin_tone import (
    NOT_A_TONE,
    SCHEMES,
    UNKNOWN,
    assign,
    default_scheme,
    is_fitzpatrick,
    ordered,
)
from fairquant_core.errors import CohortError


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("fst6", ["FST I", "FST II", "FST III", "FST IV", "FST V", "FST VI"]),
        ("fst3", ["FST I-II", "FST I-II", "FST III-IV", "FST III-IV", "FST V-VI", "FST V-VI"]),
        ("fst2", ["FST I-III"] * 3 + ["FST IV-VI"] * 3),
    ],
)
@pytest.mark.parametrize(
    "spelling",
    [
        [1, 2, 3, 4, 5, 6],
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        ["1", "2.0", "III", "iv", "FST V", "FST6"],
        ["Type I", "fitzpatrick 2", "FST_3", "skin type IV", "v", " VI "],
    ],
)
def test_every_spelling_gives_the_group(
    spelling: list[object], scheme: str, expected: list[str]
) -> None:
    assert list(assign(pd.Series(spelling), scheme)) == expected


@pytest.mark.parametrize("scheme", list(SCHEMES))
@pytest.mark.parametrize("missing", [-1, "-1", "-1.0", np.nan, None, "", "  ", "unknown", "NA"])
def test_missing_stays_as_unknown(missing: object, scheme: str) -> None:
    assert list(assign(pd.Series([missing, "3"], dtype=object), scheme))[0] == UNKNOWN


def test_pairs_fit_the_three_groups_and_are_unknown_where_they_do_not_fit() -> None:
    pairs = pd.Series(["I-II", "3-4", "56", "V–VI"])
    assert list(assign(pairs, "fst3")) == ["FST I-II", "FST III-IV", "FST V-VI", "FST V-VI"]
    assert list(assign(pairs, "fst6")) == [UNKNOWN] * 4
    assert list(assign(pairs, "fst2")) == ["FST I-III", UNKNOWN, "FST IV-VI", "FST IV-VI"]


def test_values_scheme_keeps_a_zero() -> None:
    assert list(assign(pd.Series(["0", "1", None]), "values")) == ["0", "1", UNKNOWN]


def test_index_and_name_are_kept() -> None:
    values = pd.Series(["1", "6"], index=[7, 3], name="tone")
    groups = assign(values, "fst3")
    assert list(groups.index) == [7, 3]
    assert groups.name == "tone"


def test_a_value_of_another_kind_is_named() -> None:
    with pytest.raises(CohortError) as caught:
        assign(pd.Series(["1", "female", "7"], name="sex"), "fst3")
    assert str(caught.value) == NOT_A_TONE.format(column="sex", values="'7', 'female'")


def test_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(CohortError, match="fst3, fst6, fst2, mst3, mst10, values"):
        assign(pd.Series(["1"]), "monk")


def test_default_scheme_follows_the_column() -> None:
    assert default_scheme(pd.Series(["1", "VI", "-1"])) == "fst3"
    assert default_scheme(pd.Series(["male", "female"])) == "values"
    assert not is_fitzpatrick(pd.Series(["", "unknown"]))


@pytest.mark.parametrize("name", ["sex", "site", "stage", "None"])
def test_mere_numbers_are_types_only_where_the_name_says_so(name: str) -> None:
    values = pd.Series(["1", "2", "3.0", ""], name=name)
    assert not is_fitzpatrick(values) and default_scheme(values) == "values"
    for said in ("fitspatrick", "Fitzpatrick_scale", "skin_tone", "photo_type", "fst"):
        assert default_scheme(values.rename(said)) == "fst3"
    assert default_scheme(pd.Series(["FST 1", "FST 2"], name=name)) == "fst3"


def test_order_is_natural_and_unknown_comes_last() -> None:
    assert ordered(["FST V-VI", UNKNOWN, "FST I-II"], "fst3") == ["FST I-II", "FST V-VI", UNKNOWN]
    assert ordered(["male", UNKNOWN, "female"], "values") == ["female", "male", UNKNOWN]


def test_monk_tones_are_known_by_the_name_of_the_column() -> None:
    values = pd.Series(["1", "3.0", "MST 4", "6", "7", "10", ""], name="monk_skin_tone_label_us")
    assert skin_tone.is_monk(values) and not skin_tone.is_fitzpatrick(values)
    assert skin_tone.default_scheme(values) == "mst3"
    assert list(skin_tone.assign(values, "mst3")) == [
        "MST 1-3",
        "MST 1-3",
        "MST 4-6",
        "MST 4-6",
        "MST 7-10",
        "MST 7-10",
        "unknown",
    ]
    ten = skin_tone.assign(values, "mst10")
    assert skin_tone.ordered(ten, "mst10") == [
        "MST 1",
        "MST 3",
        "MST 4",
        "MST 6",
        "MST 7",
        "MST 10",
        "unknown",
    ]
    assert skin_tone.default_scheme(values.head(2).rename("fitzpatrick")) == "fst3"
    with pytest.raises(CohortError, match="'12', which is not a Monk"):
        skin_tone.assign(pd.Series(["12"], name="monk"), "mst10")
