"""Exporting: the bundle of an approved run, and nothing else, leaves the tool."""

from __future__ import annotations

import json
import uuid
import zipfile
from pathlib import Path
from typing import Any

from dashboard.backend.audit_log import AuditLog
from dashboard.backend.bundle_files import BundleFiles
from dashboard.backend.bundle_readme import README_FILE, readme
from dashboard.backend.evidence import BOUND_FILES
from dashboard.backend.exports import BOUND
from dashboard.backend.reviews import Reviews
from dashboard.backend.schema import Case, Job
from dashboard.backend.settings import Settings
from dashboard.backend.views import ReviewView
from fairquant_core.errors import NotApproved
from fairquant_core.export.decision_chain import excerpt

DECISIONS_FILE = "decisions.json"


class Bundles:
    """Writing bundles. Every call checks the approval and all bytes anew."""

    def __init__(
        self, settings: Settings, contents: BundleFiles, reviews: Reviews, log: AuditLog
    ) -> None:
        self._settings = settings
        self._contents = contents
        self._reviews = reviews
        self._log = log
        self._left_out: dict[str, list[str]] = {}

    def left_out(self, run_id: str) -> list[str]:
        """What the bundle that was made last does without, and why."""
        return self._left_out.get(run_id, [])

    def missing(self, run: Job, case: Case) -> list[str]:
        """What the run lacks for its bundle besides the approval, one sentence each."""
        return self._contents.missing(run, self._reviews.view(run, case))

    def export(self, run: Job, case: Case, person: str) -> Path:
        """Write the zip of an approved run.

        Raises
        ------
        NotApproved
            With the reason: no approval, a changed byte, or a decision log that does not verify.
        ExportError
            The files were not checked, there is no report of this approval, or the bundle cannot be written.
        """
        from fairquant_core.export.bundle import write_bundle
        from fairquant_core.export.signing import local_key

        review = self._reviews.view(run, case, fresh=True)
        if not review.may_export:
            raise NotApproved(review.why_not)
        files, self._left_out[run.id] = self._contents.gather(run, case, review)
        approval = review.decisions[-1]
        decisions = self._decisions(run, case, approval.sequence)
        files[DECISIONS_FILE] = json.dumps(decisions, indent=1, ensure_ascii=False).encode()
        path = self._settings.exports / f"{run.id}-{approval.sequence}.zip"
        key = local_key(self._settings.keys)
        text = readme(case, run, review, path.name, files, key.fingerprint)
        files[README_FILE] = text.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        unchecked = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.zip")
        try:
            about = {"run": run.id, "case": case.id, "verdict": review.overall_verdict}
            sha256 = write_bundle(unchecked, files, about, key=key)
            _require_approved_bytes(unchecked, review)
            unchecked.replace(path)
        finally:
            unchecked.unlink(missing_ok=True)
        self._log.record(
            "export",
            run.id,
            person=person.strip(),
            details={"bundle": sha256, "approval": approval.sequence, "hashes": review.hashes},
        )
        return path

    def _decisions(self, run: Job, case: Case, approval: int) -> dict[str, Any]:
        """The log entries about this run and its case; of others only what the chain needs.

        Nothing after the approval, so that exporting twice gives the same bytes.
        """
        entries = [entry for entry in self._log.export() if entry["sequence"] <= approval]
        return {
            "run": run.id,
            "case": case.id,
            "note": "Names were typed in local mode and are not authenticated.",
            **excerpt(entries, (run.id, case.id)),
        }


def _require_approved_bytes(bundle: Path, review: ReviewView) -> None:
    """What was packed is what was approved, even if a file changed after the check."""
    with zipfile.ZipFile(bundle) as written:
        listed = json.loads(written.read("MANIFEST.json"))["files"]
    for key, name in {**BOUND_FILES, **BOUND}.items():
        packed = listed.get(name, {}).get("sha256")
        # The fast file may stay behind; what is there is what was approved.
        if packed != review.hashes.get(key) and not (packed is None and key in BOUND):
            raise NotApproved(f"{name} changed while the bundle was written. Review the run again.")
