"""Rounding a whole network in one pass: exact codes, better outputs, and all that a network may hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fairquant_core.data.batches import normalise
from fairquant_core.errors import Cancelled, ClassifierError
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.compressed import attach, compress
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.quantization.quantizer import quantizers
from fairquant_core.training.compensation import (
    PIXELS,
    calibration_images,
    compensate,
    image_shares,
)
from fairquant_core.training.methods import uniform_widths


def rounded(classifier: Classifier, data, widths=None, **keywords) -> Classifier:
    student = classifier.copy()
    attach(student.model, widths or uniform_widths(student, 3), menu=(0, 2, 3, 4, 8))
    chosen = data.positions("train")
    shares = image_shares(data.groups.to_numpy()[chosen])
    student.unreached = compensate(student, classifier, data.images[chosen], shares, **keywords)
    return student


def nearest(classifier: Classifier, widths=None) -> Classifier:
    student = classifier.copy()
    attach(student.model, widths or uniform_widths(student, 3), menu=(0, 2, 3, 4, 8))
    return student


def logits(classifier: Classifier, data) -> torch.Tensor:
    with torch.no_grad():
        inputs = normalise(data.images[data.positions("validation")], classifier.preprocessing)
        return classifier.model(inputs)


def without_norm(classifier: Classifier) -> Classifier:
    copy = classifier.copy()
    copy.model.norm = nn.Identity()
    return copy


def test_codes_are_taken_out_exactly(classifier, data) -> None:
    widths = {
        layer.name: np.resize([2, 4, 0, 8], layer.channels).astype(np.uint8)
        for layer in quantisable_layers(classifier.model)
    }
    student = rounded(classifier, data, widths)
    packed = compress(student)
    student.model.eval()
    assert torch.equal(logits(student, data), logits(packed.classifier, data))
    for name, codes in packed.codes.items():
        lowest = np.where(widths[name] == 0, 0, -(2.0 ** (widths[name].astype(int) - 1)))
        highest = np.where(widths[name] == 0, 0, -lowest - 1)
        assert ((codes >= lowest[:, None]) & (codes <= highest[:, None])).all()
        module = packed.classifier.model.get_submodule(name)
        expected = codes * packed.scales[name][:, None]
        assert np.array_equal(module.weight.numpy(force=True).reshape(codes.shape), expected)


def test_outputs_are_nearer_to_full_precision_than_with_nearest_rounding(classifier, data) -> None:
    classifier = without_norm(classifier)
    wanted = logits(classifier, data)
    before = logits(nearest(classifier), data) - wanted
    after = logits(rounded(classifier, data), data) - wanted
    assert float(after.square().mean()) < 0.5 * float(before.square().mean())


def test_mean_outputs_are_those_of_full_precision(classifier, data) -> None:
    """Without norms the biases alone make up for the shift; here on the very images that were used."""
    classifier = without_norm(classifier)
    student = rounded(classifier, data, uniform_widths(classifier, 2))
    inputs = normalise(data.images[data.positions("train")], classifier.preprocessing)
    with torch.no_grad():
        means = [model(inputs).mean(0) for model in (classifier.model, student.model)]
    torch.testing.assert_close(means[1], means[0], rtol=1e-4, atol=1e-4)


def test_each_correction_can_be_left_out(classifier, data) -> None:
    only_biases = compress(rounded(classifier, data, codes=False))
    only_codes = compress(rounded(classifier, data, biases=False))
    plain, both = compress(nearest(classifier)), compress(rounded(classifier, data))
    for name in plain.codes:
        assert np.array_equal(only_biases.codes[name], plain.codes[name])
    # The first bias belongs to the depthwise layer: what comes before it is not moved by biases.
    assert np.array_equal(only_codes.codes["depthwise"], both.codes["depthwise"])
    assert not np.array_equal(only_codes.codes["depthwise"], plain.codes["depthwise"])
    bias = {
        kind: compressed.classifier.model.head.bias
        for kind, compressed in (("codes", only_codes), ("biases", only_biases))
    }
    assert torch.equal(bias["codes"], classifier.model.head.bias)
    assert not torch.equal(bias["biases"], classifier.model.head.bias)


def test_norms_hold_the_statistics_of_the_rounded_layer(classifier, data) -> None:
    student = rounded(classifier, data)
    with torch.no_grad():
        inputs = normalise(data.images[data.positions("train")], classifier.preprocessing)
        seen = student.model.stem(inputs)
    norm = student.model.norm
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1
    assert not any(module.training for module in student.model.modules())


def test_full_precision_classifier_and_hooks_are_left_alone(classifier, data) -> None:
    before = classifier.fingerprint
    student = rounded(classifier, data)
    assert classifier.fingerprint == before
    for model in (classifier.model, student.model):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_weights_stay_as_near_to_full_precision_as_their_codes_allow(classifier, data) -> None:
    student = rounded(classifier, data)
    for name, quantizer in quantizers(student.model).items():
        module = student.model.get_submodule(name)
        moved = module.parametrizations.weight.original.detach().flatten(1)
        full = classifier.model.get_submodule(name).weight.detach().flatten(1)
        codes, scale, _ = quantizer.codes(moved)
        same = quantizer.codes(full)[0] == codes
        inside = ((full / scale.unsqueeze(1)) - codes).abs() <= 0.45
        torch.testing.assert_close(moved[same & inside], full[same & inside])


def test_same_images_same_codes_other_weights_other_codes(classifier, data) -> None:
    chosen = data.positions("train")
    groups = data.groups.to_numpy()[chosen]

    def codes(weights):
        student = nearest(classifier, uniform_widths(classifier, 2))
        shares = image_shares(groups, weights)
        compensate(student, classifier, data.images[chosen], shares)
        return compress(student).classifier.fingerprint

    assert codes(None) == codes(None)
    assert codes({"small": 20.0}) != codes(None)


def test_shares_of_images() -> None:
    groups = np.array(["a", "a", "a", "b", "unknown"], dtype=object)
    assert torch.equal(image_shares(groups), torch.full((5,), 0.2))
    shares = image_shares(groups, {"b": 3.0, "absent": 9.0})
    torch.testing.assert_close(shares, torch.tensor([1, 1, 1, 3, 1]) / 7.0)


def test_choice_of_images_is_fixed_by_the_seed_and_bounded_by_their_size() -> None:
    positions = np.arange(100, 1000)
    first = calibration_images(positions, 128, 3)
    assert len(first) == 256
    assert set(first) <= set(positions)
    assert np.array_equal(first, calibration_images(positions, 128, 3))
    assert not np.array_equal(first, calibration_images(positions, 128, 4))
    assert len(calibration_images(positions, 256, 3)) * 256**2 <= PIXELS
    assert len(calibration_images(positions[:7], 128, 3)) == 7


class Unreached(nn.Module):
    """A network with a layer that is never called and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 3, padding=1)
        self.never = nn.Linear(4, 4)
        self.head = nn.Linear(3, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.twice(torch.relu(self.twice(x))).mean((2, 3)))


