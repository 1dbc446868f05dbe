"""The queue: who asked for what, and every legal change of a job's state.

Each change is one conditional UPDATE, so two people or two processes acting at once cannot both
win:

    queued -> running -> finished | failed | cancelled | interrupted
    queued -> cancelled;  failed | cancelled | interrupted -> queued (resume)
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import literal_column, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dashboard.backend.records.schema import Case, Job
from dashboard.backend.records.store import Store, changed, digest, now
from dashboard.backend.settings import Settings
from dashboard.backend.views import JobKind, JobState, JobView
from fairquant_core.errors import FairQuantError

INSERTED = literal_column("jobs.rowid")
"""Whose turn it is among jobs that were queued within one millisecond."""

ID_LENGTH = 12
_RESUMABLE = tuple(state.value for state in JobState if state.resumable)


@dataclass(frozen=True)
class JobRequest:
    """What somebody asks the worker to compute.

    `identity` holds everything that decides the outcome; `summary` what lists show before there is
    a result (method, bits, ...).
    """

    kind: JobKind
    case_id: str
    title: str
    identity: dict[str, Any]
    config: dict[str, Any]
    summary: dict[str, Any] = field(default_factory=dict)
    parent_id: str | None = None
    started_by: str = ""

    @property
    def key(self) -> str:
        """Hash of the identity."""
        return digest({"kind": self.kind.value, "case": self.case_id, **self.identity})


def view(job: Job) -> JobView:
    """The job as pages see it."""
    return JobView(**view_fields(job))


def view_fields(job: Job) -> dict[str, Any]:
    """Arguments of JobView for a row."""
    return {
        "id": job.id,
        "kind": JobKind(job.kind),
        "case_id": job.case_id,
        "title": job.title,
        "state": JobState(job.state),
        "stage": job.stage,
        "step": job.step,
        "steps": job.steps,
        "message": job.message,
        "seconds_left": job.seconds_left,
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "error": job.error,
        "config": dict(job.config),
        "seen": job.seen,
        "result_hash": job.result_hash,
        "cancel_requested": job.cancel_requested,
        "started_by": job.started_by,
        "figures": dict(job.figures),
        "run_id": job.parent_id,
    }


class Jobs:
    """The table of jobs and the rules by which it changes."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    # asking -----------------------------------------------------------------------------------
    def submit(
        self, request: JobRequest, result_is_whole: Callable[[str], bool] = lambda _: True
    ) -> str:
        """Queue a request, or return the job that already computes or computed the same.

        A failed, cancelled or interrupted job is queued again; so is a finished one whose result is
        no longer whole.
        """
        key = request.key
        try:
            with self._store.write() as session:
                job = session.scalar(select(Job).where(Job.identity == key))
                if job is None:
                    job = self.add(session, request)
                    return job.id
                identifier, state, result = job.id, JobState(job.state), job.result_hash
        except IntegrityError:
            # Somebody else asked for the same between our look and our insert (not with SQLite).
            return self.submit(request, result_is_whole)
        lost = state == JobState.FINISHED and not (result and result_is_whole(result))
        if state.resumable or lost:
            self._requeue(identifier, state)
        return identifier

    def add(self, session: Session, request: JobRequest) -> Job:
        """Insert a new queued job within a transaction of the caller."""
        moment = now()
        key = request.key
        job = Job(
            id=f"{request.kind.value}-{key[:ID_LENGTH]}",
            kind=request.kind.value,
            case_id=request.case_id,
            parent_id=request.parent_id,
            title=request.title,
            identity=key,
            config=request.config,
            summary=request.summary,
            state=JobState.QUEUED.value,
            created=moment,
            queued=moment,
            figures={},
            started_by=request.started_by,
        )
        session.add(job)
        session.flush()
        return job

    def resume(self, job_id: str) -> None:
        """Queue a job again that was interrupted, failed or cancelled; it keeps its work folder."""
        state = self.get(job_id).state
        if not state.resumable:
            raise FairQuantError(
                f"This job is {state.value}; only an interrupted, failed or cancelled job can "
                "resume."
            )
        self._requeue(job_id, state)

    def _requeue(self, job_id: str, state: JobState) -> None:
        with self._store.write() as session:
            session.execute(
                update(Job)
                .where(Job.id == job_id, Job.state == state.value)
                .values(
                    state=JobState.QUEUED.value,
                    queued=now(),
                    ended=None,
                    error="",
                    message="",
                    stage="",
                    step=0,
                    steps=0,
                    seconds_left=None,
                    seen=False,
                    cancel_requested=False,
                    result_hash=None,
                    worker_token=None,
                    child_pid=None,
                    child_started=None,
                )
            )

    def cancel(self, job_id: str) -> None:
        """Cancel a queued job now; ask the worker to end a running one."""
        self.get(job_id)
        with self._store.write() as session:
            at_once = changed(
                session,
                update(Job)
                .where(Job.id == job_id, Job.state == JobState.QUEUED.value)
                .values(state=JobState.CANCELLED.value, ended=now(), cancel_requested=True),
            )
            if at_once:
                return
            session.execute(
                update(Job)
                .where(Job.id == job_id, Job.state == JobState.RUNNING.value)
                .values(cancel_requested=True)
            )

    def mark_seen(self, job_id: str) -> None:
        """Note that a person looked at the result or the failure."""
        self.get(job_id)
        with self._store.write() as session:
            session.execute(
                update(Job)
                .where(Job.id == job_id, Job.state.not_in(("queued", "running")))
                .values(seen=True)
            )

    # looking ----------------------------------------------------------------------------------
    def row(self, job_id: str, kind: JobKind | None = None) -> Job:
        """The row of a job. Raises FairQuantError for an unknown id or another kind."""
        with self._store.read() as session:
            job = session.get(Job, job_id)
        if job is None or (kind is not None and job.kind != kind.value):
            what = kind.value if kind else "job"
            raise FairQuantError(
                f"There is no {what} with the id {job_id!r} in this data folder. Choose one from "
                "the inbox."
            )
        return job

    def get(self, job_id: str) -> JobView:
        """One job as pages see it."""
        return view(self.row(job_id))

    def rows(
        self,
        *,
        kind: JobKind | None = None,
        case_id: str | None = None,
        parent_id: str | None = None,
        state: JobState | None = None,
    ) -> list[Job]:
        """Matching rows, newest request first."""
        query = select(Job).order_by(Job.queued.desc(), Job.id)
        for column, value in (
            (Job.kind, kind),
            (Job.case_id, case_id),
            (Job.parent_id, parent_id),
            (Job.state, state),
        ):
            if value is not None:
                query = query.where(column == str(value))
        with self._store.read() as session:
            return list(session.scalars(query))

    # working ----------------------------------------------------------------------------------
    def claim(self, token: str) -> Job | None:
        """Take the oldest queued job for the worker with this token; None if there is none."""
        with self._store.write() as session:
            waiting = session.scalars(
                select(Job.id)
                .where(Job.state == JobState.QUEUED.value)
                .order_by(Job.queued, INSERTED)
                .limit(5)
            )
            for job_id in list(waiting):
                taken = changed(
                    session,
                    update(Job)
                    .where(Job.id == job_id, Job.state == JobState.QUEUED.value)
                    .values(
                        state=JobState.RUNNING.value,
                        attempt=Job.attempt + 1,
                        started=now(),
                        ended=None,
                        message="Starting",
                        worker_token=token,
                    ),
                )
                if taken:
                    return session.get(Job, job_id, populate_existing=True)
        return None

    def record_child(self, job_id: str, attempt: int, pid: int, started: float) -> None:
        """Remember which process executes the job."""
        with self._store.write() as session:
            session.execute(_running(job_id, attempt).values(child_pid=pid, child_started=started))

    def end(self, job_id: str, attempt: int, state: JobState, error: str = "") -> bool:
        """Move a running job to a state without a result; False if it was no longer running."""
        with self._store.write() as session:
            ended = changed(
                session,
                _running(job_id, attempt).values(
                    state=state.value, ended=now(), error=error, seconds_left=None
                ),
            )
            return bool(ended)

    def finish(
        self,
        job_id: str,
        attempt: int,
        result_hash: str,
        summary: dict[str, Any],
        also: Callable[[Session, Case], None] | None = None,
    ) -> bool:
        """Mark a running job finished, once its artefact is in place.

        `also` changes the case in the same transaction (a prepared case becomes ready with it).
        """
        with self._store.write() as session:
            done = changed(
                session,
                _running(job_id, attempt).values(
                    state=JobState.FINISHED.value,
                    ended=now(),
                    result_hash=result_hash,
                    seconds_left=None,
                    message="Finished",
                ),
            )
            if not done:
                return False
            job = session.get_one(Job, job_id, populate_existing=True)
            job.summary = {**job.summary, **summary}
            if also is not None:
                also(session, session.get_one(Case, job.case_id))
        # The checkpoint has served; an interrupted or failed job keeps its own.
        shutil.rmtree(self._settings.work(job_id), ignore_errors=True)
        return True


def _running(job_id: str, attempt: int) -> Any:
    return update(Job).where(
        Job.id == job_id, Job.state == JobState.RUNNING.value, Job.attempt == attempt
    )
