"""Does the file predict what was audited? The logits of two programs beside each other, group by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fairquant_core.data.skin_tone import UNKNOWN
from fairquant_core.errors import EvaluationError

LIMIT = 1e-4
"""Largest difference of a logit that still counts as the same. Units: share of the largest logit."""

LISTED = 20
"""How many pictures with another class are named."""

DIFFERENT_SHAPES = (
    "Logits of {left} and {right}, groups of {groups} and ids of {ids} images do not belong together: compare the "
    "same images in the same order."
)
NO_IMAGES = "There is no image on which the predictions could be compared."
NOT_FINITE = "The logits of {count} images are not numbers, first '{image}': the file or its classifier is damaged."


@dataclass(frozen=True)
class GroupParity:
    """One group of images.

    Attributes
    ----------
    same_class : images for which both programs name the same class.
    largest_difference : of any logit, as a share of the largest logit of all images.
    """

    group: str
    images: int
    same_class: int
    largest_difference: float


@dataclass(frozen=True)
class Parity:
    """The comparison of all images, and of every group.

    Attributes
    ----------
    other_class : ids of images with another class, the first 20 of them.
    limit : the difference up to which logits count as the same.
    """

    overall: GroupParity
    by_group: tuple[GroupParity, ...]
    other_class: tuple[str, ...]
    limit: float = LIMIT

    @property
    def same_everywhere(self) -> bool:
        """Whether every image gets the same class, and no logit differs by more than the limit."""
        every = self.overall.same_class == self.overall.images
        return every and self.overall.largest_difference <= self.limit

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and words."""
        return {
            **asdict(self),
            "by_group": [asdict(group) for group in self.by_group],
            "other_class": list(self.other_class),
            "same_everywhere": self.same_everywhere,
        }


def compare_logits(
    reference: np.ndarray,
    found: np.ndarray,
    groups: Sequence[str],
    ids: Sequence[str] | None = None,
    *,
    limit: float = LIMIT,
) -> Parity:
    """Compare the logits of the audited classifier with those of a file.

    Parameters
    ----------
    groups, ids
        Of every image; without ids images are named by their position.

    Shapes: ``reference`` and ``found`` (N, C).

    Raises
    ------
    EvaluationError
        The arguments do not belong together, there is no image, or a logit is not a number.
    """
    names = [str(position) for position in range(len(reference))] if ids is None else list(ids)
    if reference.shape != found.shape or not len(groups) == len(names) == len(reference):
        raise EvaluationError(
            DIFFERENT_SHAPES.format(
                left=reference.shape, right=found.shape, groups=len(groups), ids=len(names)
            )
        )
    if not len(reference):
        raise EvaluationError(NO_IMAGES)
    finite = np.isfinite(reference).all(axis=1) & np.isfinite(found).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise EvaluationError(NOT_FINITE.format(count=len(bad), image=names[bad[0]]))
    largest = max(float(np.abs(reference).max()), np.finfo(np.float32).tiny)
    differences = np.abs(found.astype(np.float64) - reference).max(axis=1) / largest
    same = reference.argmax(axis=1) == found.argmax(axis=1)
    own = np.asarray(groups, dtype=object)

    def part(name: str, chosen: np.ndarray) -> GroupParity:
        return GroupParity(
            name, int(chosen.sum()), int(same[chosen].sum()), float(differences[chosen].max())
        )

    return Parity(
        part("all", np.ones(len(names), dtype=bool)),
        tuple(part(name, own == name) for name in sorted(set(groups), key=_last_if_unknown)),
        tuple(names[position] for position in np.flatnonzero(~same)[:LISTED]),
        limit,
    )


def _last_if_unknown(group: str) -> tuple[bool, str]:
    return group == UNKNOWN, group
