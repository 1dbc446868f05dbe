"""One case from start to end: decode, score, find out what is sensitive, compress, train, audit.

The dashboard's worker and the command line call the same functions. Every function takes a folder for its results
(``work``) and one for what may be computed again at any time (``cache``), reports progress, can be cancelled,
and leaves no half-written file behind.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary import audit_summary
from fairquant_core.data.cohort import Cohort
from fairquant_core.data.images import decoded_images
from fairquant_core.errors import Cancelled, EvaluationError
from fairquant_core.export.checkpoint import load_packed, save_packed
from fairquant_core.files import atomic_path
from fairquant_core.models.checkpoint import load_classifier, save_classifier
from fairquant_core.models.inference import predict
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Progress, Report, Stop
from fairquant_core.quantization.allocation import Allocation
from fairquant_core.quantization.catalogue import METHODS, RunConfig
from fairquant_core.quantization.compressed import compress_with
from fairquant_core.quantization.methods import Job, run_method, uniform_widths
from fairquant_core.quantization.sensitivity import fisher_map, measured_map, sample_per_group
from fairquant_core.quantization.sensitivity_map import MeasuredMap, SensitivityMap
from fairquant_core.quantization.training import TrainingData

FULL_PRECISION = "full precision"
CANDIDATE = "candidate"
SCORED_SPLITS = ("validation", "audit")

MODEL_FILE = "model.safetensors"
PLAN_FILE = "plan.json"
SENSITIVITY_FILE = "sensitivity.npz"
MEASURED_FILE = "measured.parquet"
PREDICTIONS_FILE = "predictions.parquet"
AUDIT_FILE = "audit.json"
HISTORY_FILE = "epochs.json"

CLASSES_DIFFER = (
    "The classifier knows the classes {ours}, the cohort has {theirs}. Classes missing in the classifier: "
    "{missing}. Use a cohort with the same labels, or fit a classifier on this cohort."
)


@dataclass(frozen=True)
class RunResult:
    """What a run leaves in its folder, and its figures."""

    work: Path
    audit: dict[str, Any]
    predictions: Predictions
    history: list[dict[str, Any]]
    seconds: dict[str, float] = field(default_factory=dict)


def training_data(
    cohort: Cohort,
    classifier: Classifier,
    *,
    group_column: str,
    scheme: str | None,
    cache: Path,
    report: Report | None = None,
    cancel: Stop | None = None,
) -> TrainingData:
    """Decode the cohort for the classifier (once; later calls read the cache) and name the groups.

    Raises
    ------
    EvaluationError
        If the cohort has a label that the classifier does not know.
    """
    labels = label_codes(cohort, classifier)

    def decoding(done: int, total: int) -> None:
        _check(cancel, "decoding the images")
        _say(report, "images", done, total, f"Image {done} of {total}")

    images = decoded_images(cohort, classifier.preprocessing, cache, progress=decoding)
    return TrainingData(
        images, labels, cohort.groups(column=group_column, scheme=scheme), _column(cohort, "split")
    )


def label_codes(cohort: Cohort, classifier: Classifier) -> np.ndarray:
    """Position of every image's label among the classifier's classes. Shapes: (N,) int64."""
    position = {name: index for index, name in enumerate(classifier.classes)}
    missing = sorted(set(cohort.table["label"]) - set(position))
    if missing:
        raise EvaluationError(
            CLASSES_DIFFER.format(
                ours=", ".join(classifier.classes),
                theirs=", ".join(cohort.classes),
                missing=", ".join(missing),
            )
        )
    return np.array([position[label] for label in cohort.table["label"]], dtype=np.int64)


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


def score(
    cohort: Cohort,
    classifiers: dict[str, Classifier],
    data: TrainingData,
    *,
    splits: Sequence[str] = SCORED_SPLITS,
    report: Report | None = None,
    cancel: Stop | None = None,
) -> Predictions:
    """Class probabilities of every classifier for the images of the given splits, in table order.

    Each split is scored in batches of its own, so that scoring the audit split alone later gives the very
    same numbers.
    """
    classes = next(iter(classifiers.values())).classes
    parts = [np.flatnonzero(data.split == split) for split in splits]
    parts = [part for part in parts if len(part)]
    total, done = len(classifiers) * len(parts), 0
    scored: dict[str, np.ndarray] = {}
    for name, classifier in classifiers.items():
        pieces = []
        for part in parts:
            _say(report, "audit", done, total, f"Scoring: {name}")
            pieces.append(predict(classifier, data.images[part], cancel=cancel))
            done += 1
        scored[name] = np.concatenate(pieces)
    _say(report, "audit", total, total, "Scored")
    return Predictions.build(cohort.table.iloc[np.concatenate(parts)], classes, scored)


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
    clock = _Clock(progress, "measured", "Rounding one layer at a time: {step} of {steps}")
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
    clock = _Clock(progress, "sensitivity", "Curvature per group: batch {step} of {steps}")
    return fisher_map(
        classifier, data.images, data.labels, chosen, seed=seed, progress=clock, cancel=cancel
    )


def run(
    cohort: Cohort,
    classifier: Classifier,
    config: RunConfig,
    *,
    group_column: str,
    scheme: str | None,
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
                "cohort": cohort.fingerprint,
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


def evaluate(
    cohort: Cohort,
    classifier: Classifier,
    *,
    split: str | None,
    cache: Path,
    report: Report | None = None,
) -> Predictions:
    """Score one classifier on one split of a cohort, or on all images when ``split`` is None."""
    column = next(iter(cohort.group_columns))
    data = training_data(
        cohort, classifier, group_column=column, scheme=None, cache=cache, report=report
    )
    splits = (split,) if split else ("train", "validation", "audit")
    return score(cohort, {CANDIDATE: classifier}, data, splits=splits, report=report)


def load_any(path: Path, **arguments: Any) -> Classifier:
    """A full-precision checkpoint, a packed one, or the folder of a run or a bundle that holds one."""
    path = Path(path)
    if path.is_dir():
        path = path / MODEL_FILE
    return load_classifier(path, **arguments)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; keys keep their order."""
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sizes(outcome: Any, config: RunConfig, packed: Path, classifier: Classifier) -> dict[str, Any]:
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


class _Clock:
    """Turns "step k of n" into progress with an estimate of the time left."""

    def __init__(self, report: Report | None, stage: str, message: str) -> None:
        self.report, self.stage, self.message = report, stage, message
        self.started = time.monotonic()

    def __call__(self, step: int, steps: int) -> None:
        if self.report:
            left = (time.monotonic() - self.started) * (steps - step) / max(step, 1)
            message = self.message.format(step=step, steps=steps)
            self.report(Progress(self.stage, step, steps, message, left))


def _say(report: Report | None, stage: str, step: int, steps: int, message: str) -> None:
    if report:
        report(Progress(stage, step, steps, message))


def _check(cancel: Stop | None, doing: str) -> None:
    if cancel and cancel():
        raise Cancelled(f"Cancelled while {doing}.")


def _column(cohort: Cohort, name: str) -> np.ndarray:
    return cohort.table[name].to_numpy(dtype=object)


def history_frame(history: list[dict[str, Any]]) -> pd.DataFrame:
    """Epoch figures as a table: one column per group's accuracy, without the widths per layer."""
    rows = []
    for entry in history:
        row = {k: v for k, v in entry.items() if k not in ("group_accuracy", "bits_by_layer")}
        row |= {f"accuracy: {g}": v for g, v in entry.get("group_accuracy", {}).items()}
        rows.append(row)
    return pd.DataFrame(rows)
