"""One case from start to end: decode, score, find out what is sensitive, compress, train, audit.

The dashboard's worker and the command line call the same functions. Every function takes a folder for its results
(``work``) and one for what may be computed again at any time (``cache``), reports progress, can be cancelled,
and leaves no half-written file behind.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairquant_core.allocation.allocators import Allocation
from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary import audit_summary
from fairquant_core.data.cohort import Cohort
from fairquant_core.data.training_data import TrainingData
from fairquant_core.export.checkpoint import load_packed, save_packed
from fairquant_core.files import file_hash, write_json
from fairquant_core.models.checkpoint import load_classifier, save_classifier
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Report, Stop
from fairquant_core.quantization.budget import resolved
from fairquant_core.quantization.catalogue import MENU, PLANNED_FROM, RunConfig
from fairquant_core.quantization.compressed import compress_with
from fairquant_core.scoring import (
    CANDIDATE,
    FULL_PRECISION,
    MODEL_FILE,
    check_split,
    fingerprints,
    score,
    training_data,
)
from fairquant_core.sensitivity import cache as sensitivity_cache
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap
from fairquant_core.sensitivity.measures import measure_card
from fairquant_core.training.methods import Job, Outcome, run_method, uniform_widths

PLAN_FILE = "plan.json"
SENSITIVITY_FILE = "sensitivity.npz"
MEASURED_FILE = "measured.parquet"
PREDICTIONS_FILE = "predictions.parquet"
AUDIT_FILE = "audit.json"
HISTORY_FILE = "epochs.json"


@dataclass(frozen=True)
class RunResult:
    """What a run leaves in its folder, and its figures."""

    work: Path
    audit: dict[str, Any]
    predictions: Predictions
    history: list[dict[str, Any]]
    seconds: dict[str, float] = field(default_factory=dict)


def prepare(
    cohort: Cohort,
    classifier: Classifier,
    *,
    cache: Path,
    work: Path,
    progress: Report | None = None,
    cancel: Stop | None = None,
) -> Predictions:
    """Full-precision predictions of the validation and audit images, kept in ``work``."""
    column = next(iter(cohort.group_columns))
    data = training_data(
        cohort,
        classifier,
        group_column=column,
        scheme=None,
        cache=cache,
        report=progress,
        cancel=cancel,
    )
    predictions = score(cohort, {FULL_PRECISION: classifier}, data, report=progress, cancel=cancel)
    predictions.save(work / PREDICTIONS_FILE)
    return predictions


def sensitivity(
    cohort: Cohort,
    classifier: Classifier,
    *,
    group_column: str,
    scheme: str | None,
    measure: str = PLANNED_FROM,
    bits: tuple[int, ...] = (4,),
    images_per_group: int = 256,
    measured_images_per_group: int = 64,
    seed: int = 0,
    cache: Path,
    work: Path,
    progress: Report | None = None,
    cancel: Stop | None = None,
) -> tuple[MeasuredMap, SensitivityMap]:
    """The measured map from validation images and the map of one measure from training images.

    The audit split is never touched. Where the validation split holds few images of a group the intervals of
    the measured map are wide, and that is the honest answer. Both are kept in ``cache``: what was
    computed before is read, and an interrupted measurement goes on after the last finished layer.

    Parameters
    ----------
    measure
        A key of :data:`fairquant_core.sensitivity.measures.MEASURES`, for the map that plans are made from.
    bits
        Widths that are measured.
    """
    data = training_data(
        cohort,
        classifier,
        group_column=group_column,
        scheme=scheme,
        cache=cache,
        report=progress,
        cancel=cancel,
    )
    subject = sensitivity_cache.Subject(cohort, classifier, data, group_column, scheme, cache)
    planned_from = sensitivity_cache.predicted(
        subject,
        measure,
        images_per_group=images_per_group,
        seed=seed,
        progress=progress,
        cancel=cancel,
    )
    planned_from.save(work / SENSITIVITY_FILE)
    measured = sensitivity_cache.measured(
        subject,
        bits=bits,
        images_per_group=measured_images_per_group,
        seed=seed,
        progress=progress,
        cancel=cancel,
    )
    measured.save(work / MEASURED_FILE)
    return measured, planned_from


def run(
    cohort: Cohort,
    classifier: Classifier,
    config: RunConfig,
    *,
    group_column: str,
    scheme: str,
    limits: Limits,
    must_not_miss: tuple[str, ...] = (),
    source: dict[str, Any] | None = None,
    cache: Path,
    work: Path,
    progress: Report | None = None,
    cancel: Stop | None = None,
) -> RunResult:
    """One method at one budget: plan, train, pack, read the packed file back, and audit what was read.

    What is audited is the file that would leave the tool, not the network in memory. Beside it the audit shows
    the full-precision classifier and the naive alternative: the same bits everywhere without training.
    """
    clock = time.monotonic()
    seconds: dict[str, float] = {}

    def lap(name: str) -> None:
        nonlocal clock
        seconds[name] = round(time.monotonic() - clock, 2)
        clock = time.monotonic()

    check_split(cohort, classifier)
    config = resolved(config, classifier)
    work.mkdir(parents=True, exist_ok=True)
    data = training_data(
        cohort,
        classifier,
        group_column=group_column,
        scheme=scheme,
        cache=cache,
        report=progress,
        cancel=cancel,
    )
    lap("images")
    sensitivity_map: SensitivityMap | None = None
    if config.card.measure:
        sensitivity_map = sensitivity_cache.predicted(
            sensitivity_cache.Subject(cohort, classifier, data, group_column, scheme, cache),
            config.card.measure,
            images_per_group=config.images_per_group,
            seed=config.seed,
            progress=progress,
            cancel=cancel,
        )
        sensitivity_map.save(work / SENSITIVITY_FILE)
    lap("sensitivity")
    checkpoint = work / "training.pt"
    outcome = run_method(
        Job(config, classifier, data, sensitivity_map, checkpoint, progress, cancel)
    )
    lap("training")
    packed = work / MODEL_FILE
    bits = max(min(MENU), round(config.bits))
    compared = {FULL_PRECISION: classifier}
    if outcome.compressed is None:
        save_classifier(outcome.classifier, packed)
        compared[CANDIDATE] = load_classifier(packed)
    else:
        save_packed(
            outcome.compressed,
            packed,
            {
                **(source or {}),
                "config": config.to_json(),
                "parent": classifier.fingerprint,
                **fingerprints(cohort),
                "groups": group_column,
                "scheme": scheme,
            },
        )
        compared[CANDIDATE] = load_packed(packed).classifier
        uniform = compress_with(classifier, uniform_widths(classifier, bits))
        compared[f"uniform {bits}-bit"] = uniform.classifier
    predictions = score(cohort, compared, data, report=progress, cancel=cancel)
    predictions.save(work / PREDICTIONS_FILE)
    lap("audit")
    audit = {
        "config": config.to_json(),
        "classifier": {
            "name": classifier.name,
            "architecture": classifier.architecture,
            "fingerprint": classifier.fingerprint,
            "classes": list(classifier.classes),
        },
        "cohort": {
            "name": cohort.name,
            "fingerprint": cohort.fingerprint,
            "images": len(cohort),
            "synthetic": cohort.synthetic,
        },
        "size": _sizes(outcome, config, packed, classifier),
        "seconds": seconds,
        **audit_summary(
            predictions.part("audit"),
            reference=FULL_PRECISION,
            candidate=CANDIDATE,
            group_column=group_column,
            scheme=scheme,
            limits=limits,
            must_not_miss=must_not_miss,
        ),
    }
    if outcome.allocation is not None:
        audit["plan"] = _plan_figures(outcome.allocation, sensitivity_map, data)
    if outcome.compressed is not None:
        write_json(work / PLAN_FILE, outcome.compressed.plan.to_json())
    write_json(work / HISTORY_FILE, outcome.history)
    write_json(work / AUDIT_FILE, audit)
    checkpoint.unlink(missing_ok=True)
    return RunResult(work, audit, predictions, outcome.history, seconds)


def _sizes(
    outcome: Outcome, config: RunConfig, packed: Path, classifier: Classifier
) -> dict[str, Any]:
    numbers = sum(t.numel() for t in classifier.model.state_dict().values())
    sizes: dict[str, Any] = {
        "bytes_on_disk": packed.stat().st_size,
        "bytes_full_precision": 4 * numbers,
        "sha256": file_hash(packed),
    }
    if outcome.compressed is not None:
        plan = outcome.compressed.plan
        sizes |= {
            "bits_requested": config.bits,
            "bits_achieved": plan.average_bits,
            "bytes_ideal": plan.packed_bytes(),
            "weights": plan.weight_count,
            "kept_parameters": plan.kept_parameters,
        }
    return sizes


def _plan_figures(
    allocation: Allocation, source: SensitivityMap | None, data: TrainingData
) -> dict[str, Any]:
    """What the plan promised; a measure that only ranks promises no loss."""
    planned_for = source.groups if source else ()
    forecast = source is not None and measure_card(source.measure).predicts_loss
    return {
        "method": allocation.method,
        "granularity": allocation.granularity,
        "predicted_loss_rise": dict(allocation.predicted) if forecast else {},
        "bound": allocation.bound,
        "certificate_gap": allocation.certificate_gap,
        "measure": source.measure if source else "",
        "groups_without_training_images": [
            group for group in data.group_names if group not in planned_for
        ],
    }
