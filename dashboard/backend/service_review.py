"""The services for judging a run: review, export, log and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.backend import views
from dashboard.backend.export.exports import ExportView
from dashboard.backend.records.schema import Case, Job
from dashboard.backend.report.views import ReportView
from dashboard.backend.review.notes import image_subject
from dashboard.backend.service_parts import Parts
from fairquant_core.export.signing_keys import PUBLIC_KEY_FILE, read_public_key

if TYPE_CHECKING:
    import pandas as pd


class ReviewServices(Parts):
    """The part of the services that decides what may leave and keeps who said so."""

    # review and export ------------------------------------------------------------------------
    def review(self, run_id: str) -> views.ReviewView:
        """State, verdicts, decisions, hashes and whether the run may be exported.

        Bundles whose approval counts no longer are set aside on the way.
        """
        run, case = self._judged(run_id)
        review = self._reviews.view(run, case)
        self._bundles.set_aside(run, case, review)
        return review

    def decide(
        self,
        run_id: str,
        person: str,
        role: str,
        decision: str,
        comment: str = "",
        override: str | None = None,
        *,
        seen: Mapping[str, str] | None = None,
    ) -> views.ReviewView:
        """Record a decision ("propose", "approve", "reject", "request changes", "withdraw").

        Parameters
        ----------
        seen : `ReviewView.hashes` of the page that the person decided on; an approval needs them.

        Raises
        ------
        FairQuantError
            The state, the four-eyes rule or a missing override forbids it, the files were not checked, or what the
            person has seen is not what there is now.
        """
        run, case = self._judged(run_id)
        self._reviews.decide(
            run,
            case,
            person=person,
            role=role,
            decision=decision,
            comment=comment,
            override=override,
            seen=seen,
        )
        return self.review(run_id)

    def start_export(self, run_id: str, person: str = "", *, again: bool = False) -> str:
        """Queue the job that writes and checks the files of a run; the same run, the same job.

        `again`: measure anew; a decision that saw the earlier check is void once this one has finished.
        """
        return self._exports.start(run_id, person, again)

    def export_view(self, run_id: str) -> ExportView | None:
        """What is known about the files of a run; None while nobody asked for them."""
        return self._exports.view(run_id)

    def missing_for_export(self, review: views.ReviewView) -> list[str]:
        """What an approved run still lacks for its bundle, one sentence each; [] if nothing."""
        return self._bundles.missing(self._judged(review.run_id)[0], review)

    def start_report(self, run_id: str, *, images: bool, person: str = "") -> str:
        """Queue the report as of now; the same request returns the same job. `images`: show photographs."""
        return self._reports.start(run_id, images, person)

    def report_view(self, run_id: str) -> ReportView | None:
        """The newest report of a run; None while nobody asked for one."""
        return self._reports.view(run_id)

    def export(self, run_id: str, person: str = "") -> Path:
        """Path of the bundle (zip) of an approved run.

        Raises NotApproved with the reason, or another FairQuantError with what is missing or wrong.
        """
        return self._bundles.export(*self._judged(run_id), person)

    def deliver(self, run_id: str, name: str) -> bytes:
        """The bytes of the bundle of this name, if the approval that it was made for still counts.

        Raises NotApproved if it does not, or ExportError if the file is not the one that was logged.
        """
        return self._bundles.deliver(*self._judged(run_id), name)

    def withdrawn_bundles(self, review: views.ReviewView) -> list[str]:
        """What became of bundles whose approval counts no longer, one sentence each."""
        return self._bundles.withdrawn(self._judged(review.run_id)[0], review)

    def public_key(self) -> views.KeyView | None:
        """What others check the signature of our bundles with; None before the first bundle.

        Raises ExportError for a damaged file.
        """
        path = self.settings.keys / PUBLIC_KEY_FILE
        if not path.is_file():
            return None
        key = read_public_key(path)
        expires = None if key.expires is None else key.expires.isoformat()
        return views.KeyView(path.name, key.content, key.fingerprint, expires, key.expired())

    def left_out(self, run_id: str) -> list[str]:
        """What the bundle made last in this process does without (fast file, tablet page), and why."""
        return self._bundles.left_out(run_id)

    def _judged(self, run_id: str) -> tuple[Job, Case]:
        """A run with its case, as they are now."""
        run = self._jobs.row(run_id, views.JobKind.RUN)
        return run, self._cases.row(run.case_id)

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
