"""The process that computes: the only module of the dashboard that imports torch.

    python -m dashboard.backend.job JOB_ID

Each function turns a job into a call of the pipeline and says which files to keep.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from dashboard.backend.case.cases import COHORT_FOLDER, FULL_PRECISION, group_order
from dashboard.backend.case.classifier_file import ClassifierFile
from dashboard.backend.case.new_case import CLASSIFIER_FILE, hash_images
from dashboard.backend.export.task import export
from dashboard.backend.queue.execution import Outcome, Task, main
from dashboard.backend.queue.jobs import Jobs
from dashboard.backend.records.schema import Case
from dashboard.backend.records.store import now
from dashboard.backend.report.task import report
from dashboard.backend.review.evidence import (
    AUDIT_FILE,
    HISTORY_FILE,
    MODEL_FILE,
    PLAN_FILE,
    PREDICTIONS_FILE,
    SENSITIVITY_FILE,
)
from dashboard.backend.run.budget import (
    CURVE_FILE,
    MEASURED_FILE,
    kept_parameters,
    solve_curve,
)
from dashboard.backend.saliency.maps import GROUPS_FILE
from dashboard.backend.saliency.reuse import SALIENCY_FILE, drawn_before
from dashboard.backend.saliency.task import (
    Pictures,
    as_audited,
    chosen,
    read_pictures,
    require_some,
    targets,
)
from dashboard.backend.views import JobKind, JobState
from fairquant_core import pipeline, scoring
from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.cohort import Cohort, load_cohort
from fairquant_core.data.training_data import TrainingData
from fairquant_core.errors import ClassifierError
from fairquant_core.explain.maps import ComparedMaps, join_maps
from fairquant_core.explain.side_by_side import compare_maps
from fairquant_core.files import atomic_path
from fairquant_core.models.checkpoint import load_classifier, save_classifier
from fairquant_core.models.inference import predict
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.progress import Progress
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.scoring import CANDIDATE, load_any, training_data
from fairquant_core.training.fitting import FitConfig, fit

MAP_SEED = RunConfig().seed
MAP_IMAGES = RunConfig().images_per_group
"""As a run's own defaults, so that the plan on the budget page is the plan of the run."""

SALIENCY_BATCH = 8


def prepare(task: Task) -> Outcome:
    """Hash and decode the images, fine-tune if the case asks for it, score full precision."""
    folder = task.settings.case_folder(task.case.id) / COHORT_FOLDER
    task.progress(Progress("images", 0, task.case.cohort["n"], "Reading the image files"))
    cohort = hash_images(folder)
    path, classifier = _base_classifier(task, cohort)
    predictions = pipeline.prepare(
        cohort,
        classifier,
        cache=task.settings.cache,
        work=task.work,
        progress=task.progress,
        cancel=task.cancel,
    )
    baseline = {PREDICTIONS_FILE: task.work / PREDICTIONS_FILE}
    classifier_hash = task.artefacts.publish({CLASSIFIER_FILE: path})
    baseline_hash = task.artefacts.publish(baseline)
    facts = {
        "name": classifier.name,
        "architecture": classifier.architecture,
        "fingerprint": classifier.fingerprint,
        "megabytes": path.stat().st_size / 1e6,
        "parameters": ClassifierFile.read(path).parameters,
        "file": CLASSIFIER_FILE,
    }
    audited = len(predictions.part("audit"))
    origin = f"Computed here on {now()[:10]} with {classifier.name} on {audited} audit images."

    def ready(_: Session, case: Case) -> None:
        case.classifier = {**case.classifier, **facts}
        case.cohort = {**case.cohort, "fingerprint": cohort.fingerprint}
        case.classifier_hash, case.baseline_hash = classifier_hash, baseline_hash
        case.baseline_origin = origin
        case.ready = True

    return Outcome(baseline, {}, ready)


