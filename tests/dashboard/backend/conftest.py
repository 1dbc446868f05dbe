"""A data folder per test, with one ready case that needs no image and no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.backend.jobs import JobRequest, Jobs
from dashboard.backend.schema import Case
from dashboard.backend.services import Services, open_services
from dashboard.backend.settings import Settings
from dashboard.backend.store import Store, now
from dashboard.backend.views import JobKind
from fairquant_core.audit.criteria import Limits
from tests.dashboard.backend import made_results


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_folder=tmp_path / "data",
        assets_folder=tmp_path / "no-assets",
        worker_idle_seconds=30.0,
        job_module="tests.dashboard.backend.fake_job",
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = Store(settings)
    with opened.write() as session:
        session.add(bare_case("case-1"))
    yield opened
    opened.close()


@pytest.fixture
def jobs(store: Store, settings: Settings) -> Jobs:
    return Jobs(store, settings)


@pytest.fixture
def request_job() -> Callable[..., JobRequest]:
    def build(name: str = "one", **config: Any) -> JobRequest:
        identity = {"name": name, **config}
        return JobRequest(JobKind.RUN, "case-1", f"Job {name}", identity, config)

    return build


def bare_case(identifier: str, **changes: Any) -> Case:
    """A row with every required column."""
    values: dict[str, Any] = {
        "id": identifier,
        "title": "A case",
        "classifier": {"fingerprint": "f" * 64},
        "cohort": {"fingerprint": "c" * 64},
        "classes": ["benign", "malignant"],
        "group_column": "tone",
        "group_source": "an annotator",
        "scheme": "fst3",
        "groups": ["FST I-II", "FST V-VI"],
        "must_not_miss": ["malignant"],
        "limits": Limits().to_json(),
        "warnings": [],
        "created": now(),
        "ready": True,
    }
    return Case(**{**values, **changes})


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    opened = open_services(settings)
    yield opened
    opened.stop_worker()


@pytest.fixture
def ready_case(services: Services, tmp_path: Path) -> str:
    """A case of coloured squares that is prepared."""
    case_id = made_results.make_case(services, tmp_path)
    made_results.finish_prepare(services, case_id, tmp_path)
    return case_id


@pytest.fixture
def finished_run(services: Services, ready_case: str, tmp_path: Path) -> str:
    """A run started by Rosa that finished with a WITHIN verdict."""
    run_id = services.start_run(ready_case, {"method": "minimax_ptq", "bits": 4.0}, "Rosa")
    made_results.finish_run(services, run_id, tmp_path)
    return run_id
