"""What a saliency job explains: the pictures as they were audited, and whose class is meant.

No torch here; the job hands in the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.cohort import Cohort
from fairquant_core.data.images import Preprocessing, open_for, to_array
from fairquant_core.data.masks import load_cover, mask_files
from fairquant_core.errors import EvaluationError, ImageError
from fairquant_core.progress import Progress

SAME_SCORE = 0.01
"""Scores that differ by more are of another picture; another machine changes the fourth digit."""

CHANGED = (
    "the picture of {image} is not the one that was audited, its scores differ by {difference:.3f}: "
    "put the audited file back"
)
NOTHING_LEFT = "None of the {count} images can be shown. The first one: {reason}"


@dataclass(frozen=True)
class Pictures:
    """Images that can be explained, and why others cannot.

    `covers`: where the lesion is in each, None for an image without a mask; None if no image has one.
    `mask_problems` says of masks that are there why they cannot be used. Shapes: images
    (N, S, S, 3) uint8, covers N of (S, S), in the order of `ids`.
    """

    ids: list[str]
    images: np.ndarray
    problems: dict[str, str]
    covers: list[np.ndarray | None] | None = None
    mask_problems: dict[str, str] = field(default_factory=dict)


def chosen(table: Predictions, ids: Sequence[str]) -> Predictions:
    """The rows of these images, in this order."""
    frame = table.frame.set_index("id", drop=False).loc[list(ids)]
    return Predictions(frame, table.classes, table.models)


def read_pictures(
    cohort: Cohort,
    ids: Sequence[str],
    preprocessing: Preprocessing,
    report: Callable[[Progress], None],
) -> Pictures:
    """Decode the images that are there, with the masks of their lesions.

    A missing or damaged file is a problem of its image only, a mask that cannot be used of its mask
    only.
    """
    files = dict(zip(cohort.table["id"], cohort.table["file"], strict=True))
    masks = mask_files(cohort)
    kept, images, problems = [], [], {}
    covers: list[np.ndarray | None] = []
    mask_problems: dict[str, str] = {}
    for place, one in enumerate(ids):
        try:
            photograph = open_for(cohort.root / files[one], preprocessing)
            images.append(to_array(photograph, preprocessing))
            kept.append(one)
        except ImageError as error:
            problems[one] = str(error)
        else:
            cover = None
            try:
                if one in masks:
                    cover = load_cover(cohort.root, masks[one], photograph.size, preprocessing)
            except ImageError as error:
                mask_problems[one] = str(error)
            covers.append(cover)
        report(Progress("images", place + 1, len(ids), f"Image {place + 1} of {len(ids)}"))
    marked = any(one in masks for one in kept)
    nothing = np.empty((0, preprocessing.size, preprocessing.size, 3), np.uint8)
    return Pictures(
        kept,
        np.stack(images) if images else nothing,
        problems,
        covers if marked else None,
        mask_problems,
    )


def as_audited(found: Pictures, audited: np.ndarray, scores: np.ndarray) -> Pictures:
    """Leave out pictures whose scores today are not those of the audit: the files were replaced.

    Parameters
    ----------
    audited, scores:
        Probabilities then and now. Shapes: (N, C).
    """
    difference = np.abs(audited - scores).max(axis=1, initial=0)
    same = difference <= SAME_SCORE
    problems = {
        one: CHANGED.format(image=one, difference=gap)
        for one, gap, fine in zip(found.ids, difference, same, strict=True)
        if not fine
    }
    kept = [one for one, fine in zip(found.ids, same, strict=True) if fine]
    covers = found.covers
    if covers is not None:
        covers = [cover for cover, fine in zip(covers, same, strict=True) if fine]
    return replace(
        found,
        ids=kept,
        images=found.images[same],
        problems=found.problems | problems,
        covers=covers,
    )


def require_some(found: Pictures) -> None:
    """Stop where not a single image can be explained.

    Raises
    ------
    EvaluationError
        With the reason of the first one.
    """
    if not found.ids:
        reason = next(iter(found.problems.values()), "-")
        raise EvaluationError(NOTHING_LEFT.format(count=len(found.problems), reason=reason))


def targets(
    table: Predictions, choice: dict[str, object], before: str, after: str, classes: Sequence[str]
) -> np.ndarray:
    """Number of the class whose score is explained, in the classifier's own order.

    Parameters
    ----------
    before, after:
        Names of full precision and of the candidate in the table.

    Shapes
    ------
    returns (N,) int64
    """
    if choice["target"] == "class":
        names = [choice["target_class"]] * len(table)
    elif choice["target"] == "true":
        names = table.frame["label"].tolist()
    else:
        names = table.predicted(before if choice["target"] == "predicted" else after).tolist()
    return np.array([list(classes).index(str(name)) for name in names], dtype=np.int64)
