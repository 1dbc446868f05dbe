"""Writing the report of a run: gathers what was stored and hands it to the core. No torch here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL.Image import Image

from dashboard.backend.case.cases import Cases
from dashboard.backend.export.exports import EXACT_AUDIT, EXACT_CHECK, FAST_AUDIT, FAST_CHECK
from dashboard.backend.queue.execution import Outcome, Task
from dashboard.backend.queue.jobs import Jobs
from dashboard.backend.records.schema import Case, Job
from dashboard.backend.records.store import now
from dashboard.backend.review.evidence import (
    AUDIT_FILE,
    PLAN_FILE,
    PREDICTIONS_FILE,
    SENSITIVITY_FILE,
)
from dashboard.backend.run.budget import MEASURED_FILE
from dashboard.backend.run.results import Results
from dashboard.backend.saliency.maps import SaliencyMaps
from dashboard.backend.saliency.views import SaliencyChoice, SaliencyView
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import EvaluationError
from fairquant_core.explain.catalogue import METHODS as SALIENCY_METHODS
from fairquant_core.export.environment import environment_lock
from fairquant_core.progress import Progress
from fairquant_core.quantization.catalogue import METHODS
from fairquant_core.quantization.plan import BitPlan
from fairquant_core.report.facts import Facts, SaliencyFacts
from fairquant_core.report.names import FILES
from fairquant_core.report.write import write_report
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap

THUMBNAIL_SIDE = 440
"""Longest side of the pictures that are read; those in the report are half as large."""

TARGETS = {
    "predicted": "what the original answers",
    "candidate": "what the small classifier answers",
    "true": "the diagnosis",
}
FITTED = "fine-tuned in this tool, {epochs} passes over the training images"
CHANGED = "{name} of this run was changed and cannot be read: {reason}. Start the run again."


def report(task: Task) -> Outcome:
    """Write the report as of the moment when it was asked for."""
    assert task.parent is not None
    task.progress(Progress("report", 0, 1, "Gathering what is known"))
    facts = gather(task, task.parent)
    found = write_report(facts, task.work, progress=task.progress, cancel=task.cancel)
    summary = {name: found["about"][name] for name in ("approved", "log_sequence", "verdict")}
    return Outcome({name: task.work / name for name in FILES}, summary)


def gather(task: Task, run: Job) -> Facts:
    """The facts of a run, read from the store and the artefacts that the request names."""
    case, config, result = task.case, task.job.config, str(run.result_hash)
    cases = Cases(task.store, task.settings, task.artefacts)
    predictions = Predictions.load(task.artefacts.path(result, PREDICTIONS_FILE))
    audit = _json(task.artefacts.path(result, AUDIT_FILE))
    plan = _optional(task, result, PLAN_FILE)
    sensitivity = _optional(task, result, SENSITIVITY_FILE)
    measured = config["measured"] and task.artefacts.path(config["measured"], MEASURED_FILE)

    def photograph(image_id: str) -> Image:
        return cases.image(case.id, image_id, THUMBNAIL_SIDE)

    return Facts(
        case=_case(case),
        classifier=_classifier(case),
        cohort=dict(case.cohort),
        run=_run(run),
        audit=audit,
        made=now(),
        cells=cases.cell_counts(case.id),
        columns=tuple(map(str, cases.cohort(case.id).table.columns)),
        plan=None if plan is None else BitPlan.from_json(_json(plan)),
        sensitivity=None if sensitivity is None else SensitivityMap.load(sensitivity),
        measured=MeasuredMap.load(measured) if measured else None,
        predictions=predictions.part(audit["split"] or "audit"),
        review=config["review"],
        decisions=config["decisions"],
        log_sequence=config["log_sequence"],
        hashes=config["hashes"],
        environment=environment_lock(),
        **_exported(task),
        saliency=_saliency(task, cases, run),
        photograph=photograph if config["images"] else None,
        intended_use=case.cohort.get("intended_use") or {},
    )


def saliency_facts(view: SaliencyView) -> SaliencyFacts:
    """Of the run's own candidate, the images that were drawn at random."""
    candidate = view.candidates[0]
    changes = view.changes[view.changes["candidate"] == candidate]
    frame = view.frame[view.frame["sampled"] & (view.frame["place"] >= 0)]
    images = frame.merge(changes[["id", "drift", "overlap"]], on="id", how="left")
    places = images["place"].to_numpy()
    by_group = view.by_group[view.by_group["candidate"] == candidate].drop(columns="candidate")
    named = view.choice.target_class
    return SaliencyFacts(
        method=SALIENCY_METHODS[view.choice.method].title,
        target=TARGETS.get(view.choice.target, named),
        by_group=by_group.reset_index(drop=True),
        images=images[["id", "group", "label", "target", "drift", "overlap"]],
        before=view.pictures[0][places],
        after=view.pictures[1][places],
        crop=view.crop,
    )


def _saliency(task: Task, cases: Cases, run: Job) -> SaliencyFacts | None:
    asked = task.job.config["saliency"]
    if not asked:
        return None
    jobs = Jobs(task.store, task.settings)
    maps = SaliencyMaps(jobs, cases, task.artefacts, Results(jobs, cases, task.artefacts))
    choice = SaliencyChoice(**{**asked["choice"], "others": tuple(asked["choice"]["others"])})
    view = maps.view(run.id, choice)
    return None if view is None else saliency_facts(view)


def _exported(task: Task) -> dict[str, Any]:
    """Checks and audits of the exported files, as far as there are any."""
    result = task.job.config["export"]
    files = {
        "export": EXACT_CHECK,
        "own_audit": EXACT_AUDIT,
        "fast": FAST_CHECK,
        "fast_audit": FAST_AUDIT,
    }
    paths = {name: _optional(task, result, file) for name, file in files.items() if result}
    return {name: _json(path) for name, path in paths.items() if path is not None}


def _case(case: Case) -> dict[str, Any]:
    names = ("id", "title", "created", "group_source", "warnings")
    return {name: getattr(case, name) for name in names}


def _classifier(case: Case) -> dict[str, Any]:
    names = ("name", "architecture", "fingerprint", "megabytes", "parameters")
    about = {name: case.classifier.get(name) for name in names}
    if case.classifier.get("origin") == "fit":
        about["training"] = FITTED.format(epochs=case.classifier.get("fit_epochs"))
    return about


def _run(run: Job) -> dict[str, Any]:
    method = run.config.get("method", "")
    title = METHODS[method].title if method in METHODS else method
    names = ("id", "title", "started_by", "started", "ended")
    about = {name: getattr(run, name) for name in names}
    return {**about, "method_title": title, "epochs": run.summary.get("epochs")}


def _optional(task: Task, result: str, name: str) -> Path | None:
    return task.artefacts.path(result, name) if task.artefacts.has(result, name) else None


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvaluationError(CHANGED.format(name=path.name, reason=error)) from error
