"""Does the file that was handed out still predict what was audited? Asked of the cohort, with ONNX Runtime."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from scipy.special import softmax

from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.cohort import Cohort
from fairquant_core.data.images import decoded_images
from fairquant_core.errors import EvaluationError, ExportError
from fairquant_core.export.bundle_check import (
    AUDIT_FILE,
    AUDITED,
    EXACT_FILE,
    FAST_FILE,
    MODEL_FILE,
    PREDICTIONS_FILE,
    Check,
    CheckFailed,
    OpenedBundle,
    Result,
)
from fairquant_core.export.bundle_figures import DAMAGED, describe_packed
from fairquant_core.export.onnx.session import OnnxClassifier
from fairquant_core.export.parity import Parity, compare_logits
from fairquant_core.progress import Report, say

PREDICTIONS = "Predictions"

LIMIT = 1e-3
"""Largest difference of a probability that still counts as the same.

Logits may differ by 1e-4 of the largest one (:data:`fairquant_core.export.parity.LIMIT`); softmax halves a
difference at most, so this is that limit for logits up to 20.
"""

NO_COHORT = "No images were given, so nothing was predicted again: --cohort FOLDER does that."
NO_FILE = "The bundle holds no ONNX file to predict with."
OTHER_COHORT = "{missing} of the {all} audited images are not in this cohort (first '{first}')."
OTHER_ROWS = (
    "{count} of the audited images have another label or group in this cohort (first '{first}')."
)
OTHER_CLASSES = "{name} knows other classes than the predictions."
SAME = "{name}: the same class for all {images} images of {groups} groups, probabilities at most {largest:.1g} apart."
OTHER = (
    "{name}: another class for {changed} of {images} images, probabilities up to {largest:.1g} apart ({limit:g} is "
    "the limit); it must not be used on this machine before somebody has found out why."
)


def check_predictions(
    opened: OpenedBundle, cohort: Path | None, *, report: Report | None = None
) -> Check:
    """Whether every audited image still gets its class from the ONNX files, group by group.

    Raises
    ------
    FairQuantError
        The folder holds no cohort.
    """
    names = [name for name in (EXACT_FILE, FAST_FILE) if opened.has(name)]
    if cohort is None or not names:
        text = NO_FILE if not names else NO_COHORT
        return Check(PREDICTIONS, Result.NOT_CHECKED, text)
    rows: list[dict[str, object]] = []
    sentences, same = [], True
    try:
        images = _Audited(opened, cohort)
        for step, name in enumerate(names):
            say(report, "verify", step, len(names), f"Predicting with {name}")
            parity = images.parity(name)
            rows += [{"file": name, **asdict(group)} for group in parity.by_group]
            same &= parity.same_everywhere
            sentences.append(_sentence(name, parity))
        say(report, "verify", len(names), len(names), "Predicted")
    except (CheckFailed, EvaluationError, ExportError) as failure:
        return Check(PREDICTIONS, Result.FAILED, str(failure), rows)
    except (KeyError, TypeError) as error:
        text = DAMAGED.format(name=AUDIT_FILE, reason=repr(error))
        return Check(PREDICTIONS, Result.FAILED, text, rows)
    return Check(PREDICTIONS, Result.PASSED if same else Result.FAILED, " ".join(sentences), rows)


class _Audited:
    """The audited images of a bundle, found in a cohort."""

    def __init__(self, opened: OpenedBundle, folder: Path) -> None:
        self._opened = opened
        audit = opened.json(AUDIT_FILE)
        self._split, self._candidate = audit["split"], audit["candidate"]
        self._predictions = self._load(PREDICTIONS_FILE)
        about, _ = describe_packed(opened.path(MODEL_FILE))
        origin = about.get("origin") or about.get("extra") or {}
        column, scheme = audit["group_column"], audit["scheme"]
        whole = read_cohort(
            folder,
            labels=origin.get("labels"),
            groups=origin.get("groups") or column,
            missing="drop",
            evaluation_only=True,
        )
        self._groups = self._predictions.groups(column, scheme)
        self._cohort = self._same_images(whole, column, scheme)

    def parity(self, name: str) -> Parity:
        """What an ONNX file predicts, beside what its audit was made of."""
        classifier = OnnxClassifier(self._opened.path(name))
        predictions = self._predictions
        own = AUDITED[f"{Path(name).stem}_audit.json"]
        if self._opened.has(own):
            predictions = self._load(own)
        if classifier.classes != predictions.classes:
            raise CheckFailed(OTHER_CLASSES.format(name=name))
        with tempfile.TemporaryDirectory() as cache:
            images = decoded_images(self._cohort, classifier.preprocessing, Path(cache))
            found = softmax(classifier.logits(images), axis=1)
            del images  # a memory map: some systems cannot remove a file that is open
        return compare_logits(
            predictions.probabilities(self._candidate),
            found,
            self._groups.tolist(),
            predictions.frame["id"].tolist(),
            limit=LIMIT,
        )

    def _load(self, name: str) -> Predictions:
        predictions = Predictions.load(self._opened.path(name))
        return predictions if self._split is None else predictions.part(self._split)

    def _same_images(self, whole: Cohort, column: str, scheme: str) -> Cohort:
        """The audited images in the order of the predictions; raises if the cohort is another one."""
        frame = self._predictions.frame
        position = {name: place for place, name in enumerate(whole.table["id"])}
        missing = [name for name in frame["id"] if name not in position]
        if missing:
            raise CheckFailed(
                OTHER_COHORT.format(missing=len(missing), all=len(frame), first=missing[0])
            )
        table = whole.table.iloc[[position[name] for name in frame["id"]]].reset_index(drop=True)
        same = replace(whole, table=table)
        groups = np.asarray(same.groups(column, scheme), dtype=object)
        other = np.flatnonzero(
            (table["label"].to_numpy() != frame["label"].to_numpy())
            | (groups != self._groups.to_numpy(dtype=object))
        )
        if len(other):
            raise CheckFailed(OTHER_ROWS.format(count=len(other), first=frame["id"].iloc[other[0]]))
        return same


def _sentence(name: str, parity: Parity) -> str:
    overall = parity.overall
    return (SAME if parity.same_everywhere else OTHER).format(
        name=name,
        images=overall.images,
        groups=len(parity.by_group),
        changed=overall.images - overall.same_class,
        largest=overall.largest_difference,
        limit=parity.limit,
    )
