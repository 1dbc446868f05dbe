"""Limits and verdicts: what passes, what does not, and what nobody can know yet."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from fairquant_core.audit.comparison import paired_difference
from fairquant_core.audit.criteria import Limits, Verdict, judge, overall_verdict
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import EvaluationError

MakePredictions = Callable[..., Predictions]


def differences(make_predictions: MakePredictions, **changes: tuple[int, int, int]) -> pd.DataFrame:
    """Table with n, lost, gained per group."""
    groups, before, after = [], [], []
    for name, (n, lost, gained) in changes.items():
        groups += [name] * n
        before += ["melanoma"] * gained + ["nevus"] * (n - gained)
        after += ["nevus"] * (n - lost) + ["melanoma"] * lost
    table = make_predictions(["nevus"] * len(groups), groups, a=before, b=after)
    return paired_difference(table, "a", "b", pd.Series(groups), order=list(changes), resamples=10)


def verdict_of(table: pd.DataFrame, group: str, limits: Limits | None = None) -> pd.Series:
    return judge(table, limits or Limits()).set_index("group").loc[group]


def test_json_round_trip_and_fingerprint() -> None:
    limits = Limits("sensitivity", 0.05, 30, ("FST V-VI",), ("melanoma",))
    again = Limits.from_json(json.loads(json.dumps(limits.to_json())))
    assert again == limits and again.fingerprint == limits.fingerprint
    assert Limits(margin=0.03).fingerprint != Limits().fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "auc"}, "metric 'auc' is unknown"),
        ({"margin": 0}, "margin must be a fraction"),
        ({"margin": 2}, "margin must be a fraction"),
        ({"margin": float("nan")}, "margin must be a fraction"),
        ({"margin": "2%"}, "margin must be a fraction"),
        ({"minimum_images": 0}, "minimum_images must be a whole number"),
        ({"minimum_images": 2.5}, "minimum_images must be a whole number"),
        ({"groups": "FST I"}, "groups must be a list"),
        ({"groups": ("unknown",)}, "never judged"),
        ({"metric": "sensitivity"}, "needs the classes"),
    ],
    ids=str,
)
def test_senseless_limits_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        Limits(**fields)


def test_foreign_json_is_refused() -> None:
    values = Limits().to_json()
    with pytest.raises(EvaluationError, match="format None"):
        Limits.from_json({})
    with pytest.raises(EvaluationError, match="the fields must be"):
        Limits.from_json(values | {"extra": 1})


def test_three_verdicts(make_predictions: MakePredictions) -> None:
    table = differences(
        make_predictions, good=(2000, 5, 5), bad=(500, 60, 5), small=(127, 9, 5), absent=(0, 0, 0)
    )
    judged = judge(table, Limits()).set_index("group")
    assert judged.loc["good", "verdict"] == Verdict.WITHIN
    assert judged.loc["bad", "verdict"] == Verdict.OUTSIDE
    assert judged.loc["small", "verdict"] == Verdict.INSUFFICIENT
    assert judged.loc["absent", "verdict"] == Verdict.INSUFFICIENT
    assert judged.loc["absent", "sentence"] == (
        "absent: no image, not estimable: insufficient evidence."
    )
    assert "outside the limit" in judged.loc["bad", "sentence"]
    assert judged.loc["good", "sentence"] == (
        "good: 5 of 2000 images were lost and as many gained; the data allow a loss of at most "
        "0.4 points, the limit is 2: within the limit."
    )


def test_sentence_says_what_would_settle_it(make_predictions: MakePredictions) -> None:
    table = differences(make_predictions, **{"FST V-VI": (127, 5, 1)})
    row = verdict_of(table, "FST V-VI")
    assert row["sentence"] == (
        "FST V-VI: 4 of 127 images (3.1 points) were lost net; the data allow anything from a gain "
        "of 0.9 to a loss of 8.2 points, the limit is 2: insufficient evidence; "
        "about 1,300 images would settle it."
    )
    # If the same share of images changes among that many, it is indeed settled, and not before.
    for factor, settled in ((row["images_to_settle"] / 127, True), (5, False)):
        grown = {"x": tuple(round(value * factor) for value in (127, 5, 1))}
        verdict = verdict_of(differences(make_predictions, **grown), "x")["verdict"]
        assert (verdict != Verdict.INSUFFICIENT) is settled


def test_no_change_in_few_images_is_not_a_pass(make_predictions: MakePredictions) -> None:
    table = differences(make_predictions, few=(60, 0, 0), many=(400, 0, 0))
    assert verdict_of(table, "few")["verdict"] == Verdict.INSUFFICIENT
    assert verdict_of(table, "few")["images_to_settle"] == 190
    assert verdict_of(table, "many")["verdict"] == Verdict.WITHIN


def test_too_few_images_are_never_enough(make_predictions: MakePredictions) -> None:
    table = differences(make_predictions, tiny=(15, 14, 0))
    row = verdict_of(table, "tiny")
    assert row["verdict"] == Verdict.INSUFFICIENT and "at least 20 images" in row["sentence"]
    assert verdict_of(table, "tiny", Limits(minimum_images=5))["verdict"] == Verdict.OUTSIDE


def test_named_groups_only_and_a_missing_one(make_predictions: MakePredictions) -> None:
    table = differences(make_predictions, good=(2000, 5, 5), bad=(500, 60, 5))
    judged = judge(table, Limits(groups=("good",)))
    assert judged["group"].tolist() == ["overall", "good"]
    gone = judge(table, Limits(groups=("nobody",))).set_index("group")
    assert gone.loc["nobody", "verdict"] == Verdict.INSUFFICIENT


def test_unknown_is_not_judged(make_predictions: MakePredictions) -> None:
    table = differences(make_predictions, good=(2000, 5, 5), unknown=(100, 50, 0))
    assert judge(table, Limits())["group"].tolist() == ["overall", "good"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["WITHIN", "WITHIN"], Verdict.WITHIN),
        (["WITHIN", "INSUFFICIENT EVIDENCE"], Verdict.INSUFFICIENT),
        (["OUTSIDE", "INSUFFICIENT EVIDENCE"], Verdict.OUTSIDE),
        ([], Verdict.INSUFFICIENT),
    ],
    ids=str,
)
def test_overall_verdict(given: list[str], expected: Verdict) -> None:
    assert overall_verdict(given) == expected


def test_without_known_groups_the_total_alone_is_no_pass(
    make_predictions: MakePredictions,
) -> None:
    table = differences(make_predictions, unknown=(2000, 0, 0))
    judged = judge(table, Limits())
    assert judged["verdict"].tolist() == [Verdict.WITHIN]
    assert overall_verdict(judged) == Verdict.INSUFFICIENT


def test_harm_is_flagged_and_harmless_change_is_not(make_predictions: MakePredictions) -> None:
    """Simulation: 400 images; losing 12 points net, against as many losses as gains."""
    rng = np.random.default_rng(4)
    flagged = {}
    for name, p_lost, p_gained in (("harm", 0.14, 0.02), ("none", 0.05, 0.05)):
        found = []
        for _ in range(40):
            lost, gained, _rest = rng.multinomial(400, [p_lost, p_gained, 1 - p_lost - p_gained])
            table = differences(make_predictions, x=(400, lost, gained))
            found.append(verdict_of(table, "x")["verdict"])
        flagged[name] = np.mean([verdict == Verdict.OUTSIDE for verdict in found])
    assert flagged["harm"] >= 0.95 and flagged["none"] <= 0.05
