"""The size that is promised before the training, against the files that are really written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairquant_core.allocation.allocators import minimax
from fairquant_core.errors import BudgetError
from fairquant_core.export.checkpoint import save_packed
from fairquant_core.models.checkpoint import read_description, save_classifier
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.budget import budget_bits, packed_file, resolved
from fairquant_core.quantization.catalogue import MENU, RunConfig
from fairquant_core.quantization.compressed import Compressed, attach, compress
from fairquant_core.quantization.file_size import PROVENANCE_BYTES, PackedFile
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.quantization.plan import LEGAL_WIDTHS
from fairquant_core.sensitivity.maps import SensitivityMap

EXTRA = {
    "labels": None, "groups": "fitzpatrick_scale", "scheme": "fst3", "split_seed": 0,
    "parent": "0" * 64, "cohort": "0" * 64, "images": "0" * 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.set_num_threads(1)
    names = ["basal cell carcinoma", 'a "quoted" name', "Ekzem, nässend", "d"]
    return create("mobilenetv3_small_050", names, size=32)


@pytest.fixture(scope="module")
def sensitivity(classifier: Classifier) -> SensitivityMap:
    rng = np.random.default_rng(0)
    layers = quantisable_layers(classifier.model)
    index = np.repeat(np.arange(len(layers)), [layer.channels for layer in layers])
    weights = np.array([layer.weights_per_channel for layer in layers])[index]
    level = np.exp(rng.normal(0, 1.5, (2, len(weights)))) * weights / weights.sum()
    damage = level[:, :, None] * 4.0 ** (2 - np.array(LEGAL_WIDTHS))
    groups = ("a", "b")
    names = tuple(layer.name for layer in layers)
    images = dict.fromkeys(groups, 9)
    return SensitivityMap("fisher", groups, images, LEGAL_WIDTHS, names, weights, index, damage)


def written(classifier: Classifier, widths: dict[str, np.ndarray]) -> Compressed:
    copy = classifier.copy()
    attach(copy.model, widths, menu=LEGAL_WIDTHS)
    return compress(copy)


@pytest.mark.parametrize("granularity", ["channel", "layer"])
@pytest.mark.parametrize(
    ("size", "wishes"),
    [
        (290_000, {}),
        (345_678, {"pins": {"conv_stem": 8, "classifier": 6}, "menu": (2, 3, 4)}),
        (500_000, {"floors": {"conv_head": 5}}),
        (240_000, {"menu": (0, 2, 3, 5, 7)}),
    ],
)
def test_the_real_file_is_at_most_what_was_asked(
    classifier: Classifier, sensitivity: SensitivityMap, tmp_path: Path, size: int,
    wishes: dict, granularity: str,
) -> None:  # fmt: skip
    config = RunConfig(size_bytes=size, granularity=granularity, **wishes)
    bits = budget_bits(config, classifier)
    found = minimax(
        sensitivity, bits, granularity=granularity, menu=config.menu, pins=config.pins,
        floors=config.floors,
    )  # fmt: skip
    compressed = written(classifier, found.widths_by_layer())
    path = tmp_path / "model.safetensors"
    save_packed(compressed, path, {**EXTRA, "config": resolved(config, classifier).to_json()})
    real = path.stat().st_size
    assert real <= size
    promised = packed_file(classifier).bytes_of(compressed.plan, config)
    assert real <= promised <= real + PROVENANCE_BYTES + 512
    if granularity == "channel" and bits < max(config.menu):
        unused = (found.requested_bits - found.achieved_bits) * compressed.plan.weight_count / 8
        assert size - real <= PROVENANCE_BYTES + 700 + unused


def test_the_web_process_reads_the_same_from_the_file(
    classifier: Classifier, tmp_path: Path
) -> None:
    path = tmp_path / "classifier.safetensors"
    save_classifier(classifier, path)
    layers = [layer.name for layer in quantisable_layers(classifier.model)]
    assert PackedFile.read(path, layers, read_description(path) or {}) == packed_file(classifier)
    with pytest.raises(BudgetError, match="no layer 'elsewhere'"):
        PackedFile.read(path, ["elsewhere"], {})


def test_activations_in_8_bits_leave_less_for_the_weights(classifier: Classifier) -> None:
    plain = budget_bits(RunConfig(size_bytes=400_000), classifier)
    rounded = budget_bits(RunConfig(size_bytes=400_000, activation_bits=8), classifier)
    assert plain - 0.3 < rounded < plain


def test_the_smallest_size_is_named_and_can_be_had(classifier: Classifier) -> None:
    wishes: dict[str, Any] = {"pins": {"conv_head": 8}, "menu": MENU}
    with pytest.raises(BudgetError, match=r"0\.1 MB cannot be made.*\(conv_head = 8\)") as caught:
        budget_bits(RunConfig(size_bytes=100_000, **wishes), classifier)
    named = float(str(caught.value).split("Ask for at least ")[1].split(" MB")[0])
    bits = budget_bits(RunConfig(size_bytes=round(named * 1e6), **wishes), classifier)
    weights = packed_file(classifier).weights
    least = 2 + 6 * weights["conv_head"] / sum(weights.values())
    assert least <= bits <= least + 0.05
    with pytest.raises(BudgetError, match="add a smaller width"):
        budget_bits(RunConfig(size_bytes=100_000, menu=(3, 4)), classifier)


def test_a_uniform_method_takes_the_largest_whole_width_that_fits(classifier: Classifier) -> None:
    exact = budget_bits(RunConfig(size_bytes=420_000), classifier)
    config = RunConfig(method="uniform_ptq", size_bytes=420_000)
    assert budget_bits(config, classifier) == np.floor(exact)
    assert budget_bits(resolved(config, classifier), classifier) == np.floor(exact)
    with pytest.raises(BudgetError, match="cannot be made"):
        budget_bits(RunConfig(method="uniform_ptq", size_bytes=200_000), classifier)


def test_a_size_above_all_widths_is_the_largest_plan(classifier: Classifier) -> None:
    config = RunConfig(size_bytes=10**9, menu=(2, 3), pins={"conv_stem": 8})
    bits = budget_bits(config, classifier)
    assert 3 < bits < 3.1
    assert budget_bits(RunConfig(method="full_precision", size_bytes=5), classifier) == 4.0
