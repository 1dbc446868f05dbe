"""The centred measure: against gradients per image, and means and codes that are computed another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fairquant_core.data.batches import normalise
from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import EvaluationError
from fairquant_core.models.batch_norms import batch_norms
from fairquant_core.models.layer_inputs import second_moment
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.compressed import attach, compress_with
from fairquant_core.quantization.layers import original_weight, quantisable_layers
from fairquant_core.quantization.quantizer import quantizers
from fairquant_core.sensitivity import registry
from fairquant_core.sensitivity.centring import MEAN_IMAGES, input_averages, mean_sample
from fairquant_core.sensitivity.registry import centred_map, fisher_map, sample_per_group
from fairquant_core.sensitivity.rounding_errors import fitted_errors
from fairquant_core.training.compensation import fit_codes
from fairquant_core.training.methods import uniform_widths


@pytest.fixture
def chosen(data) -> dict[str, np.ndarray]:
    return sample_per_group(data.groups.iloc[:60], 24, 0)


@pytest.fixture
def nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """All layers are predicted with their nearest codes."""
    monkeypatch.setattr(registry, "SMALL_KERNEL", 0)


def given_inputs(classifier: Classifier, images: np.ndarray) -> dict[str, torch.Tensor]:
    """What every layer is given: layer -> (B, ...)."""
    found: dict[str, torch.Tensor] = {}
    hooks = [
        layer.module.register_forward_pre_hook(
            lambda module, given, name=layer.name: found.update({name: given[0].detach()})
        )
        for layer in quantisable_layers(classifier.model)
    ]
    classifier.model.eval()(normalise(images, classifier.preprocessing))
    for hook in hooks:
        hook.remove()
    return found


def unfolded_mean(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Mean input of every weight, from the patches themselves. Shapes: (C, K)."""
    if isinstance(module, nn.Linear):
        return inputs.flatten(0, -2).mean(0).expand(module.out_features, -1)
    patches = functional.unfold(inputs, module.kernel_size, 1, module.padding, module.stride)
    mean = patches.mean((0, 2)).reshape(module.groups, -1)
    return mean.repeat_interleave(module.out_channels // module.groups, 0)


def test_means_are_those_of_the_patches(classifier, data) -> None:
    images = data.images[:12]
    inputs = given_inputs(classifier, images)
    layers = quantisable_layers(classifier.model)
    for layer, mean in zip(layers, input_averages(classifier, images).means, strict=True):
        expected = unfolded_mean(layer.module, inputs[layer.name])
        torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-6)


def test_it_is_the_exact_one_of_inputs_without_their_mean(
    classifier, data, chosen, nearest
) -> None:
    """The head's gradient per image is known in full: (softmax - target) times what is left of its input."""
    found = centred_map(classifier, data.images, data.labels, chosen, batch_size=1)
    means = input_averages(classifier, data.images[mean_sample(chosen, 0)]).means
    rounded = compress_with(classifier, uniform_widths(classifier, 3)).classifier.model
    error = rounded.head.weight - classifier.model.head.weight.detach()
    channels = found.layer_index == found.layers.index("head")
    for row, positions in enumerate(chosen.values()):
        given = given_inputs(classifier, data.images[positions])["head"]
        logits = given @ classifier.model.head.weight.T + classifier.model.head.bias
        pull = logits.softmax(1) - functional.one_hot(torch.as_tensor(data.labels[positions]), 3)
        gradients = pull.unsqueeze(2) * (given - means[-1][0]).unsqueeze(1)
        exact = 0.5 * (gradients.square().mean(0) * error.square()).sum(1)
        ours = found.damage[row, channels, found.menu.index(3)]
        np.testing.assert_allclose(ours, exact.detach().numpy(), rtol=2e-3, atol=1e-9)


