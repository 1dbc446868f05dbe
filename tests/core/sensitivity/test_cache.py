"""Maps that are computed once: going on, reading back, and not trusting damaged files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.cohort import Cohort
from fairquant_core.errors import Cancelled, EvaluationError
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Progress
from fairquant_core.scoring import training_data
from fairquant_core.sensitivity.cache import Subject, measured, predicted
from fairquant_core.sensitivity.maps import SensitivityMap
from fairquant_core.sensitivity.measures import trend

WISHES = {"images_per_group": 12, "seed": 0}


@pytest.fixture(scope="module")
def cohort(small_cohort_folder: Path) -> Cohort:
    return read_cohort(small_cohort_folder)


@pytest.fixture
def subject(cohort: Cohort, classifier: Classifier, tmp_path: Path) -> Subject:
    known = replace(classifier, classes=("benign", "malignant", "other"))
    data = training_data(
        cohort, known, group_column="fitzpatrick", scheme="fst3", cache=tmp_path / "cache"
    )
    return Subject(cohort, known, data, "fitzpatrick", "fst3", tmp_path / "cache")


def kept(subject: Subject) -> list[Path]:
    return sorted((subject.cache / "sensitivity").glob("*"))


def broken(subject: Subject) -> Subject:
    """The same subject with a classifier that cannot be run: what comes back was read."""
    subject.classifier.model.forward = None  # type: ignore[assignment]
    return subject


def same(one: SensitivityMap, other: SensitivityMap) -> None:
    assert (one.measure, one.groups, one.menu) == (other.measure, other.groups, other.menu)
    for name in ("damage", "spread", "weights", "layer_index"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("measure", ["centred", "fisher", "gradient", "hessian"])
def test_a_finished_map_is_read_back_bit_for_bit(measure: str, subject: Subject) -> None:
    first = predicted(subject, measure, **WISHES)
    assert first.menu == (0, 2, 3, 4, 5, 6, 7, 8)
    assert len(kept(subject)) == 1
    same(predicted(broken(subject), measure, **WISHES), first)


def test_grape_comes_from_the_fisher_map(subject: Subject) -> None:
    fisher = predicted(subject, "fisher", **WISHES)
    grape = predicted(broken(subject), "grape", **WISHES)
    assert grape.measure == "grape"
    np.testing.assert_allclose(
        grape.damage, 2 * fisher.damage[:, :, :1] * trend(grape.menu), rtol=1e-6
    )


def test_everything_that_decides_a_map_is_in_its_name(subject: Subject, tmp_path: Path) -> None:
    chosen = subject.sample("train", 12, 0)
    name = subject.file(".npz", "train", chosen, measure="fisher", seed=0)
    moved = subject.classifier.copy()
    with torch.no_grad():
        moved.model.head.bias.add_(1.0)  # type: ignore[union-attr]
    table = subject.cohort.table.assign(split="train")
    fewer = {group: positions[:5] for group, positions in chosen.items()}
    others = [
        replace(subject, classifier=moved).file(".npz", "train", chosen, measure="fisher", seed=0),
        replace(subject, cohort=replace(subject.cohort, table=table)).file(
            ".npz", "train", chosen, measure="fisher", seed=0
        ),
        replace(subject, scheme="fst2").file(".npz", "train", chosen, measure="fisher", seed=0),
        replace(subject, group_column="sex").file(
            ".npz", "train", chosen, measure="fisher", seed=0
        ),
        subject.file(".npz", "validation", chosen, measure="fisher", seed=0),
        subject.file(".npz", "train", fewer, measure="fisher", seed=0),
        subject.file(".npz", "train", chosen, measure="hessian", seed=0),
        subject.file(".npz", "train", chosen, measure="fisher", seed=1),
    ]
    assert len({name, *others}) == 1 + len(others)
    assert subject.file(".npz", "train", chosen, measure="fisher", seed=0) == name


def test_an_interrupted_measurement_goes_on(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairquant_core.sensitivity.measured.TOGETHER", 2)
    calls = iter(range(100))
    with pytest.raises(Cancelled):
        measured(subject, bits=(2, 4), **WISHES, cancel=lambda: next(calls) >= 3)
    events: list[Progress] = []
    resumed = measured(subject, bits=(2, 4), **WISHES, progress=events.append)
    assert [event.step for event in events] == [3, 4, 5, 6, 7, 8]
    kept(subject)[0].unlink()
    whole = measured(subject, bits=(2, 4), **WISHES)
    pd.testing.assert_frame_equal(resumed.frame, whole.frame, check_exact=True)


def test_further_widths_are_added_to_what_is_there(subject: Subject) -> None:
    first = measured(subject, bits=(4,), **WISHES).frame
    events: list[Progress] = []
    both = measured(subject, bits=(3, 4), **WISHES, progress=events.append).frame
    assert len(events) == 4
    pd.testing.assert_frame_equal(
        both[both["bits"] == 4].reset_index(drop=True), first, check_exact=True
    )
    again = measured(broken(subject), bits=(3, 4), **WISHES).frame
    pd.testing.assert_frame_equal(again, both, check_exact=True)


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_file_is_computed_anew(damage: bytes | None, subject: Subject) -> None:
    fisher = predicted(subject, "fisher", **WISHES)
    frame = measured(subject, bits=(4,), **WISHES).frame
    for path in kept(subject):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    same(predicted(subject, "fisher", **WISHES), fisher)
    pd.testing.assert_frame_equal(measured(subject, bits=(4,), **WISHES).frame, frame)
    same(predicted(broken(subject), "fisher", **WISHES), fisher)


def test_a_file_that_holds_half_of_a_layer_is_completed(subject: Subject) -> None:
    frame = measured(subject, bits=(4,), **WISHES).frame
    kept(subject)[0].unlink()
    measured(subject, bits=(4,), **WISHES)
    frame.iloc[:-1].to_parquet(kept(subject)[0], index=False)
    pd.testing.assert_frame_equal(measured(subject, bits=(4,), **WISHES).frame, frame)


def test_a_group_without_training_images_is_named_and_left_out(subject: Subject) -> None:
    split = subject.data.split.copy()
    split[(subject.data.groups == "FST V-VI").to_numpy() & (split == "train")] = "audit"
    events: list[Progress] = []
    lacking = replace(subject, data=replace(subject.data, split=split))
    found = predicted(lacking, "fisher", **WISHES, progress=events.append)
    assert found.groups == ("FST I-II",)
    assert "No training image of FST V-VI" in events[0].message


def test_no_training_image_at_all_is_an_error(subject: Subject) -> None:
    nobody = replace(subject.data, groups=pd.Series(["unknown"] * len(subject.data.groups)))
    with pytest.raises(EvaluationError, match="No image has a known group"):
        predicted(replace(subject, data=nobody), "fisher", **WISHES)


def test_no_such_measure(subject: Subject) -> None:
    with pytest.raises(EvaluationError, match="no sensitivity measure"):
        predicted(subject, "magic", **WISHES)
