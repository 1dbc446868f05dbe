"""The whole pipeline without a browser, by the commands that a person types."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from fairquant_core import pipeline
from fairquant_core.audit.predictions import Predictions
from fairquant_core.command_line import main
from fairquant_core.errors import FairQuantError
from fairquant_core.export.bundle import write_bundle
from fairquant_core.export.signing import local_key
from fairquant_core.models.checkpoint import load_classifier, read_description
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.quantization.plan import BitPlan
from tests.core.export.made_bundle import members_of, without_signature

ARCHITECTURE = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_cohort_folder: Path) -> Path:
    """A folder with a fitted classifier and one finished BAQ run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("work")
    common = ["--cohort", str(small_cohort_folder), "--cache", str(folder / "cache"), "--quiet"]
    fitting = ["fit", *common, "--architecture", ARCHITECTURE, "--size", "32", "--epochs", "3"]
    assert main([*fitting, "--batch-size", "16", "--out", str(folder / "full.safetensors")]) == 0
    running = ["run", *common, "--classifier", str(folder / "full.safetensors"), "--epochs", "2"]
    options = ["--groups", "fitzpatrick", "--labels", "label", "--method", "baq", "--bits", "4.0"]
    assert main([*running, *options, "--batch-size", "16", "--out", str(folder / "run")]) == 0
    return folder


def test_run_writes_all_its_files(place: Path) -> None:
    names = {path.name for path in (place / "run").iterdir()}
    assert names == {
        "model.safetensors",
        "plan.json",
        "sensitivity.npz",
        "predictions.parquet",
        "audit.json",
        "epochs.json",
    }


def test_budget_is_met_and_the_file_is_small(place: Path) -> None:
    plan = BitPlan.from_json(json.loads((place / "run" / "plan.json").read_text()))
    assert 3.98 <= plan.average_bits <= 4.0
    size = json.loads((place / "run" / "audit.json").read_text())["size"]
    assert size["bytes_on_disk"] == (place / "run" / "model.safetensors").stat().st_size
    assert size["bits_achieved"] == pytest.approx(plan.average_bits)
    # Beyond the ideal size: the table of tensors (about 100 bytes each, norms included).
    assert size["bytes_on_disk"] - size["bytes_ideal"] < 800 * len(plan.layers)


def test_a_file_size_is_kept_by_the_real_file(place: Path, small_cohort_folder: Path) -> None:
    out = place / "small"
    arguments = ["run", "--classifier", str(place / "full.safetensors"), "--quiet"]
    cohort = ["--cohort", str(small_cohort_folder), "--cache", str(place / "cache")]
    wishes = ["--size-bytes", "340kB", "--pin", "conv_stem=8", "--floor", "classifier=6"]
    options = ["--method", "minimax_ptq", "--groups", "fitzpatrick", *wishes]
    assert main([*arguments, *cohort, *options, "--out", str(out)]) == 0
    size = json.loads((out / "audit.json").read_text())["size"]
    assert 337_000 <= size["bytes_on_disk"] <= 340_000
    plan = BitPlan.from_json(json.loads((out / "plan.json").read_text()))
    assert set(plan.widths["conv_stem"].tolist()) == {8}
    assert plan.widths["classifier"].min() >= 6


@pytest.mark.parametrize(("size", "bits"), [("290kB", (2.0, 2.5)), ("400kB", (3.5, 6.0))])
def test_a_file_size_has_the_defaults_of_the_bits_it_leaves(
    place: Path, small_cohort_folder: Path, monkeypatch: pytest.MonkeyPatch, size: str, bits: tuple
) -> None:
    """A small file is not planned and trained as one of four bits would be."""
    asked: list[RunConfig] = []

    def seen(cohort: object, classifier: object, config: RunConfig, **others: object) -> None:
        asked.append(config)
        raise FairQuantError("enough")

    monkeypatch.setattr(pipeline, "run", seen)
    arguments = ["run", "--classifier", str(place / "full.safetensors"), "--quiet"]
    cohort = ["--cohort", str(small_cohort_folder), "--cache", str(place / "cache")]
    wanted = ["--groups", "fitzpatrick", "--size-bytes", size, "--out", str(place / "none")]
    assert main([*arguments, *cohort, *wanted]) == 2
    (config,) = asked
    assert bits[0] < config.bits < bits[1]
    usual = RunConfig(bits=config.bits)
    assert (config.menu, config.trained_share) == (usual.menu, usual.trained_share)


