"""Taking maps apart and putting them together changes none of their figures."""

from __future__ import annotations

import numpy as np
import pytest

from fairquant_core.errors import EvaluationError
from fairquant_core.explain.lesion import LesionShares
from fairquant_core.explain.maps import ComparedMaps, join_maps

MODELS, IDS = ("reference", "one", "two"), ["a", "b", "c", "d"]


def made(masks: bool = True) -> ComparedMaps:
    random = np.random.default_rng(0)
    models, images = len(MODELS), len(IDS)
    lesion = LesionShares(
        random.random((images, 5, 5)), random.random(images), random.random((models, images))
    )
    return ComparedMaps(
        method="grad_cam",
        models=MODELS,
        ids=np.array(IDS),
        targets=np.arange(images),
        pictures=random.random((models, images, 5, 5)).astype(np.float32),
        completeness=random.random((models, images)),
        score_change=random.random((models, images)),
        drift=random.random((models - 1, images)),
        overlap=random.random((models - 1, images)),
        lesion=lesion if masks else None,
    )


def same(one: ComparedMaps, other: ComparedMaps) -> bool:
    """Whether all figures are equal, missing ones too."""
    arrays = ("ids", "targets", "pictures", "completeness", "score_change", "drift", "overlap")
    parts = [(getattr(one, name), getattr(other, name)) for name in arrays]
    if one.lesion is not None and other.lesion is not None:
        lesion = ("covers", "area", "inside")
        parts += [(getattr(one.lesion, name), getattr(other.lesion, name)) for name in lesion]
    return (
        (one.method, one.models) == (other.method, other.models)
        and (one.lesion is None) == (other.lesion is None)
        and all(np.array_equal(left, right) for left, right in parts)
    )


@pytest.mark.parametrize("masks", [True, False])
def test_parts_put_together_are_the_whole(masks: bool) -> None:
    whole = made(masks)
    parts = [whole.part(MODELS, places) for places in ([0, 1], [2], [3])]
    assert same(join_maps(parts), whole)


def test_a_part_keeps_the_figures_of_its_classifiers_and_images() -> None:
    whole = made()
    part = whole.part(("reference", "two"), [3, 0])
    wanted = whole.changes().set_index(["model", "id"])
    found = part.changes().set_index(["model", "id"])
    assert list(found.index) == [("two", "d"), ("two", "a")]
    assert found.equals(wanted.loc[list(found.index)])
    assert np.array_equal(part.pictures[1, 0], whole.pictures[2, 3])
    assert part.targets.tolist() == [3, 0]


def test_images_without_masks_have_no_share_beside_those_with() -> None:
    whole = made()
    bare = made(masks=False).part(MODELS, [0])
    joined = join_maps([bare, whole.part(MODELS, [1])])
    assert joined.lesion is not None
    assert np.isnan(joined.lesion.area[0]) and np.isnan(joined.lesion.inside[:, 0]).all()
    assert joined.lesion.area[1] == whole.lesion.area[1]  # type: ignore[union-attr]


@pytest.mark.parametrize("models", [("reference", "three"), ("one", "two"), ()])
def test_drift_is_measured_from_the_reference(models: tuple[str, ...]) -> None:
    with pytest.raises(EvaluationError, match="the first being the reference"):
        made().part(models, [0])
