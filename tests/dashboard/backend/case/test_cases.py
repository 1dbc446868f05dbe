"""Cases: what is wrong is said before anything is stored; what is stored reads back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from dashboard.backend.services import Services
from dashboard.backend.views import JobState
from fairquant_core.audit.criteria import Limits
from fairquant_core.data.skin_tone import SCHEMES
from fairquant_core.errors import FairQuantError
from tests.dashboard.backend.made_results import (
    finish_prepare,
    make_case,
    write_classifier,
    write_cohort,
)


def test_a_new_case_waits_for_its_preparation(services: Services, tmp_path: Path) -> None:
    case = services.case(make_case(services, tmp_path))
    assert not case.ready
    assert case.prepare_job is not None
    assert services.job(case.prepare_job).state == JobState.QUEUED
    assert services.baseline(case.id) is None
    assert case.classifier.architecture == "resnet18"
    assert case.classifier.parameters == 80
    assert case.groups == ("FST I-II", "FST III-IV", "FST V-VI")
    assert sum(case.cohort.n_by_split.values()) == case.cohort.n == 120
    assert case.limits == Limits(margin=0.45, minimum_images=5)
    with pytest.raises(FairQuantError, match="not ready"):
        services.start_run(case.id, {})


def test_a_prepared_case_has_its_baseline(ready_case: str, services: Services) -> None:
    case = services.case(ready_case)
    assert case.ready
    assert case.baseline_origin
    table = services.baseline(ready_case)
    assert table is not None
    assert table.overall["n"] == case.cohort.n_by_split["audit"]
    six = services.baseline(ready_case, "fst6")
    assert six is not None
    assert len(six.by_group) == 6


def test_the_cohort_reads_back_with_its_groups(ready_case: str, services: Services) -> None:
    table = services.cohort_table(ready_case)
    assert set(table["group"]) == set(services.case(ready_case).groups)
    counts = services.cell_counts(ready_case)
    assert counts["n"].sum() == len(table)
    assert len(counts) == 3 * 2 * 3
    picture = services.image(ready_case, table["id"].iloc[0], longest_side=4)
    assert picture.size == (4, 4)
    with pytest.raises(FairQuantError, match="no image"):
        services.image(ready_case, "../../secret")


@dataclass(frozen=True)
class Mistake:
    """Something a person enters wrongly, and what the message must name."""

    name: str
    changes: dict[str, Any]
    message: str
    arrange: Callable[[Path], None] = lambda folder: None


def _pickle(folder: Path) -> None:
    (folder / "model.txt").write_text("no weights")


def _broken(folder: Path) -> None:
    (folder / "broken.safetensors").write_bytes(b"\x10")


def _other_classes(folder: Path) -> None:
    write_classifier(folder / "other.safetensors", ("benign", "naevus"))


def _foreign(folder: Path) -> None:
    save_file({"a": np.zeros(3, np.float32)}, str(folder / "foreign.safetensors"))


MISTAKES = [
    Mistake("no title", {"title": " "}, "Title"),
    Mistake("no folder", {"cohort_folder": Path("/nowhere/at/all")}, "nowhere"),
    Mistake("no such column", {"group_column": "tone"}, "tone"),
    Mistake("no such label", {"label_column": "dx"}, "dx"),
    Mistake("no such class", {"must_not_miss": ("melanoma",)}, "melanoma.*benign, malignant"),
    Mistake("no such group", {"limits": Limits(groups=("FST VII",))}, "FST VII"),
    Mistake("no such statement", {"intended_use": {"colour": "red"}}, "colour.*purpose"),
    Mistake("long statement", {"intended_use": {"users": "a" * 601}}, "Who uses it: 601"),
    Mistake("no classifier", {"classifier_path": None}, "Classifier"),
    Mistake("file is absent", {"classifier_path": Path("gone.safetensors")}, "gone"),
    Mistake("wrong ending", {"classifier_path": Path("model.txt")}, r"\.txt", _pickle),
    Mistake("cut off", {"classifier_path": Path("broken.safetensors")}, "cut off", _broken),
    Mistake(
        "other classes", {"classifier_path": Path("other.safetensors")}, "naevus", _other_classes
    ),
    Mistake(
        "says nothing", {"classifier_path": Path("foreign.safetensors")}, "architecture", _foreign
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_named_and_leaves_nothing(
    services: Services, tmp_path: Path, mistake: Mistake
) -> None:
    write_cohort(tmp_path / "cohort", images=60)
    write_classifier(tmp_path / "model.safetensors")
    mistake.arrange(tmp_path)
    changes = dict(mistake.changes)
    if isinstance(changes.get("classifier_path"), Path):
        changes["classifier_path"] = tmp_path / changes["classifier_path"]
    with pytest.raises(FairQuantError, match=f"(?s){mistake.message}"):
        make_case(services, tmp_path, **changes)
    assert services.cases() == []
    assert services.inbox().running == ()
    assert not (services.settings.data_folder / "cases").exists() or not any(
        (services.settings.data_folder / "cases").iterdir()
    )


def test_what_people_said_it_is_for_is_kept(services: Services, tmp_path: Path) -> None:
    said = {"users": " Dermatologists. ", "purpose": "A second look.", "contact": " "}
    case_id = make_case(services, tmp_path, intended_use=said)
    kept = {"purpose": "A second look.", "users": "Dermatologists."}
    assert services.case(case_id).intended_use == kept
    finish_prepare(services, case_id, tmp_path)
    assert services.case(case_id).intended_use == kept


def test_one_group_is_not_enough(services: Services, tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort", images=60, groups=("1",))
    write_classifier(tmp_path / "model.safetensors")
    with pytest.raises(FairQuantError, match="at least two"):
        make_case(services, tmp_path)


def test_a_case_can_fine_tune_an_architecture(services: Services, tmp_path: Path) -> None:
    case_id = make_case(services, tmp_path, classifier_path=None, architecture="resnet18")
    case = services.case(case_id)
    assert case.classifier.architecture == "resnet18"
    assert not case.ready


def test_the_form_gets_a_guess(services: Services, tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort", images=60)
    (tmp_path / "cohort" / "images" / "0003.png").unlink()
    found = services.inspect_cohort(tmp_path / "cohort")
    assert found.guess["label_column"] == "label"
    assert found.guess["group_column"] == "fitzpatrick"
    assert found.guess["scheme"] == "fst3"
    assert found.guess["classes"] == ("benign", "malignant")
    assert found.images == 60
    assert found.distinct["label"] == ("benign", "malignant") and "file" in found.values
    groups = services.groups_of(found, "fitzpatrick", "fst3")
    assert groups == [name for name in SCHEMES["fst3"].groups if name in groups] and groups
    assert services.groups_of(found, "label", "fst3") == []
    assert any("1 of 60" in warning for warning in found.warnings)
    with pytest.raises(FairQuantError):
        services.inspect_cohort(tmp_path / "nowhere")


def test_cases_can_be_made_twice_and_listed(services: Services, tmp_path: Path) -> None:
    first = make_case(services, tmp_path)
    second = make_case(services, tmp_path, title="Again")
    finish_prepare(services, second, tmp_path)
    assert {case.id for case in services.cases()} == {first, second}
    assert services.default_case() is not None
    with pytest.raises(FairQuantError, match="'nothing'"):
        services.case("nothing")
