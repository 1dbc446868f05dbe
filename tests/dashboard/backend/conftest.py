"""A data folder per test, with one ready case that needs no image and no torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.backend.queue.jobs import JobRequest, Jobs
from dashboard.backend.records.schema import Case
from dashboard.backend.records.store import Store, now
from dashboard.backend.services import Services, open_services
from dashboard.backend.settings import Settings
from dashboard.backend.views import JobKind
from fairquant_core.audit.criteria import Limits
from tests.dashboard.backend import made_results


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return _settings(tmp_path)


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
    opened.close()


@pytest.fixture(scope="session")
def ready_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder and its cohort, with one prepared case; tests get copies of it."""
    folder = tmp_path_factory.mktemp("ready")
    opened = open_services(_settings(folder))
    case_id = made_results.make_case(opened, folder)
    made_results.finish_prepare(opened, case_id, folder)
    opened.close()
    return folder, case_id


@pytest.fixture(scope="session")
def finished_folder(
    ready_folder: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The same with a run started by Rosa that finished with a WITHIN verdict."""
    folder = tmp_path_factory.mktemp("finished")
    case_id = _copy(ready_folder, folder)
    opened = open_services(_settings(folder))
    run_id = opened.start_run(case_id, {"method": "minimax_ptq", "bits": 4.0}, "Rosa")
    made_results.finish_run(opened, run_id, folder)
    opened.close()
    return folder, run_id


@pytest.fixture(scope="session")
def swept_folder(
    ready_folder: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The prepared case with two methods and the control at two seeds, all finished but the last run."""
    folder = tmp_path_factory.mktemp("swept")
    case_id = _copy(ready_folder, folder)
    opened = open_services(_settings(folder))
    shares = {"uniform_ptq": 0.7, "minimax_ptq": 0.8, "full_precision": 0.9}
    for run_id in opened.start_sweep(case_id, tuple(shares), (4.0,), (0, 1), {"epochs": 2})[:-1]:
        run = opened.run(run_id)
        size = 9000 if run.method == "full_precision" else 1200
        made_results.finish_run(opened, run_id, folder, shares[run.method] - 0.05 * run.seed, size)
    opened.close()
    return folder, case_id


@pytest.fixture
def swept_case(swept_folder: tuple[Path, str], tmp_path: Path) -> str:
    """Ask for it before `services`: it puts the data folder in place."""
    return _copy(swept_folder, tmp_path)


@pytest.fixture
def ready_case(ready_folder: tuple[Path, str], tmp_path: Path) -> str:
    """Ask for it before `services`: it puts the data folder in place."""
    return _copy(ready_folder, tmp_path)


@pytest.fixture
def finished_run(finished_folder: tuple[Path, str], tmp_path: Path) -> str:
    """Ask for it before `services`: it puts the data folder in place."""
    return _copy(finished_folder, tmp_path)


@pytest.fixture
def checked_run(finished_run: str, services: Services, tmp_path: Path) -> str:
    """A finished run whose files were checked."""
    made_results.finish_export(services, finished_run, tmp_path)
    return finished_run


@pytest.fixture
def ready(checked_run: str, services: Services, tmp_path: Path) -> str:
    """An approved run with all that a bundle needs."""
    made_results.approve(services, checked_run)
    made_results.finish_report(services, checked_run, tmp_path)
    return checked_run


def _settings(folder: Path) -> Settings:
    return Settings(
        data_folder=folder / "data",
        assets_folder=folder / "no-assets",
        worker_idle_seconds=30.0,
        job_module="tests.dashboard.backend.fake_job",
    )


def _copy(source: tuple[Path, str], target: Path) -> str:
    """Copy data and cohort, and point the copy at its own images."""
    folder, identifier = source
    for name in ("data", "cohort", "model.safetensors"):
        if (folder / name).is_dir():
            shutil.copytree(folder / name, target / name)
        else:
            shutil.copy2(folder / name, target / name)
    for path in target.glob("data/cases/*/cohort/cohort.json"):
        about = json.loads(path.read_text())
        about["root"] = str((target / "cohort").resolve())
        path.write_text(json.dumps(about))
    return identifier
