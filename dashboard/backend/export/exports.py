"""The files that may leave: asking for them, and what was found about them. No torch here.

The job writes the exact file and compares it with what was audited. Where whole-number arithmetic is faster on this
machine it also writes the fast file, which predicts otherwise and so brings an audit and a verdict of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboard.backend.queue.jobs import JobRequest, Jobs, view
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Job
from dashboard.backend.review.evidence import PLAN_FILE
from dashboard.backend.run.results import Results
from dashboard.backend.views import JobKind, JobState, JobView
from fairquant_core import __version__
from fairquant_core.audit.criteria import Verdict
from fairquant_core.errors import ExportError, FairQuantError

EXACT_FILE = "model.onnx"
EXACT_CHECK = "export.json"
EXACT_PREDICTIONS = "model_predictions.parquet"
EXACT_AUDIT = "model_audit.json"
"""The exact file has an audit of its own only where it cannot predict to the last bit what was audited."""

FAST_FILE = "fast.onnx"
FAST_CHECK = "fast.json"
FAST_PREDICTIONS = "fast_predictions.parquet"
FAST_AUDIT = "fast_audit.json"

REQUIRED = (EXACT_FILE, EXACT_CHECK)
FILES = (
    *REQUIRED,
    EXACT_PREDICTIONS,
    EXACT_AUDIT,
    FAST_FILE,
    FAST_CHECK,
    FAST_PREDICTIONS,
    FAST_AUDIT,
)
VERSION = 1
"""Raise it when the files or their check change: a run is then checked anew, once, when somebody asks."""

BOUND = {
    "onnx": EXACT_FILE,
    "onnx check": EXACT_CHECK,
    "onnx audit": EXACT_AUDIT,
    "fast onnx": FAST_FILE,
    "fast audit": FAST_AUDIT,
}
"""What an approval binds of it, by the key of its hash."""

NOT_COMPRESSED = (
    "This run compresses nothing, so there is no bit-exact file to make of it. Choose a compressed "
    "candidate."
)
UNREADABLE = (
    "{name} of this export was changed and cannot be read ({reason}). Check the files again."
)
NO_WHOLE_NUMBERS = "No fast file: {problem}"
SLOWER = "No fast file: {objections}. It was measured and is not offered."
NO_FAST = "No fast file was made."
WORSE = (
    "The fast file stays here: its own verdict is {own}, which is worse than {verdict}, the verdict that people "
    "decide on."
)


@dataclass(frozen=True)
class ExportView:
    """What is known about the files of a run.

    Attributes
    ----------
    job : the newest job that makes and checks them.
    check : of the exact file, as :meth:`ExportCheck.to_json` with "audited" beside it; None while there is none.
    fast : of the fast file, also where it turned out slower; None where none could be made.
    fast_audit : its own audit; None where it is not offered.
    fast_why_not : why there is none ("" if it is offered).
    own_audit : of the exact file, only where it needs one.
    objections : sentences that keep the exact file from leaving.
    bytes : file name -> size.
    """

    job: JobView
    check: dict[str, Any] | None = None
    fast: dict[str, Any] | None = None
    fast_audit: dict[str, Any] | None = None
    fast_why_not: str = NO_FAST
    own_audit: dict[str, Any] | None = None
    objections: tuple[str, ...] = ()
    bytes: dict[str, int] | None = None

    @property
    def may_leave(self) -> bool:
        """Whether the exact file predicts what was audited, and nothing else speaks against it."""
        return self.check is not None and not self.objections

    @property
    def fast_offered(self) -> bool:
        """Whether there is a fast file that people can decide about."""
        return not self.fast_why_not


def no_worse(own: str | None, verdict: str | None) -> bool:
    """Whether a verdict is at least as good as another one.

    >>> no_worse("INSUFFICIENT EVIDENCE", "WITHIN")
    False
    """
    order = [Verdict.WITHIN.value, Verdict.INSUFFICIENT.value, Verdict.OUTSIDE.value]
    known = [order.index(one) if one in order else len(order) for one in (str(own), str(verdict))]
    return known[0] <= known[1]


class Exports:
    """Jobs of kind "export" and what they found."""

    def __init__(self, jobs: Jobs, artefacts: Artefacts, results: Results) -> None:
        self._jobs = jobs
        self._artefacts = artefacts
        self._results = results

    def start(self, run_id: str, person: str, again: bool = False) -> str:
        """Queue the job that writes and checks the files; the same run gives the same job.

        Files that were changed or lost since are made anew, and all of them when somebody wants them checked `again`.
        """
        run = self._results.finished(run_id)
        result = str(run.result_hash)
        if not self._artefacts.has(result, PLAN_FILE):
            raise ExportError(NOT_COMPRESSED)
        earlier = self._rows(run)
        times = int(earlier[0].config.get("times", 0)) if earlier else 0
        if again and earlier and earlier[0].state == JobState.FINISHED.value:
            times += 1
        config = {"result": result, "version": VERSION, "program": __version__, "times": times}
        request = JobRequest(
            JobKind.EXPORT,
            run.case_id,
            f"Files of {run.title}",
            {"run": run.id, **config},
            config,
            parent_id=run.id,
            started_by=person.strip(),
        )
        return self._jobs.submit(request, self._unchanged)

    def finished(self, run: Job) -> Job | None:
        """The newest finished job about the present result of a run."""
        return next((row for row in self._rows(run) if row.state == JobState.FINISHED.value), None)

    def paths(self, run: Job) -> dict[str, Path]:
        """Name -> file of the newest export; empty if there is none."""
        job = self.finished(run)
        if job is None or job.result_hash is None:
            return {}
        folder = self._artefacts.root / job.result_hash[:2] / job.result_hash
        # A file that was listed and is gone keeps its place: a lost file must not look like one never made.
        try:
            listed = set(self._artefacts.manifest(job.result_hash))
        except FairQuantError:
            listed = set()
        return {name: folder / name for name in FILES if name in listed or name in REQUIRED}

    def bound(self, run: Job) -> dict[str, Path]:
        """What an approval binds, by the key of its hash."""
        found = self.paths(run)
        return {key: found[name] for key, name in BOUND.items() if name in found}

    def view(self, run_id: str) -> ExportView | None:
        """What is known about the files; None while nobody asked for them."""
        run = self._results.finished(run_id)
        rows = self._rows(run)
        if not rows:
            return None
        job, done = view(rows[0]), self.finished(run)
        if done is None or done.result_hash is None or not self._whole(done.result_hash):
            return ExportView(job)
        result = done.result_hash
        audit = self._results.audit(run_id)
        check = self._read(result, EXACT_CHECK)
        own = self._optional(result, EXACT_AUDIT)
        fast, fast_audit = self._optional(result, FAST_CHECK), self._optional(result, FAST_AUDIT)
        assert check is not None
        listed = self._artefacts.manifest(result)
        return ExportView(
            job=job,
            check=check,
            fast=fast,
            fast_audit=fast_audit,
            fast_why_not=_why_no_fast(fast, fast_audit, done.summary, audit),
            own_audit=own,
            objections=tuple(check["objections"]),
            bytes={name: int(entry["bytes"]) for name, entry in listed.items()},
        )

    def _rows(self, run: Job) -> list[Job]:
        rows = self._jobs.rows(kind=JobKind.EXPORT, parent_id=run.id)
        return [row for row in rows if row.config.get("result") == run.result_hash]

    def _whole(self, result: str) -> bool:
        return all(self._artefacts.has(result, name) for name in REQUIRED)

    def _unchanged(self, result: str) -> bool:
        return self._whole(result) and not self._artefacts.problems(result)

    def _optional(self, result: str, name: str) -> dict[str, Any] | None:
        return self._read(result, name) if self._artefacts.has(result, name) else None

    def _read(self, result: str, name: str) -> dict[str, Any]:
        try:
            return json.loads(self._artefacts.path(result, name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ExportError(UNREADABLE.format(name=name, reason=error)) from error


def _why_no_fast(
    fast: dict[str, Any] | None,
    own: dict[str, Any] | None,
    summary: dict[str, Any],
    audit: dict[str, Any],
) -> str:
    if fast is None:
        problem = summary.get("fast_problem")
        return NO_WHOLE_NUMBERS.format(problem=problem) if problem else NO_FAST
    if own is None:
        return SLOWER.format(objections="; ".join(fast["objections"]))
    if not no_worse(own.get("verdict"), audit.get("verdict")):
        return WORSE.format(own=own.get("verdict"), verdict=audit.get("verdict"))
    return ""
