"""Activations in 8 bits: the rounding is ONNX's, the ranges hold every group, and nothing loses them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fairquant_core.data.batches import normalise
from fairquant_core.data.training_data import TrainingData
from fairquant_core.errors import ClassifierError, TrainingError
from fairquant_core.explain.saliency import attribute
from fairquant_core.export.checkpoint import load_packed, save_packed
from fairquant_core.models.checkpoint import load_classifier, read_description, save_classifier
from fairquant_core.models.inference import predict
from fairquant_core.models.rounded_inputs import (
    InputRange,
    input_ranges,
    restore_rounding,
    round_inputs,
)
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization import activations
from fairquant_core.quantization.activations import attach_activations, calibrate
from fairquant_core.quantization.compressed import attach, compress, compress_with
from fairquant_core.quantization.layers import kept_parameters
from fairquant_core.training.fitting import FitConfig, fit
from fairquant_core.training.loop import Schedule, train
from fairquant_core.training.methods import uniform_widths


def rounding(lowest: float, highest: float) -> tuple[nn.Module, InputRange]:
    """A layer that gives out its rounded input."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    found = InputRange.covering(lowest, highest)
    round_inputs({"layer": layer}, {"layer": found})
    return layer, found


@pytest.mark.parametrize(
    ("lowest", "highest"), [(-1.3, 2.9), (0.0, 6.0), (0.4, 5.0), (-3.0, -0.2), (0.0, 0.0)]
)
def test_range_holds_zero_exactly_and_reaches_both_ends(lowest: float, highest: float) -> None:
    layer, (scale, zero_point) = rounding(lowest, highest)
    assert 0 <= zero_point <= 255
    ends = torch.tensor([[0.0], [lowest], [highest]])
    rounded = layer(ends).detach()
    assert float(rounded[0]) == 0
    assert (rounded - ends).abs().max() <= scale / 2 + 1e-6


def test_rounds_as_onnx_runtime_does() -> None:
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    layer, (scale, zero_point) = rounding(-1.3, 2.9)
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "rounding",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor("s", onnx.TensorProto.FLOAT, [], [scale]),
            helper.make_tensor("z", onnx.TensorProto.UINT8, [], [zero_point]),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9
    ).SerializeToString()
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    values = generator.normal(0, 1.5, (20_000, 1)).astype(np.float32)
    # Halves of a step, where the two ways to round differ, and values far outside.
    halves = np.arange(-300.5, 300, dtype=np.float32)[:, None] * np.float32(scale)
    inputs = np.concatenate([values, halves, [[-1e6], [1e6]]]).astype(np.float32)
    expected = session.run(None, {"x": inputs})[0]
    with torch.no_grad():
        assert np.array_equal(layer(torch.from_numpy(inputs)).numpy(), expected)


def test_gradient_is_that_of_torchs_own_fake_quantiser() -> None:
    layer, (scale, zero_point) = rounding(-1.3, 2.9)
    values = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0)) * 2
    ours, theirs = (values.clone().requires_grad_() for _ in range(2))
    upstream = torch.randn(4000, 1)
    layer(ours).backward(upstream)
    torch.fake_quantize_per_tensor_affine(theirs, scale, zero_point, 0, 255).backward(upstream)
    assert torch.equal(ours.grad, theirs.grad)
    assert 0 < int((ours.grad == 0).sum()) < 2000


@pytest.fixture
def fitted(classifier: Classifier, data: TrainingData) -> Classifier:
    fit(classifier, data, FitConfig(epochs=4, batch_size=16, learning_rate=2e-2))
    return classifier


def ranges_of(classifier: Classifier, data: TrainingData) -> dict[str, InputRange]:
    return calibrate(classifier, data.images, data.positions("train"), data.groups)


