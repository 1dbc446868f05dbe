"""The real worker as a real process: progress, cancel, crash, kill and resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest

from dashboard.backend.queue.jobs import JobRequest, Jobs
from dashboard.backend.queue.lease import Lease
from dashboard.backend.queue.processes import Identity
from dashboard.backend.queue.progress import epochs
from dashboard.backend.queue.supervision import Supervisor, reconcile
from dashboard.backend.records.store import Store
from dashboard.backend.services import Services
from dashboard.backend.settings import Settings
from dashboard.backend.views import JobState, JobView
from tests.dashboard.backend.conftest import bare_case

Build = Callable[..., JobRequest]


@pytest.fixture
def supervisor(store: Store, settings: Settings) -> Iterator[Supervisor]:
    made = Supervisor(store, settings)
    yield made
    made.stop()


def wait_for(look: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait until `look` is true; returns the seconds it took."""
    started = time.monotonic()
    while not look():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"nothing happened within {seconds} s")
        time.sleep(0.05)
    return time.monotonic() - started


def wait_for_end(jobs: Jobs, job_id: str) -> JobView:
    wait_for(lambda: not jobs.get(job_id).state.active)
    return jobs.get(job_id)


def child_of(jobs: Jobs, job_id: str) -> Identity | None:
    row = jobs.row(job_id)
    return Identity(row.child_pid, row.child_started) if row.child_pid else None


def test_jobs_finish_cancel_fail_and_survive_a_kill(
    store: Store,
    jobs: Jobs,
    supervisor: Supervisor,
    request_job: Build,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One worker start serves the whole story, to keep the test short."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    quick = jobs.submit(request_job("quick", steps=3))
    refused = jobs.submit(request_job("refused", behaviour="refuse"))
    crashed = jobs.submit(request_job("crashed", behaviour="crash"))
    slow = jobs.submit(request_job("slow", steps=600, seconds=0.1))
    supervisor.ensure()
    wait_for(lambda: supervisor.look().alive)

    done = wait_for_end(jobs, quick)
    assert (done.state, done.step, done.steps) == (JobState.FINISHED, 3, 3)
    assert done.result_hash is not None
    assert len(epochs(store, quick)) == 3
    assert not settings.work(quick).exists()

    failed = wait_for_end(jobs, refused)
    assert (failed.state, failed.error) == (
        JobState.FAILED,
        "row 3 of cohort.csv: no label; fill it in",
    )

    dead = wait_for_end(jobs, crashed)
    assert dead.state == JobState.FAILED
    assert "exit code 9" in dead.error
    assert "about to die; threads wait PASSIVE" in dead.error

    wait_for(lambda: jobs.get(slow).step >= 3)
    child = child_of(jobs, slow)
    assert child is not None
    assert child.alive
    jobs.cancel(slow)
    assert wait_for(lambda: not child.alive, 3.0) < 2.0
    assert wait_for_end(jobs, slow).state == JobState.CANCELLED

    # Resumed, it goes on from its checkpoint; then the worker is killed without warning.
    reached = jobs.get(slow).step
    jobs.resume(slow)
    wait_for(lambda: jobs.get(slow).step > reached)
    child = child_of(jobs, slow)
    assert child is not None
    pid = supervisor.look().pid
    assert pid is not None
    psutil.Process(pid).kill()
    wait_for(lambda: not supervisor.look().alive)
    wait_for(lambda: not child.alive, 3.0)
    assert jobs.get(slow).state == JobState.RUNNING

    again = jobs.submit(request_job("short", steps=2))
    supervisor.ensure()
    assert jobs.get(slow).state == JobState.INTERRUPTED
    assert jobs.get(slow).error.startswith("The worker ended")
    assert wait_for_end(jobs, again).state == JobState.FINISHED


def test_an_interrupted_job_resumes_where_it_was(
    store: Store, jobs: Jobs, supervisor: Supervisor, request_job: Build
) -> None:
    job_id = jobs.submit(request_job("steps", steps=10, seconds=0.15))
    supervisor.ensure()
    wait_for(lambda: jobs.get(job_id).step >= 3)
    supervisor.stop()
    assert jobs.get(job_id).state == JobState.INTERRUPTED
    jobs.resume(job_id)
    supervisor.ensure()
    assert wait_for_end(jobs, job_id).state == JobState.FINISHED
    assert jobs.row(job_id).summary["first"] >= 3
    assert epochs(store, job_id)["epoch"].tolist() == list(range(1, 11))


def test_two_applications_share_one_worker_that_leaves_when_idle(
    store: Store, settings: Settings
) -> None:
    quick = replace(settings, worker_idle_seconds=0.5)
    first, second = Supervisor(store, quick), Supervisor(store, quick)
    first.ensure()
    second.ensure()
    wait_for(lambda: first.look().alive)
    assert first.look().pid == second.look().pid
    wait_for(lambda: not first.look().alive)
    log = quick.worker_log.read_text()
    assert log.count("started for") == 1
    assert "worker ends" in log


def test_a_running_job_without_a_worker_is_cancelled_at_once(
    services: Services, request_job: Build
) -> None:
    with services._store.write() as session:
        session.add(bare_case("case-1"))
    job_id = services._jobs.submit(request_job())
    services._jobs.claim("a worker that died")
    services.cancel(job_id)
    assert services.job(job_id).state == JobState.CANCELLED


def test_a_second_worker_is_refused_while_the_first_lives(store: Store) -> None:
    lease = Lease(store)
    assert lease.take("first", Identity.own())
    assert not lease.take("second", Identity.own())
    assert lease.beat("first")
    lease.leave("first")
    assert lease.take("second", Identity.own())
    assert not lease.beat("first")


def test_a_reused_process_id_is_not_the_worker(store: Store) -> None:
    own = Identity.own()
    lease = Lease(store)
    assert lease.take("dead", Identity(own.pid, own.started - 1000.0))
    holder = lease.holder()
    assert holder is not None
    assert not holder.alive
    assert lease.take("new", own)


def test_reconcile_leaves_jobs_of_a_living_worker_alone(
    store: Store, jobs: Jobs, request_job: Build
) -> None:
    job_id = jobs.submit(request_job())
    Lease(store).take("alive", Identity.own())
    jobs.claim("alive")
    assert reconcile(store) == []
    assert jobs.get(job_id).state == JobState.RUNNING


def test_reconcile_knows_what_was_cancelled(store: Store, jobs: Jobs, request_job: Build) -> None:
    job_id = jobs.submit(request_job())
    jobs.claim("dead")
    jobs.cancel(job_id)
    assert reconcile(store) == [job_id]
    assert jobs.get(job_id).state == JobState.CANCELLED
