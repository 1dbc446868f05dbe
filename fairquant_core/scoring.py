"""From a cohort and a classifier to the predictions table: decode, check the labels, score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.cohort import Cohort
from fairquant_core.data.images import decoded_images
from fairquant_core.data.training_data import TrainingData
from fairquant_core.errors import Cancelled, EvaluationError
from fairquant_core.export import checkpoint as packed_format  # noqa: F401 (registers the packed format)
from fairquant_core.models.checkpoint import load_classifier
from fairquant_core.models.inference import predict
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Report, Stop, say

FULL_PRECISION = "full precision"
CANDIDATE = "candidate"
SCORED_SPLITS = ("validation", "audit")
MODEL_FILE = "model.safetensors"

OTHER_SPLIT = (
    "'{name}' was trained on these very images with another split, so images that it has seen could be in the "
    "audit. Read the cohort as then (groups: {groups}, split seed: {seed}), or fit a classifier anew."
)
CLASSES_DIFFER = (
    "The classifier knows the classes {ours}, the cohort has {theirs}. Missing in the classifier: "
    "{missing}. Use a cohort with the same labels, or fit a classifier on this cohort."
)


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
        if cancel and cancel():
            raise Cancelled("Cancelled while decoding the images.")
        say(report, "images", done, total, f"Image {done} of {total}")

    images = decoded_images(cohort, classifier.preprocessing, cache, progress=decoding)
    return TrainingData(
        images,
        labels,
        cohort.groups(column=group_column, scheme=scheme),
        cohort.table["split"].to_numpy(dtype=object),
    )


def fingerprints(cohort: Cohort) -> dict[str, str]:
    """What a model remembers of the cohort it was made with, so that scoring can recognise it."""
    return {"cohort": cohort.fingerprint, "images": cohort.images_fingerprint}


def check_split(cohort: Cohort, classifier: Classifier) -> None:
    """Refuse a cohort that holds the classifier's own images in another split.

    Raises
    ------
    EvaluationError
        Its training images could then be in the audit split, and every figure would look too good.
    """
    origin = classifier.origin
    same_images = origin.get("images") == cohort.images_fingerprint
    if same_images and origin.get("cohort") != cohort.fingerprint:
        raise EvaluationError(
            OTHER_SPLIT.format(
                name=classifier.name, groups=origin.get("groups"), seed=origin.get("split_seed")
            )
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
            say(report, "audit", done, total, f"Scoring: {name}")
            pieces.append(predict(classifier, data.images[part], cancel=cancel))
            done += 1
        scored[name] = np.concatenate(pieces)
    say(report, "audit", total, total, "Scored")
    return Predictions.build(cohort.table.iloc[np.concatenate(parts)], classes, scored)


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
