"""The training loop: learns, keeps the budget, resumes exactly, and says when it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fairquant_core.errors import Cancelled, TrainingError
from fairquant_core.quantization.compressed import attach, compress
from fairquant_core.quantization.quantizer import quantizers
from fairquant_core.training.fitting import FitConfig, fit
from fairquant_core.training.loop import Schedule, train
from fairquant_core.training.methods import uniform_widths
from fairquant_core.training.norms import reestimate_norms
from fairquant_core.training.validation import validation_figures

LEARNING = Schedule(
    epochs=4,
    batch_size=16,
    learning_rate=2e-3,
    seed=0,
    bit_learning_rate=0.1,
    budget=3.5,
    fairness="worst",
    fairness_weight=0.5,
)


@pytest.fixture
def fitted(classifier, data):
    fit(classifier, data, FitConfig(epochs=8, batch_size=16, learning_rate=2e-2))
    return classifier


def whole_widths(classifier) -> np.ndarray:
    owners = quantizers(classifier.model).values()
    return np.concatenate([q.whole_bits().numpy().ravel() for q in owners])


def test_fit_learns_the_classes(fitted, data) -> None:
    from fairquant_core.models.inference import predict

    audit = data.positions("audit")
    right = predict(fitted, data.images[audit]).argmax(1) == data.labels[audit]
    assert right.mean() > 0.9


def test_fit_ends_with_norms_of_the_images_as_they_are(classifier, data) -> None:
    history = fit(classifier, data, FitConfig(epochs=2, batch_size=16, learning_rate=2e-2))
    again = classifier.copy()
    reestimate_norms(again, data.images, data.positions("train"))
    assert again.fingerprint == classifier.fingerprint
    figures = validation_figures(classifier, data)
    assert {name: history[-1][name] for name in figures} == figures


@pytest.mark.parametrize("budget", [3.0, 3.5, 5.0])
def test_learned_bits_move_and_meet_the_budget(fitted, data, budget) -> None:
    attach(fitted.model, uniform_widths(fitted, 4))
    history = train(fitted, data, replace(LEARNING, budget=budget))
    plan = compress(fitted).plan
    assert budget - 0.02 <= plan.average_bits <= budget + 1e-9
    assert (whole_widths(fitted) != 4).any()
    assert history[-1]["average_bits"] == pytest.approx(plan.average_bits)
    assert set(history[0]["bits_by_layer"]) == {"stem", "depthwise", "pointwise", "head"}
    assert set(history[0]["group_accuracy"]) == {"small", "large"}


def test_average_bits_follow_the_budget_before_projection(fitted, data) -> None:
    averages = {}
    for budget in (3.0, 5.0):
        student = fitted.copy()
        attach(student.model, uniform_widths(student, 4))
        schedule = replace(LEARNING, budget=budget, epochs=8)
        averages[budget] = train(student, data, schedule)[3]["average_bits"]
    assert averages[3.0] < 3.7 < 4.3 < averages[5.0]


def test_fixed_widths_stay(fitted, data) -> None:
    attach(fitted.model, uniform_widths(fitted, 3))
    train(fitted, data, replace(LEARNING, budget=None, bit_learning_rate=0.0, epochs=1))
    assert set(whole_widths(fitted)) == {3.0}


def test_same_seed_same_weights(fitted, data) -> None:
    states = []
    for _ in range(2):
        student = fitted.copy()
        attach(student.model, uniform_widths(student, 4))
        train(student, data, replace(LEARNING, epochs=2), teacher=fitted)
        states.append(student.model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_interrupted_training_goes_on_as_if_nothing_happened(fitted, data, tmp_path: Path) -> None:
    straight, broken = fitted.copy(), fitted.copy()
    for student in (straight, broken):
        attach(student.model, uniform_widths(student, 4))
    train(straight, data, LEARNING)
    steps = iter(range(10_000))
    with pytest.raises(Cancelled):
        train(
            broken,
            data,
            LEARNING,
            checkpoint=tmp_path / "training.pt",
            cancel=lambda: next(steps) >= 9,
        )
    resumed = fitted.copy()
    attach(resumed.model, uniform_widths(resumed, 4))
    history = train(resumed, data, LEARNING, checkpoint=tmp_path / "training.pt")
    assert [row["epoch"] for row in history] == [0, 1, 2, 3, 4]
    expected = straight.model.state_dict()
    assert all(torch.equal(expected[k], v) for k, v in resumed.model.state_dict().items())


def test_small_group_is_in_every_batch(data) -> None:
    from fairquant_core.data.batches import GroupStratifiedBatches

    groups = data.groups.to_numpy()[:60]
    for batch in GroupStratifiedBatches(data.labels[:60], groups, 8, seed=1):
        assert "small" in groups[batch]


def test_exploding_loss_names_the_epoch(fitted, data) -> None:
    def explode() -> bool:
        with torch.no_grad():
            fitted.model.head.bias[0] = float("inf")
        return False

    schedule = Schedule(epochs=1, batch_size=16, learning_rate=1e-3, seed=0)
    with pytest.raises(TrainingError, match="not a number in epoch 1"):
        train(fitted, data, schedule, cancel=explode)


def test_empty_train_split_is_an_error(classifier, data) -> None:
    empty = replace(data, split=np.array(["audit"] * 96, dtype=object))
    with pytest.raises(TrainingError, match="train split holds no image"):
        train(classifier, empty, Schedule(epochs=1, batch_size=16, learning_rate=1e-3, seed=0))