def test_layers_never_called_are_rounded_to_the_nearest_and_named(classifier, data) -> None:
    torch.manual_seed(1)
    classifier.model = Unreached()
    student = rounded(classifier, data)
    assert student.unreached == ["never"]
    plain = compress(nearest(classifier)).codes
    assert np.array_equal(compress(student).codes["never"], plain["never"])
    assert not np.array_equal(compress(student).codes["twice"], plain["twice"])


PLAIN = {"depth": 2, "embed_dim": 48, "num_heads": 3}
WINDOWS = {"depths": (2, 1), "embed_dim": 16, "num_heads": (2, 4), "window_size": 4}


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [("vit_tiny_patch16_224", PLAIN), ("swin_tiny_patch4_window7_224", WINDOWS)],
)
def test_transformer(data, architecture: str, arguments: dict) -> None:
    torch.manual_seed(0)
    classifier = create(architecture, ("a", "b", "c"), size=32, model_arguments=arguments)
    images = np.repeat(np.repeat(data.images, 2, axis=1), 2, axis=2)
    student, plain = classifier.copy(), nearest(classifier)
    attach(student.model, uniform_widths(student, 3))
    chosen = data.positions("train")
    shares = image_shares(data.groups.to_numpy()[chosen])
    assert compensate(student, classifier, images[chosen], shares) == []
    tests = normalise(images[data.positions("validation")], classifier.preprocessing)
    with torch.no_grad():
        wanted = classifier.model(tests)
        errors = [
            float((model(tests) - wanted).square().mean()) for model in (plain.model, student.model)
        ]
    # 0.36 and 0.60 as means of eight networks; nearest rounding is good already where all codes are used.
    assert errors[1] < 0.75 * errors[0]


def test_cancelling_stops_at_the_next_layer_and_removes_the_hooks(classifier, data) -> None:
    seen: list[tuple[int, int]] = []
    student = nearest(classifier)
    chosen = data.positions("train")
    with pytest.raises(Cancelled):
        compensate(
            student,
            classifier,
            data.images[chosen],
            image_shares(data.groups.to_numpy()[chosen]),
            progress=lambda done, total: seen.append((done, total)),
            cancel=lambda: len(seen) == 2,
        )
    assert seen == [(1, 4), (2, 4)]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in student.model.modules())
    assert not student.model.norm.training


def test_damaged_weights_name_the_first_layer_that_sees_them(classifier, data) -> None:
    with torch.no_grad():
        classifier.model.norm.weight[0] = float("nan")
    with pytest.raises(ClassifierError, match="'depthwise'"):
        rounded(classifier, data)
