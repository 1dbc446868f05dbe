"""The built-in case: there at first start, ready, and only if its files fit together."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard.backend.services import Services, open_services
from dashboard.backend.settings import Settings
from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.adapters import read_cohort
from tests.dashboard.backend.made_results import CLASSES, write_classifier, write_cohort


@pytest.fixture
def with_demo(settings: Settings, tmp_path: Path) -> Settings:
    """Settings whose assets folder holds a small demo in the delivered form."""
    folder = tmp_path / "assets" / "demo"
    write_cohort(folder)
    table = pd.read_csv(folder / "cohort.csv")
    pair = np.arange(len(table)) // 2
    table["split"] = np.select([pair % 5 == 0, pair % 5 == 1], ["validation", "audit"], "train")
    table.to_csv(folder / "cohort.csv", index=False)
    about = {"name": "Small demo", "synthetic": True, "licence": "CC0 1.0"}
    (folder / "cohort.json").write_text(json.dumps(about))
    write_classifier(folder / "classifier.safetensors")
    score_demo(folder)
    return replace(settings, assets_folder=folder.parent)


def score_demo(folder: Path) -> None:
    cohort = read_cohort(folder)
    scored = cohort.table[cohort.table["split"] != "train"]
    probabilities = np.tile([0.7, 0.3], (len(scored), 1))
    predictions = Predictions.build(scored, CLASSES, {"full precision": probabilities})
    predictions.save(folder / "predictions.parquet")
    provenance = {
        "made": "2026-01-31T12:00:00+00:00",
        "command": "python assets/make_demo.py",
        "cohort_fingerprint": cohort.fingerprint,
        "classifier_fingerprint": "ab" * 32,
        "must_not_miss": ["malignant"],
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))


def test_the_demo_is_ready_at_first_start(with_demo: Settings) -> None:
    services = open_services(with_demo)
    case = services.default_case()
    assert case is not None
    assert case.ready
    assert case.cohort.synthetic
    assert case.must_not_miss == ("malignant",)
    assert "2026-01-31" in case.baseline_origin
    assert "make_demo.py" in case.baseline_origin
    table = services.baseline(case.id)
    assert table is not None
    assert table.overall["n"] == case.cohort.n_by_split["audit"] == 24
    assert services.start_run(case.id, {})
    assert services.start_problem == ""


def test_a_second_start_seeds_nothing(with_demo: Settings) -> None:
    first, second = open_services(with_demo), open_services(with_demo)
    assert [case.id for case in first.cases()] == [case.id for case in second.cases()]


def test_several_first_starts_at_once_make_one_case(with_demo: Settings) -> None:
    opened: list[Services] = []
    threads = [
        threading.Thread(target=lambda: opened.append(open_services(with_demo))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 3
    assert len(opened[0].cases()) == 1


def test_new_demo_files_make_a_new_case_and_keep_the_old_runs(with_demo: Settings) -> None:
    services = open_services(with_demo)
    old = services.default_case()
    assert old is not None
    run_id = services.start_run(old.id, {})
    folder = with_demo.assets_folder / "demo"
    description = json.loads((folder / "cohort.json").read_text())
    (folder / "cohort.json").write_text(json.dumps(description | {"name": "Newer demo"}))
    score_demo(folder)
    again = open_services(with_demo)
    new = again.default_case()
    assert new is not None
    assert new.id != old.id
    assert new.cohort.name == "Newer demo"
    assert again.run(run_id).case_id == old.id
    assert again.case(old.id).title.startswith("Earlier demo")


def _break_image(folder: Path) -> None:
    path = folder / "images" / "0000.png"
    path.write_bytes(path.read_bytes() + b"x")


def _break_classifier(folder: Path) -> None:
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["classifier_fingerprint"] = "00"
    (folder / "provenance.json").write_text(json.dumps(provenance))


def _break_table(folder: Path) -> None:
    (folder / "cohort.csv").write_text("nothing\n")


@pytest.mark.parametrize("damage", [_break_image, _break_classifier, _break_table])
def test_a_damaged_demo_is_said_and_does_not_stop_the_application(
    with_demo: Settings, damage: Callable[[Path], None]
) -> None:
    damage(with_demo.assets_folder / "demo")
    services = open_services(with_demo)
    assert services.cases() == []
    assert services.default_case() is None
    assert services.start_problem


def test_without_demo_files_there_is_no_case(services: Services) -> None:
    assert services.default_case() is None
    assert services.start_problem == ""


def test_a_moved_checkout_finds_its_images_again(with_demo: Settings, tmp_path: Path) -> None:
    case = open_services(with_demo).default_case()
    assert case is not None
    moved = tmp_path / "elsewhere"
    with_demo.assets_folder.rename(moved)
    again = open_services(replace(with_demo, assets_folder=moved))
    assert [one.id for one in again.cases()] == [case.id]
    assert again.image(case.id, "image-0000").size == (8, 8)
