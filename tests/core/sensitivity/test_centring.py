"""The centred measure: against gradients per image and means that are computed another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fairquant_core.data.batches import normalise
from fairquant_core.data.images import Preprocessing
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.compressed import compress_with
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.sensitivity import registry
from fairquant_core.sensitivity.centring import MEAN_IMAGES, mean_inputs, mean_sample
from fairquant_core.sensitivity.registry import centred_map, fisher_map, sample_per_group
from fairquant_core.training.methods import uniform_widths


@pytest.fixture
def chosen(data) -> dict[str, np.ndarray]:
    return sample_per_group(data.groups.iloc[:60], 24, 0)


def layer_inputs(classifier: Classifier, images: np.ndarray) -> dict[str, torch.Tensor]:
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
    inputs = layer_inputs(classifier, images)
    layers = quantisable_layers(classifier.model)
    for layer, mean in zip(layers, mean_inputs(classifier, images), strict=True):
        expected = unfolded_mean(layer.module, inputs[layer.name])
        torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-6)


def test_it_is_the_exact_one_of_inputs_without_their_mean(classifier, data, chosen) -> None:
    """The head's gradient per image is known in full: (softmax - target) times what is left of its input."""
    found = centred_map(classifier, data.images, data.labels, chosen, batch_size=1)
    means = mean_inputs(classifier, data.images[mean_sample(chosen, 0)])
    rounded = compress_with(classifier, uniform_widths(classifier, 3)).classifier.model
    error = rounded.head.weight - classifier.model.head.weight.detach()
    channels = found.layer_index == found.layers.index("head")
    for row, positions in enumerate(chosen.values()):
        given = layer_inputs(classifier, data.images[positions])["head"]
        logits = given @ classifier.model.head.weight.T + classifier.model.head.bias
        pull = logits.softmax(1) - functional.one_hot(torch.as_tensor(data.labels[positions]), 3)
        gradients = pull.unsqueeze(2) * (given - means[-1][0]).unsqueeze(1)
        exact = 0.5 * (gradients.square().mean(0) * error.square()).sum(1)
        ours = found.damage[row, channels, found.menu.index(3)]
        np.testing.assert_allclose(ours, exact.detach().numpy(), rtol=2e-3, atol=1e-9)


def test_convolutions_lose_what_a_bias_would_do(classifier, data, chosen) -> None:
    """Gradient of a weight less that of its channel's bias times the mean input, image by image."""
    found = centred_map(classifier, data.images, data.labels, chosen, batch_size=1)
    means = mean_inputs(classifier, data.images[mean_sample(chosen, 0)])
    number, layer = 1, classifier.model.depthwise  # has a bias of its own
    error = compress_with(classifier, uniform_widths(classifier, 2)).classifier.model
    error = (error.depthwise.weight - layer.weight).detach().flatten(1)
    totals = torch.zeros(8)
    for position in chosen["small"]:
        inputs = normalise(data.images[[position]], classifier.preprocessing)
        target = torch.as_tensor(data.labels[[position]])
        loss = functional.cross_entropy(classifier.model.eval()(inputs), target)
        slope, bias = torch.autograd.grad(loss, (layer.weight, layer.bias))
        left = slope.flatten(1) - bias.unsqueeze(1) * means[number]
        totals += 0.5 * (left.square() * error.square()).sum(1)
    row, column = found.groups.index("small"), found.menu.index(2)
    ours = found.damage[row, found.layer_index == number, column]
    np.testing.assert_allclose(ours, totals / len(chosen["small"]), rtol=2e-3, atol=1e-9)


class Bare(nn.Module):
    """Nothing in it can make up for a shift."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, bias=False)
        self.head = nn.Linear(6, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.first(x)).mean((2, 3)))


def test_a_network_that_cannot_make_up_for_shifts_is_predicted_as_before(data, chosen) -> None:
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
    found = mean_inputs(twice, images)
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
    assert 8 < (sample < 100).sum() < 24
    assert mean_sample({"a": np.arange(3)}, 0).tolist() == [0, 1, 2]
