"""The services for judging a run: review, export, log and notes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.backend import views
from dashboard.backend.exports import ExportView
from dashboard.backend.notes import image_subject
from dashboard.backend.report_views import ReportView
from dashboard.backend.service_parts import Parts

if TYPE_CHECKING:
    import pandas as pd


class ReviewServices(Parts):
    """The part of the services that decides what may leave and keeps who said so."""

    # review and export ------------------------------------------------------------------------
    def review(self, run_id: str) -> views.ReviewView:
        """State, verdicts, decisions, hashes and whether the run may be exported."""
        run = self._jobs.row(run_id, views.JobKind.RUN)
        return self._reviews.view(run, self._cases.row(run.case_id))

    def decide(
        self,
        run_id: str,
        person: str,
        role: str,
        decision: str,
        comment: str = "",
        override: str | None = None,
    ) -> views.ReviewView:
        """Record a decision ("propose", "approve", "reject", "request changes", "withdraw").

        Raises FairQuantError when the state, the four-eyes rule or a missing override forbids it.
        """
        run = self._jobs.row(run_id, views.JobKind.RUN)
        case = self._cases.row(run.case_id)
        self._reviews.decide(
            run,
            case,
            person=person,
            role=role,
            decision=decision,
            comment=comment,
            override=override,
        )
        return self._reviews.view(run, case)

    def start_export(self, run_id: str, person: str = "", *, again: bool = False) -> str:
        """Queue the job that writes and checks the files of a run; the same run, the same job.

        `again`: measure anew; a decision that saw the earlier check is void once this one has finished.
        """
        return self._exports.start(run_id, person, again)

    def export_view(self, run_id: str) -> ExportView | None:
        """What is known about the files of a run; None while nobody asked for them."""
        return self._exports.view(run_id)

    def missing_for_export(self, run_id: str) -> list[str]:
        """What an approved run still lacks for its bundle, one sentence each; [] if nothing."""
        run = self._jobs.row(run_id, views.JobKind.RUN)
        return self._bundles.missing(run, self._cases.row(run.case_id))

    def start_report(self, run_id: str, *, images: bool, person: str = "") -> str:
        """Queue the report as of now; the same request returns the same job. `images`: show photographs."""
        return self._reports.start(run_id, images, person)

    def report_view(self, run_id: str) -> ReportView | None:
        """The newest report of a run; None while nobody asked for one."""
        return self._reports.view(run_id)

    def export(self, run_id: str, person: str = "") -> Path:
        """Path of the bundle (zip) of an approved run.

        Raises NotApproved with the reason, or ExportError with what is missing or wrong.
        """
        run = self._jobs.row(run_id, views.JobKind.RUN)
        return self._bundles.export(run, self._cases.row(run.case_id), person)

    def left_out(self, run_id: str) -> list[str]:
        """What the bundle made last in this process does without (fast file, tablet page), and why."""
        return self._bundles.left_out(run_id)

    def audit_log(self) -> pd.DataFrame:
        """[sequence, time, action, person, role, subject, details, hash], oldest first."""
        return self._log.frame()

    def verify_log(self) -> list[str]:
        """Problems found in the hash chain: edited, missing or reordered entries; [] if none."""
        return self._log.problems()

    def add_note(self, subject: str, person: str, text: str) -> None:
        """Leave a remark on a case or run id."""
        self._notes.add(subject, person, text)

    def notes(self, subject: str) -> list[views.NoteView]:
        """Remarks on a case or run id, oldest first."""
        return self._notes.about(subject)

    def add_image_note(self, run_id: str, image_id: str, person: str, text: str) -> None:
        """Leave a remark on an image of a run."""
        self._notes.add(image_subject(run_id, image_id), person, text)

    def image_notes(self, run_id: str, image_ids: Sequence[str]) -> dict[str, list[views.NoteView]]:
        """Remarks on images of a run, oldest first, by image."""
        return self._notes.on_images(run_id, image_ids)
