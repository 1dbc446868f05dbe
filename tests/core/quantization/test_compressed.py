"""Attaching quantisers: which widths a layer may have, and what comes out again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fairquant_core.data.training_data import TrainingData
from fairquant_core.errors import BudgetError, ClassifierError
from fairquant_core.export.checkpoint import load_packed, save_packed
from fairquant_core.models.inference import predict
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization import compressed
from fairquant_core.quantization.compressed import attach, compress
from fairquant_core.training.loop import Schedule, train
from fairquant_core.training.methods import uniform_widths

LEARNING = Schedule(2, 16, 2e-3, seed=0, budget=3.0, bit_learning_rate=0.3)


def menus(classifier: Classifier, **options: object) -> dict[str, list[float]]:
    owners = attach(classifier.model, uniform_widths(classifier, 3), **options)  # type: ignore[arg-type]
    return {name: owner.menu.tolist() for name, owner in owners.items()}


def test_every_layer_has_the_menu_that_its_floor_and_pin_leave(classifier: Classifier) -> None:
    found = menus(classifier, menu=(2, 4, 6), floors={"head": 4}, pins={"stem": 3})
    assert found == {
        "stem": [3],
        "depthwise": [2, 3, 4, 6],
        "pointwise": [2, 3, 4, 6],
        "head": [3, 4, 6],
    }, "a planned width of 3 is kept although the menu has none"


def test_pins_outside_the_menu_survive_learning(classifier: Classifier, data: TrainingData) -> None:
    widths = uniform_widths(classifier, 3)
    widths["stem"], widths["head"] = np.full(8, 8), np.array([5])
    attach(classifier.model, widths, menu=(2, 3, 4), pins={"stem": 8, "head": 5})
    train(classifier, data, Schedule(2, 16, 2e-3, seed=0, budget=5.5, bit_learning_rate=0.3))
    plan = compress(classifier).plan
    assert set(plan.widths["stem"]) == {8}
    assert set(plan.widths["head"]) == {5}
    assert set(plan.widths["pointwise"]) <= {2, 3, 4}
    assert plan.average_bits <= 5.5


def test_a_floor_survives_learning(classifier: Classifier, data: TrainingData) -> None:
    widths = uniform_widths(classifier, 3)
    widths["pointwise"] = np.array([5])
    attach(classifier.model, widths, floors={"pointwise": 4})
    train(classifier, data, Schedule(2, 16, 2e-3, seed=0, budget=4.0, bit_learning_rate=0.5))
    plan = compress(classifier).plan
    assert plan.widths["pointwise"].min() >= 4
    assert plan.average_bits <= 4.0


def test_one_learnable_width_per_layer(classifier: Classifier, data: TrainingData) -> None:
    owners = attach(classifier.model, uniform_widths(classifier, 3), granularity="layer")
    assert {tuple(owner.bits.shape) for owner in owners.values()} == {(1, 1)}
    train(classifier, data, LEARNING)
    plan = compress(classifier).plan
    assert all(len(set(widths)) == 1 for widths in plan.widths.values())
    assert [len(widths) for widths in plan.widths.values()] == [8, 8, 16, 3]
    assert plan.average_bits <= 3.0


def test_widths_that_do_not_fit_the_layer_are_named(classifier: Classifier) -> None:
    several = {**uniform_widths(classifier, 3), "stem": np.array([2, 3] * 4)}
    with pytest.raises(BudgetError) as caught:
        attach(classifier.model, several, granularity="layer")
    assert str(caught.value) == compressed.NOT_ONE_WIDTH.format(layer="stem", widths="2, 3")
    wrong = {**uniform_widths(classifier, 3), "stem": np.full(7, 3)}
    with pytest.raises(BudgetError) as caught:
        attach(classifier.model, wrong)
    assert str(caught.value) == compressed.WRONG_COUNT.format(layer="stem", found=7, channels=8)
    attach(classifier.model, several)
    with pytest.raises(ClassifierError, match="'stem' has a quantiser already"):
        attach(classifier.model, several)


def test_pruned_channels_are_zero_and_travel(tmp_path: Path) -> None:
    """A plan may prune although the menu for learning has no 0; a whole layer may go, too."""
    torch.set_num_threads(1)
    classifier = create("mobilenetv3_small_050", ("a", "b"), size=32)
    widths = {name: array.copy() for name, array in uniform_widths(classifier, 4).items()}
    pruned = "blocks.1.0.conv_pw"
    widths[pruned][::2] = 0
    widths["blocks.2.1.conv_dw"][:] = 0
    attach(classifier.model, widths)
    finished = compress(classifier)
    weight = finished.classifier.model.get_submodule(pruned).weight
    assert torch.equal(weight[::2], torch.zeros_like(weight[::2]))
    assert (weight[1::2] != 0).any()
    save_packed(finished, tmp_path / "model.safetensors")
    again = load_packed(tmp_path / "model.safetensors")
    assert again.plan == finished.plan
    assert not again.codes["blocks.2.1.conv_dw"].any()
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    assert np.array_equal(predict(again.classifier, images), predict(classifier, images))
