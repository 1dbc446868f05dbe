"""The same question with other groups: schemes, crossings, another annotator, unknown tone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.group_questions import GroupQuestions
from fairquant_core.audit.predictions import Predictions

MakePredictions = Callable[..., Predictions]
TONES = np.array(["1", "2", "3", "4", "5", "6", "-1"])


def with_columns(table: Predictions, **columns: Sequence[str]) -> Predictions:
    return Predictions(table.frame.assign(**columns), table.classes, table.models)


@pytest.fixture
def table(make_predictions: MakePredictions) -> Predictions:
    """700 images; the candidate misses half of type VI; the other annotator calls VI type I."""
    rng = np.random.default_rng(0)
    tones = np.repeat(TONES, 100)
    labels = rng.choice(["nevus", "melanoma"], 700)
    wrong = np.where(labels == "nevus", "melanoma", "nevus")
    missed = (tones == "6") & (rng.random(700) < 0.5)
    made = make_predictions(
        labels, tones, full_precision=labels, candidate=np.where(missed, wrong, labels)
    )
    second = np.where(tones == "6", "1", tones)
    return with_columns(
        made,
        other_tone=second,
        sex=rng.choice(["female", "male", ""], 700),
        site=[f"site {index % 20}" for index in range(700)],
        clinic=["only one"] * 700,
    )


def asked(table: Predictions, candidate: str | None = "candidate", **limits: object) -> dict:
    questions = GroupQuestions(
        table,
        "full precision",
        candidate,
        Limits(margin=0.1, **limits),  # type: ignore[arg-type]
        resamples=50,
    )
    return questions.about("tone", "fst3")


def test_several_schemes_on_one_table(table: Predictions) -> None:
    answers = {answer["scheme"]: answer for answer in asked(table)["schemes"]}
    assert list(answers) == ["fst6", "fst3", "fst2"]
    assert {name: len(answer["groups"]) for name, answer in answers.items()} == {
        "fst6": 6,
        "fst3": 3,
        "fst2": 2,
    }
    six = {row["group"]: row for row in answers["fst6"]["verdicts"]}
    assert six["FST VI"]["verdict"] == "OUTSIDE" and six["FST V"]["verdict"] == "WITHIN"
    assert answers["fst6"]["verdict"] == "OUTSIDE"
    # Joined with type V the loss is half as large; in FST IV-VI it is diluted further.
    changes = {
        name: min(row["difference"] for row in answer["differences"])
        for name, answer in answers.items()
    }
    assert changes["fst6"] < 1.8 * changes["fst3"] < changes["fst2"]
    assert all(answer["unknown"] == 100 for answer in answers.values())


def test_intersections_name_every_combination(table: Predictions) -> None:
    found = asked(table)
    (crossed,) = found["intersections"]
    assert crossed["columns"] == ["tone", "sex"]
    assert crossed["groups"] == [
        f"{tone}, {sex}"
        for tone in ("FST I-II", "FST III-IV", "FST V-VI")
        for sex in ("female", "male")
    ]
    rows = {row["group"]: row for row in crossed["differences"]}
    inside = (table.groups("tone", "fst3") == "FST V-VI") & (table.frame["sex"] == "male")
    assert rows["FST V-VI, male"]["n"] == inside.sum()
    unknown = (table.frame["tone"] == "-1") | (table.frame["sex"] == "")
    assert crossed["unknown"] == unknown.sum() == rows["unknown"]["n"]
    reasons = {row["column"]: row["reason"] for row in found["left_out"]}
    assert reasons == {
        "site": "20 different values, more than 8",
        "clinic": "fewer than two known values",
    }


def test_absent_combinations_are_listed(table: Predictions) -> None:
    sex = np.where(table.frame["tone"].isin(["5", "6"]), "female", table.frame["sex"])
    (crossed,) = asked(with_columns(table, sex=sex))["intersections"]
    row = {row["group"]: row for row in crossed["verdicts"]}["FST V-VI, male"]
    assert row["verdict"] == "INSUFFICIENT EVIDENCE" and "no image" in row["sentence"]


def test_the_other_annotator_changes_the_verdict(table: Predictions) -> None:
    (swap,) = asked(table)["annotators"]
    assert (swap["verdict_here"], swap["changes"]) == ("OUTSIDE", True)
    pairs = {pair["group"]: pair for pair in swap["groups"]}
    assert pairs["FST V-VI"]["here"] == "OUTSIDE" and pairs["FST V-VI"]["there"] == "WITHIN"
    assert "FST V-VI" in swap["sentence"] and "other_tone" in swap["sentence"]
    types = swap["agreement"]["types"]
    assert types["n"] == 600 and types["exact"]["value"] == pytest.approx(5 / 6)
    assert swap["agreement"]["groups"]["scheme"] == "fst3"
    assert swap["answer"]["column"] == "other_tone"


def test_an_annotator_who_agrees_changes_nothing(table: Predictions) -> None:
    (swap,) = asked(with_columns(table, other_tone=table.frame["tone"]))["annotators"]
    assert not swap["changes"] and "stays OUTSIDE" in swap["sentence"]
    assert swap["agreement"]["types"]["kappa"]["value"] == 1.0


def test_sex_coded_in_numbers_is_crossed_and_is_no_annotator(table: Predictions) -> None:
    coded = with_columns(table, sex=table.frame["sex"].map({"female": "2", "male": "1", "": ""}))
    found = asked(coded)
    assert [answer["other"] for answer in found["annotators"]] == ["other_tone"]
    assert [answer["columns"] for answer in found["intersections"]] == [["tone", "sex"]]


def test_unknown_tone_is_reported(table: Predictions) -> None:
    unknown = asked(table)["unknown"]
    assert unknown["n"] == 100 and unknown["share"] == pytest.approx(1 / 7)
    row = unknown["accuracy"]["candidate"]
    assert row["n"] == 100 and row["low"] < row["accuracy"] == 1.0
    known = with_columns(
        table, tone=np.where(table.frame["tone"] == "-1", "1", table.frame["tone"])
    )
    none = asked(known)["unknown"]
    assert none["n"] == 0 and not none["accuracy"]["candidate"]["estimable"]


def test_limits_on_named_groups_hold_in_their_own_scheme_only(table: Predictions) -> None:
    found = asked(table, groups=("FST I-II",))
    answers = {answer["scheme"]: answer for answer in found["schemes"]}
    assert [row["group"] for row in answers["fst3"]["verdicts"]] == ["overall", "FST I-II"]
    assert len(answers["fst6"]["verdicts"]) == 7


def test_without_a_candidate_there_are_figures_but_no_verdict(table: Predictions) -> None:
    found = asked(table, candidate=None)
    assert "verdict" not in found["schemes"][0]
    assert found["annotators"][0]["changes"] is None
    assert found["schemes"][0]["accuracy"]["full precision"]["overall"]["n"] == 700


def test_pairs_of_types_leave_out_finer_schemes(table: Predictions) -> None:
    pairs = pd.Series(TONES).map(
        dict(zip(TONES, ["12", "12", "34", "34", "56", "56", ""], strict=True))
    )
    coarse = with_columns(table, tone=np.repeat(pairs.to_numpy(), 100), other_tone=[""] * 700)
    found = asked(coarse)
    # "III-IV" fits neither of the two groups, but the other pairs do.
    assert [answer["scheme"] for answer in found["schemes"]] == ["fst3", "fst2"]
    assert [answer["unknown"] for answer in found["schemes"]] == [100, 300]
    (row,) = (row for row in found["left_out"] if row["column"] == "tone")
    assert "FST I to VI" in row["reason"]
