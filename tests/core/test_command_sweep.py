"""The command that runs and compares many candidates, and the benchmark that is the same thing."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fairquant_core import pipeline
from fairquant_core.command_sweep import add_arguments, sweep
from fairquant_core.data.adapters import read_cohort
from fairquant_core.errors import EvaluationError, TrainingError
from fairquant_core.models.checkpoint import save_classifier
from fairquant_core.models.zoo import create
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.scoring import fingerprints
from tests.core.quick_runs import QuickRuns

ROOT = Path(__file__).resolve().parents[2]
METHODS = ["--methods", "uniform_ptq", "absmax_ptq", "--references", "uniform_ptq", "baq"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, small_cohort_folder: Path) -> list[str]:
    """Two classifiers of the small cohort, one that was made with another split of it, one with other groups."""
    folder = tmp_path_factory.mktemp("classifiers")
    paths = []
    for number, (scheme, split_seed) in enumerate(
        (("fst2", 3), ("fst2", 3), ("fst2", 4), ("fst3", 3))
    ):
        cohort = read_cohort(
            small_cohort_folder, labels="label", groups="fitzpatrick", seed=split_seed
        )
        one = create("mobilenetv3_small_050", cohort.classes, size=32, seed=number)
        one.origin = {**fingerprints(cohort), "labels": "label", "groups": "fitzpatrick"}
        one.origin |= {"scheme": scheme, "split_seed": split_seed}
        paths.append(str(folder / f"{number}.safetensors"))
        save_classifier(one, folder / f"{number}.safetensors")
    return paths


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> QuickRuns:
    runs = QuickRuns()
    monkeypatch.setattr(pipeline, "run", runs)
    return runs


@pytest.fixture
def options(small_cohort_folder: Path, tmp_path: Path, files: list[str]) -> list[str]:
    chosen = ["--cohort", str(small_cohort_folder), "--classifiers", *files[:2]]
    chosen += ["--seeds", "0", "1", "--bits", "2.5", "4", "--minimum-images", "5"]
    return [*chosen, *METHODS, "--cache", str(tmp_path / "c"), "--out", str(tmp_path / "out")]


def call(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--quiet", action="store_true")
    return sweep(parser.parse_args(arguments))


def test_table_and_file(
    options: list[str], quick: QuickRuns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tmp_path / "figures.json"
    assert call([*options, "--json", str(found), "--split", "validation"]) == 0
    out = capsys.readouterr().out
    assert "Left out: uniform_ptq at 2.5 bits" in out and out.count("Left out") == 2
    assert "4 candidates, 0 of them finished" in out and "4 of 4 candidates are finished" in out
    assert "validation split" in out and "No candidate of 'baq' is finished" in out
    figures = json.loads(found.read_text())
    # The cohort was read as the classifiers' own.
    assert figures["split"] == "validation" and figures["groups"] == ["FST I-III", "FST IV-VI"]
    assert {row["method"]: row["seeds"] for row in figures["summary"]} == {
        "as_given": 2,
        "uniform_ptq": 2,
        "absmax_ptq": 2,
    }
    assert len(figures["skipped"]) == 4 and set(figures["differences"]) == {"uniform_ptq"}
    worst = [row["worst"] for row in figures["candidates"] if row["method"] == "absmax_ptq"]
    summary = next(row for row in figures["summary"] if row["method"] == "absmax_ptq")
    assert summary["worst"] == pytest.approx(sum(worst) / 2)


def test_partial_results_and_failures(
    options: list[str], quick: QuickRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([*options, "--summary-only"]) == 0 and quick.calls == []
    assert "0 of 4 candidates are finished" in capsys.readouterr().out
    quick.failing = {("absmax_ptq", 0)}
    assert call([*options, "--order", "method", "seed", "bits"]) == 1
    assert [call[0] for call in quick.calls] == ["uniform_ptq"] * 2 + ["absmax_ptq"] * 2
    output = capsys.readouterr()
    assert "FAILED  absmax_ptq 4 bits, seed 0: out of luck" in output.out
    quick.calls.clear()
    quick.failing = set()
    assert call(options) == 0 and quick.calls == [("absmax_ptq", 0)]


def test_interrupted_by_hand(
    options: list[str],
    quick: QuickRuns,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def second_is_interrupted(*arguments: object, **more: object) -> object:
        if quick.calls:
            raise KeyboardInterrupt
        return quick(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "run", second_is_interrupted)
    assert call(options) == 130
    out = capsys.readouterr().out
    assert "Repeat the command to go on" in out and "1 of 4 candidates are finished" in out


def test_settings_and_classifiers_that_do_not_fit(options: list[str], files: list[str]) -> None:
    with pytest.raises(TrainingError, match="'speed=3' is no setting"):
        call([*options, "--set", "speed=3"])
    mixed = [files[3] if text == files[1] else text for text in options]
    with pytest.raises(EvaluationError, match="different readings of the cohort"):
        call(mixed)


def test_classifiers_of_several_splits_are_judged_each_on_its_own(
    options: list[str],
    files: list[str],
    quick: QuickRuns,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = tmp_path / "figures.json"
    several = [files[2] if text == files[1] else text for text in options]
    assert call([*several, "--json", str(found)]) == 0
    assert (
        "each seed saw its own part: compare methods that have the same seeds"
        in capsys.readouterr().out
    )
    figures = json.loads(found.read_text())
    assert [start["split_seed"] for start in figures["starts"]] == [3, 4]
    assert len({start["cohort"] for start in figures["starts"]}) == 2
    seen = {row["seed"]: row["images"] for row in figures["candidates"]}
    assert max(seen.values()) < figures["images"] <= sum(seen.values())


def test_settings_reach_the_runs(options: list[str], quick: QuickRuns, tmp_path: Path) -> None:
    methods = ["--methods", "minimax_ptq", "full_precision"]
    assert call([*options, *methods, "--set", "menu=[2,4,8]", "fairness=gap", "--epochs", "2"]) == 0
    configs = [json.loads(path.read_text())["config"] for path in tmp_path.glob("out/*/audit.json")]
    assert len(configs) == 6
    assert all(c["menu"] == [2, 4, 8] and c["fairness"] == "gap" for c in configs)
    # Epochs belong to what is trained.
    assert {c["epochs"] for c in configs if c["method"] == "full_precision"} == {2}
    assert {c["epochs"] for c in configs if c["method"] == "minimax_ptq"} == {RunConfig().epochs}


def test_benchmark_knows_the_demo() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "accuracy.py")]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--summary-only" in done.stdout
    # Cohort and classifier have defaults, so this is the only complaint.
    done = subprocess.run([*command, "--bits", "x"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "invalid float value" in done.stderr