def test_convolutions_lose_what_a_bias_would_do(classifier, data, chosen, nearest) -> None:
    """Gradient of a weight less that of its channel's bias times the mean input, image by image."""
    found = centred_map(classifier, data.images, data.labels, chosen, batch_size=1)
    means = input_averages(classifier, data.images[mean_sample(chosen, 0)]).means
    number, layer = 1, classifier.model.depthwise  # has a bias of its own
    error = compress_with(classifier, uniform_widths(classifier, 2)).classifier.model
    error = (error.depthwise.weight - layer.weight).detach().flatten(1)
    totals = torch.zeros(8)
    for position in chosen["small"]:
        left = centred_gradient(classifier, data, position, means[number])
        totals += 0.5 * (left.square() * error.square()).sum(1)
    row, column = found.groups.index("small"), found.menu.index(2)
    ours = found.damage[row, found.layer_index == number, column]
    np.testing.assert_allclose(ours, totals / len(chosen["small"]), rtol=2e-3, atol=1e-9)


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121"])
def test_norms_tell_what_watching_outputs_tells(architecture, data, chosen, monkeypatch) -> None:
    """In the second network most outputs go to several norms, so both ways are used in one pass."""
    torch.manual_seed(0)
    classifier = create(architecture, ("a", "b", "c"), size=32)
    for norm in batch_norms(classifier.model):
        nn.init.normal_(norm.running_mean, std=0.2)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    images = data.images.repeat(2, 1).repeat(2, 2)
    few = {"small": chosen["small"][:6]}
    told = centred_map(classifier, images, data.labels, few)
    monkeypatch.setattr(registry, "norms_behind", lambda *_: {})
    watched = centred_map(classifier, images, data.labels, few)
    np.testing.assert_allclose(told.damage, watched.damage, rtol=1e-3, atol=1e-12)


class Bare(nn.Module):
    """Nothing in it can make up for a shift."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, bias=False)
        self.head = nn.Linear(6, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.first(x)).mean((2, 3)))


def test_a_network_that_cannot_make_up_for_shifts_is_predicted_as_before(
    data, chosen, nearest
) -> None:
    torch.manual_seed(0)
    preprocessing = Preprocessing(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    bare = Classifier(Bare(), "bare", ("a", "b", "c"), preprocessing)
    plain = fisher_map(bare, data.images, data.labels, chosen)
    centred = centred_map(bare, data.images, data.labels, chosen)
    np.testing.assert_array_equal(centred.damage, plain.damage)


class Twice(Bare):
    """Calls one layer twice in a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        again = self.first(torch.relu(self.first(x)))
        return nn.functional.pad(again.mean((2, 3)), (0, 3)) @ self.head.weight.T


def test_a_layer_that_is_called_twice_has_the_mean_of_both(data) -> None:
    torch.manual_seed(0)
    preprocessing = Preprocessing(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    twice = Classifier(Twice(), "twice", ("a", "b", "c"), preprocessing)
    images = data.images[:6]
    inputs = normalise(images, preprocessing)
    layer = twice.model.first
    second = torch.relu(layer(inputs)).detach()
    expected = (unfolded_mean(layer, inputs) + unfolded_mean(layer, second)) / 2
    found = input_averages(twice, images).means
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-6)
    assert not found[1].any()  # its weight is used, but the layer never called


def test_groups_meet_in_the_means_only(classifier, data, chosen, monkeypatch) -> None:
    fixed = mean_sample(chosen, 0)
    monkeypatch.setattr(registry, "mean_sample", lambda *_: fixed)
    together = centred_map(classifier, data.images, data.labels, chosen)
    alone = centred_map(classifier, data.images, data.labels, {"small": chosen["small"]})
    row = together.groups.index("small")
    np.testing.assert_array_equal(together.damage[row], alone.damage[0])


def test_means_rest_on_a_sample_of_all_groups() -> None:
    chosen = {"a": np.arange(100), "b": np.arange(100, 200)}
    sample = mean_sample(chosen, 0)
    assert len(sample) == len(set(sample)) == MEAN_IMAGES
    assert (np.diff(sample) > 0).all()
    assert 4 < (sample < 100).sum() < 12
    assert mean_sample({"a": np.arange(3)}, 0).tolist() == [0, 1, 2]


