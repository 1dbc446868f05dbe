"""Runs: one method at one budget on a case, identified by everything that decides the outcome."""

from __future__ import annotations

from typing import Any

from dashboard.backend.case.cases import Cases
from dashboard.backend.queue.jobs import JobRequest, Jobs, view, view_fields
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Case, Job
from dashboard.backend.review.evidence import AUDIT_FILE
from dashboard.backend.review.reviews import Reviews
from dashboard.backend.views import (
    InboxView,
    JobKind,
    JobState,
    MethodView,
    ReviewState,
    RunView,
)
from fairquant_core.audit.criteria import Limits
from fairquant_core.quantization.catalogue import METHODS, RunConfig

_BAD_ENDS = (JobState.FAILED, JobState.INTERRUPTED)


def methods() -> list[MethodView]:
    """The catalogue in its own order, the recommended method first."""
    return [
        MethodView(card.name, card.title, card.sentence, card.trains, card.learns_bits)
        for card in METHODS.values()
    ]


def run_request(case: Case, config: RunConfig, person: str) -> JobRequest:
    """The job of a run. Two equal requests have equal identities."""
    identity = {
        **case_identity(case),
        "limits": Limits.from_json(case.limits).fingerprint,
        "must_not_miss": case.must_not_miss,
        "config": config.to_json(),
    }
    summary = {
        "method": config.method,
        "bits": config.bits,
        "seed": config.seed,
        "epochs": config.epochs if METHODS[config.method].trains else 0,
    }
    return JobRequest(
        JobKind.RUN,
        case.id,
        config.title,
        identity,
        config.to_json(),
        summary,
        started_by=person.strip(),
    )


def case_identity(case: Case) -> dict[str, Any]:
    """What of a case decides an outcome; the cohort's fingerprint covers its split."""
    return {
        "classifier": case.classifier["fingerprint"],
        "cohort": case.cohort["fingerprint"],
        "group_column": case.group_column,
        "scheme": case.scheme,
    }


def _as_declared(config: dict[str, Any]) -> dict[str, Any]:
    """3 and 3.0 are one budget: whole numbers take the type that the field has by default."""
    defaults = RunConfig().to_json()
    return {
        name: type(defaults[name])(value)
        if isinstance(value, (int, float))
        and isinstance(defaults.get(name), (int, float))
        and value == int(value)
        else value
        for name, value in config.items()
    }


class Runs:
    """Starting and listing runs, and the inbox made of them."""

    def __init__(self, jobs: Jobs, cases: Cases, artefacts: Artefacts, reviews: Reviews) -> None:
        self._jobs = jobs
        self._cases = cases
        self._artefacts = artefacts
        self._reviews = reviews

    def start(self, case_id: str, config: dict[str, Any], person: str) -> str:
        """Queue a run or return the one that computes or computed the same."""
        case = self._cases.ready_row(case_id)
        checked = RunConfig.from_json(_as_declared(config))
        return self._jobs.submit(run_request(case, checked, person), self._is_whole)

    def all(self, case_id: str | None) -> list[RunView]:
        """Runs, newest first."""
        return self._views(self._jobs.rows(kind=JobKind.RUN, case_id=case_id))

    def one(self, run_id: str) -> RunView:
        """One run."""
        return self._views([self._jobs.row(run_id, JobKind.RUN)])[0]

    def inbox(self) -> InboxView:
        """Every job once, by what it needs from a person."""
        rows = self._jobs.rows()
        runs = {run.id: run for run in self._views([row for row in rows if row.kind == "run"])}
        jobs = [runs.get(row.id) or view(row) for row in rows]
        running = [job for job in jobs if job.state.active]
        # The running one first, then the queue in the order in which it will be worked off.
        running.reverse()
        running.sort(key=lambda job: job.state != JobState.RUNNING)
        awaiting = [
            run
            for run in runs.values()
            if run.state == JobState.FINISHED
            and run.review_state in (ReviewState.PROPOSED, ReviewState.VOID)
        ]
        shown = {job.id for job in (*running, *awaiting)}
        unseen = [
            job
            for job in jobs
            if job.state == JobState.FINISHED and not job.seen and job.id not in shown
        ]
        failed = [job for job in jobs if job.state in _BAD_ENDS and not job.seen]
        shown |= {job.id for job in (*unseen, *failed)}
        others = [job for job in jobs if job.id not in shown]
        return InboxView(
            tuple(running), tuple(awaiting), tuple(unseen), tuple(failed), tuple(others)
        )

    def _views(self, rows: list[Job]) -> list[RunView]:
        cases = {case.id: case for case in self._cases.rows()}
        states = self._reviews.states(rows, cases)
        return [_run_view(row, states[row.id]) for row in rows]

    def _is_whole(self, artefact: str) -> bool:
        return self._artefacts.has(artefact, AUDIT_FILE) and not self._artefacts.problems(artefact)


def _run_view(row: Job, state: ReviewState) -> RunView:
    summary = row.summary
    method = summary.get("method", "")
    return RunView(
        **view_fields(row),
        method=method,
        method_title=METHODS[method].title if method in METHODS else method,
        bits=float(summary.get("bits", 0.0)),
        seed=int(summary.get("seed", 0)),
        epochs=int(summary.get("epochs", 0)),
        achieved_bits=summary.get("achieved_bits"),
        bytes_packed=summary.get("bytes_packed"),
        verdict=summary.get("verdict"),
        review_state=state,
    )
