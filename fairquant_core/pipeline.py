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

import numpy as np

from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary import audit_summary
from fairquant_core.data.cohort import Cohort
from fairquant_core.export.checkpoint import load_packed, save_packed
from fairquant_core.files import file_hash, write_json
from fairquant_core.models.checkpoint import load_classifier, save_classifier
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Report, StageClock, Stop
from fairquant_core.quantization.allocation import Allocation
from fairquant_core.quantization.catalogue import METHODS, RunConfig
from fairquant_core.quantization.compressed import compress_with
from fairquant_core.quantization.methods import Job, Outcome, run_method, uniform_widths
from fairquant_core.quantization.sensitivity import fisher_map, measured_map, sample_per_group
from fairquant_core.quantization.sensitivity_map import MeasuredMap, SensitivityMap
from fairquant_core.quantization.training import TrainingData
from fairquant_core.scoring import (
    CANDIDATE,
    FULL_PRECISION,
    MODEL_FILE,
    check_split,
    fingerprints,
    score,
    training_data,
)

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
    bits: tuple[int, ...] = (4,),
    images_per_group: int = 256,
    measured_images_per_group: int = 64,
    seed: int = 0,
    measure: bool = True,
    cache: Path,
    work: Path,
    progress: Report | None = None,
    cancel: Stop | None = None,
) -> tuple[MeasuredMap | None, SensitivityMap]:
    """The curvature map from training images and the measured map from validation images.

    The audit split is never touched. Where the validation split holds few images of a group the intervals of
    the measured map are wide, and that is the honest answer.
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
    fisher = _fisher(data, classifier, images_per_group, seed, progress, cancel)
    fisher.save(work / SENSITIVITY_FILE)
    if not measure:
        return None, fisher
    own = np.flatnonzero(data.split == "validation")
    chosen = {
        group: own[where]
        for group, where in sample_per_group(
            data.groups.iloc[own], measured_images_per_group, seed
        ).items()
    }
    clock = StageClock(progress, "measured", "Rounding one layer at a time: {step} of {steps}")
    measured = measured_map(
        classifier,
        data.images,
        data.labels,
        chosen,
        bits=bits,
        seed=seed,
        progress=clock,
        cancel=cancel,
    )
    measured.save(work / MEASURED_FILE)
    return measured, fisher


def _fisher(
    data: TrainingData,
    classifier: Classifier,
    images_per_group: int,
    seed: int,
    progress: Report | None,
    cancel: Stop | None,
) -> SensitivityMap:
    own = data.positions("train")
    chosen = {
        group: own[where]
        for group, where in sample_per_group(data.groups.iloc[own], images_per_group, seed).items()
    }
    clock = StageClock(progress, "sensitivity", "Curvature per group: batch {step} of {steps}")
    return fisher_map(
        classifier, data.images, data.labels, chosen, seed=seed, progress=clock, cancel=cancel
    )


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
    sensitivity_map: SensitivityMap | None = None,
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
    if sensitivity_map is None and METHODS[config.method].mixed:
        sensitivity_map = _fisher(
            data, classifier, config.images_per_group, config.seed, progress, cancel
        )
    if sensitivity_map is not None:
        sensitivity_map.save(work / SENSITIVITY_FILE)
    lap("sensitivity")
    checkpoint = work / "training.pt"
    outcome = run_method(
        Job(config, classifier, data, sensitivity_map, checkpoint, progress, cancel)
    )
    lap("training")
    packed = work / MODEL_FILE
    bits = round(config.bits)
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
        audit["plan"] = _plan_figures(outcome.allocation)
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


def _plan_figures(allocation: Allocation) -> dict[str, Any]:
    return {
        "method": allocation.method,
        "granularity": allocation.granularity,
        "predicted_loss_rise": dict(allocation.predicted),
        "bound": allocation.bound,
        "certificate_gap": allocation.certificate_gap,
    }
