"""Pictures as they were audited, and whose class is explained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dashboard.backend.saliency.task import (
    as_audited,
    chosen,
    read_pictures,
    require_some,
    targets,
)
from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import EvaluationError

IDS = ["a", "b", "c"]
CLASSES = ("benign", "malignant")


@pytest.fixture
def cohort(tmp_path: Path) -> SimpleNamespace:
    """Three grey squares."""
    for place, one in enumerate(IDS):
        Image.new("RGB", (16, 16), (60 * place,) * 3).save(tmp_path / f"{one}.png")
    files = [f"{one}.png" for one in IDS]
    table = pd.DataFrame({"id": IDS, "file": files})
    return SimpleNamespace(root=tmp_path, table=table, masks={})


@pytest.fixture
def table() -> Predictions:
    rows = pd.DataFrame(
        {"id": IDS, "label": ["benign", "malignant", "benign"], "split": "audit", "cluster": IDS}
    )
    before = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    return Predictions.build(rows, CLASSES, {"full precision": before, "candidate": before[::-1]})


def read(cohort: SimpleNamespace, ids: list[str]) -> object:
    return read_pictures(cohort, ids, Preprocessing(8), lambda _: None)  # type: ignore[arg-type]


def test_missing_and_damaged_files_are_problems_of_their_images(cohort: SimpleNamespace) -> None:
    (cohort.root / "a.png").unlink()
    (cohort.root / "b.png").write_bytes(b"not a picture")
    found = read(cohort, ["c", "b", "a"])
    assert found.ids == ["c"]
    assert (found.images == 120).all()
    assert "not found" in found.problems["a"]
    assert "not an image" in found.problems["b"]


def write_mask(path: Path, side: int = 16) -> None:
    """The left half is lesion."""
    pixels = np.zeros((side, side), bool)
    pixels[:, : side // 2] = True
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_without_masks_nothing_is_covered(cohort: SimpleNamespace) -> None:
    found = read(cohort, IDS)
    assert found.covers is None
    assert found.mask_problems == {}


def test_masks_are_read_beside_their_photographs(cohort: SimpleNamespace) -> None:
    write_mask(cohort.root / "masks" / "b.png", 64)
    found = read(cohort, ["c", "b"])
    assert found.covers[0] is None
    assert found.covers[1].mean(axis=0) == pytest.approx([1] * 4 + [0] * 4, abs=0.1)


def test_a_mask_that_cannot_be_used_costs_only_the_share(cohort: SimpleNamespace) -> None:
    write_mask(cohort.root / "good.png")
    cohort.masks = {"a": "gone.png", "b": "good.png", "c": "c.png"}
    found = read(cohort, IDS)
    assert found.ids == IDS
    assert [cover is None for cover in found.covers] == [True, False, True]
    assert "not found" in found.mask_problems["a"]
    assert "shows no lesion" in found.mask_problems["c"]


def test_masks_leave_with_their_photographs(cohort: SimpleNamespace, table: Predictions) -> None:
    write_mask(cohort.root / "masks" / "c.png")
    audited = table.probabilities("full precision")
    today = audited.copy()
    today[1] = [0.5, 0.5]
    found = as_audited(read(cohort, IDS), audited, today)
    assert [cover is None for cover in found.covers] == [True, False]


def test_no_image_left_is_an_error_with_the_reason(cohort: SimpleNamespace) -> None:
    (cohort.root / "a.png").unlink()
    with pytest.raises(EvaluationError, match="None of the 1 images can be shown.*not found"):
        require_some(read(cohort, ["a"]))  # type: ignore[arg-type]


def test_replaced_pictures_are_left_out(cohort: SimpleNamespace, table: Predictions) -> None:
    audited = table.probabilities("full precision")
    today = audited.copy()
    today[1] = [0.5, 0.5]
    today[2] += [0.001, -0.001]
    found = as_audited(read(cohort, IDS), audited, today)
    assert found.ids == ["a", "c"]
    assert found.images[:, 0, 0, 0].tolist() == [0, 120]
    assert "b is not the one that was audited, its scores differ by 0.300" in found.problems["b"]
    with pytest.raises(EvaluationError, match="None of the 3"):
        require_some(as_audited(read(cohort, IDS), audited, 1 - audited))


def test_rows_follow_the_ids(table: Predictions) -> None:
    assert chosen(table, ["c", "a"]).frame["id"].tolist() == ["c", "a"]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"target": "predicted"}, [1, 1, 0]),
        ({"target": "candidate"}, [0, 1, 1]),
        ({"target": "true"}, [1, 0, 1]),
        ({"target": "class", "target_class": "malignant"}, [0, 0, 0]),
    ],
    ids=["predicted", "candidate", "true", "class"],
)
def test_targets_in_the_order_of_the_classifier(
    choice: dict[str, object], wanted: list[int], table: Predictions
) -> None:
    found = targets(table, choice, "full precision", "candidate", CLASSES[::-1])
    assert found.tolist() == wanted
