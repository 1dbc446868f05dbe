"""The fast file: whole-number arithmetic with the audited codes, and nothing rounded but the activations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import ExportError
from fairquant_core.export.onnx import session
from fairquant_core.export.onnx.check import reference_logits
from fairquant_core.export.onnx.convolutions import drop_bends
from fairquant_core.export.onnx.exact import exact_model, export_onnx
from fairquant_core.export.onnx.file import read_onnx
from fairquant_core.export.onnx.int8 import FIXED, PER_PICTURE, export_int8, int8_model
from fairquant_core.export.onnx.network import INPUT, catch_network
from fairquant_core.export.onnx.ranges import value_ranges
from fairquant_core.export.onnx.runtimes import executed_operators
from fairquant_core.export.onnx.session import OnnxClassifier, network_input
from fairquant_core.export.onnx.whole import WholeLayer
from fairquant_core.models.rounded_inputs import InputRange
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.activations import attach_activations, calibrate
from fairquant_core.quantization.compressed import Compressed
from tests.core.export.onnx.networks import (
    CLASSES,
    compress_randomly,
    compressed_of,
    network_of,
    pictures,
)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "fast.onnx"
    export_int8(compressed_of("tiny", 16), path, pictures(32, 16), network=network_of("tiny", 16))
    return path


def largest_difference(path: Path, compressed: Compressed, images: np.ndarray) -> float:
    reference = reference_logits(compressed.classifier, images)
    found = OnnxClassifier(path, threads=1).logits(images)
    return float(np.abs(found - reference).max() / np.abs(reference).max())


def test_convolutions_run_as_whole_numbers(tiny: Path) -> None:
    compressed = compressed_of("tiny", 16)
    executed = executed_operators(tiny)
    assert executed.whole_number == {"convolutions": 3}
    assert not executed.decodes_while_classifying
    about = OnnxClassifier(tiny).about
    assert about["kind"] == "int8" and about["activation_ranges"] == FIXED
    assert 0 < largest_difference(tiny, compressed, pictures(16, 16, seed=5)) < 0.05


def test_products_run_as_whole_numbers(tmp_path: Path) -> None:
    compressed, path = compressed_of("test_vit", 64), tmp_path / "fast.onnx"
    export_int8(compressed, path, pictures(2, 64), network=network_of("test_vit", 64))
    products = sum(name.startswith("blocks.") for name in compressed.plan.layers)
    assert executed_operators(path).whole_number == {"products of matrices": products}
    assert OnnxClassifier(path).about["activation_ranges"] == PER_PICTURE
    assert 0 < largest_difference(path, compressed, pictures(4, 64, seed=5)) < 0.05


class Wide(nn.Module):
    """Two convolutions in a row with as many channels, whose large codes meet large activations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 64, 3, stride=2), nn.Conv2d(64, 64, 1)
        self.second, self.head = nn.Conv2d(64, 64, 3), nn.Linear(64, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.stem, self.first, self.second):
            x = torch.relu(layer(x))
        return self.head(x.mean(dim=(2, 3)))


