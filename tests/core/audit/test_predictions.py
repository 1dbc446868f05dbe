"""The predictions table: what it refuses, and that a file gives back the same bits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import EvaluationError

CLASSES = ("melanoma", "nevus", "keratosis")
MakePredictions = Callable[..., Predictions]


def one_hot(labels: list[str]) -> np.ndarray:
    """Probability 0.8 on the named class. Shapes: (N, 3)."""
    return np.array([[0.8 if name == label else 0.1 for name in CLASSES] for label in labels])


def table_of(count: int) -> pd.DataFrame:
    ids = [str(index) for index in range(count)]
    return pd.DataFrame(
        {"id": ids, "label": CLASSES[0], "split": "audit", "cluster": ids, "tone": "1"}
    )


def test_save_and_load_is_bit_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 3)).astype(np.float32)
    values = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    saved = Predictions.build(table_of(50), CLASSES, {"full precision": values, "b": values[::-1]})
    path = tmp_path / "deep" / "predictions.parquet"
    saved.save(path)
    loaded = Predictions.load(path)
    assert loaded.classes == CLASSES and loaded.models == ("full precision", "b")
    for model in loaded.models:
        before, after = saved.probabilities(model), loaded.probabilities(model)
        assert after.dtype == np.float32 and before.tobytes() == after.tobytes()
    pd.testing.assert_frame_equal(saved.frame, loaded.frame)
    assert [item.name for item in path.parent.iterdir()] == ["predictions.parquet"]


def test_a_failing_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "predictions.parquet"
    table = Predictions.build(table_of(2), CLASSES, {"a": one_hot(["nevus"] * 2)})
    table.save(path)
    before = path.read_bytes()

    def disk_full(_table: object, where: Path) -> None:
        Path(where).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("pyarrow.parquet.write_table", disk_full)
    with pytest.raises(OSError, match="no space"):
        table.save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_group_columns_and_groups(make_predictions: MakePredictions) -> None:
    table = make_predictions(["nevus"] * 3, ["1", "6", "-1"], a=["nevus"] * 3)
    assert table.group_columns == ("tone",) and "file" not in table.frame
    assert table.groups("tone", "fst3").tolist() == ["FST I-II", "FST V-VI", "unknown"]
    with pytest.raises(EvaluationError, match="no group column 'sex'; it has 'tone'"):
        table.groups("sex", "values")


def test_ties_go_to_the_first_class() -> None:
    table = Predictions.build(table_of(1), CLASSES, {"a": np.full((1, 3), 1 / 3)})
    assert table.predicted("a").tolist() == ["melanoma"]


def test_not_a_number_is_named() -> None:
    values = one_hot(["nevus"] * 3)
    values[1, 0] = np.nan
    with pytest.raises(EvaluationError, match=r"not a number for 1 images \(first: '1'\)"):
        Predictions.build(table_of(3), CLASSES, {"a": values})


@pytest.mark.parametrize("factor", [0.5, -1.0, np.inf], ids=["logits", "negative", "infinite"])
def test_values_that_are_no_probabilities(factor: float) -> None:
    with pytest.raises(EvaluationError, match="not probabilities"):
        Predictions.build(table_of(2), CLASSES, {"a": one_hot(["nevus"] * 2) * factor})


def test_duplicate_ids() -> None:
    table = table_of(3).assign(id=["x", "y", "x"])
    with pytest.raises(EvaluationError, match="more than once: 'x'"):
        Predictions.build(table, CLASSES, {"a": one_hot(["nevus"] * 3)})


def test_unknown_label() -> None:
    with pytest.raises(EvaluationError, match="labels 'wart' are not among the classes"):
        Predictions.build(table_of(1).assign(label="wart"), CLASSES, {"a": one_hot(["nevus"])})


@pytest.mark.parametrize("column", ["id", "label", "split", "cluster"])
def test_missing_column(column: str) -> None:
    with pytest.raises(EvaluationError, match=f"lacks the columns '{column}'"):
        Predictions.build(table_of(1).drop(columns=column), CLASSES, {"a": one_hot(["nevus"])})


def test_blank_cluster_does_not_join_images() -> None:
    with pytest.raises(EvaluationError, match="no value in the column 'cluster'"):
        Predictions.build(table_of(1).assign(cluster=""), CLASSES, {"a": one_hot(["nevus"])})


def test_wrong_shape() -> None:
    with pytest.raises(EvaluationError, match=re.escape("shape (2, 3), but 3 images")):
        Predictions.build(table_of(3), CLASSES, {"a": one_hot(["nevus"] * 2)})


def test_with_model_adds_replaces_and_reorders() -> None:
    table = Predictions.build(table_of(2), CLASSES, {"a": one_hot(["nevus", "melanoma"])})
    added = table.with_model("b", one_hot(["keratosis", "nevus"]), ids=["1", "0"])
    assert added.models == ("a", "b") and added.predicted("b").tolist() == ["nevus", "keratosis"]
    replaced = added.with_model("a", one_hot(["nevus"] * 2))
    assert replaced.models == ("a", "b") and replaced.predicted("a").tolist() == ["nevus"] * 2
    assert table.models == ("a",)


def test_joined_aligns_by_id_and_refuses_other_images() -> None:
    left = Predictions.build(table_of(2), CLASSES, {"a": one_hot(["nevus", "melanoma"])})
    right = Predictions.build(table_of(2)[::-1], CLASSES, {"b": one_hot(["keratosis", "nevus"])})
    assert left.joined(right).predicted("b").tolist() == ["nevus", "keratosis"]
    other = Predictions.build(
        table_of(2).assign(id=["0", "z"]), CLASSES, {"b": one_hot(["nevus"] * 2)}
    )
    with pytest.raises(EvaluationError, match=r"1 are only in the first .*'1'.*'z'"):
        left.joined(other)


@pytest.mark.parametrize(("column", "value"), [("label", "keratosis"), ("split", "train")])
def test_joined_refuses_images_of_another_label_or_split(column: str, value: str) -> None:
    left = Predictions.build(table_of(2), CLASSES, {"a": one_hot(["nevus"] * 2)})
    table = table_of(2)
    table.loc[1, column] = value
    with pytest.raises(EvaluationError, match=f"different {column}s for the same images"):
        left.joined(Predictions.build(table, CLASSES, {"b": one_hot(["nevus"] * 2)}))


@pytest.mark.parametrize("nothing", [None, float("nan"), ""])
def test_every_image_needs_an_id(nothing: object) -> None:
    table = table_of(2).astype({"id": object})
    table.loc[1, "id"] = nothing
    with pytest.raises(EvaluationError, match="1 images .* have no id .*row 2"):
        Predictions.build(table, CLASSES, {"a": one_hot(["nevus"] * 2)})


def test_part_names_the_splits_there_are() -> None:
    table = Predictions.build(table_of(2), CLASSES, {"a": one_hot(["nevus"] * 2)})
    assert len(table.part("audit")) == 2
    with pytest.raises(EvaluationError, match="split 'train'; it holds 'audit'"):
        table.part("train")


def test_files_that_are_no_predictions(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="there is no predictions table"):
        Predictions.load(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(EvaluationError, match="not a readable Parquet"):
        Predictions.load(tmp_path / "text.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(EvaluationError, match="not a predictions table"):
        Predictions.load(tmp_path / "other.parquet")
