"""Do 95 % intervals hold the truth in 95 % of audits? A seeded simulation; see benchmarks.audit for more."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.audit import coverage

AUDITS = 120


@pytest.fixture(scope="module")
def covered() -> dict[str, float]:
    """Share of intervals that hold the truth, per measure, over groups and audits."""
    table = coverage(sizes=(100, 140), classes=3, audits=AUDITS, resamples=200, seed=4, gaps=False)
    return table.groupby("measure")["covered"].mean().to_dict()


def test_every_measure_is_covered(covered: dict[str, float]) -> None:
    assert len(covered) >= 10
    # 240 intervals each: a coverage of 0.95 shows as 0.908 to 0.992 in all but one of 400 measures.
    assert min(covered.values()) > 0.905, covered


def test_coverage_on_average(covered: dict[str, float]) -> None:
    assert 0.93 <= np.mean(list(covered.values())) <= 0.97, covered
