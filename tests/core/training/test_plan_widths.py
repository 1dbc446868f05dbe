"""What a run asks for and what its plan gives: every wish reaches the network's own layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairquant_core.data.training_data import TrainingData
from fairquant_core.errors import BudgetError, TrainingError
from fairquant_core.export.checkpoint import save_packed
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.bounds import width_bounds
from fairquant_core.quantization.budget import budget_bits
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.quantization.compressed import attach, compress
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.quantization.plan import LEGAL_WIDTHS
from fairquant_core.sensitivity.maps import SensitivityMap
from fairquant_core.training.methods import Job, plan_widths


def a_map(classifier: Classifier) -> SensitivityMap:
    rng = np.random.default_rng(0)
    layers = quantisable_layers(classifier.model)
    index = np.repeat(np.arange(len(layers)), [layer.channels for layer in layers])
    weights = np.array([layer.weights_per_channel for layer in layers])[index]
    level = np.exp(rng.normal(0, 1.5, (2, len(weights)))) * weights / weights.sum()
    damage = level[:, :, None] * 4.0 ** (2 - np.array(LEGAL_WIDTHS))
    names = tuple(layer.name for layer in layers)
    groups = {"large": 40, "small": 8}
    return SensitivityMap(
        "centred", tuple(groups), groups, LEGAL_WIDTHS, names, weights, index, damage
    )


@pytest.fixture
def job(classifier: Classifier, data: TrainingData) -> Any:
    def made(**wishes: Any) -> Job:
        config = RunConfig(**{"method": "static_qat", **wishes})
        return Job(config, classifier, data, a_map(classifier))

    return made


@pytest.mark.parametrize("granularity", ["channel", "layer"])
def test_floors_pins_and_menu_reach_the_layers(job: Any, granularity: str) -> None:
    wishes = {"menu": (2, 3, 4), "floors": {"pointwise": 3}, "pins": {"head": 8, "stem": 6}}
    allocation, widths = plan_widths(job(bits=4.9, granularity=granularity, **wishes))
    assert allocation.achieved_bits <= 4.9
    assert set(widths["head"]) == {8}
    assert set(widths["stem"]) == {6}
    for layer, (lowest, highest) in width_bounds(widths, **wishes).items():
        assert lowest <= widths[layer].min() <= widths[layer].max() <= highest
    assert set(np.concatenate(list(widths.values()))) <= set(RunConfig(bits=4.9, **wishes).widths)


def test_pruning_happens_only_where_the_menu_offers_it(job: Any) -> None:
    assert min(widths.min() for widths in plan_widths(job(bits=2.5))[1].values()) == 2
    allocation, widths = plan_widths(job(bits=1.5, menu=(0, 2, 4, 8), floors={"head": 2}))
    assert min(widths.min() for widths in widths.values()) == 0
    assert widths["head"].min() >= 2
    assert allocation.achieved_bits <= 1.5


def test_a_weighted_group_pays_less(job: Any) -> None:
    plain = plan_widths(job(bits=3))[0].predicted["small"]
    weighted = plan_widths(job(bits=3, group_weights={"small": 5}))[0].predicted["small"]
    assert weighted < plain
    with pytest.raises(BudgetError, match="group 'nobody'"):
        plan_widths(job(bits=3, group_weights={"nobody": 2}))


@pytest.mark.parametrize("method", ["static_qat", "baq", "minimax_ptq", "blind_qat"])
def test_a_byte_budget_becomes_bits_and_the_real_file_keeps_it(
    job: Any, classifier: Classifier, tmp_path: Path, method: str
) -> None:
    asked = 5500
    made = job(method=method, size_bytes=asked, pins={"head": 8})
    allocation, widths = plan_widths(made)
    assert allocation.requested_bits == budget_bits(made.config, classifier)
    copy = classifier.copy()
    attach(copy.model, widths, menu=made.config.widths)
    path = tmp_path / "model.safetensors"
    save_packed(compress(copy), path, {"config": made.config.to_json()})
    assert path.stat().st_size <= asked


def test_an_impossible_wish_names_the_pins(job: Any) -> None:
    with pytest.raises(BudgetError, match=r"floors and pins \(stem = 8, pointwise >= 6\)"):
        plan_widths(job(bits=3, pins={"stem": 8}, floors={"pointwise": 6}))
    with pytest.raises(BudgetError, match="a pin for layer 'nothing'"):
        plan_widths(job(pins={"nothing": 8}))
    with pytest.raises(BudgetError, match=r"4 kB cannot be made.*stem = 8"):
        plan_widths(job(size_bytes=4000, pins={"stem": 8}))


def test_one_width_is_the_uniform_plan(job: Any) -> None:
    allocation, widths = plan_widths(job(method="baq", bits=4, menu=(4,)))
    assert set(np.concatenate(list(widths.values()))) == {4}
    assert allocation.achieved_bits == 4


def test_the_map_of_another_measure_is_refused(job: Any, classifier: Classifier) -> None:
    made = job(method="hawq_qat")
    with pytest.raises(TrainingError, match="hessian"):
        plan_widths(made)
