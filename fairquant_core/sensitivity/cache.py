"""Sensitivity maps of a cohort, each computed once: kept by the fingerprints of all that decides it.

A finished map is read back bit for bit. A measured map is kept layer by layer, so that one that was
interrupted goes on after the last finished layer, and widths that are asked for later are added to it. A file
that cannot be read is computed anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fairquant_core.data.cohort import Cohort
from fairquant_core.data.training_data import TrainingData
from fairquant_core.errors import EvaluationError
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Report, StageClock, Stop, say
from fairquant_core.quantization.catalogue import LEGAL_MENU
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap
from fairquant_core.sensitivity.measured import measured_map
from fairquant_core.sensitivity.measures import REVISION, measure_card
from fairquant_core.sensitivity.registry import (
    Chosen,
    grape_from_fisher,
    sample_per_group,
    sensitivity_map,
)

logger = logging.getLogger(__name__)

FOLDER = "sensitivity"
NOT_IN_TRAIN = (
    "No training image of {groups}: the plan cannot look after a group that it has not seen. The audit still "
    "judges it."
)


@dataclass(frozen=True)
class Subject:
    """What is measured: a classifier on the images of a cohort, cut into groups, with a place to keep maps.

    Parameters
    ----------
    data
        The cohort decoded for the classifier, with the groups of ``group_column`` under ``scheme``.
    """

    cohort: Cohort
    classifier: Classifier
    data: TrainingData
    group_column: str
    scheme: str | None
    cache: Path

    def sample(self, split: str, limit: int, seed: int) -> Chosen:
        """Positions of at most ``limit`` images of every known group of one split.

        Raises
        ------
        EvaluationError
            The split holds no image of a known group.
        """
        own = self.data.positions(split)
        found = sample_per_group(self.data.groups.iloc[own], limit, seed)
        return {group: own[where] for group, where in found.items()}

    def file(self, ending: str, split: str, chosen: Chosen, **about: Any) -> Path:
        """Where a map is kept: its name is the hash of everything that decides it."""
        digest = hashlib.sha256()
        for group, positions in chosen.items():
            digest.update(f"{group}:{positions.tolist()};".encode())
        identity = {
            "revision": REVISION,
            "classifier": self.classifier.fingerprint,
            "cohort": self.cohort.fingerprint,
            "group_column": self.group_column,
            "scheme": self.scheme,
            "split": split,
            "images": digest.hexdigest(),
            **about,
        }
        text = json.dumps(identity, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()
        return self.cache / FOLDER / f"{name[:40]}{ending}"


def predicted(
    subject: Subject,
    measure: str,
    *,
    images_per_group: int,
    seed: int,
    progress: Report | None = None,
    cancel: Stop | None = None,
) -> SensitivityMap:
    """The map of a measure on training images, for every legal width and for pruning.

    A group without training images is not in the map; a message of stage ``"sensitivity"`` names it.

    Raises
    ------
    EvaluationError
        No such measure, no training image of a known group, or a loss or gradient that is not a number.
    """
    if measure == "grape":
        fisher = predicted(
            subject,
            "fisher",
            images_per_group=images_per_group,
            seed=seed,
            progress=progress,
            cancel=cancel,
        )
        return grape_from_fisher(fisher)
    card = measure_card(measure)
    chosen = subject.sample("train", images_per_group, seed)
    absent = [group for group in subject.data.group_names if group not in chosen]
    if absent:
        say(progress, "sensitivity", 0, 1, NOT_IN_TRAIN.format(groups=", ".join(absent)))
    path = subject.file(
        ".npz",
        "train",
        chosen,
        measure=measure,
        menu=LEGAL_MENU,
        images_per_group=images_per_group,
        seed=seed,
    )
    try:
        return SensitivityMap.load(path)
    except EvaluationError as error:
        _not_read(path, error)
    found = sensitivity_map(
        measure,
        subject.classifier,
        subject.data.images,
        subject.data.labels,
        chosen,
        menu=LEGAL_MENU,
        seed=seed,
        progress=StageClock(progress, "sensitivity", card.title + ": step {step} of {steps}"),
        cancel=cancel,
    )
    found.save(path)
    return found


def measured(
    subject: Subject,
    *,
    bits: tuple[int, ...],
    images_per_group: int,
    seed: int,
    progress: Report | None = None,
    cancel: Stop | None = None,
) -> MeasuredMap:
    """The measured map on validation images, at the widths asked for.

    A group without validation images is not in the map. Where a group has few, its intervals are wide.

    Raises
    ------
    EvaluationError
        No validation image of a known group, or a loss that is not a number.
    """
    chosen = subject.sample("validation", images_per_group, seed)
    path = subject.file(
        ".parquet",
        "validation",
        chosen,
        measure="measured",
        images_per_group=images_per_group,
        seed=seed,
    )
    rows: list[pd.DataFrame] = []
    try:
        rows.append(MeasuredMap.load(path).frame)
    except EvaluationError as error:
        _not_read(path, error)

    def keep(new: pd.DataFrame) -> None:
        rows.append(new)
        whole = pd.concat(rows, ignore_index=True)
        MeasuredMap(whole.drop_duplicates(["layer", "bits", "group"], keep="last")).save(path)

    return measured_map(
        subject.classifier,
        subject.data.images,
        subject.data.labels,
        chosen,
        bits=bits,
        seed=seed,
        known=rows[0] if rows else None,
        keep=keep,
        progress=StageClock(
            progress, "measured", "Rounding one layer at a time: pass {step} of {steps}"
        ),
        cancel=cancel,
    )


def _not_read(path: Path, error: EvaluationError) -> None:
    """A file that is not there is the rule; a damaged one is worth a line in the log."""
    if path.exists():
        logger.warning("Computing anew: %s", error)