def test_evaluate_gives_exactly_the_audited_predictions(
    place: Path, small_cohort_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "again.parquet"
    arguments = ["evaluate", "--model", str(place / "run"), "--cohort", str(small_cohort_folder)]
    assert main([*arguments, "--out", str(out), "--cache", str(place / "cache"), "--quiet"]) == 0
    assert "locked audit split" in capsys.readouterr().out
    again, audited = Predictions.load(out), Predictions.load(place / "run" / "predictions.parquet")
    audited = audited.part("audit")
    assert again.frame["id"].tolist() == audited.frame["id"].tolist()
    assert np.array_equal(again.probabilities("candidate"), audited.probabilities("candidate"))


def test_evaluate_reads_a_bundle_and_refuses_a_damaged_one(
    place: Path, small_cohort_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = place / "bundle.zip"
    files: dict[str, Path | bytes] = {"model.safetensors": place / "run" / "model.safetensors"}
    write_bundle(bundle, files, {}, key=local_key(place / "keys"))
    assert main(["verify", str(bundle)]) == 1, "whole, but nobody has approved it"
    out = capsys.readouterr().out
    assert "does NOT verify: Decision log, Approval, Audit figures." in out
    arguments = ["evaluate", "--model", str(bundle), "--cohort", str(small_cohort_folder)]
    common = ["--cache", str(place / "cache"), "--quiet"]
    assert main([*arguments, *common, "--out", str(place / "b.csv")]) == 0
    assert len(pd.read_csv(place / "b.csv")) > 20
    whole = bundle.read_bytes()
    without_signature(bundle, members_of(bundle))
    assert main([*arguments, *common]) == 2, "a forger only has to leave the signature out"
    assert "is not signed" in capsys.readouterr().err
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    bundle.write_bytes(bytes(damaged))
    assert main(["verify", str(bundle)]) == 1
    assert main([*arguments, *common]) == 2
    assert "does not verify" in capsys.readouterr().err


def test_another_cohort_is_scored_whole(
    place: Path, small_cohort_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight images with one class are too few to split but enough to score."""
    table = pd.read_csv(small_cohort_folder / "table.csv").iloc[::2].head(8)
    (tmp_path / "images").symlink_to(small_cohort_folder / "images")
    table.to_csv(tmp_path / "table.csv", index=False)
    arguments = ["evaluate", "--model", str(place / "run"), "--cohort", str(tmp_path)]
    assert main([*arguments, "--cache", str(place / "cache"), "--quiet"]) == 0
    assert "8 images (all images: this is not the cohort" in capsys.readouterr().out


def test_another_group_column_still_scores_the_audit_split_only(
    place: Path, small_cohort_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "--model", str(place / "run"), "--cohort", str(small_cohort_folder)]
    common = ["--cache", str(place / "cache"), "--quiet", "--groups", "sex", "--scheme", "values"]
    assert main([*arguments, *common]) == 0
    out = capsys.readouterr().out
    assert "locked audit split" in out and "female" in out


def test_training_images_under_another_table_are_refused(
    place: Path, small_cohort_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(small_cohort_folder / "table.csv").drop(columns="patient")
    (tmp_path / "images").symlink_to(small_cohort_folder / "images")
    table.to_csv(tmp_path / "table.csv", index=False)
    arguments = ["evaluate", "--model", str(place / "run"), "--cohort", str(tmp_path), "--quiet"]
    assert main(arguments) == 2
    assert "cannot be told which of them it was trained on" in capsys.readouterr().err


def test_run_keeps_the_split_of_the_classifier_whatever_the_groups(
    place: Path, small_cohort_folder: Path
) -> None:
    arguments = ["run", "--classifier", str(place / "full.safetensors"), "--quiet"]
    cohort = ["--cohort", str(small_cohort_folder), "--cache", str(place / "cache")]
    options = ["--method", "uniform_ptq", "--groups", "sex", "--split-seed", "5"]
    assert main([*arguments, *cohort, *options, "--out", str(place / "by-sex")]) == 0
    first = Predictions.load(place / "run" / "predictions.parquet").part("audit")
    second = Predictions.load(place / "by-sex" / "predictions.parquet").part("audit")
    assert first.frame["id"].tolist() == second.frame["id"].tolist()


def test_audit_split_was_not_used_for_training(place: Path, small_cohort_folder: Path) -> None:
    origin = read_description(place / "full.safetensors")["origin"]
    audit = json.loads((place / "run" / "audit.json").read_text())
    assert origin["cohort"] == audit["cohort"]["fingerprint"]
    frame = Predictions.load(place / "run" / "predictions.parquet").frame
    assert set(frame["split"]) == {"validation", "audit"}
    patients = pd.read_csv(small_cohort_folder / "table.csv").set_index("id")["patient"]
    by_split = frame.groupby("split")["id"].apply(lambda ids: set(patients[ids]))
    assert not by_split["audit"] & by_split["validation"]


def test_packed_file_loads_as_a_classifier(place: Path) -> None:
    classifier = load_classifier(place / "run" / "model.safetensors")
    assert classifier.classes == ("benign", "malignant")
    assert classifier.architecture == ARCHITECTURE


def test_sensitivity_prints_a_row_per_layer(
    place: Path, small_cohort_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["sensitivity", "--classifier", str(place / "full.safetensors")]
    common = ["--cohort", str(small_cohort_folder), "--cache", str(place / "cache"), "--quiet"]
    assert main([*arguments, *common, "--bits", "3", "--out", str(place / "map")]) == 0
    out = capsys.readouterr().out
    assert "conv_stem" in out and "FST V-VI" in out
    assert (place / "map" / "measured.parquet").exists()


BAD = [
    (["--bits", "1.5", "--no-pruning"], "A budget of 1.5 bits"),
    (["--bits", "2.5", "--method", "uniform_qat"], "needs a whole number of bits"),
    (["--bits", "2", "--pin", "conv_head=8", "--method", "static_qat"], "pins (conv_head = 8)"),
    (["--size-bytes", "90kB", "--method", "static_qat"], "the smallest reachable size is"),
    (["--groups", "skin"], "skin"),
    (["--classifier", "nowhere.safetensors"], "not found"),
    (["--batch-size", "2"], "smaller than the number of groups"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(case[0]) for case in BAD])
def test_bad_input_is_one_clear_line_and_leaves_nothing_half_written(
    place: Path,
    small_cohort_folder: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    common = ["--cohort", str(small_cohort_folder), "--cache", str(place / "cache"), "--quiet"]
    base = ["run", "--classifier", str(place / "full.safetensors"), *common, "--out", str(out)]
    assert main([*base, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not list(out.glob("*.part")) and not (out / "model.safetensors").exists()


def test_zip_without_a_model_is_named(tmp_path: Path, small_cohort_folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("readme.txt", "nothing")
    arguments = ["evaluate", "--model", str(tmp_path / "other.zip")]
    assert main([*arguments, "--cohort", str(small_cohort_folder), "--quiet"]) == 2


def test_foreign_checkpoint_that_names_its_architecture(
    place: Path, small_cohort_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = place / "foreign.safetensors"
    save_file(
        load_file(place / "full.safetensors"), foreign, metadata={"architecture": ARCHITECTURE}
    )
    arguments = ["evaluate", "--model", str(foreign), "--cohort", str(small_cohort_folder)]
    common = ["--size", "32", "--cache", str(place / "cache"), "--quiet"]
    assert main([*arguments, *common]) == 0
    caught = capsys.readouterr()
    assert "in this order: benign, malignant" in caught.err
    assert "120 images (all images: the file does not say which" in caught.out
