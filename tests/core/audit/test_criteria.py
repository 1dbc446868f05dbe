"""Limits and verdicts: what passes, what does not, and what nobody can know yet."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from fairquant_core.audit.comparison import paired_difference
from fairquant_core.audit.criteria import Limits, Verdict, judge, overall_verdict
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import EvaluationError

MakePredictions = Callable[..., Predictions]
MakeScored = Callable[..., Predictions]

DEFAULT_FINGERPRINT = "8d7b2deda33694b60463b73211385c98dec297a4426b5e20b9ec845acec8630f"
OLD_FINGERPRINT = "c9e39e700a7582cdfdda00fcbdbae7492134421e8d99ef9deecd0835d65f4964"


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


def test_stored_limits_of_the_first_format_still_read() -> None:
    stored = {
        "format": 1,
        "metric": "sensitivity",
        "margin": 0.05,
        "minimum_images": 30,
        "groups": ["FST V-VI"],
        "positive": ["melanoma"],
    }
    limits = Limits.from_json(stored)
    assert limits == Limits("sensitivity", 0.05, 30, ("FST V-VI",), ("melanoma",))
    assert limits.to_json() == stored
    # Fingerprints in audits of earlier versions must stay true.
    assert limits.fingerprint == OLD_FINGERPRINT
    assert Limits().fingerprint == DEFAULT_FINGERPRINT


def test_second_format_holds_the_minimums() -> None:
    limits = Limits(positive=("melanoma",), minimum_positives=10, minimum_negatives=5)
    stored = limits.to_json()
    assert stored["format"] == 2 and Limits.from_json(stored) == limits
    assert limits.fingerprint != Limits(positive=("melanoma",)).fingerprint
    with pytest.raises(EvaluationError, match="the fields must be"):
        Limits.from_json({key: stored[key] for key in stored if key != "minimum_negatives"})
    with pytest.raises(EvaluationError, match="neither 1 nor 2"):
        Limits.from_json(stored | {"format": 3})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "brier"}, "metric 'brier' is unknown"),
        ({"metric": "auroc"}, "needs the classes"),
        ({"minimum_positives": 0}, "minimum_positives must be a whole number"),
        ({"minimum_negatives": True}, "minimum_negatives must be a whole number"),
        ({"minimum_positives": 5}, "the accuracy over all classes has none"),
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
        "0.4 points, the limit is 2 points: within the limit."
    )


def test_a_harm_must_stand_among_all_that_are_judged(make_predictions: MakePredictions) -> None:
    """Six of 40 lost: beyond the limit if looked at alone, not as the worst of six groups."""
    spared = {f"group {index}": (40, 2, 2) for index in range(5)}
    table = differences(make_predictions, harmed=(40, 6, 0), **spared)
    by_itself = judge(table, Limits(), together=False).set_index("group")
    assert by_itself.loc["harmed", "verdict"] == Verdict.OUTSIDE
    judged = judge(table, Limits())
    row = judged.set_index("group").loc["harmed"]
    assert row["verdict"] == Verdict.INSUFFICIENT
    assert row["sentence"] == (
        "harmed: 6 of 40 images (15 points) were lost net; looked at alone, that is a loss of at least "
        "4.9 points, and the limit is 2 points. But 7 results are judged at once (every group, and all "
        "images together), and one of them can look like that by chance. With allowance for that, there may "
        "be no loss at all: insufficient evidence; about 48 images would settle it."
    )
    more = differences(make_predictions, harmed=(44, 7, 0), **spared)
    assert "the loss may be as small as 1.99 points" in verdict_of(more, "harmed")["sentence"]
    assert overall_verdict(judged) == Verdict.INSUFFICIENT
    # If as large a share of as many images more changes, it does stand.
    grown = int(row["images_to_settle"])
    larger = differences(make_predictions, harmed=(grown, math.ceil(0.15 * grown), 0), **spared)
    assert verdict_of(larger, "harmed")["verdict"] == Verdict.OUTSIDE
    # Fewer that are judged need less allowance: groups that limits leave out, or too small ones.
    assert verdict_of(table, "harmed", Limits(groups=("harmed",)))["verdict"] == Verdict.OUTSIDE
    tiny = {name: (5, 1, 1) for name in spared}
    few = differences(make_predictions, harmed=(40, 6, 0), **tiny)
    assert verdict_of(few, "harmed")["verdict"] == Verdict.OUTSIDE


def test_a_harm_that_is_found_leaves_fewer_to_make_allowance_for(
    make_predictions: MakePredictions,
) -> None:
    """Holm: the group that is surely harmed does not count against the next one."""
    spared = {f"group {index}": (400, 4, 4) for index in range(2)}
    found = {}
    for lost in (4, 200):
        table = differences(make_predictions, first=(400, lost, 4), next=(40, 6, 0), **spared)
        bounds = table.set_index("group").loc["next", "high_among"]
        assert len(bounds) == 5 and bounds[0] == bounds[1] < bounds[2] < bounds[4]
        found[lost] = judge(table, Limits()).set_index("group")["verdict"]
    assert found[200]["first"] == found[200]["overall"] == Verdict.OUTSIDE
    assert found[200]["next"] == Verdict.OUTSIDE
    assert found[4]["next"] == Verdict.INSUFFICIENT


def test_the_allowance_makes_no_group_pass(make_predictions: MakePredictions) -> None:
    changes = {f"group {index}": (400 + 40 * index, index, index) for index in range(6)}
    table = differences(make_predictions, **changes)
    within = [
        set(judged.loc[judged["verdict"] == Verdict.WITHIN, "group"])
        for judged in (judge(table, Limits()), judge(table, Limits(), together=False))
    ]
    assert within[0] == within[1] == {"overall", *changes}


@pytest.mark.parametrize(
    ("lost", "gained", "start"),
    [
        (1, 0, "one: 1 of 100 images (1 point) was lost net; "),
        (1, 1, "one: 1 of 100 images was lost and as many gained; "),
        (0, 2, "one: 2 of 100 images (2 points) were gained net; "),
    ],
)
def test_one_image_is_not_several(make_predictions: MakePredictions, lost, gained, start) -> None:
    table = differences(make_predictions, one=(100, lost, gained))
    assert verdict_of(table, "one")["sentence"].startswith(start)


def test_sentence_says_what_would_settle_it(make_predictions: MakePredictions) -> None:
    table = differences(make_predictions, **{"FST V-VI": (127, 5, 1)})
    row = verdict_of(table, "FST V-VI")
    assert row["sentence"] == (
        "FST V-VI: 4 of 127 images (3.1 points) were lost net; the data allow anything from a gain "
        "of 0.9 points to a loss of 8.2 points, the limit is 2 points: insufficient evidence; "
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


def test_too_few_positive_images_are_never_enough(make_predictions: MakePredictions) -> None:
    labels = ["nevus"] * 900 + ["melanoma"] * 6
    table = make_predictions(labels, ["x"] * 906, a=labels, b=labels)
    limits = Limits(positive=("melanoma",), minimum_positives=10)
    found = paired_difference(
        table, "a", "b", pd.Series(["x"] * 906), positive=limits.positive, resamples=10
    )
    row = verdict_of(found, "x", limits)
    assert row["verdict"] == Verdict.INSUFFICIENT
    assert "at least 10 images of melanoma are required, not 6" in row["sentence"]
    assert row["images_to_settle"] == 1600  # as many as hold ten melanomas
    enough = verdict_of(found, "x", Limits(positive=("melanoma",), minimum_positives=5))
    assert enough["verdict"] == Verdict.WITHIN
    others = Limits(positive=("melanoma",), minimum_negatives=5000)
    assert "images of other classes than melanoma" in verdict_of(found, "x", others)["sentence"]


def test_sentence_about_missed_melanomas(make_predictions: MakePredictions) -> None:
    labels = ["melanoma"] * 60 + ["nevus"] * 40
    worse = ["nevus"] * 30 + labels[30:]
    table = make_predictions(labels, ["x"] * 100, a=labels, b=worse)
    limits = Limits("sensitivity", positive=("melanoma",))
    found = paired_difference(
        table,
        "a",
        "b",
        pd.Series(["x"] * 100),
        metric=limits.metric,
        positive=limits.positive,
        resamples=10,
    )
    assert verdict_of(found, "x", limits)["sentence"] == (
        "x: 30 of 60 images of melanoma (50 points) were lost net; the data allow no less than a "
        "loss of 37.7 points, the limit is 2 points: outside the limit."
    )
    never = Limits("sensitivity", positive=("keratosis",))
    absent = paired_difference(
        table, "a", "b", pd.Series(["x"] * 100), metric=never.metric, positive=never.positive
    )
    row = verdict_of(absent, "x", never)
    assert row["verdict"] == Verdict.INSUFFICIENT
    assert row["sentence"] == ("x: no image of keratosis, not estimable: insufficient evidence.")


@pytest.mark.parametrize("metric", ["balanced accuracy", "macro auroc"])
def test_limits_on_means_over_classes(make_scored: MakeScored, metric: str) -> None:
    table = make_scored(300, models=2)
    noise = np.random.default_rng(0).dirichlet(np.ones(4), 300)
    table = table.with_model("guess", noise).with_model("twin", table.probabilities("model 0"))
    groups = table.groups("tone", "fst3")
    verdicts = {}
    for after in ("guess", "model 1"):
        found = paired_difference(table, "model 0", after, groups, metric=metric, resamples=200)
        judged = judge(found, Limits(metric, 0.05)).set_index("group")
        verdicts[after] = judged.loc["overall"]
    assert verdicts["guess"]["verdict"] == Verdict.OUTSIDE
    assert " fell from 0." in verdicts["guess"]["sentence"]
    same = judge(
        paired_difference(table, "model 0", "twin", groups, metric=metric, resamples=50),
        Limits(metric, 0.2),
    ).set_index("group")
    assert same.loc["overall", "verdict"] == Verdict.WITHIN
    assert " stayed at 0." in same.loc["overall", "sentence"]


def test_images_that_would_settle_a_mean_over_classes(make_scored: MakeScored) -> None:
    """The half-width shrinks with the square root of n."""
    table = make_scored(200, models=2)
    found = paired_difference(
        table,
        "model 0",
        "model 1",
        table.groups("tone", "fst3"),
        metric="macro auroc",
        resamples=300,
    )
    row = found.iloc[0]
    limits = Limits("macro auroc", float(-row["difference"] + 0.001))
    judged = verdict_of(found, "overall", limits)
    assert judged["verdict"] == Verdict.INSUFFICIENT
    half = row["difference"] - row["low"]
    assert judged["images_to_settle"] == pytest.approx(200 * (half / 0.001) ** 2, rel=0.15) or (
        np.isnan(judged["images_to_settle"]) and 200 * (half / 0.001) ** 2 > 1e5
    )