def sensitivity(task: Task) -> Outcome:
    """The measured map per layer and group, and the curvature map behind the bit plans."""
    config = task.job.config
    _, found = pipeline.sensitivity(
        _cohort(task),
        _classifier(task),
        group_column=task.case.group_column,
        scheme=task.case.scheme,
        bits=tuple(config["bits"]),
        images_per_group=MAP_IMAGES,
        measured_images_per_group=config["images_per_group"],
        seed=MAP_SEED,
        cache=task.settings.cache,
        work=task.work,
        progress=task.progress,
        cancel=task.cancel,
    )
    task.progress(Progress("budget", 0, 1, "Solving the plans of every size"))
    # Solved here once, so that the budget page finds it ready.
    curve = solve_curve(found, kept_parameters(task.case, found))
    with atomic_path(task.work / CURVE_FILE) as part:
        curve.to_parquet(part, index=False)
    return Outcome(_files(task, MEASURED_FILE, SENSITIVITY_FILE, CURVE_FILE))


def run(task: Task) -> Outcome:
    """Plan, train, pack, and audit the packed file."""
    case = task.case
    result = pipeline.run(
        _cohort(task),
        _classifier(task),
        RunConfig.from_json(task.job.config),
        group_column=case.group_column,
        scheme=case.scheme,
        limits=Limits.from_json(case.limits),
        must_not_miss=tuple(case.must_not_miss),
        source=_source(task),
        cache=task.settings.cache,
        work=task.work,
        progress=task.progress,
        cancel=task.cancel,
    )
    size = result.audit["size"]
    summary = {
        "achieved_bits": size.get("bits_achieved"),
        "bytes_packed": size["bytes_on_disk"],
        "verdict": result.audit["verdict"],
    }
    required = (MODEL_FILE, PREDICTIONS_FILE, AUDIT_FILE)
    return Outcome(_files(task, *required, optional=_OPTIONAL), summary)


def saliency(task: Task) -> Outcome:
    """Maps of the same images and classes by full precision and the candidates, and their drift."""
    assert task.parent is not None and task.parent.result_hash is not None
    config, case = task.job.config, task.case
    first = _classifier(task)
    table = Predictions.load(task.artefacts.path(task.parent.result_hash, PREDICTIONS_FILE))
    rows = chosen(table, config["image_ids"])
    explained = targets(rows, config["choice"], FULL_PRECISION, CANDIDATE, first.classes)
    wanted = dict(zip(config["image_ids"], explained.tolist(), strict=True))
    earlier = Jobs(task.store, task.settings).rows(
        kind=JobKind.SALIENCY, case_id=case.id, state=JobState.FINISHED
    )
    drawn = drawn_before(earlier, task.artefacts, config, wanted)
    missing = [one for one in wanted if one not in drawn.ids]
    found, new = _new_maps(task, first, table, wanted, missing)
    if drawn.maps is None:
        require_some(found)
    maps = join_maps([one for one in (drawn.maps, new) if one is not None])
    places = {one: place for place, one in enumerate(maps.ids.tolist())}
    maps = maps.part(maps.models, [places[one] for one in wanted if one in places])
    rows = chosen(table, maps.ids.tolist())
    groups = rows.groups(case.group_column, case.scheme)
    sampled = np.isin(maps.ids, config["sampled"])
    by_group = maps.by_group(
        groups,
        sampled,
        clusters=rows.frame["cluster"].to_numpy(),
        # Of images without a known group only flips are drawn, so they have no figures.
        order=group_order(groups[sampled], case.scheme),
    )
    maps.save(task.work / SALIENCY_FILE)
    with atomic_path(task.work / GROUPS_FILE) as part:
        by_group.to_parquet(part, index=False)
    summary = {
        "problems": found.problems,
        "mask_problems": drawn.mask_problems | found.mask_problems,
        "crop": first.preprocessing.crop_fraction,
    }
    return Outcome(_files(task, SALIENCY_FILE, GROUPS_FILE), summary)