@pytest.mark.parametrize("saturates", [True, False], ids=["said to saturate", "as found"])
def test_large_sums_are_not_cut_off(
    saturates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a processor with AVX2 but without VNNI, or where one is said to be there, the logits are the same."""
    if saturates:
        monkeypatch.setattr(session, "sums_saturate", lambda: True)
    torch.manual_seed(0)
    classifier = Classifier(Wide().eval(), "wide", CLASSES, Preprocessing(32))
    compressed, path = compress_randomly(classifier, menu=(8,)), tmp_path / "fast.onnx"
    export_int8(compressed, path, pictures(16, 32))
    assert executed_operators(path).whole_number == {"convolutions": 3}
    assert largest_difference(path, compressed, pictures(16, 32)) < 0.003


def test_the_reference_evaluator_gives_nearly_the_same_logits(tiny: Path) -> None:
    """One step of one activation may differ, because the runtime adds up whole numbers."""
    model, _ = read_onnx(tiny)
    images = pictures(4, 16, seed=5)
    opened = OnnxClassifier(tiny, threads=1)
    inputs = network_input(images, opened.preprocessing)
    (expected,) = ReferenceEvaluator(model).run(None, {"images": inputs})
    np.testing.assert_allclose(opened.logits(images), expected, atol=0.02 * np.abs(expected).max())


def test_the_weights_are_the_audited_codes() -> None:
    """Codes times steps of the fast file are the folded weights of the exact one, bit for bit but for the sign."""
    compressed, network = compressed_of("tiny", 16), network_of("tiny", 16)
    fast, _ = int8_model(network, compressed, pictures(32, 16))
    exact = exact_model(network, compressed)
    found = run_inside(fast, "stem.weight.value")
    np.testing.assert_allclose(found, run_inside(exact, "stem.weight"), rtol=1e-6)
    steps = {tensor.name: numpy_helper.to_array(tensor) for tensor in fast.graph.initializer}
    assert (steps["stem.weight.step"] < 0).any(), "a negative gain stays with the scale"


def run_inside(model: ModelProto, name: str) -> np.ndarray:
    """A value in the middle of a graph."""
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    inputs = np.zeros((1, 3, 16, 16), dtype=np.float32)
    return ReferenceEvaluator(model).run([name], {"images": inputs})[0]


def test_a_huge_bias_makes_its_channel_coarser_and_not_wrong(tmp_path: Path) -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, len(CLASSES))
            with torch.no_grad():
                self.stem.weight[0] *= 1e-10
                self.stem.bias[0] = 3.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.stem(x).mean(dim=(2, 3)))

    classifier = Classifier(Biased().eval(), "biased", CLASSES, Preprocessing(16))
    compressed = compress_randomly(classifier, menu=(8,))
    export_int8(compressed, tmp_path / "fast.onnx", pictures(8, 16))
    assert largest_difference(tmp_path / "fast.onnx", compressed, pictures(8, 16)) < 0.02


def test_coarser_codes_are_the_same_weights() -> None:
    layer = WholeLayer("a", np.array([[8, -4], [3, 5]], np.int8), np.ones(2), np.ones(2), (2, 2))
    coarser = layer.coarser(np.array([2, 0]))
    assert coarser.codes.tolist() == [[2, -1], [3, 5]]
    assert coarser.scales.tolist() == [4, 1]


@pytest.mark.parametrize(("architecture", "size"), [("tiny", 16), ("test_vit", 64)], ids=str)
def test_trained_ranges_are_kept(architecture: str, size: int, tmp_path: Path) -> None:
    """With a range twice too narrow the file must do what torch does, not what training images say."""
    original = compressed_of(architecture, size)
    compressed = replace(original, classifier=original.classifier.copy())
    model, images = compressed.classifier.model, pictures(16, size)
    ranges = calibrate(compressed.classifier, images, np.arange(16), ["one"] * 16)
    narrow = {name: InputRange(own.scale / 2, own.zero_point) for name, own in ranges.items()}
    attach_activations(model, narrow)
    network = network_of(architecture, size)
    for export in (export_onnx, export_int8):
        path = tmp_path / f"{export.__name__}.onnx"
        arguments = (images,) if export is export_int8 else ()
        export(compressed, path, *arguments, network=network)  # type: ignore[operator]
        own = largest_difference(path, compressed, images)
        without = largest_difference(path, original, images)
        assert own < 0.06 and own < without / 2, (export.__name__, own, without)


def test_catching_leaves_the_rounding_out_and_the_classifier_alone() -> None:
    original = compressed_of("tiny", 16)
    classifier = original.classifier.copy()
    ranges = calibrate(classifier, pictures(8, 16), np.arange(8), ["one"] * 8)
    attach_activations(classifier.model, ranges)
    before = reference_logits(classifier, pictures(4, 16))
    caught = catch_network(classifier)
    assert caught.skeleton.graph == network_of("tiny", 16).skeleton.graph
    np.testing.assert_array_equal(reference_logits(classifier, pictures(4, 16)), before)


def test_ranges_reach_from_the_smallest_to_the_largest_value() -> None:
    network, compressed = network_of("tiny", 16), compressed_of("tiny", 16)
    images = pictures(20, 16)
    preprocessing = compressed.classifier.preprocessing
    names = [INPUT, "logits"]
    ranges = value_ranges(exact_model(network, compressed), names, images, preprocessing)
    logits = reference_logits(compressed.classifier, images)
    inputs = network_input(images, preprocessing)
    for name, values in {INPUT: inputs, "logits": logits}.items():
        scale, zero = ranges[name]
        low, high = min(values.min(), 0), max(values.max(), 0)
        assert scale == pytest.approx((high - low) / 255, rel=1e-4)
        assert zero == round(-low / scale)


def test_without_training_images_there_is_no_fast_file(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no training image"):
        export_int8(
            compressed_of("tiny", 16),
            tmp_path / "fast.onnx",
            pictures(0, 16),
            network=network_of("tiny", 16),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_gain_is_a_named_error(tmp_path: Path) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, len(CLASSES))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.mean(dim=(2, 3)))

    classifier = Classifier(Plain().eval(), "plain", CLASSES, Preprocessing(16))
    with pytest.raises(ExportError, match="hand out the exact file alone"):
        export_int8(compress_randomly(classifier), tmp_path / "fast.onnx", pictures(4, 16))


@pytest.mark.parametrize(
    ("own", "dropped"),
    [
        (InputRange(6 / 255, 0), True),
        (InputRange(3 / 255, 0), True),
        (InputRange(7 / 255, 0), False),
        (InputRange(6 / 255, 9), False),
    ],
)
def test_a_bend_goes_only_where_rounding_cuts_off_as_well(own: InputRange, dropped: bool) -> None:
    """Rounding after the bend and rounding without it must give the same codes."""
    graph = network_of("tiny", 16).graph()
    (clip,) = (node for node in graph.node if node.op_type == "Clip")
    drop_bends(graph, {clip.output[0]: own})
    assert ("Clip" not in [node.op_type for node in graph.node]) == dropped
    values = np.linspace(-9, 9, 1001)

    def codes(of: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(of / own.scale) + own.zero_point, 0, 255)

    same = np.array_equal(codes(values), codes(values.clip(0, 6)))
    assert same == dropped
