"""How often a harm is flagged, and how often a harmless change is: exactly, and by simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from benchmarks.audit import chances, family_wise
from fairquant_core.audit.comparison import paired_difference
from fairquant_core.audit.criteria import Limits, Verdict, judge
from fairquant_core.audit.predictions import IMAGE_COLUMNS, Predictions

MakePredictions = Callable[..., Predictions]
MARGIN = 0.02


@pytest.mark.parametrize("n", [30, 60, 120, 240, 480])
@pytest.mark.parametrize("turnover", [0.02, 0.05, 0.1])
def test_harmless_changes_are_hardly_ever_flagged(n: int, turnover: float) -> None:
    assert chances(n, turnover, turnover)[Verdict.OUTSIDE] <= 0.05


@pytest.mark.parametrize("n", [60, 120, 240, 480])
@pytest.mark.parametrize("gained", [0.02, 0.05])
def test_a_loss_of_exactly_the_limit_is_rarely_called_either_way(n: int, gained: float) -> None:
    found = chances(n, gained + MARGIN, gained)
    assert found[Verdict.OUTSIDE] <= 0.05 and found[Verdict.WITHIN] <= 0.05


@pytest.mark.parametrize(
    ("n", "p_lost", "p_gained"), [(150, 0.12, 0.02), (300, 0.12, 0.02), (300, 0.1, 0.03)], ids=str
)
def test_harm_is_flagged_with_the_power_of_the_sample(
    n: int, p_lost: float, p_gained: float
) -> None:
    """The usual formula for a test of a paired difference against a margin (Fleiss 2003)."""
    drop = p_lost - p_gained
    error = np.sqrt((p_lost + p_gained - drop**2) / n)
    expected = norm.cdf((drop - MARGIN) / error - norm.ppf(0.975))
    assert chances(n, p_lost, p_gained)[Verdict.OUTSIDE] == pytest.approx(expected, abs=0.06)


def test_a_classifier_made_worse_for_one_group_is_flagged_there(
    make_predictions: MakePredictions,
) -> None:
    """Twelve points lost for one of two groups of 150: the verdicts of whole audits."""
    rng = np.random.default_rng(6)
    groups = pd.Series(np.repeat(["spared", "harmed"], 150))
    labels = np.repeat("nevus", 300)
    counts = {"spared": 0, "harmed": 0}
    runs = 60
    for _ in range(runs):
        moved = rng.random(300)
        risk = np.where(groups == "harmed", 0.14, 0.02)
        before = np.where(moved > 0.98, "melanoma", labels)
        after = np.where(moved < risk, "melanoma", labels)
        table = make_predictions(labels, groups, a=before, b=after)
        judged = judge(paired_difference(table, "a", "b", groups, resamples=5), Limits())
        for row in judged[judged["verdict"] == Verdict.OUTSIDE]["group"]:
            if row in counts:
                counts[row] += 1
    power = chances(150, 0.14, 0.02)[Verdict.OUTSIDE]
    spread = 3 * np.sqrt(power * (1 - power) / runs)
    assert power > 0.8
    assert counts["harmed"] / runs == pytest.approx(power, abs=spread)
    assert counts["spared"] <= 0.05 * runs


def test_a_rare_but_complete_loss_of_auroc_is_not_called_within(
    make_predictions: MakePredictions,
) -> None:
    """Two per cent of the images are ranked the wrong way round, the others hardly move.

    Most samples of 100 hold too few of these for their spread to tell of the loss.
    """
    rng = np.random.default_rng(5)

    def table(n: int) -> Predictions:
        sick = rng.integers(0, 2, n)
        score = (2 * sick - 1) * 1.6 + rng.normal(size=n)
        after = np.where(rng.random(n) < 0.02, -score, score + 0.02 * rng.normal(size=n))
        chance = {name: 1 / (1 + np.exp(-value)) for name, value in (("a", score), ("b", after))}
        labels = np.where(sick, "melanoma", "nevus")
        made = make_predictions(labels, ["1"] * n, a=labels)
        return Predictions.build(
            made.frame[[*IMAGE_COLUMNS, "tone"]],
            ("melanoma", "nevus"),
            {name: np.stack([value, 1 - value], axis=1) for name, value in chance.items()},
        )

    large = table(60_000)
    sick = large.frame["label"] == "melanoma"
    was, now = (roc_auc_score(sick, large.probabilities(name)[:, 0]) for name in "ab")
    limits = Limits("auroc", float(was - now), positive=("melanoma",))
    found = []
    for seed in range(60):
        made = table(100)
        change = paired_difference(
            *(made, "a", "b", made.groups("tone", "values")),
            metric="auroc",
            positive=("melanoma",),
            resamples=200,
            seed=seed,
        )
        found.append(judge(change, limits)["verdict"].iloc[0])
    assert found.count(Verdict.WITHIN) <= 0.05 * len(found)
    assert found.count(Verdict.OUTSIDE) <= 0.05 * len(found)


@pytest.mark.parametrize("groups", [3, 6])
@pytest.mark.parametrize("n", [30, 120])
@pytest.mark.parametrize("turnover", [0.1, 0.2])
@pytest.mark.parametrize("lost", [0, MARGIN])
def test_any_of_several_groups_is_hardly_ever_flagged(
    groups: int, n: int, turnover: float, lost: float
) -> None:
    """Also where every group loses just what is allowed, which is the hardest case."""
    found = family_wise(groups, n, (turnover + lost) / 2, (turnover - lost) / 2)
    error = np.sqrt(0.05 * 0.95 / 20_000)
    assert found["together"] <= 0.05 + 2 * error
    assert found["together"] < found["alone"]


def test_six_groups_judged_each_by_itself_would_be_flagged_too_often() -> None:
    """What the allowance is for: six groups of 30 in which one image in five gets another answer."""
    found = family_wise(6, 30, 0.1, 0.1)
    assert found["alone"] > 0.06 and found["together"] < 0.02


def test_whole_audits_of_six_groups_are_flagged_as_computed(
    make_predictions: MakePredictions,
) -> None:
    """`judge` on real tables: a group is flagged at the bound for all seven results, or none is."""
    rng = np.random.default_rng(8)
    groups = pd.Series(np.repeat([f"group {index}" for index in range(6)], 30))
    labels = np.repeat("nevus", len(groups))
    flagged_cases, runs = 0, 20
    for _ in range(runs):
        moved = rng.random(len(groups))
        before = np.where(moved > 0.85, "melanoma", labels)
        after = np.where(moved < 0.15, "melanoma", labels)
        table = make_predictions(labels, groups, a=before, b=after)
        change = paired_difference(table, "a", "b", groups, resamples=5)
        flagged = {
            each: set(verdicts.loc[verdicts["verdict"] == Verdict.OUTSIDE, "group"])
            for each in (True, False)
            for verdicts in [judge(change, Limits(), together=each)]
        }
        assert flagged[True] <= flagged[False]
        bounds = np.array(change["high_among"].tolist())
        assert (np.diff(bounds, axis=1) >= -1e-12).all()
        assert bool(flagged[True]) == bool((-bounds[:, -1] > MARGIN).any())
        flagged_cases += bool(flagged[True])
    assert flagged_cases <= 0.05 * runs


@pytest.mark.parametrize(
    ("groups", "n", "p_lost"), [(3, 150, 0.14), (6, 150, 0.16), (6, 300, 0.11)]
)
def test_a_harmed_group_among_spared_ones_is_flagged_with_the_power_of_the_sample(
    groups: int, n: int, p_lost: float
) -> None:
    """The allowance for other groups costs what the quantile says, and no more."""
    p_gained, among = 0.02, groups + 1
    drop = p_lost - p_gained
    error = np.sqrt((p_lost + p_gained - drop**2) / n)
    expected = norm.cdf((drop - MARGIN) / error - norm.ppf(1 - 0.05 / among))
    found = chances(n, p_lost, p_gained, among=among)[Verdict.OUTSIDE]
    assert found == pytest.approx(expected, abs=0.08)
    assert found > 0.7
