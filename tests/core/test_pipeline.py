"""What a run hands to its method: the map of the measure that the method plans from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairquant_core import pipeline
from fairquant_core.audit.criteria import Limits
from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.cohort import Cohort
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.catalogue import LEGAL_MENU, METHODS, RunConfig
from fairquant_core.sensitivity.maps import SensitivityMap


class Seen(Exception):
    """Ends a run as soon as its method is called."""


@pytest.fixture(scope="module")
def cohort(small_cohort_folder: Path) -> Cohort:
    return read_cohort(small_cohort_folder)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return create("mobilenetv3_small_050", ("benign", "malignant"), size=32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def handed_over(
    cohort: Cohort,
    classifier: Classifier,
    cache: Path,
    work: Path,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """The job that the method would get."""
    jobs = []

    def look(job: Any) -> None:
        jobs.append(job)
        raise Seen

    monkeypatch.setattr(pipeline, "run_method", look)
    with pytest.raises(Seen):
        pipeline.run(
            cohort,
            classifier,
            RunConfig(method=method, images_per_group=2),
            group_column="fitzpatrick",
            scheme="fst3",
            limits=Limits(),
            cache=cache,
            work=work,
        )
    return jobs[0]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_run_plans_from_the_measure_of_its_method(
    method: str, cohort, classifier, cache, tmp_path: Path, monkeypatch
) -> None:
    job = handed_over(cohort, classifier, cache, tmp_path, method, monkeypatch)
    measure = METHODS[method].measure
    if not measure:
        assert job.sensitivity is None
        assert not (tmp_path / pipeline.SENSITIVITY_FILE).exists()
        return
    assert job.sensitivity.measure == measure
    assert job.sensitivity.menu == LEGAL_MENU
    saved = SensitivityMap.load(tmp_path / pipeline.SENSITIVITY_FILE)
    assert (saved.damage == job.sensitivity.damage).all()


def test_a_run_takes_the_very_map_that_the_sensitivity_page_shows(
    cohort, classifier, cache, tmp_path: Path, monkeypatch
) -> None:
    arguments: dict[str, Any] = {"group_column": "fitzpatrick", "scheme": "fst3", "cache": cache}
    _, shown = pipeline.sensitivity(
        cohort,
        classifier,
        **arguments,
        bits=(4,),
        images_per_group=2,
        measured_images_per_group=2,
        work=tmp_path,
    )
    job = handed_over(cohort, classifier, cache, tmp_path, "baq", monkeypatch)
    assert (job.sensitivity.damage == shown.damage).all()
    assert (tmp_path / pipeline.MEASURED_FILE).exists()
