"""Exporting: the bundle of an approved run, and nothing else, leaves the tool."""

from __future__ import annotations

import json
import uuid
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dashboard.backend.artefacts import Artefacts
from dashboard.backend.audit_log import AuditLog
from dashboard.backend.evidence import (
    AUDIT_FILE,
    BOUND_FILES,
    HISTORY_FILE,
    MODEL_FILE,
    PLAN_FILE,
    PREDICTIONS_FILE,
    SENSITIVITY_FILE,
)
from dashboard.backend.reviews import Reviews
from dashboard.backend.schema import Case, Job
from dashboard.backend.settings import Settings
from dashboard.backend.views import ReviewView
from fairquant_core.errors import NotApproved

DECISIONS_FILE = "decisions.json"
README_FILE = "README.txt"
REQUIRED = (MODEL_FILE, PREDICTIONS_FILE, AUDIT_FILE)
OPTIONAL = (PLAN_FILE, SENSITIVITY_FILE, HISTORY_FILE)

README = """\
FairQuant Audit: bundle of an approved run
==========================================

Case:      {case}
Run:       {run} ({identifier})
Verdict:   {verdict}
Approved:  by {person} ({role}) on {time}; the name was typed and not authenticated.
Override:  {override}

Files
-----
{files}

Check that every byte is what was approved:

    python -m fairquant_core verify {bundle}

Score the model on any cohort with the same classes (on the cohort it was made with, this gives
exactly the predictions of the audit):

    python -m fairquant_core evaluate --model {bundle} --cohort FOLDER --out predictions.parquet

The approval binds these bytes (SHA-256):
{hashes}
"""
WORDS = {
    MODEL_FILE: "the compressed classifier, packed with its real bit widths",
    PREDICTIONS_FILE: "class probabilities of every audited image, before and after",
    AUDIT_FILE: "all figures of the audit, the limits and the verdict",
    PLAN_FILE: "bits of every output channel of every layer",
    SENSITIVITY_FILE: "predicted damage per layer, width and group",
    HISTORY_FILE: "figures of every training epoch",
    DECISIONS_FILE: "who decided what about this run, with the hashes of the decision log",
}


class Bundles:
    """Writing bundles. Every call checks the approval and all bytes anew."""

    def __init__(
        self, settings: Settings, artefacts: Artefacts, reviews: Reviews, log: AuditLog
    ) -> None:
        self._settings = settings
        self._artefacts = artefacts
        self._reviews = reviews
        self._log = log

    def export(self, run: Job, case: Case, person: str) -> Path:
        """Write the zip of an approved run.

        Raises
        ------
        NotApproved
            With the reason: no approval, a changed byte, or a decision log that does not verify.
        """
        from fairquant_core.export.bundle import write_bundle

        review = self._reviews.view(run, case, fresh=True)
        if not review.may_export:
            raise NotApproved(review.why_not)
        result = str(run.result_hash)
        files: dict[str, Path | bytes] = {
            name: self._artefacts.path(result, name)
            for name in (*REQUIRED, *OPTIONAL)
            if name in REQUIRED or self._artefacts.has(result, name)
        }
        approval = review.decisions[-1]
        decisions = self._decisions(run, case, approval.sequence)
        files[DECISIONS_FILE] = json.dumps(decisions, indent=1, ensure_ascii=False).encode()
        path = self._settings.exports / f"{run.id}-{approval.sequence}.zip"
        files[README_FILE] = _readme(run, case, review, path.name, files).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        unchecked = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.zip")
        try:
            about = {"run": run.id, "case": case.id, "verdict": review.overall_verdict}
            sha256 = write_bundle(unchecked, files, about)
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
        """The log entries about this run and its case; others are nobody's business here.

        Nothing after the approval, so that exporting twice gives the same bytes.
        """
        entries = [entry for entry in self._log.export() if entry["sequence"] <= approval]
        return {
            "run": run.id,
            "case": case.id,
            "note": "Names were typed in local mode and are not authenticated.",
            "log_entries": len(entries),
            "log_head": entries[-1]["hash"],
            "entries": [entry for entry in entries if entry["subject"] in (run.id, case.id)],
        }


def _require_approved_bytes(bundle: Path, review: ReviewView) -> None:
    """What was packed is what was approved, even if a file changed after the check."""
    with zipfile.ZipFile(bundle) as written:
        listed = json.loads(written.read("MANIFEST.json"))["files"]
    for key, name in BOUND_FILES.items():
        packed = listed.get(name, {}).get("sha256")
        if packed != review.hashes.get(key):
            raise NotApproved(f"{name} changed while the bundle was written. Review the run again.")


def _readme(run: Job, case: Case, review: ReviewView, bundle: str, files: Iterable[str]) -> str:
    approval = review.decisions[-1]
    return README.format(
        case=case.title,
        run=run.title,
        identifier=run.id,
        verdict=review.overall_verdict,
        person=approval.person,
        role=approval.role,
        time=approval.time,
        override=approval.override or "none needed",
        files="\n".join(f"{name:22} {WORDS[name]}" for name in files),
        bundle=bundle,
        hashes="\n".join(f"    {key:12} {value}" for key, value in review.hashes.items()),
    )
