"""What goes into the bundle of an approved run, and what is still missing for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dashboard.backend.case.classifier_file import packed_fingerprint
from dashboard.backend.export.bundle_card import NAME as CARD_FILE
from dashboard.backend.export.bundle_card import program, write_card
from dashboard.backend.export.exports import (
    EXACT_AUDIT,
    EXACT_CHECK,
    EXACT_FILE,
    EXACT_PREDICTIONS,
    FAST_AUDIT,
    FAST_CHECK,
    FAST_FILE,
    FAST_PREDICTIONS,
    Exports,
)
from dashboard.backend.queue.jobs import Jobs
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Case, Job
from dashboard.backend.review.evidence import (
    AUDIT_FILE,
    HISTORY_FILE,
    MODEL_FILE,
    PLAN_FILE,
    PREDICTIONS_FILE,
    SENSITIVITY_FILE,
)
from dashboard.backend.views import JobKind, JobState, ReviewView
from fairquant_core.errors import ExportError, NotApproved
from fairquant_core.export.environment import environment_lock
from fairquant_core.export.onnx.file import describe_onnx
from fairquant_core.export.tablet import tablet_files

Files = dict[str, Path | bytes]

SENSITIVITY_JSON = "sensitivity.json"
ENVIRONMENT_FILE = "environment.json"
REPORT_JSON = "report.json"
REPORT_FILES = ("report.html", "report.pdf", REPORT_JSON, "label.pdf", "checklist.json")
RUN_FILES = (MODEL_FILE, PREDICTIONS_FILE, AUDIT_FILE)
RUN_OPTIONAL = (PLAN_FILE, SENSITIVITY_FILE, HISTORY_FILE)
EXACT_FILES = (EXACT_FILE, EXACT_CHECK)
EXACT_OPTIONAL = (EXACT_PREDICTIONS, EXACT_AUDIT, FAST_CHECK)
FAST_FILES = (FAST_FILE, FAST_PREDICTIONS, FAST_AUDIT)

NOT_CHECKED = (
    "The files of this run have not been checked yet. Choose 'Check the files' on the review page."
)
BEING_CHECKED = "The files are being checked; wait until that has finished."
CHECK_STOPPED = "Checking the files stopped: {error} Resume it, or look into the technical log."
GONE = "The files that were checked are no longer there. Check the files again."
OBJECTIONS = "The exact file may not leave: {objections}."
NO_REPORT = (
    "There is no report yet that tells of this approval and of these files. Write it on the report page; it takes "
    "seconds."
)
CHANGED = "Files of the {what} are not what was written: {problems}. {remedy}"
CHECK_AGAIN = "Check the files again."
WRITE_AGAIN = "Write the report again."
OTHER_CLASSIFIER = (
    "{name} was made from the classifier {found}, but {approved} was approved. Check the files again and have the run "
    "reviewed again."
)
NO_TABLET = "The page for tablets is not in the bundle: {reason}"
BAD_REPORT = "report.json was changed and cannot be read ({reason}). Write the report again."


class BundleFiles:
    """Collecting the files of the run, of its export and of its report."""

    def __init__(self, artefacts: Artefacts, jobs: Jobs, exports: Exports) -> None:
        self._artefacts = artefacts
        self._jobs = jobs
        self._exports = exports

    def missing(self, run: Job, review: ReviewView) -> list[str]:
        """What an approved run lacks, one sentence each; [] if nothing."""
        found = self._missing_export(run)
        if review.may_export and self._report(run, review) is None:
            found.append(NO_REPORT)
        return found

    def gather(self, run: Job, case: Case, review: ReviewView) -> tuple[Files, list[str]]:
        """Every file, checked byte for byte against what its job wrote; and what is left out, with the reason.

        Raises
        ------
        NotApproved
            An ONNX file was made from another classifier than the approved one.
        ExportError
            Something is missing or was changed.
        """
        missing = self.missing(run, review)
        if missing:
            raise ExportError(" ".join(missing))
        export, report = self._exports.finished(run), self._report(run, review)
        assert export is not None and report is not None
        own = self._of(str(run.result_hash), RUN_FILES, RUN_OPTIONAL)
        self._require_whole(str(export.result_hash), "export", CHECK_AGAIN)
        self._require_whole(report, "report", WRITE_AGAIN)
        files = own | self._of(str(export.result_hash), EXACT_FILES, EXACT_OPTIONAL)
        why_no_fast = self._why_no_fast(run)
        if not why_no_fast:
            files |= self._of(str(export.result_hash), FAST_FILES, ())
        approved = packed_fingerprint(own[MODEL_FILE])
        for name in (EXACT_FILE, FAST_FILE):
            if name in files:
                _require_made_from(approved, name, files[name])
        everything: Files = {**files, **self._of(report, REPORT_FILES, ())}
        if SENSITIVITY_FILE in own:
            everything[SENSITIVITY_JSON] = _sensitivity_json(own[SENSITIVITY_FILE])
        everything[ENVIRONMENT_FILE] = _as_json(environment_lock())
        left_out = [why_no_fast] if why_no_fast else []
        try:
            everything |= tablet_files(files[EXACT_FILE], _decision_facts(run, case, review))
        except ExportError as error:
            # The page is a convenience; the classifier leaves without it.
            left_out.append(NO_TABLET.format(reason=error))
        everything |= program()
        everything[CARD_FILE] = write_card(run, case, review, everything)
        return everything, left_out

    def _missing_export(self, run: Job) -> list[str]:
        view = self._exports.view(run.id)
        if view is None:
            return [NOT_CHECKED]
        if view.check is None:
            if view.job.state.active:
                return [BEING_CHECKED]
            if view.job.state == JobState.FINISHED:
                return [GONE]
            return [CHECK_STOPPED.format(error=view.job.error or f"it was {view.job.state}.")]
        return [OBJECTIONS.format(objections="; ".join(view.objections))] if view.objections else []

    def _report(self, run: Job, review: ReviewView) -> str | None:
        """The artefact of the newest report that tells of the present approval, and of these very files."""
        rows = self._jobs.rows(kind=JobKind.REPORT, parent_id=run.id, state=JobState.FINISHED)
        for row in rows:
            result = str(row.result_hash)
            if not all(self._artefacts.has(result, name) for name in REPORT_FILES):
                continue
            told = _told(self._artefacts.path(result, REPORT_JSON))
            if told == (run.id, review.decisions[-1].sequence, True, review.hashes):
                return result
        return None

    def _why_no_fast(self, run: Job) -> str:
        """Why the fast file stays; "" if it leaves. An approval binds its bytes and its audit, or its absence."""
        view = self._exports.view(run.id)
        assert view is not None
        return view.fast_why_not

    def _require_whole(self, result: str, what: str, remedy: str) -> None:
        problems = self._artefacts.problems(result)
        if problems:
            raise ExportError(
                CHANGED.format(what=what, problems="; ".join(problems), remedy=remedy)
            )

    def _of(
        self, result: str, required: tuple[str, ...], optional: tuple[str, ...]
    ) -> dict[str, Path]:
        names = [*required, *(name for name in optional if self._artefacts.has(result, name))]
        return {name: self._artefacts.path(result, name) for name in names}


def _require_made_from(approved: str, name: str, path: Path) -> None:
    found = str(describe_onnx(path)["fingerprint"])
    if found != approved:
        raise NotApproved(
            OTHER_CLASSIFIER.format(name=name, found=found[:12], approved=approved[:12])
        )


def _decision_facts(run: Job, case: Case, review: ReviewView) -> dict[str, str]:
    """What the page on the tablet says about who let it leave, and for what."""
    approval = review.decisions[-1]
    use = case.cohort.get("intended_use") or {}
    return {
        "case": case.title,
        "run": run.title,
        "verdict": review.overall_verdict,
        "approved_by": approval.person,
        "approved_role": approval.role,
        "approved_at": approval.time,
        "comment": approval.comment,
        "override": approval.override,
        "intended_use": use.get("purpose", ""),
        "do_not_use": use.get("do_not_use", ""),
    }


def _told(path: Path) -> tuple[Any, ...]:
    """Of which run and decision a report tells, whether that was a yes, and the hashes that it names."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        about = found["about"]
        names = ("run", "log_sequence", "approved")
        return (*(about[name] for name in names), found["identity"]["hashes"])
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(BAD_REPORT.format(reason=error)) from error


def _sensitivity_json(path: Path) -> bytes:
    """The map by layer, for programs that do not read .npz."""
    from fairquant_core.sensitivity.maps import SensitivityMap

    found = SensitivityMap.load(path)
    rows = json.loads(found.frame().to_json(orient="records"))
    about = {
        "measure": found.measure,
        "groups": list(found.groups),
        "images": found.images,
        "menu": list(found.menu),
        "note": "Predicted rise of a group's mean loss when this whole layer alone goes to these bits.",
        "rows": rows,
    }
    return _as_json(about)


def _as_json(content: Any) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"
