"""Do 95 % intervals hold the truth in 95 % of audits? Seeded simulations.

More designs: benchmarks.interval_coverage.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.interval_coverage import (
    MEASURES,
    Design,
    Several,
    coverage,
    coverage_of_several,
    paired_methods,
)
from fairquant_core.audit.fairness import DEMOGRAPHIC_PARITY, EQUAL_OPPORTUNITY, EQUALISED_ODDS

AUDITS = 300
#: Few photographs at chance-like accuracy, a usual case with several of a patient, and a good
#: classifier that hardly changes, which is where few images carry all the doubt.
DESIGNS = (Design(30, 0.5, 0.2), Design(120, 0.8, 0.1, 2), Design(60, 0.97, 0.05))
#: Simulation error (one standard error) of a coverage of 93 % in one design, and in all of them.
ERROR = np.sqrt(0.93 * 0.07 / AUDITS)
ERROR_OF_ALL = ERROR / np.sqrt(len(DESIGNS))
LEAST, MOST = 0.93, 0.97
#: Groups far apart, and groups that do not differ, one of them small. Their truth is that of `DESIGNS`.
SEVERAL = (
    Several(3, (Design(100, 0.8, 0.1), Design(140, 0.5, 0.2))),
    Several(3, tuple(Design(images, 0.8, 0.1) for images in (30, 60, 120))),
)
AUDITS_OF_SEVERAL = 100
#: Changes whose intervals are wider than 95 % needs in these designs. Of a share, and of what is made of shares,
#: hardly an image changes, and no interval can come near to 95 % (see the last test); an area under
#: the curve is not called unharmed sooner than images that were not seen allow.
CAUTIOUS = ("sensitivity", "specificity", "predictive", "net benefit", "AUROC", "calibration")


@pytest.fixture(scope="module")
def covered() -> pd.DataFrame:
    """Coverage per kind, measure and design."""
    return pd.concat([coverage(design, AUDITS, resamples=200, seed=4) for design in DESIGNS])


def test_every_level_and_every_change_is_simulated(covered: pd.DataFrame) -> None:
    found = set(zip(covered["kind"], covered["measure"], strict=True))
    assert found == {(kind, m.title) for kind in ("level", "change") for m in MEASURES}
    assert (covered["intervals"] > 0.9 * AUDITS).all()


def test_every_interval_holds_the_truth_often_enough(covered: pd.DataFrame) -> None:
    """At least 93 %, per measure, in every design and over all; two standard errors are allowed for."""
    short = covered[covered["covered"] < LEAST - 2 * ERROR]
    assert short.empty, short.to_string()
    of_all = covered.groupby(["kind", "measure"])["covered"].mean()
    assert of_all.min() >= LEAST - ERROR_OF_ALL, of_all.to_string()
    assert of_all.mean() >= 0.94


def test_intervals_are_no_wider_than_need_be(covered: pd.DataFrame) -> None:
    """On average; single ones may hold the truth more often where a handful of images changed."""
    of_all = covered.groupby(["kind", "measure"])["covered"].mean()
    sharp = [
        key for key in of_all.index if key[0] == "level" or not any(c in key[1] for c in CAUTIOUS)
    ]
    assert len(sharp) >= len(MEASURES) + 3
    assert of_all[sharp].mean() <= MOST + ERROR_OF_ALL, of_all.to_string()
    assert of_all[sharp].max() <= 0.995, of_all.to_string()


@pytest.fixture(scope="module")
def covered_between() -> pd.DataFrame:
    """Coverage per kind, measure and audit, of what is said about several groups at once."""
    tables = [
        coverage_of_several(audit, AUDITS_OF_SEVERAL, resamples=200, seed=4, between_only=True)
        for audit in SEVERAL
    ]
    return pd.concat(tables)


def test_gaps_means_and_criteria_are_simulated(covered_between: pd.DataFrame) -> None:
    found = set(zip(covered_between["kind"], covered_between["measure"], strict=True))
    criteria = (EQUAL_OPPORTUNITY, EQUALISED_ODDS, DEMOGRAPHIC_PARITY)
    wanted = {(kind, m.title) for kind in ("gap", "mean") for m in MEASURES}
    assert found == wanted | {("criterion", name) for name in criteria}
    assert (covered_between["intervals"] > 0.9 * AUDITS_OF_SEVERAL).all()


def test_gaps_means_and_criteria_hold_the_truth_often_enough(covered_between: pd.DataFrame) -> None:
    """At least 93 %, also where groups do not differ; two standard errors are allowed for."""
    error = np.sqrt(LEAST * (1 - LEAST) / AUDITS_OF_SEVERAL)
    short = covered_between[covered_between["covered"] < LEAST - 2 * error]
    assert short.empty, short.to_string()
    by_kind = covered_between.groupby("kind")["covered"].mean()
    assert by_kind.min() >= 0.94, by_kind.to_string()


def test_gaps_and_criteria_far_apart_are_no_wider_than_need_be(
    covered_between: pd.DataFrame,
) -> None:
    """On average; groups that are alike are left out: no interval can lie below their true gap of zero."""
    apart = covered_between[covered_between["design"] == str(SEVERAL[0])]
    gaps = apart[apart["kind"] == "gap"]
    assert gaps["covered"].mean() <= MOST + 0.01, gaps.to_string()


@pytest.mark.parametrize("n", [10, 20, 40, 60, 120])
@pytest.mark.parametrize("turnover", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("lost", [0, 0.03])
def test_the_change_of_a_share_exactly(n: int, turnover: float, lost: float) -> None:
    """From about five changed images on 93 to 97 %; with fewer no published interval comes nearer.

    The others that hold 93 % here are as wide or wider, in coverage, but for half a point.
    """
    found = paired_methods(n, (turnover + lost) / 2, (turnover - lost) / 2)
    assert found["score"] >= LEAST
    if n * turnover >= 5:
        assert found["score"] <= MOST + 0.002
    else:
        others = [found[name] for name in ("Agresti-Min", "Bonett-Price") if found[name] >= LEAST]
        assert found["score"] <= min(others) + 0.015
