"""Asking for the report of a run and finding it.

A report is a statement about a moment: its identity holds the result of the run, the decisions so far and what was
drawn, measured and exported, so that the same request is not carried out twice and an old report is known as old.
"""

from __future__ import annotations

import json
from typing import Any

from dashboard.backend.case.cases import Cases
from dashboard.backend.export.exports import EXACT_CHECK
from dashboard.backend.queue.jobs import JobRequest, Jobs, view
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Job
from dashboard.backend.report.views import ReportView
from dashboard.backend.review.reviews import Reviews
from dashboard.backend.run.budget import MEASURED_FILE
from dashboard.backend.run.results import Results
from dashboard.backend.saliency.maps import GROUPS_FILE
from dashboard.backend.saliency.reuse import SALIENCY_FILE
from dashboard.backend.views import DecisionView, JobKind, JobState
from fairquant_core.errors import ExportError
from fairquant_core.report.names import CHECKLIST_FILE, FILES

VERSION = 1
"""Raise it when the pages change, so that reports of before are written anew when somebody asks."""

UNREADABLE = (
    "The checklist of this report was changed and cannot be read ({reason}). Write it again."
)


class Reports:
    """Jobs of kind "report" and their results."""

    def __init__(
        self, jobs: Jobs, cases: Cases, artefacts: Artefacts, results: Results, reviews: Reviews
    ) -> None:
        self._jobs = jobs
        self._cases = cases
        self._artefacts = artefacts
        self._results = results
        self._reviews = reviews

    def start(self, run_id: str, images: bool, person: str) -> str:
        """Queue the report as of now, or return the job that writes or wrote the same one."""
        run = self._results.finished(run_id)
        return self._jobs.submit(self._request(run, images, person), self._whole)

    def view(self, run_id: str) -> ReportView | None:
        """The newest report of a run; None if nobody asked for one."""
        rows = self._jobs.rows(kind=JobKind.REPORT, parent_id=run_id)
        if not rows:
            return None
        done = next((row for row in rows if self._readable(row)), None)
        if done is None:
            return ReportView(run_id, view(rows[0]))
        result = str(done.result_hash)
        found = self._checklist(result)
        images = bool(done.config.get("images"))
        return ReportView(
            run_id=run_id,
            job=view(rows[0]),
            files={name: self._artefacts.path(result, name) for name in FILES},
            made=str(found["about"]["made"]),
            images=images,
            approved=bool(found["about"]["approved"]),
            up_to_date=self._request(self._results.finished(run_id), images, "").key
            == done.identity,
            log_sequence=int(found["about"]["log_sequence"]),
            result_hash=result,
            checklist=tuple(found["items"]),
            counts=dict(found["counts"]),
            about=dict(found["about"]),
        )

    def _request(self, run: Job, images: bool, person: str) -> JobRequest:
        """What the report is made from, as it is now."""
        review = self._reviews.view(run, self._cases.row(run.case_id))
        saliency = self._newest(JobKind.SALIENCY, SALIENCY_FILE, GROUPS_FILE, parent_id=run.id)
        measured = self._newest(JobKind.SENSITIVITY, MEASURED_FILE, case_id=run.case_id)
        exported = self._newest(JobKind.EXPORT, EXACT_CHECK, parent_id=run.id)
        config: dict[str, Any] = {
            "version": VERSION,
            "run_result": run.result_hash,
            "images": images,
            "review": {
                "state": str(review.state),
                "verdict": review.overall_verdict,
                "why_not": review.why_not,
                "four_eyes": review.four_eyes,
            },
            "decisions": [_decision(entry) for entry in review.decisions],
            "log_sequence": review.decisions[-1].sequence if review.decisions else 0,
            "hashes": dict(review.hashes),
            "saliency": saliency
            and {"choice": saliency.config["choice"], "result": saliency.result_hash},
            "measured": measured and measured.result_hash,
            "export": exported and exported.result_hash,
        }
        return JobRequest(
            JobKind.REPORT,
            run.case_id,
            f"Report on {run.title}",
            {"run": run.id, "config": config},
            config,
            parent_id=run.id,
            started_by=person.strip(),
        )

    def _newest(self, kind: JobKind, *files: str, **about: str) -> Job | None:
        """The newest finished job whose files are there."""
        for row in self._jobs.rows(kind=kind, state=JobState.FINISHED, **about):
            result = str(row.result_hash)
            if all(self._artefacts.has(result, name) for name in files):
                return row
        return None

    def _readable(self, row: Job) -> bool:
        done = row.state == JobState.FINISHED.value and row.result_hash is not None
        return done and self._whole(str(row.result_hash))

    def _whole(self, result: str) -> bool:
        return all(self._artefacts.has(result, name) for name in FILES)

    def _checklist(self, result: str) -> dict[str, Any]:
        path = self._artefacts.path(result, CHECKLIST_FILE)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ExportError(UNREADABLE.format(reason=error)) from error


def _decision(entry: DecisionView) -> dict[str, Any]:
    names = ("sequence", "time", "person", "role", "comment", "override", "verdict_seen")
    row = {name: getattr(entry, name) for name in names}
    return {**row, "decision": entry.decision.value, "authenticated": entry.authenticated}
