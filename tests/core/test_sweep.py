"""Many methods, budgets and seeds: what is planned, resumed, refused, and what is said of the finished ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fairquant_core import pipeline
from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.cohort import Cohort
from fairquant_core.errors import BudgetError, Cancelled, EvaluationError, TrainingError
from fairquant_core.models.zoo import create
from fairquant_core.progress import Progress
from fairquant_core.scoring import CANDIDATE, load_any, score, training_data
from fairquant_core.sweep import IDENTITY_FILE, Start, Sweep
from tests.core.quick_runs import QuickRuns

ARCHITECTURE = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def cohort(small_cohort_folder: Path) -> Cohort:
    return read_cohort(small_cohort_folder, labels="label", groups="fitzpatrick")


@pytest.fixture(scope="module")
def starts(cohort: Cohort) -> tuple[Start, ...]:
    torch.set_num_threads(1)
    made = [create(ARCHITECTURE, cohort.classes, size=32, seed=seed) for seed in (0, 1)]
    return tuple(Start(classifier, cohort) for classifier in made)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make(starts: tuple[Start, ...], cache: Path, tmp_path: Path) -> Any:
    """A sweep of post-training methods over two seeds, with anything replaced."""

    def build(**changes: Any) -> Sweep:
        fields: dict[str, Any] = {
            "starts": starts,
            "methods": ("uniform_ptq", "absmax_ptq"),
            "budgets": (4.0,),
            "seeds": (0, 1),
            "folder": tmp_path / "sweep",
            "cache": cache,
            "group_column": "fitzpatrick",
            "scheme": "fst3",
            "limits": Limits(minimum_images=5),
            "settings": {"epochs": 2, "batch_size": 16, "images_per_group": 4},
        }
        return Sweep(**(fields | changes))

    return build


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> QuickRuns:
    runs = QuickRuns()
    monkeypatch.setattr(pipeline, "run", runs)
    return runs


def short(sweep: Sweep) -> list[tuple[int, float, str]]:
    return [(p.config.seed, p.config.bits, p.config.method) for p in sweep.planned]


def test_impossible_combinations_are_left_out_and_said(make: Any) -> None:
    sweep = make(methods=("baq", "uniform_qat", "full_precision"), budgets=(2.5, 3.0, 2.5))
    # The control has no budget, so it is run once per seed.
    assert short(sweep) == [
        (seed, bits, method)
        for seed in (0, 1)
        for bits, method in (
            (2.5, "baq"),
            (4.0, "full_precision"),
            (3.0, "baq"),
            (3.0, "uniform_qat"),
        )
    ]
    assert [(s.method, s.bits, s.seed) for s in sweep.skipped] == [
        ("uniform_qat", 2.5, 0),
        ("uniform_qat", 2.5, 1),
    ]
    assert "whole number of bits" in sweep.skipped[0].reason
    assert len({p.folder for p in sweep.planned}) == len(sweep.planned)


def test_order_is_what_changes_slowest_first(make: Any) -> None:
    sweep = make(
        methods=("baq", "static_qat"), budgets=(4.0, 3.0), order=("method", "bits", "seed")
    )
    assert short(sweep)[:3] == [(0, 4.0, "baq"), (1, 4.0, "baq"), (0, 3.0, "baq")]
    with pytest.raises(TrainingError, match="'seed', 'bits' and 'method' once each"):
        make(order=("seed", "seed", "bits"))


def test_a_classifier_per_seed_or_one_for_all(make: Any, starts: tuple[Start, ...]) -> None:
    by_seed = {p.config.seed: p.start for p in make().planned}
    assert by_seed == {0: starts[0], 1: starts[1]}
    one = make(starts=starts[:1])
    assert all(p.start is starts[0] for p in one.planned)
    with pytest.raises(TrainingError, match="2 classifiers were given for 3 seeds"):
        make(seeds=(0, 1, 2))


def test_nothing_possible_is_an_error(make: Any) -> None:
    with pytest.raises(BudgetError, match="whole number of bits"):
        make(budgets=(2.5,))
    with pytest.raises(BudgetError, match="Name at least one"):
        make(methods=())
    with pytest.raises(TrainingError, match="'magic' is not known"):
        make(methods=("magic",))


def test_the_key_names_all_that_decides(make: Any, starts: tuple[Start, ...]) -> None:
    keys = {
        make().planned[0].key,
        make(starts=starts[::-1]).planned[0].key,
        make(settings={"epochs": 3}).planned[0].key,
        make(scheme="fst6").planned[0].key,
        make(budgets=(5.0,)).planned[0].key,
    }
    assert len(keys) == 5
    # The limits decide no outcome; another minimum must not train sixty runs anew.
    assert make(limits=Limits(minimum_images=7)).planned[0].key == make().planned[0].key


def test_finished_folders_are_reused(make: Any, quick: QuickRuns) -> None:
    sweep = make()
    seen: list[str] = []
    found = sweep.run(done=lambda one: seen.append(one.planned.key))
    assert seen == [p.key for p in sweep.planned] and len(found) == 4
    assert found[0].audit["config"] == sweep.planned[0].config.to_json()
    quick.calls.clear()
    again = make()
    assert len(again.run()) == 4 and quick.calls == []
    # A file that changed is no longer what was audited: that candidate is made again.
    packed = again.planned[1].folder / "model.safetensors"
    packed.write_bytes(packed.read_bytes()[:-1])
    assert len(again.all_finished()) == 3
    assert len(again.run()) == 4 and quick.calls == [("absmax_ptq", 0)]
    # So is one whose table of predictions or whose audit is gone.
    (again.planned[0].folder / "predictions.parquet").unlink()
    (again.planned[2].folder / "audit.json").write_text("{")
    assert len(again.run()) == 4 and quick.calls[1:] == [("uniform_ptq", 0), ("uniform_ptq", 1)]


def test_summary_of_what_is_finished(make: Any, quick: QuickRuns) -> None:
    sweep = make(methods=("uniform_ptq", "absmax_ptq", "baq"))
    with pytest.raises(EvaluationError, match="No candidate is finished"):
        sweep.summary()
    make().run()
    summary = sweep.summary("uniform_ptq")
    assert summary["method"].tolist() == ["as_given", "uniform_ptq", "absmax_ptq"]
    assert (summary["seeds"] == 2).all() and summary["bits"].tolist()[1:] == [4.0, 4.0]
    own = summary[summary["method"] == "uniform_ptq"].iloc[0]
    assert own["accuracy_difference"] == 0 and own["paired_seeds"] == 2
    tables = [
        Predictions.load(p.folder / "predictions.parquet").part("audit")
        for p in sweep.planned
        if p.config.method == "uniform_ptq"
    ]
    expected = [table.correct("candidate").mean() for table in tables]
    assert own["accuracy"] == pytest.approx(sum(expected) / 2)
    front = sweep.pareto()
    assert len(front) == 6 and front["on_front"].any()
    sizes = [json.loads((p.folder / "audit.json").read_text())["size"] for p in make().planned]
    assert front["size_bytes"].tolist()[2:] == [size["bytes_on_disk"] for size in sizes]
    validation = sweep.board(split="validation")
    assert validation.images == len(
        Predictions.load(sweep.planned[0].folder / "predictions.parquet").part("validation")
    )


def test_every_seed_may_have_its_own_split(
    make: Any, starts: tuple[Start, ...], small_cohort_folder: Path, quick: QuickRuns
) -> None:
    other = read_cohort(small_cohort_folder, labels="label", groups="fitzpatrick", seed=8)
    sweep = make(starts=(starts[0], Start(starts[1].classifier, other)))
    assert sweep.planned[0].key == make().planned[0].key
    assert sweep.planned[2].key != make().planned[2].key
    found = sweep.run()
    own = [set(one.predictions.part("audit").frame["id"]) for one in found]
    assert own[0] == own[1] and own[2] == own[3] == set(other.part("audit")["id"]) != own[0]
    board = sweep.board()
    assert board.images == len(own[0] | own[2]) and not board.same_images
    changes = board.differences("uniform_ptq")
    assert (changes.loc[changes["method"] == "absmax_ptq", "seeds"] == 2).all()


def test_a_failure_does_not_stop_the_others(make: Any, quick: QuickRuns) -> None:
    quick.failing = {("uniform_ptq", 0)}
    sweep, told = make(), list[Progress]()
    assert len(sweep.run(progress=told.append)) == 3
    failures = sweep.failures()
    assert failures[["method", "seed", "error", "message"]].to_numpy().tolist() == [
        ["uniform_ptq", 0, "RuntimeError", "out of luck"]
    ]
    assert [p.message for p in told if p.stage == "failed"][0].endswith("out of luck")
    quick.failing = set()
    assert len(sweep.run()) == 4 and sweep.failures().empty


def test_cancelled_training_goes_on_from_its_checkpoint(make: Any) -> None:
    sweep = make(methods=("uniform_qat",), seeds=(0,), starts=make().starts[:1])
    folder = sweep.planned[0].folder
    with pytest.raises(Cancelled):
        sweep.run(cancel=lambda: (folder / "training.pt").exists())
    assert sweep.all_finished() == [] and (folder / IDENTITY_FILE).exists()
    told: list[Progress] = []
    found = sweep.run(progress=told.append)
    epochs = [p.message for p in told if "Epoch" in p.message and p.message.endswith("done")]
    assert epochs == [
        "1 of 1, The same bits everywhere, then training, 4 bits, seed 0: Epoch 2 of 2 done"
    ]
    assert len(json.loads((folder / "epochs.json").read_text())) == 3 and len(found) == 1
    # What is compared is what the packed file answers.
    scored = load_any(folder)
    cohort = sweep.starts[0].cohort
    data = training_data(
        cohort, scored, group_column="fitzpatrick", scheme="fst3", cache=sweep.cache
    )
    again = score(cohort, {CANDIDATE: scored}, data)
    assert (again.probabilities(CANDIDATE) == found[0].predictions.probabilities(CANDIDATE)).all()
    with pytest.raises(Cancelled):
        make().run(cancel=lambda: True)


def test_a_folder_of_another_candidate_is_refused(make: Any) -> None:
    sweep = make()
    first, second = sweep.planned[:2]
    second.folder.mkdir(parents=True)
    (second.folder / IDENTITY_FILE).write_text(json.dumps(first.identity))
    with pytest.raises(EvaluationError, match="holds another candidate"):
        sweep.run()


def test_a_field_that_configurations_gained_costs_no_new_run(make: Any, quick: QuickRuns) -> None:
    sweep = make(methods=("uniform_ptq",), seeds=(0,), starts=make().starts[:1])
    sweep.run()
    folder = sweep.planned[0].folder
    older = json.loads((folder / IDENTITY_FILE).read_text())
    del older["config"]["pins"]
    (folder / IDENTITY_FILE).write_text(json.dumps(older))
    folder = folder.rename(folder.with_name(folder.name[:-12] + "0" * 12))
    again = make(methods=("uniform_ptq",), seeds=(0,), starts=make().starts[:1])
    assert again.planned[0].folder == folder and len(again.all_finished()) == 1
