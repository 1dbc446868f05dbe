"""A small real case and results as the worker would leave them, made without torch.

Images are coloured squares, the classifier is a safetensors file with the right description,
predictions are drawn at random; everything is computed and stored by the code that the application
uses.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.numpy import save_file
from sqlalchemy.orm import Session

from dashboard.backend.case.cases import COHORT_FOLDER
from dashboard.backend.case.new_case import hash_images
from dashboard.backend.export import exports
from dashboard.backend.export.bundle_files import REPORT_FILES, REPORT_JSON
from dashboard.backend.queue.jobs import JobRequest
from dashboard.backend.records.schema import Case
from dashboard.backend.review.evidence import AUDIT_FILE, MODEL_FILE, PLAN_FILE, PREDICTIONS_FILE
from dashboard.backend.run.budget import kept_parameters, solve_curve
from dashboard.backend.services import Services
from dashboard.backend.views import JobKind, NewCase, ReviewView
from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary import audit_summary
from fairquant_core.explain.drift import image_drift
from fairquant_core.explain.lesion import LesionShares, lesion_area, share_inside
from fairquant_core.explain.maps import ComparedMaps
from fairquant_core.files import file_hash
from fairquant_core.quantization.plan import BitPlan
from fairquant_core.sensitivity.maps import (
    MEASURED_COLUMNS,
    MeasuredMap,
    SensitivityMap,
)
from tests.dashboard.made_export import made_check, write_small_onnx

CLASSES = ("benign", "malignant")
CHANNELS, WEIGHTS = 8, 9

_AUDITS: dict[tuple[Any, ...], str] = {}
"""What the audit of a table said: many tests have the same, and it takes half a second."""


def write_cohort(
    folder: Path, images: int = 120, groups: tuple[str, ...] = ("1", "3", "6")
) -> Path:
    """A table with its own ids, and one picture per row."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(images):
        file = f"images/{number:04d}.png"
        Image.new("RGB", (8, 8), (number % 256, 90, 60)).save(folder / file)
        rows.append(
            {
                "id": f"image-{number:04d}",
                "file": file,
                "label": CLASSES[number % 3 == 0],
                "patient": f"p{number // 2}",
                "fitzpatrick": groups[(number // 2) % len(groups)],
                "sex": "female" if number % 4 < 2 else "male",
            }
        )
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    return folder


def write_classifier(path: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    """Weights with the description that our own files carry."""
    about = {
        "format": "fairquant-classifier",
        "version": 1,
        "name": "Small classifier",
        "architecture": "resnet18",
        "classes": list(classes),
        "fingerprint": "ab" * 32,
    }
    tensors = {
        "conv.weight": np.ones((CHANNELS, WEIGHTS), np.float32),
        "conv.bias": np.zeros(CHANNELS, np.float32),
    }
    save_file(tensors, str(path), metadata={"fairquant": json.dumps(about)})
    return path


def fingerprint_of(run_id: str) -> str:
    """A fingerprint of its own for every run."""
    return hashlib.sha256(run_id.encode()).hexdigest()


def write_packed(path: Path, run_id: str) -> None:
    """A packed file that tells which classifier it holds."""
    about = {"format": "fairquant-packed", "fingerprint": fingerprint_of(run_id)}
    tensors = {"conv.weight.packed": np.frombuffer(run_id.encode(), np.uint8)}
    save_file(tensors, str(path), metadata={"fairquant": json.dumps(about)})


def make_case(services: Services, folder: Path, **changes: Any) -> str:
    """Create a case as the form does."""
    if not (folder / "cohort").exists():
        write_cohort(folder / "cohort")
        write_classifier(folder / "model.safetensors")
    values: dict[str, Any] = {
        "title": "Coloured squares",
        "cohort_folder": folder / "cohort",
        "group_column": "fitzpatrick",
        "classifier_path": folder / "model.safetensors",
        "scheme": "fst3",
        "must_not_miss": ("malignant",),
        "limits": Limits(margin=0.45, minimum_images=5),
    }
    return services.create_case(NewCase(**{**values, **changes}))


def _predictions(services: Services, case_id: str, models: dict[str, float]) -> Predictions:
    """Random probabilities; each model is right in about the given share of the images."""
    table = services.cohort_table(case_id).drop(columns=["group"])
    table = table[table["split"] != "train"].reset_index(drop=True)
    codes = np.array([CLASSES.index(label) for label in table["label"]])
    luck = np.random.default_rng(0).random(len(table))
    scored = {}
    for model, share in models.items():
        right = luck < share
        chosen = np.where(right, codes, 1 - codes)
        scored[model] = np.where(np.eye(2, dtype=bool)[chosen], 0.8, 0.2).astype(np.float32)
    return Predictions.build(table, CLASSES, scored)


def finish_prepare(services: Services, case_id: str, folder: Path) -> None:
    """Do what the "prepare" job does to the store."""
    job_id = services.case(case_id).prepare_job
    assert job_id is not None
    cohort = hash_images(services.settings.case_folder(case_id) / COHORT_FOLDER)
    path = folder / "baseline.parquet"
    _predictions(services, case_id, {"full precision": 0.85}).save(path)
    artefact = services._artefacts.publish({PREDICTIONS_FILE: path})

    def ready(_: Session, case: Case) -> None:
        case.ready = True
        case.baseline_hash = artefact
        case.baseline_origin = "Computed by a test."
        case.cohort = {**case.cohort, "fingerprint": cohort.fingerprint}

    _finish(services, job_id, artefact, {}, ready)


def finish_run(
    services: Services, run_id: str, folder: Path, candidate: float = 0.85, size: int = 1234
) -> None:
    """Do what the "run" job does; `candidate` is how often the compressed model is right."""
    run = services.run(run_id)
    case = services.case(run.case_id)
    predictions = _predictions(
        services,
        run.case_id,
        {"full precision": 0.85, "candidate": candidate, "uniform 4-bit": 0.7},
    )
    predictions.save(folder / PREDICTIONS_FILE)
    asked = (case.group_column, case.scheme, case.limits, tuple(case.must_not_miss))
    if (key := (file_hash(folder / PREDICTIONS_FILE), *asked)) not in _AUDITS:
        _AUDITS[key] = json.dumps(
            audit_summary(
                predictions,
                group_column=case.group_column,
                scheme=case.scheme,
                limits=case.limits,
                must_not_miss=case.must_not_miss,
                resamples=50,
            )
        )
    audit = json.loads(_AUDITS[key])
    audit["size"] = {"bytes_on_disk": size, "bytes_full_precision": 9000}
    (folder / AUDIT_FILE).write_text(json.dumps(audit))
    write_packed(folder / MODEL_FILE, run_id)
    plan = BitPlan.uniform({"conv": WEIGHTS}, {"conv": CHANNELS}, 4)
    (folder / PLAN_FILE).write_text(json.dumps(plan.to_json()))
    names = (PREDICTIONS_FILE, AUDIT_FILE, MODEL_FILE, PLAN_FILE)
    artefact = services._artefacts.publish({name: folder / name for name in names})
    summary = {"achieved_bits": 3.99, "bytes_packed": size, "verdict": audit["verdict"]}
    _finish(services, run_id, artefact, summary)


def finish_sensitivity(services: Services, job_id: str, folder: Path) -> None:
    """Store a map of one layer with eight channels."""
    groups = services.case(services.job(job_id).case_id).groups
    menu = (0, 2, 3, 4, 5, 6, 7, 8)
    scale = 1.0 + np.arange(len(groups))[:, None, None] + np.arange(CHANNELS)[None, :, None] / 10
    damage = (scale * 4.0 ** -np.array(menu)[None, None, :]).astype(np.float32)
    sensitivity = SensitivityMap(
        "centred",
        groups,
        dict.fromkeys(groups, 30),
        menu,
        ("conv",),
        np.full(CHANNELS, WEIGHTS),
        np.zeros(CHANNELS, int),
        damage,
    )
    sensitivity.save(folder / "sensitivity.npz")
    row = dict.fromkeys(MEASURED_COLUMNS, 0.0) | {"layer": "conv", "bits": 4, "n": 30}
    MeasuredMap(pd.DataFrame([row | {"group": group} for group in groups])).save(
        folder / "measured.parquet"
    )
    case = services._cases.row(services.job(job_id).case_id)
    curve = solve_curve(sensitivity, kept_parameters(case, sensitivity))
    curve.to_parquet(folder / "curve.parquet", index=False)
    names = ("sensitivity.npz", "measured.parquet", "curve.parquet")
    artefact = services._artefacts.publish({name: folder / name for name in names})
    _finish(services, job_id, artefact, {})


def finish_saliency(
    services: Services,
    job_id: str,
    folder: Path,
    problems: dict[str, str] | None = None,
    masks: bool = False,
) -> None:
    """Store maps of noise; images with a problem have none.

    With `masks` the upper quarter of every picture but the first is lesion.
    """
    job, problems = services.job(job_id), problems or {}
    case = services.case(job.case_id)
    ids = [one for one in job.config["image_ids"] if one not in problems]
    models = ("full precision", *job.config["results"])
    maps = np.random.default_rng(0).random((len(models), len(ids), 28, 28)).astype(np.float32)
    changes = [image_drift(maps[0], after) for after in maps[1:]]
    upper = np.zeros((28, 28))
    upper[:7] = 1
    covers = [None if place == 0 else upper for place in range(len(ids))]
    lesion = LesionShares(
        np.stack([np.full((28, 28), np.nan) if one is None else one for one in covers]),
        lesion_area(covers),
        np.stack([share_inside(one, covers) for one in maps]),
    )
    found = ComparedMaps(
        method=job.config["choice"]["method"],
        models=models,
        ids=np.array(ids),
        targets=np.zeros(len(ids), int),
        pictures=maps,
        completeness=np.zeros((len(models), len(ids))),
        score_change=np.ones((len(models), len(ids))),
        drift=np.stack([table["drift"].to_numpy() for table in changes]),
        overlap=np.stack([table["overlap"].to_numpy() for table in changes]),
        lesion=lesion if masks else None,
    )
    found.save(folder / "saliency.npz")
    table = services.cohort_table(case.id).set_index("id").loc[ids]
    by_group = found.by_group(
        table["group"], np.isin(ids, job.config["sampled"]), order=case.groups
    )
    by_group.to_parquet(folder / "saliency_groups.parquet", index=False)
    names = ("saliency.npz", "saliency_groups.parquet")
    artefact = services._artefacts.publish({name: folder / name for name in names})
    summary = {"problems": problems, "crop": 0.9}
    if masks:
        summary["mask_problems"] = {ids[0]: "the mask m.png shows no lesion"}
    _finish(services, job_id, artefact, summary)


def finish_export(
    services: Services,
    run_id: str,
    folder: Path,
    *,
    fast: str | None = "WITHIN",
    objections: tuple[str, ...] = (),
    fingerprint: str | None = None,
) -> str:
    """Do what the "export" job does; `fast` is the verdict of the fast file, None where it is slower."""
    job_id = services.start_export(run_id, "Ada")
    case = services.case(services.run(run_id).case_id)
    own = fingerprint or fingerprint_of(run_id)
    write_small_onnx(folder / exports.EXACT_FILE, CLASSES, own)
    names = [exports.EXACT_FILE, exports.EXACT_CHECK, exports.FAST_CHECK]
    checks = {
        exports.EXACT_CHECK: made_check(case.groups, objections=objections),
        exports.FAST_CHECK: made_check(
            case.groups,
            kind="int8",
            ratio=0.4 if fast else 1.3,
            objections=() if fast else ("it takes 1.30 x (1.27 to 1.33) the time here",),
        ),
    }
    if fast:
        write_small_onnx(folder / exports.FAST_FILE, CLASSES, own, "int8")
        services.predictions(run_id).save(folder / exports.FAST_PREDICTIONS)
        checks[exports.FAST_AUDIT] = {**services.audit(run_id), "verdict": fast}
        names += [exports.FAST_FILE, exports.FAST_PREDICTIONS, exports.FAST_AUDIT]
    for name, content in checks.items():
        (folder / name).write_text(json.dumps(content))
    artefact = services._artefacts.publish({name: folder / name for name in names})
    _finish(services, job_id, artefact, {"seconds": {}})
    return job_id


def decide(
    services: Services,
    run_id: str,
    person: str,
    role: str,
    decision: str,
    comment: str = "",
    override: str | None = None,
) -> ReviewView:
    """Decide as the page does: about what it shows."""
    seen = services.review(run_id).hashes
    return services.decide(run_id, person, role, decision, comment, override, seen=seen)


def approve(
    services: Services, run_id: str, override: str | None = None, comment: str = "Looks safe."
) -> ReviewView:
    """Ada proposes, Kwame approves; the files were checked before."""
    decide(services, run_id, "Ada", "auditor", "propose")
    return decide(services, run_id, "Kwame", "clinician", "approve", comment, override)


def finish_report(services: Services, run_id: str, folder: Path) -> None:
    """Leave what a "report" job leaves about the present state of the run."""
    review = services.review(run_id)
    sequence = review.decisions[-1].sequence if review.decisions else 0
    config = {"sequence": sequence, "hashes": review.hashes}
    job_id = services._jobs.submit(
        JobRequest(
            JobKind.REPORT,
            services.run(run_id).case_id,
            "Report",
            {"run": run_id, **config},
            config,
            parent_id=run_id,
        )
    )
    about = {"run": run_id, "log_sequence": sequence, "approved": review.state == "approved"}
    for name in REPORT_FILES:
        (folder / name).write_text(f"{name} of {run_id}")
    told = {"about": about, "identity": {"hashes": review.hashes}}
    (folder / REPORT_JSON).write_text(json.dumps(told))
    artefact = services._artefacts.publish({name: folder / name for name in REPORT_FILES})
    _finish(services, job_id, artefact, {})


def _finish(
    services: Services, job_id: str, artefact: str, summary: dict[str, Any], also: Any = None
) -> None:
    claimed = services._jobs.claim("a test")
    while claimed is not None and claimed.id != job_id:
        claimed = services._jobs.claim("a test")
    assert claimed is not None, f"{job_id} was not waiting"
    assert services._jobs.finish(job_id, claimed.attempt, artefact, summary, also)