def test_small_kernels_err_as_they_do_when_they_are_rounded(classifier, data, chosen) -> None:
    """Rounding without training is the independent path to the codes; gradients per image to the damage."""
    menu = (0, 2, 3, 8)
    sample = data.images[mean_sample(chosen, 0)]
    found = centred_map(classifier, data.images, data.labels, chosen, menu=menu, batch_size=1)
    inputs = given_inputs(classifier, sample)
    shares = torch.full((len(sample),), 1 / len(sample))
    means = input_averages(classifier, sample).means
    number, layer = 1, quantisable_layers(classifier.model)[1]
    assert layer.name == "depthwise"
    moment = second_moment(layer.module, inputs[layer.name], shares)
    for column, bits in enumerate(menu[1:], start=1):
        student = classifier.copy()
        attach(student.model, uniform_widths(classifier, bits))
        quantizer = quantizers(student.model)[layer.name]
        weight = original_weight(student.model.depthwise)
        fit_codes(quantizer, weight, moment)
        error = quantizer(weight).flatten(1) - layer.weight()
        totals = torch.zeros(8)
        for position in chosen["small"]:
            left = centred_gradient(classifier, data, position, means[number])
            totals += 0.5 * (left * error).sum(1).square()
        row = found.groups.index("small")
        ours = found.damage[row, found.layer_index == number, column]
        expected = (totals / len(chosen["small"])).detach().numpy()
        np.testing.assert_allclose(ours, expected, rtol=5e-3, atol=1e-9)


def test_layers_that_are_fitted_together_are_fitted_as_alone(classifier, data) -> None:
    moments = input_averages(classifier, data.images[:16], most_weights=1000).moments
    layers = dict(enumerate(quantisable_layers(classifier.model)))
    twins = {number: layers[number % len(layers)] for number in range(2 * len(layers))}
    doubled = {number: moments[number % len(layers)] for number in twins}
    together = fitted_errors(twins, (0, 2, 4), doubled)
    assert list(together[0].shape) == [layers[0].channels, 3, layers[0].weights_per_channel]
    for number, layer in layers.items():
        alone = fitted_errors({0: layer}, (0, 2, 4), {0: moments[number]})[0]
        for twin in (number, number + len(layers)):
            torch.testing.assert_close(together[twin], alone, rtol=0, atol=1e-6)


def centred_gradient(
    classifier: Classifier, data, position: int, mean: torch.Tensor
) -> torch.Tensor:
    """Of the depthwise layer, less that of its bias times the mean input. Shapes: (C, K)."""
    inputs = normalise(data.images[[position]], classifier.preprocessing)
    target = torch.as_tensor(data.labels[[position]])
    loss = functional.cross_entropy(classifier.model.eval()(inputs), target)
    layer = classifier.model.depthwise
    slope, bias = torch.autograd.grad(loss, (layer.weight, layer.bias))
    return slope.flatten(1) - bias.unsqueeze(1) * mean


class Edges(nn.Module):
    """Depthwise kernels that take one pixel from another, as networks learn them: what is left of them is tiny."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = nn.Conv2d(3, 3, 3, groups=3)
        kernel = torch.full((3, 3), -0.0035)
        kernel[0, 1], kernel[2, 1] = -2.38, 2.37
        self.edges.weight.data[:] = kernel
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.edges(x).square().mean((2, 3)))


def test_errors_of_small_kernels_that_add_up_are_seen(data, chosen, monkeypatch) -> None:
    """By its nearest codes the kernel looks as if 2 bits were as good as 8; on even pictures they are not."""
    torch.manual_seed(0)
    preprocessing = Preprocessing(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    classifier = Classifier(Edges(), "edges", ("a", "b", "c"), preprocessing)
    generator = np.random.default_rng(0)
    brightness = generator.integers(20, 236, (len(data.images), 1, 1, 3))
    even = brightness + generator.integers(-5, 6, (len(data.images), 16, 16, 3))
    ratios = {}
    for few in (0, 32):
        monkeypatch.setattr(registry, "SMALL_KERNEL", few)
        found = centred_map(
            classifier, even.astype(np.uint8), data.labels, chosen, menu=(2, 8), batch_size=1
        )
        at_two, at_eight = found.damage[:, found.layer_index == 0].sum((0, 1))
        ratios[few] = at_two / at_eight
    assert ratios[0] < 1.5
    assert ratios[32] > 5


def test_inputs_that_are_not_numbers_are_refused_by_the_pass(classifier, data, chosen) -> None:
    with torch.no_grad():
        classifier.model.stem.weight[0, 0] = float("nan")
    with pytest.raises(EvaluationError, match="loss on group 'large' is not a number"):
        centred_map(classifier, data.images, data.labels, chosen)