def test_ranges_are_those_of_the_inputs(fitted: Classifier, data: TrainingData) -> None:
    seen: dict[str, tuple[float, float]] = {}
    for name in ("stem", "pointwise", "head"):
        fitted.model.get_submodule(name).register_forward_hook(
            lambda _layer, inputs, _output, name=name: seen.update(
                {name: (float(inputs[0].min()), float(inputs[0].max()))}
            )
        )
    found = ranges_of(fitted, data)
    with torch.no_grad():
        fitted.model.eval()(normalise(data.images[data.positions("train")], fitted.preprocessing))
    for name, (lowest, highest) in seen.items():
        width = max(highest, 0) - min(lowest, 0)
        assert found[name].scale == pytest.approx(width / 255, rel=1e-5)
    assert found["pointwise"].zero_point == 0, "after a ReLU every code stands for a positive value"


def test_every_group_has_its_say(
    fitted: Classifier, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The few pictures of the small group are all looked at, however few per group are asked for."""
    monkeypatch.setattr(activations, "IMAGES_PER_GROUP", 8)
    small = np.flatnonzero((data.groups == "small") & (data.split == "train"))
    assert 0 < len(small) <= 8
    data.images[:] = np.minimum(data.images, 150)
    data.images[small] = 255
    brightest = (1 - 0.5) / 0.25
    found = ranges_of(fitted, data)["stem"]
    assert found.scale * (255 - found.zero_point) == pytest.approx(brightest, rel=0.02)


def test_calibration_leaves_the_classifier_alone(fitted: Classifier, data: TrainingData) -> None:
    fitted.model.train()
    before = fitted.fingerprint
    assert ranges_of(fitted, data) == ranges_of(fitted, data)
    assert fitted.fingerprint == before
    assert all(module.training for module in fitted.model.modules())
    assert not any(module._forward_pre_hooks for module in fitted.model.modules())


def test_outputs_hardly_move_and_a_copy_rounds_too(fitted: Classifier, data: TrainingData) -> None:
    plain = predict(fitted, data.images)
    rounded = fitted.copy()
    ranges = ranges_of(fitted, data)
    attach_activations(rounded.model, ranges)
    moved = predict(rounded, data.images)
    assert 0 < np.abs(moved - plain).max() < 0.03
    assert np.array_equal(predict(rounded.copy(), data.images), moved)
    assert np.array_equal(predict(fitted, data.images), plain), "the copy shares nothing"
    assert input_ranges(rounded.model) == ranges
    assert input_ranges(fitted.model) == {}
    assert rounded.fingerprint != fitted.fingerprint
    attach_activations(rounded.model, ranges)
    assert np.array_equal(predict(rounded, data.images), moved), "attached twice, rounded once"


def test_training_goes_through_and_the_file_holds_what_was_trained(
    fitted: Classifier, data: TrainingData, tmp_path: Path
) -> None:
    student = fitted.copy()
    attach(student.model, uniform_widths(student, 4))
    ranges = ranges_of(fitted, data)
    attach_activations(student.model, ranges)
    schedule = Schedule(2, 16, 2e-3, seed=0, budget=3.5, bit_learning_rate=0.1, fitting_norms=True)
    train(student, data, schedule, teacher=fitted)
    compressed = compress(student)
    assert compressed.activations == ranges, "ranges stay while weights and widths learn"
    assert compressed.plan.average_bits <= 3.5
    logits = student.model.eval()(torch.zeros(2, 3, 16, 16))
    assert torch.equal(compressed.classifier.model.eval()(torch.zeros(2, 3, 16, 16)), logits)
    right = predict(compressed.classifier, data.images).argmax(1) == data.labels
    assert right.mean() > 0.8


@pytest.fixture
def compact() -> Classifier:
    """A small network of timm, because files name their architecture."""
    torch.set_num_threads(1)
    return create("mobilenetv3_small_050", ("dark", "middle", "light"), size=32)


def pictures(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def rounded_and_packed(classifier: Classifier, path: Path) -> Classifier:
    compressed = compress_with(classifier, uniform_widths(classifier, 5))
    ranges = calibrate(classifier, pictures(), np.arange(8), ["one"] * 8)
    attach_activations(compressed.classifier.model, ranges)
    save_packed(compressed, path)
    return compressed.classifier


def test_packed_file_gives_identical_logits(compact: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    saved = rounded_and_packed(compact, path)
    opened = load_packed(path)
    assert opened.activations == input_ranges(saved.model)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(opened.classifier.model(images), saved.model.eval()(images))
    assert opened.plan.kept_parameters == kept_parameters(saved.model)
    about = read_description(path) or {}
    assert (about["version"], about["activation_bits"]) == (2, 8)
    assert load_classifier(path).fingerprint == saved.fingerprint


def test_plain_files_of_older_programs_stay_what_they_were(
    compact: Classifier, tmp_path: Path
) -> None:
    """Without rounding the file is the very one that older programs wrote and can open."""
    path = tmp_path / "model.safetensors"
    save_packed(compress_with(compact, uniform_widths(compact, 5)), path)
    about = read_description(path) or {}
    assert about["version"] == 1
    assert "activation_bits" not in about
    assert load_packed(path).activations == {}


def test_a_plain_classifier_file_keeps_the_rounding(compact: Classifier, tmp_path: Path) -> None:
    attach_activations(compact.model, calibrate(compact, pictures(), np.arange(8), ["one"] * 8))
    save_classifier(compact, tmp_path / "model.safetensors")
    opened = load_classifier(tmp_path / "model.safetensors")
    assert np.array_equal(predict(opened, pictures(1)), predict(compact, pictures(1)))


@pytest.mark.parametrize("method", ["integrated_gradients", "grad_cam"])
def test_saliency_reads_a_rounding_classifier(compact: Classifier, method: str) -> None:
    attach_activations(compact.model, calibrate(compact, pictures(), np.arange(8), ["one"] * 8))
    before = compact.fingerprint
    found = attribute(compact, pictures()[:2], np.array([0, 1]), method)
    assert np.isfinite(found.maps).all()
    assert np.abs(found.maps).sum() > 0
    assert compact.fingerprint == before


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"stem.input_scale": torch.tensor(0.1)}, "'stem' is not two numbers"),
        (
            {"stem.input_scale": torch.ones(2), "stem.input_zero_point": torch.tensor(3)},
            "'stem' is not two numbers",
        ),
        (
            {"stem.input_scale": torch.tensor(0.0), "stem.input_zero_point": torch.tensor(3)},
            "'stem' is 0.0 wide",
        ),
        (
            {"norm.input_scale": torch.tensor(0.1), "norm.input_zero_point": torch.tensor(3)},
            "'norm' is no layer",
        ),
    ],
    ids=["alone", "many", "zero", "elsewhere"],
)
def test_a_damaged_range_in_a_file_is_refused(
    classifier: Classifier, tensors: dict[str, torch.Tensor], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        restore_rounding(classifier.model, tensors)
    assert input_ranges(classifier.model) == {}


class Bypassing(nn.Module):
    """Reads the weight of a layer that it never calls, as BEiT does with its qkv."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.qkv = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.stem(x).mean((2, 3)), self.qkv.weight)


def test_a_bypassed_layer_is_named(classifier: Classifier, data: TrainingData) -> None:
    classifier.model = Bypassing()
    with pytest.raises(ClassifierError) as caught:
        ranges_of(classifier, data)
    assert str(caught.value) == activations.NOT_CALLED.format(name="tiny", count=1, layer="qkv")


def test_damaged_weights_and_an_empty_split_are_named(
    classifier: Classifier, data: TrainingData
) -> None:
    with pytest.raises(TrainingError, match="no training image"):
        calibrate(classifier, data.images, np.array([], dtype=int), data.groups)
    with torch.no_grad():
        classifier.model.get_submodule("stem").weight.fill_(float("nan"))
    with pytest.raises(ClassifierError, match="'depthwise' reaches from nan"):
        ranges_of(classifier, data)


def test_a_missing_range_changes_nothing(classifier: Classifier, data: TrainingData) -> None:
    ranges = ranges_of(classifier, data)
    del ranges["head"]
    with pytest.raises(ClassifierError, match="'head' has no range"):
        attach_activations(classifier.model, ranges)
    assert input_ranges(classifier.model) == {}
