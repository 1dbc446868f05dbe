"""The part of the stand-in services that review, export and report ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from dashboard.backend.export.exports import ExportView
from dashboard.backend.report.views import ReportView
from dashboard.backend.views import (
    ComparisonView,
    DecisionKind,
    DecisionView,
    JobKind,
    JobView,
    KeyView,
    ReviewState,
    ReviewView,
    RunView,
)
from fairquant_core.errors import FairQuantError, NotApproved
from tests.dashboard.made_data import NOW, job_view


@dataclass
class FakeReview:
    """Decisions and files of runs; the calls that change something are recorded."""

    other_jobs: list[JobView] = field(default_factory=list)
    decided: list[DecisionView] = field(default_factory=list)
    fail_with: str = ""
    bundle: Path | None = None
    exported: ExportView | None = None
    reported: ReportView | None = None
    lacking: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    key: KeyView | None = None
    hashes: dict[str, str] = field(
        default_factory=lambda: {"model": "12" * 32, "predictions": "34" * 32}
    )
    why_no_approval: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def run(self, run_id: str) -> RunView:
        raise NotImplementedError

    def comparison(self, run_id: str, scheme: str | None = None) -> ComparisonView:
        raise NotImplementedError

    def review(self, run_id: str) -> ReviewView:
        run, view = self.run(run_id), self.comparison(run_id)
        approved = run.review_state == ReviewState.APPROVED
        return ReviewView(
            run_id=run_id,
            state=run.review_state,
            verdicts=view.verdicts,
            overall_verdict=view.overall_verdict,
            needs_override=view.overall_verdict != "WITHIN",
            decisions=tuple(self.decided),
            hashes=dict(self.hashes),
            may_export=approved,
            why_not="" if approved else "Nobody has approved this run yet.",
            four_eyes=True,
            allowed=(DecisionKind.APPROVE, DecisionKind.REJECT, DecisionKind.REQUEST_CHANGES),
            why_no_approval=self.why_no_approval,
        )

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
    ) -> ReviewView:
        self.calls.append(("decide", (run_id, person, role, decision, comment, override)))
        self.calls.append(("seen", seen))
        if not person:
            raise FairQuantError("Person: say who decides.")
        self.decided.append(
            DecisionView(
                1,
                NOW,
                person,
                role,
                DecisionKind(decision),
                comment,
                override or "",
                "INSUFFICIENT EVIDENCE",
                "56" * 32,
                {},
                False,
            )
        )
        return self.review(run_id)

    def start_export(self, run_id: str, person: str = "", *, again: bool = False) -> str:
        self.calls.append(("start_export", (run_id, again)))
        if self.fail_with:
            raise FairQuantError(self.fail_with)
        return "job-export"

    def export_view(self, run_id: str) -> ExportView | None:
        return self.exported

    def start_report(self, run_id: str, *, images: bool, person: str = "") -> str:
        self.calls.append(("start_report", (run_id, images, person)))
        if self.fail_with:
            raise FairQuantError(self.fail_with)
        self.other_jobs.append(job_view(JobKind.REPORT, id="job-report", run_id=run_id))
        return "job-report"

    def report_view(self, run_id: str) -> ReportView | None:
        return self.reported

    def missing_for_export(self, review: ReviewView) -> list[str]:
        return self.lacking

    def left_out(self, run_id: str) -> list[str]:
        return ["The page for tablets is not in the bundle."]

    def export(self, run_id: str, person: str = "") -> Path:
        self.calls.append(("export", run_id))
        if self.bundle is None:
            raise NotApproved("The packed model changed since the approval.")
        return self.bundle

    def deliver(self, run_id: str, name: str) -> bytes:
        self.calls.append(("deliver", (run_id, name)))
        if self.run(run_id).review_state != ReviewState.APPROVED or self.bundle is None:
            raise NotApproved("The proposal or approval was withdrawn.")
        return self.bundle.read_bytes()

    def withdrawn_bundles(self, review: ReviewView) -> list[str]:
        return self.set_aside

    def public_key(self) -> KeyView | None:
        return self.key

    def audit_log(self) -> pd.DataFrame:
        names = ["sequence", "time", "action", "person", "role", "subject", "details", "hash"]
        row = (1, NOW, "case created", "Ada", "auditor", "demo", "", "78" * 32)
        return pd.DataFrame([row], columns=names)

    def verify_log(self) -> list[str]:
        return []
