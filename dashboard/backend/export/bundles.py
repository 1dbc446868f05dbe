"""Exporting: the bundle of an approved run, and nothing else, leaves the tool.

A bundle lies under its final name only while the approval counts that it was made for, and never without its entry in
the decision log. Handing it out asks both again; a bundle whose approval counts no longer is set aside.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
import zipfile
from pathlib import Path
from typing import Any

from dashboard.backend.export.bundle_files import BundleFiles
from dashboard.backend.export.bundle_readme import README_FILE, readme
from dashboard.backend.export.exports import BOUND, FAST_AUDIT, FAST_FILE
from dashboard.backend.records.audit_log import AuditLog
from dashboard.backend.records.schema import Case, Job
from dashboard.backend.records.store import Store
from dashboard.backend.review.evidence import BOUND_FILES
from dashboard.backend.review.reviews import Reviews
from dashboard.backend.settings import Settings
from dashboard.backend.views import ReviewView
from fairquant_core.errors import ExportError, NotApproved
from fairquant_core.export.decision_chain import excerpt

DECISIONS_FILE = "decisions.json"
EXPORTED = "export"
"""What the decision log calls the making of a bundle."""

ASIDE_FOLDER = "set_aside"
"""Beside the bundles: those whose approval counts no longer. Nothing is handed out from there."""

CHANGED_MEANWHILE = "{name} changed while the bundle was written. Review the run again."
NOT_MADE = "The bundle could not be made ({reason}). Nothing was handed out. Free some space and try again."
NO_BUNDLE = "There is no bundle for the present approval. Make it on the review page."
OLD_BUNDLE = (
    "This bundle was made for an approval that counts no longer. Make a new one on the review page."
)
NOT_LOGGED = "The file {name} is not the one in the decision log, so it is not handed out. Make the bundle again."
SET_ASIDE = (
    "The bundle {name} can no longer be downloaded: the approval that it was made for counts no longer. Copies that "
    "were downloaded before cannot be called back; tell those who have one."
)
NOT_SET_ASIDE = (
    "The bundle {name} is not handed out any more, because the approval that it was made for counts no longer; but it "
    "could not be moved out of the folder {folder}. Move it away by hand."
)


class Bundles:
    """Writing bundles and handing them out. Every call checks the approval anew."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        contents: BundleFiles,
        reviews: Reviews,
        log: AuditLog,
    ) -> None:
        self._store = store
        self._settings = settings
        self._contents = contents
        self._reviews = reviews
        self._log = log
        self._left_out: dict[str, list[str]] = {}

    def left_out(self, run_id: str) -> list[str]:
        """What the bundle that was made last does without, and why."""
        return self._left_out.get(run_id, [])

    def missing(self, run: Job, review: ReviewView) -> list[str]:
        """What the run lacks for its bundle besides the approval, one sentence each."""
        return self._contents.missing(run, review)

    def export(self, run: Job, case: Case, person: str) -> Path:
        """Write the zip of an approved run.

        Raises
        ------
        NotApproved
            With the reason: no approval, a changed byte, or a decision log that does not verify; also where that
            came about while the bundle was written.
        ExportError
            The files were not checked, there is no report of this approval, or the disk takes no more.
        FairQuantError
            The decision log takes no entry.
        """
        review = self._reviews.approved(run, case, fresh=True)
        path = self._path(run, review)
        unchecked = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.zip")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            sha256 = self._write(unchecked, path.name, run, case, review)
            _require_approved_bytes(unchecked, review)
            # Packing takes a while; people may have decided meanwhile.
            self._reviews.approved(run, case, as_in=review)
            details = {
                "bundle": sha256,
                "approval": review.decisions[-1].sequence,
                "hashes": review.hashes,
            }
            self._log.record(EXPORTED, run.id, person=person.strip(), details=details)
            # The entry comes first: what has a name has an entry. While the store is locked nobody can decide.
            with self._store.write():
                self._reviews.approved(run, case, as_in=review)
                unchecked.replace(path)
        except OSError as error:
            raise ExportError(NOT_MADE.format(reason=error)) from error
        finally:
            unchecked.unlink(missing_ok=True)
        return path

    def deliver(self, run: Job, case: Case, name: str) -> bytes:
        """The bytes of a bundle, for a person who downloads it now.

        Parameters
        ----------
        name : of the bundle that the person was shown.

        Raises
        ------
        NotApproved
            The approval counts no longer, or the bundle was made for another one.
        ExportError
            It is gone, or not the one that was logged.
        """
        review = self._reviews.approved(run, case)
        path = self._path(run, review)
        if path.name != name:
            raise NotApproved(OLD_BUNDLE)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ExportError(NO_BUNDLE) from error
        if hashlib.sha256(content).hexdigest() not in self._logged(run, review):
            raise ExportError(NOT_LOGGED.format(name=name))
        return content

    def set_aside(self, run: Job, case: Case, review: ReviewView) -> None:
        """Move away the bundles of a run that were made for another approval than the one that counts now.

        What cannot be moved is told by `withdrawn`; it is not handed out either.

        Parameters
        ----------
        review : of the run, as the caller has just read it. It is read again only where something is to be moved.
        """
        folder = self._settings.exports
        if not self._old(run, review, folder):
            return
        with self._store.write():
            # Somebody may have approved meanwhile; while the store is locked nobody can.
            for path in self._old(run, self._reviews.view(run, case), folder):
                target = path.parent / ASIDE_FOLDER / path.name
                try:
                    target.parent.mkdir(exist_ok=True)
                    path.replace(target)
                except OSError:
                    continue

    def withdrawn(self, run: Job, review: ReviewView) -> list[str]:
        """What became of bundles whose approval counts no longer, one sentence each."""
        folder = self._settings.exports
        aside = self._old(run, review, folder / ASIDE_FOLDER)
        there = self._old(run, review, folder)
        return [
            *(SET_ASIDE.format(name=path.name) for path in aside),
            *(NOT_SET_ASIDE.format(name=path.name, folder=folder) for path in there),
        ]

    def _old(self, run: Job, review: ReviewView, folder: Path) -> list[Path]:
        """The bundles of a run in a folder, but for the one of the approval that counts."""
        counts = self._path(run, review).name if review.may_export else ""
        return [path for path in self._of(run, folder) if path.name != counts]

    def _of(self, run: Job, folder: Path) -> list[Path]:
        """The bundles of a run in a folder."""
        name = re.compile(rf"{re.escape(run.id)}-\d+\.zip")
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(path for path in found if name.fullmatch(path.name))

    def _path(self, run: Job, review: ReviewView) -> Path:
        return self._settings.exports / f"{run.id}-{review.decisions[-1].sequence}.zip"

    def _write(self, path: Path, name: str, run: Job, case: Case, review: ReviewView) -> str:
        """Gather, check and pack everything; returns the SHA-256 of the bundle."""
        from fairquant_core.export.bundle import write_bundle
        from fairquant_core.export.signing import local_key

        files, self._left_out[run.id] = self._contents.gather(run, case, review)
        decisions = self._decisions(run, case, review.decisions[-1].sequence)
        files[DECISIONS_FILE] = json.dumps(decisions, indent=1, ensure_ascii=False).encode()
        key = local_key(self._settings.keys)
        files[README_FILE] = readme(case, run, review, name, files, key.fingerprint).encode()
        about = {"run": run.id, "case": case.id, "verdict": review.overall_verdict}
        return write_bundle(path, files, about, key=key)

    def _logged(self, run: Job, review: ReviewView) -> set[str]:
        """The SHA-256 of every bundle that was made for the present approval."""
        told = [
            json.loads(entry["details"])
            for entry in self._log.export()
            if (entry["action"], entry["subject"]) == (EXPORTED, run.id)
        ]
        approval = review.decisions[-1].sequence
        return {one["bundle"] for one in told if one["approval"] == approval}

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
        if packed != review.hashes.get(key) and not (
            packed is None and name in (FAST_FILE, FAST_AUDIT)
        ):
            raise NotApproved(CHANGED_MEANWHILE.format(name=name))
