"""The queue: identical requests share a job, one worker gets each, every change is legal."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dashboard.backend.queue.jobs import JobRequest, Jobs
from dashboard.backend.queue.progress import Recorder, bits_trajectory, epochs, log, training_steps
from dashboard.backend.records.store import Store
from dashboard.backend.settings import Settings
from dashboard.backend.views import JobState
from fairquant_core.errors import FairQuantError
from fairquant_core.progress import Progress

Build = Callable[..., JobRequest]


def test_identical_requests_share_one_job(jobs: Jobs, request_job: Build) -> None:
    first = jobs.submit(request_job())
    assert jobs.submit(request_job()) == first
    assert jobs.submit(request_job("two")) != first
    assert len(jobs.rows()) == 2


def test_two_people_asking_at_once_get_one_job(
    settings: Settings, store: Store, request_job: Build
) -> None:
    answers: list[str] = []

    def ask() -> None:
        own = Store(settings)
        answers.append(Jobs(own, settings).submit(request_job()))
        own.close()

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 5
    assert len(set(answers)) == 1


def test_the_oldest_job_is_claimed_first_and_once(jobs: Jobs, request_job: Build) -> None:
    first, second = jobs.submit(request_job("a")), jobs.submit(request_job("b"))
    claimed = jobs.claim("w")
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.attempt) == (first, "running", 1)
    other = jobs.claim("w")
    assert other is not None
    assert other.id == second
    assert jobs.claim("w") is None


def test_claims_from_several_processes_never_collide(
    settings: Settings, jobs: Jobs, request_job: Build
) -> None:
    for number in range(12):
        jobs.submit(request_job(str(number)))
    taken: list[str] = []

    def work() -> None:
        own = Store(settings)
        while (job := Jobs(own, settings).claim("w")) is not None:
            taken.append(job.id)
        own.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 12


def test_a_queued_job_is_cancelled_at_once(jobs: Jobs, request_job: Build) -> None:
    job_id = jobs.submit(request_job())
    jobs.cancel(job_id)
    assert jobs.get(job_id).state == JobState.CANCELLED
    assert jobs.claim("w") is None


def test_a_running_job_is_asked_to_stop(jobs: Jobs, request_job: Build) -> None:
    job_id = jobs.submit(request_job())
    jobs.claim("w")
    jobs.cancel(job_id)
    seen = jobs.get(job_id)
    assert (seen.state, seen.cancel_requested) == (JobState.RUNNING, True)


def test_a_finished_job_cannot_be_cancelled_or_resumed(jobs: Jobs, request_job: Build) -> None:
    job_id = jobs.submit(request_job())
    jobs.claim("w")
    assert jobs.finish(job_id, 1, "hash", {"verdict": "WITHIN"})
    jobs.cancel(job_id)
    assert jobs.get(job_id).state == JobState.FINISHED
    with pytest.raises(FairQuantError, match="finished"):
        jobs.resume(job_id)


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED])
def test_asking_again_after_a_bad_end_queues_the_same_job(
    jobs: Jobs, request_job: Build, state: JobState
) -> None:
    job_id = jobs.submit(request_job())
    jobs.claim("w")
    jobs.end(job_id, 1, state, "why")
    assert jobs.submit(request_job()) == job_id
    again = jobs.get(job_id)
    assert (again.state, again.error) == (JobState.QUEUED, "")
    claimed = jobs.claim("w")
    assert claimed is not None
    assert claimed.attempt == 2


def test_a_result_that_is_no_longer_whole_is_computed_again(jobs: Jobs, request_job: Build) -> None:
    job_id = jobs.submit(request_job())
    jobs.claim("w")
    jobs.finish(job_id, 1, "hash", {})
    assert jobs.submit(request_job(), lambda _: True) == job_id
    assert jobs.get(job_id).state == JobState.FINISHED
    jobs.submit(request_job(), lambda _: False)
    assert jobs.get(job_id).state == JobState.QUEUED


def test_a_process_of_an_earlier_attempt_can_no_longer_write(
    store: Store, jobs: Jobs, request_job: Build
) -> None:
    job_id = jobs.submit(request_job())
    jobs.claim("w")
    old = Recorder(store, job_id, 1)
    jobs.end(job_id, 1, JobState.INTERRUPTED)
    jobs.resume(job_id)
    jobs.claim("w")
    old(Progress("training", 1, 2, "late"))
    assert old.cancelled()
    assert not jobs.finish(job_id, 1, "hash", {})
    assert jobs.get(job_id).message == "Starting"


def test_progress_is_throttled_but_no_epoch_is_lost(
    store: Store, jobs: Jobs, request_job: Build
) -> None:
    job_id = jobs.submit(request_job())
    jobs.claim("w")
    record = Recorder(store, job_id, 1)
    for step in range(1000):
        figures = {"loss": float(step), "average_bits": 4.0}
        record(Progress("training", step, 2000, f"Step {step} of 2000", 5.0, figures))
    for epoch in (1, 2):
        figures = {
            "epoch": epoch,
            "epochs": 2,
            "loss": 1.0,
            "validation_loss": float("nan"),
            "average_bits": 4.0,
            "worst_group_accuracy": 0.4,
            "accuracy": 0.5,
            "group_accuracy": {"FST V-VI": 0.4},
            "bits_by_layer": {"stem": 4.0},
        }
        record(Progress("training", 1000 * epoch, 2000, f"Epoch {epoch} of 2", 1.0, figures))
    assert len(log(store, job_id)) <= 5
    assert len(training_steps(store, job_id)) <= 5
    frame = epochs(store, job_id)
    assert frame["epoch"].tolist() == [1, 2]
    assert frame["accuracy: FST V-VI"].tolist() == [0.4, 0.4]
    assert frame["validation_loss"].isna().all()
    assert bits_trajectory(store, job_id)["bits"].tolist() == [4.0, 4.0]


def test_a_repeated_epoch_replaces_the_first(store: Store, jobs: Jobs, request_job: Build) -> None:
    job_id = jobs.submit(request_job())
    jobs.claim("w")
    for loss in (2.0, 1.0):
        figures = {"epoch": 1, "epochs": 1, "loss": loss, "validation_loss": loss}
        Recorder(store, job_id, 1)(Progress("training", 1, 1, "Epoch 1 of 1", 0.0, figures))
    assert epochs(store, job_id)["loss"].tolist() == [1.0]


def test_cancel_reaches_the_computation(store: Store, jobs: Jobs, request_job: Build) -> None:
    job_id = jobs.submit(request_job())
    jobs.claim("w")
    record = Recorder(store, job_id, 1)
    record(Progress("images", 0, 2, "Image"))
    assert not record.cancelled()
    jobs.cancel(job_id)
    record(Progress("training", 1, 2, "Epoch"))
    assert record.cancelled()


def test_an_unknown_id_is_a_clear_error(jobs: Jobs) -> None:
    with pytest.raises(FairQuantError, match="'nothing'"):
        jobs.get("nothing")
