"""The mode without training, from the map to the compressed classifier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fairquant_core.errors import Cancelled
from fairquant_core.progress import Progress
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.quantization.compressed import attach, compress
from fairquant_core.sensitivity.registry import centred_map, sample_per_group
from fairquant_core.training.methods import Job, plan_widths, run_method, uniform_widths
from fairquant_core.training.post_training import fit_rounding


@pytest.fixture
def job(classifier, data) -> Job:
    train = data.positions("train")
    chosen = {
        group: train[own]
        for group, own in sample_per_group(data.groups.iloc[train], 64, seed=0).items()
    }
    found = centred_map(classifier, data.images, data.labels, chosen)
    return Job(RunConfig(method="minimax_ptq", bits=3.0), classifier, data, found)


def fingerprint(job: Job) -> str:
    return run_method(job).classifier.fingerprint


def test_budget_is_kept_and_the_codes_are_those_of_the_plan(job: Job) -> None:
    before = job.classifier.fingerprint
    outcome = run_method(job)
    assert outcome.compressed is not None
    assert outcome.compressed.plan.average_bits <= 3.0
    for name, widths in plan_widths(job)[1].items():
        assert np.array_equal(outcome.compressed.plan.widths[name], widths)
    assert outcome.history == []
    assert job.classifier.fingerprint == before


def test_same_seed_same_result(job: Job) -> None:
    assert fingerprint(job) == fingerprint(job)


def test_only_training_images_are_looked_at(job: Job) -> None:
    images = job.data.images.copy()
    images[job.data.split != "train"] = 0
    assert fingerprint(job) == fingerprint(replace(job, data=replace(job.data, images=images)))


def test_group_weights_reach_the_rounding(job: Job) -> None:
    """Widths are pinned, so the plan is the same; only what the rounding is fitted to differs."""
    pins = {name: 3 for name in ("stem", "depthwise", "pointwise", "head")}
    found = [
        fingerprint(replace(job, config=replace(job.config, pins=pins, group_weights=weights)))
        for weights in ({}, {"small": 20.0})
    ]
    assert found[0] != found[1]


def test_codes_differ_from_nearest_rounding_to_the_same_plan(job: Job) -> None:
    student = job.classifier.copy()
    attach(student.model, plan_widths(job)[1])
    nearest, fitted = compress(student), run_method(job).compressed
    assert fitted is not None
    changed = [name for name in nearest.codes if (nearest.codes[name] != fitted.codes[name]).any()]
    assert {"stem", "pointwise", "head"} <= set(changed)


def test_pruned_channels_stay_pruned(job: Job) -> None:
    config = replace(job.config, bits=2.0, menu=(0, 2, 4, 8), pins={"pointwise": 0})
    outcome = run_method(replace(job, config=config))
    assert outcome.compressed is not None
    assert not outcome.compressed.codes["pointwise"].any()
    assert np.isfinite(outcome.compressed.scales["pointwise"]).all()


def test_activations_are_rounded_where_asked_for(job: Job) -> None:
    for method in ("minimax_ptq", "uniform_ptq", "static_qat"):
        config = replace(job.config, method=method, activation_bits=8, epochs=1)
        compressed = run_method(replace(job, config=config)).compressed
        assert compressed is not None
        assert set(compressed.activations) == set(compressed.codes)


def test_stages_are_reported_to_their_end(job: Job) -> None:
    told: list[Progress] = []
    run_method(replace(job, report=told.append))
    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages == ["rounding", "norms"]
    for stage in stages:
        own = [progress for progress in told if progress.stage == stage]
        assert [progress.step for progress in own] == list(range(1, own[-1].steps + 1))
        assert own[0].seconds_left is not None


@pytest.mark.parametrize("stage", ["rounding", "norms"])
def test_cancel_is_honoured_in_both_stages(job: Job, stage: str) -> None:
    told: list[Progress] = []
    with pytest.raises(Cancelled):
        run_method(
            replace(job, report=told.append, cancel=lambda: bool(told) and _ready(told[-1], stage))
        )


def _ready(progress: Progress, stage: str) -> bool:
    return progress.stage == stage or (stage == "norms" and progress.step == progress.steps)


def test_without_training_images_it_is_nearest_rounding(classifier, data) -> None:
    data = replace(data, split=np.full(len(data.split), "validation", dtype=object))
    student, plain = classifier.copy(), classifier.copy()
    for one in (student, plain):
        attach(one.model, uniform_widths(one, 4))
    told: list[Progress] = []
    unreached = fit_rounding(student, classifier, data, seed=0, report=told.append)
    assert unreached == ["stem", "depthwise", "pointwise", "head"]
    assert "Fewer than two training images" in told[0].message
    assert compress(student).classifier.fingerprint == compress(plain).classifier.fingerprint


def test_a_layer_that_is_never_called_is_told(classifier, data) -> None:
    classifier.model.spare = torch.nn.Linear(2, 2)
    student, told = classifier.copy(), []
    attach(student.model, uniform_widths(student, 4))
    assert fit_rounding(student, classifier, data, seed=0, report=told.append) == ["spare"]
    assert any("(1, first 'spare')" in entry.message for entry in told)


@pytest.mark.parametrize("method", ["uniform_ptq", "absmax_ptq"])
def test_the_usual_way_leaves_norms_and_biases_alone(job: Job, method: str) -> None:
    outcome = run_method(replace(job, config=RunConfig(method=method, bits=4)))
    before, after = job.classifier.model.state_dict(), outcome.classifier.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"stem.weight", "depthwise.weight", "pointwise.weight", "head.weight"}
    assert outcome.compressed is not None
    if method == "absmax_ptq":
        scales = outcome.compressed.scales["stem"] * 7
        largest = before["stem.weight"].abs().amax((1, 2, 3)).numpy()
        np.testing.assert_allclose(scales, largest, rtol=1e-6)


def test_a_run_that_goes_on_does_not_round_again(job: Job, tmp_path) -> None:
    config = RunConfig(method="baq", bits=3.0, epochs=2, batch_size=16, trained_share=1.0)
    whole = replace(job, config=config, checkpoint=tmp_path / "whole.pt")
    told: list[Progress] = []
    stopped = replace(
        whole,
        checkpoint=tmp_path / "stopped.pt",
        report=told.append,
        cancel=lambda: (tmp_path / "stopped.pt").exists(),
    )
    with pytest.raises(Cancelled):
        run_method(stopped)
    assert told[0].stage == "rounding"
    told.clear()
    outcome = run_method(replace(stopped, cancel=None))
    assert {progress.stage for progress in told} == {"training"}
    assert outcome.classifier.fingerprint == fingerprint(whole)