def _new_maps(
    task: Task, first: Classifier, table: Predictions, wanted: dict[str, int], missing: list[str]
) -> tuple[Pictures, ComparedMaps | None]:
    """Draw the maps that are not there yet; None where no image of them can be explained."""
    # Images that are gone since the audit must not keep the others from being shown.
    cohort = load_cohort(
        task.settings.case_folder(task.case.id) / COHORT_FOLDER, check_images=False
    )
    found = read_pictures(cohort, missing, first.preprocessing, task.progress)
    if found.ids:
        audited = chosen(table, found.ids).probabilities(FULL_PRECISION)
        scores = predict(first, found.images, batch_size=SALIENCY_BATCH, cancel=task.cancel)
        found = as_audited(found, audited, scores)
    if not found.ids:
        return found, None
    classifiers = {FULL_PRECISION: first} | {
        run: load_any(task.artefacts.path(result, MODEL_FILE))
        for run, result in task.job.config["results"].items()
    }

    def report(done: int, total: int) -> None:
        task.progress(Progress("saliency", done, total, f"Map {done} of {total}"))

    maps = compare_maps(
        classifiers,
        found.ids,
        found.images,
        np.array([wanted[one] for one in found.ids]),
        task.job.config["choice"]["method"],
        covers=found.covers,
        work=task.work,
        progress=report,
        cancel=task.cancel,
    )
    return found, maps


_SOURCE_KEYS = ("labels", "groups", "scheme", "split_seed")
_OPTIONAL = (PLAN_FILE, SENSITIVITY_FILE, HISTORY_FILE)


def _base_classifier(task: Task, cohort: Cohort) -> tuple[Path, Classifier]:
    """The full-precision classifier of a new case in our own format."""
    case, about = task.case, task.case.classifier
    source = None
    if case.classifier_hash is not None and about["file"]:
        source = task.artefacts.path(case.classifier_hash, about["file"])
    if source is not None and about["file"] == CLASSIFIER_FILE:
        classifier = load_classifier(source)
        scoring.check_split(cohort, classifier)
        return source, classifier
    path = task.work / CLASSIFIER_FILE
    if path.exists():
        # A resumed job: the file is written only when it is complete.
        return path, load_classifier(path)
    if about["origin"] == "fit":
        classifier = _fitted(task, cohort, source)
    else:
        assert source is not None
        classifier = load_classifier(
            source,
            architecture=about["architecture"],
            classes=cohort.classes,
            size=about["size"],
        )
        classifier.name = about["name"]
    save_classifier(classifier, path)
    return path, classifier


def _source(task: Task) -> dict[str, Any]:
    """How the cohort was read, so that the exported file can be scored in the same way."""
    return {key: task.case.cohort["source"][key] for key in _SOURCE_KEYS}


def _fitted(task: Task, cohort: Cohort, weights: Path | None) -> Classifier:
    about = task.case.classifier
    classifier = create(
        about["architecture"],
        cohort.classes,
        weights=weights,
        pretrained=about["download_weights"],
        size=about["size"],
        name=about["name"],
    )
    classifier.origin = {**scoring.fingerprints(cohort), **_source(task)}
    data = _data(task, cohort, classifier)
    fit(
        classifier,
        data,
        FitConfig(epochs=about["fit_epochs"]),
        checkpoint=task.work / "fit.pt",
        report=task.progress,
        cancel=task.cancel,
    )
    return classifier


def _data(task: Task, cohort: Cohort, classifier: Classifier) -> TrainingData:
    """The cohort decoded for a classifier, with the groups of the case."""
    return training_data(
        cohort,
        classifier,
        group_column=task.case.group_column,
        scheme=task.case.scheme,
        cache=task.settings.cache,
        report=task.progress,
        cancel=task.cancel,
    )


def _cohort(task: Task) -> Cohort:
    return load_cohort(task.settings.case_folder(task.case.id) / COHORT_FOLDER)


def _classifier(task: Task) -> Classifier:
    assert task.case.classifier_hash is not None
    path = task.artefacts.path(task.case.classifier_hash, CLASSIFIER_FILE)
    classifier = load_classifier(path)
    if classifier.fingerprint != task.case.classifier["fingerprint"]:
        raise ClassifierError(
            "The classifier of this case is not the one that the case was made with. Make a new "
            "case."
        )
    return classifier


def _files(task: Task, *names: str, optional: tuple[str, ...] = ()) -> dict[str, Path]:
    found = {name: task.work / name for name in names}
    return found | {name: task.work / name for name in optional if (task.work / name).is_file()}


if __name__ == "__main__":
    sys.exit(
        main(
            {
                JobKind.PREPARE: prepare,
                JobKind.SENSITIVITY: sensitivity,
                JobKind.RUN: run,
                JobKind.SALIENCY: saliency,
                JobKind.EXPORT: export,
                JobKind.REPORT: report,
            }
        )
    )
