"""The process that executes one job: everything around the computation itself. No torch here.

A module that computes hands its functions to `main`:

    if __name__ == "__main__":
        sys.exit(main({JobKind.RUN: run, ...}))
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from dashboard.backend.queue.jobs import Jobs
from dashboard.backend.queue.processes import Identity, end_with
from dashboard.backend.queue.progress import Recorder
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Case, Job
from dashboard.backend.records.store import Store
from dashboard.backend.settings import ATTEMPT_VARIABLE, WORKER_VARIABLE, Settings
from dashboard.backend.views import JobKind, JobState
from fairquant_core.errors import Cancelled, FairQuantError

DEFECT = (
    "The program failed ({kind}: {message}). This is a defect, not a mistake of yours; the "
    "technical log holds the details."
)
NO_MEMORY = (
    "The memory of this machine is not enough ({message}). Close other programs, or choose a "
    "smaller batch size, and resume."
)
NO_SPACE = (
    "The disk of this machine is full, so the result could not be kept; nothing half-written was left. Free some "
    "space and resume."
)


@dataclass(frozen=True)
class Task:
    """What a computation gets."""

    job: Job
    case: Case
    parent: Job | None
    settings: Settings
    store: Store
    artefacts: Artefacts
    work: Path
    progress: Recorder
    cancel: Callable[[], bool]


@dataclass(frozen=True)
class Outcome:
    """What a computation leaves: files to keep, figures for lists, and a change of the case."""

    files: dict[str, Path]
    summary: dict[str, Any] = field(default_factory=dict)
    also: Callable[[Session, Case], None] | None = None


Computation = Callable[[Task], Outcome]


def main(computations: Mapping[JobKind, Computation]) -> int:
    """Execute the job named on the command line; returns the exit code."""
    if len(sys.argv) != 2:
        print("usage: python -m dashboard.backend.job JOB_ID (the worker starts this)")
        return 2
    worker = os.environ.get(WORKER_VARIABLE)
    if worker:
        end_with(Identity.parse(worker))
    return execute(
        sys.argv[1],
        int(os.environ.get(ATTEMPT_VARIABLE, "1")),
        Settings.from_environment(),
        computations,
    )


def execute(
    job_id: str, attempt: int, settings: Settings, computations: Mapping[JobKind, Computation]
) -> int:
    """Compute, keep the result, and record how it ended."""
    store = Store(settings)
    jobs = Jobs(store, settings)
    job = jobs.row(job_id)
    if job.state != JobState.RUNNING.value or job.attempt != attempt:
        print(
            f"{job_id} is {job.state} in attempt {job.attempt}: attempt {attempt} has no part in it"
        )
        return 4
    try:
        outcome = _compute(job, settings, store, computations)
        artefacts = Artefacts(settings.artefacts)
        # The result is in place before anybody can read "finished".
        result = artefacts.publish(outcome.files)
        finished = jobs.finish(job_id, attempt, result, outcome.summary, outcome.also)
    except Cancelled:
        jobs.end(job_id, attempt, JobState.CANCELLED)
        return 0
    except FairQuantError as error:
        traceback.print_exc()
        jobs.end(job_id, attempt, JobState.FAILED, str(error))
        return 1
    except MemoryError as error:
        traceback.print_exc()
        jobs.end(job_id, attempt, JobState.FAILED, NO_MEMORY.format(message=error or "no details"))
        return 1
    except Exception as error:
        # Recorded and raised: the person sees a failed job at once, the log holds the traceback.
        message = DEFECT.format(kind=type(error).__name__, message=error)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = NO_SPACE
        jobs.end(job_id, attempt, JobState.FAILED, message)
        raise
    if not finished:
        print(f"{job_id} was taken away before it finished; the result is not used")
    return 0


def _compute(
    job: Job, settings: Settings, store: Store, computations: Mapping[JobKind, Computation]
) -> Outcome:
    computation = computations.get(JobKind(job.kind))
    if computation is None:
        raise FairQuantError(f"No computation is known for jobs of kind {job.kind!r}.")
    with store.read() as session:
        case = session.get_one(Case, job.case_id)
        parent = session.get(Job, job.parent_id) if job.parent_id else None
    work = settings.work(job.id)
    work.mkdir(parents=True, exist_ok=True)
    settings.cache.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(store, job.id, job.attempt)
    task = Task(
        job,
        case,
        parent,
        settings,
        store,
        Artefacts(settings.artefacts),
        work,
        recorder,
        recorder.cancelled,
    )
    outcome = computation(task)
    if recorder.stopped:
        raise Cancelled("The job was cancelled.")
    return outcome
