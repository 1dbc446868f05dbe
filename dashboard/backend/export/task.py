"""Writing the files of a run and checking them, in the worker; imports torch.

What is compared is the file as a stock runtime reads it, on every audit photograph: with the audited classifier, and
with the predictions that the audit rests on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from scipy.special import softmax

from dashboard.backend.case.cases import COHORT_FOLDER
from dashboard.backend.export.exports import (
    EXACT_AUDIT,
    EXACT_CHECK,
    EXACT_FILE,
    EXACT_PREDICTIONS,
    FAST_AUDIT,
    FAST_CHECK,
    FAST_FILE,
    FAST_PREDICTIONS,
    FILES,
    no_worse,
)
from dashboard.backend.queue.execution import Outcome, Task
from dashboard.backend.records.schema import Case
from dashboard.backend.review.evidence import AUDIT_FILE, MODEL_FILE, PREDICTIONS_FILE
from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary import audit_summary
from fairquant_core.data.cohort import Cohort, load_cohort
from fairquant_core.data.training_data import TrainingData
from fairquant_core.errors import EvaluationError, ExportError
from fairquant_core.export.checkpoint import load_packed
from fairquant_core.export.onnx.check import ExportCheck, check_export
from fairquant_core.export.onnx.exact import export_onnx
from fairquant_core.export.onnx.int8 import export_int8
from fairquant_core.export.onnx.network import Network, catch_network
from fairquant_core.export.onnx.session import OnnxClassifier
from fairquant_core.files import write_json
from fairquant_core.progress import Progress, Report
from fairquant_core.quantization.activations import equally_many
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.quantization.compressed import Compressed
from fairquant_core.scoring import CANDIDATE, FULL_PRECISION, training_data

Result = TypeVar("Result")

CALIBRATION_SEED = 0

WRITE_EXACT, CHECK_EXACT = "exact file", "exact check"
WRITE_FAST, CHECK_FAST = "fast file", "fast check"
OWN_AUDIT = "own audit"
"""Stages, in their order; images are decoded first, if they are not there from the run."""

OTHER_IMAGES = "The audit split of this case holds other photographs than this run was audited on: start the run again."
NOT_AUDITED = (
    "{count} of {images} audit photographs get another class than in the audit: start the run again"
)
OWN_VERDICT = (
    "it rounds its activations, and audited as a file its verdict is {own}, worse than {verdict}"
)


def export(task: Task) -> Outcome:
    """The exact file with its check; and the fast one with its own audit, where it is faster here."""
    return _Export(task).outcome()


class _Export:
    """One job, with what its steps share."""

    def __init__(self, task: Task) -> None:
        assert task.parent is not None and task.parent.result_hash is not None
        self.task, self.case, self.run = task, task.case, task.parent
        result = task.parent.result_hash
        self.compressed: Compressed = load_packed(task.artefacts.path(result, MODEL_FILE))
        self.table = Predictions.load(task.artefacts.path(result, PREDICTIONS_FILE)).part("audit")
        self.cohort = load_cohort(task.settings.case_folder(task.case.id) / COHORT_FOLDER)
        self.data = _decoded(task, self.cohort, self.compressed)
        self.positions = self.data.positions("audit")
        self.ids = self.cohort.table["id"].iloc[self.positions].tolist()
        if self.ids != self.table.frame["id"].tolist():
            raise EvaluationError(OTHER_IMAGES)
        self.images = self.data.images[self.positions]
        self.verdict = _verdict(task.artefacts.path(result, AUDIT_FILE))
        self.seconds: dict[str, float] = {}

    def outcome(self) -> Outcome:
        """Write and check; the slow fast file is thrown away, what was measured about it is kept."""
        task, summary = self.task, {}
        network = self._timed(
            WRITE_EXACT,
            lambda report: catch_network(self.compressed.classifier, report=report),
        )
        self._exact(network)
        try:
            self._fast(network)
        except ExportError as error:
            # The exact file does not depend on the fast one.
            (task.work / FAST_FILE).unlink(missing_ok=True)
            summary["fast_problem"] = str(error)
        files = {name: task.work / name for name in FILES if (task.work / name).is_file()}
        return Outcome(files, {**summary, "seconds": self.seconds})

    def _exact(self, network: Network) -> None:
        path = self.task.work / EXACT_FILE
        extra = {"run": self.run.id, "parent": self.case.classifier["fingerprint"]}
        self._timed(
            WRITE_EXACT,
            lambda report: export_onnx(
                self.compressed, path, extra, network=network, report=report
            ),
        )
        found = self._check(path, network, CHECK_EXACT).to_json()
        probabilities = self._probabilities(path)
        found["audited"] = self._as_audited(probabilities)
        if found["needs_own_audit"]:
            own = self._audit(probabilities, EXACT_PREDICTIONS, EXACT_AUDIT)
            if not no_worse(own, self.verdict):
                found["objections"].append(OWN_VERDICT.format(own=own, verdict=self.verdict))
        elif found["audited"]["same_class"] < len(self.ids):
            count = len(self.ids) - found["audited"]["same_class"]
            found["objections"].append(NOT_AUDITED.format(count=count, images=len(self.ids)))
        found["may_be_offered"] = not found["objections"]
        write_json(self.task.work / EXACT_CHECK, found)

    def _fast(self, network: Network) -> None:
        path = self.task.work / FAST_FILE
        train = self.data.positions("train")
        groups = self.data.groups.to_numpy(dtype=object)
        chosen = equally_many(train, groups[train], CALIBRATION_SEED)
        extra = {"run": self.run.id, "parent": self.compressed.classifier.fingerprint}
        self._timed(
            WRITE_FAST,
            lambda report: export_int8(
                self.compressed,
                path,
                self.data.images[chosen],
                extra,
                network=network,
                report=report,
                cancel=self.task.cancel,
            ),
        )
        check = self._check(path, network, CHECK_FAST)
        found = check.to_json()
        if check.may_be_offered:
            probabilities = self._probabilities(path)
            found["audited"] = self._as_audited(probabilities)
            self._audit(probabilities, FAST_PREDICTIONS, FAST_AUDIT)
        else:
            path.unlink()
        write_json(self.task.work / FAST_CHECK, found)

    def _check(self, path: Path, network: Network, stage: str) -> ExportCheck:
        return self._timed(
            stage,
            lambda report: check_export(
                path,
                self.compressed,
                self.images,
                self.data.groups.iloc[self.positions].tolist(),
                self.ids,
                bits_requested=RunConfig.from_json(self.run.config).bits,
                network=network,
                report=report,
                cancel=self.task.cancel,
            ),
        )

    def _probabilities(self, path: Path) -> np.ndarray:
        logits = OnnxClassifier(path).logits(self.images, cancel=self.task.cancel)
        return softmax(logits, axis=1).astype(np.float32)

    def _as_audited(self, probabilities: np.ndarray) -> dict[str, Any]:
        """The file beside the predictions table of the run."""
        audited = self.table.probabilities(CANDIDATE)
        return {
            "images": len(audited),
            "same_class": int((audited.argmax(axis=1) == probabilities.argmax(axis=1)).sum()),
            "largest_difference": float(np.abs(audited - probabilities).max(initial=0)),
        }

    def _audit(self, probabilities: np.ndarray, table_name: str, audit_name: str) -> str:
        """Audit a file as the run was audited; returns the verdict."""
        self.task.progress(Progress(OWN_AUDIT, 0, 1, "Judging the file by its own predictions"))
        started = time.monotonic()
        before = self.table.probabilities(FULL_PRECISION)
        predictions = Predictions.build(
            self.cohort.table.iloc[self.positions],
            self.table.classes,
            {FULL_PRECISION: before, CANDIDATE: probabilities},
        )
        predictions.save(self.task.work / table_name)
        found = _audit(predictions, self.case)
        write_json(self.task.work / audit_name, found)
        self._add(OWN_AUDIT, started)
        return str(found["verdict"])

    def _timed(self, stage: str, step: Callable[[Report], Result]) -> Result:
        """Do a step that reports under this stage's name, and note how long it took."""
        started = time.monotonic()
        self.task.progress(Progress(stage, 0, 1, ""))
        result = step(lambda progress: self.task.progress(replace(progress, stage=stage)))
        self._add(stage, started)
        return result

    def _add(self, stage: str, started: float) -> None:
        spent = time.monotonic() - started
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + spent, 2)


def _decoded(task: Task, cohort: Cohort, compressed: Compressed) -> TrainingData:
    return training_data(
        cohort,
        compressed.classifier,
        group_column=task.case.group_column,
        scheme=task.case.scheme,
        cache=task.settings.cache,
        report=task.progress,
        cancel=task.cancel,
    )


def _audit(predictions: Predictions, case: Case) -> dict[str, Any]:
    return audit_summary(
        predictions,
        reference=FULL_PRECISION,
        candidate=CANDIDATE,
        group_column=case.group_column,
        scheme=case.scheme,
        limits=Limits.from_json(case.limits),
        must_not_miss=tuple(case.must_not_miss),
    )


def _verdict(path: Path) -> str | None:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found.get("verdict")
