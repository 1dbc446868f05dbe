"""Every sensitivity measure: against slow and obvious computations, and without moving the classifier."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

from fairquant_core.data.batches import normalise
from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import Cancelled, EvaluationError
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.compressed import compress_with
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.sensitivity import second_derivatives
from fairquant_core.sensitivity.gradient_pass import (
    FEWEST_BATCHES,
    cut,
    group_sums,
    weighed,
)
from fairquant_core.sensitivity.measured import measured_map
from fairquant_core.sensitivity.measures import MEASURES, trend
from fairquant_core.sensitivity.registry import (
    REGISTRY,
    fisher_map,
    gradient_map,
    grape_map,
    hessian_map,
    sample_per_group,
    sensitivity_map,
)
from fairquant_core.sensitivity.second_derivatives import hessian_diagonal
from fairquant_core.training.methods import uniform_widths

PREDICTED = ("centred", "fisher", "grape", "gradient", "hessian")
PURE = tuple(name for name in PREDICTED if name != "centred")  # see test_centring for that one


@pytest.fixture
def chosen(data) -> dict[str, np.ndarray]:
    return sample_per_group(data.groups.iloc[:60], 24, 0)


def image_gradients(classifier, data, positions) -> dict[str, torch.Tensor]:
    """Gradient of every image's loss by torch.func: layer -> (n, C, K)."""
    model = classifier.model.eval()
    weights = {f"{layer.name}.weight": layer.module.weight for layer in quantisable_layers(model)}

    def loss(weights, image, target):
        logits = torch.func.functional_call(model, weights, (image[None],))
        return functional.cross_entropy(logits, target[None])

    inputs = normalise(data.images[positions], classifier.preprocessing)
    targets = torch.as_tensor(data.labels[positions])
    found = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(
        {name: weight.detach() for name, weight in weights.items()}, inputs, targets
    )
    return {name.removesuffix(".weight"): values.flatten(2) for name, values in found.items()}


def rounding_errors(classifier, bits: int) -> dict[str, torch.Tensor]:
    """What the export really changes at a width: layer -> (C, K)."""
    plain = {layer.name: layer.weight().detach() for layer in quantisable_layers(classifier.model)}
    if bits == 0:
        return {name: -weight for name, weight in plain.items()}
    rounded = compress_with(classifier, uniform_widths(classifier, bits)).classifier.model
    return {layer.name: layer.weight() - plain[layer.name] for layer in quantisable_layers(rounded)}


def exact_damage(classifier, per_weight: dict[str, torch.Tensor], bits: int) -> np.ndarray:
    """``1/2 sum h (Q - w)^2`` per channel, from values per weight. Shapes: (U,)."""
    errors = rounding_errors(classifier, bits)
    parts = [0.5 * (per_weight[name] * errors[name] ** 2).sum(1) for name in per_weight]
    return torch.cat(parts).detach().numpy()


def test_every_card_has_its_function() -> None:
    assert set(REGISTRY) == set(MEASURES)


def test_fisher_of_single_images_is_the_exact_one(classifier, data, chosen) -> None:
    found = fisher_map(classifier, data.images, data.labels, chosen, batch_size=1)
    for row, positions in enumerate(chosen.values()):
        gradients = image_gradients(classifier, data, positions)
        fisher = {name: (g**2).mean(0) for name, g in gradients.items()}
        for bits in (0, 3):
            exact = exact_damage(classifier, fisher, bits)
            ours = found.damage[row, :, found.menu.index(bits)]
            np.testing.assert_allclose(ours, exact, rtol=2e-3, atol=1e-9)


def test_signed_batches_estimate_the_exact_fisher(classifier, data, chosen) -> None:
    estimates = [
        fisher_map(classifier, data.images, data.labels, chosen, batch_size=8, seed=seed, menu=(2,))
        for seed in range(10)
    ]
    exact = fisher_map(classifier, data.images, data.labels, chosen, batch_size=1, menu=(2,))
    mean = np.mean([found.damage for found in estimates], axis=0)
    alive = exact.damage > 1e-3 * exact.damage.max()
    ratio = mean[alive] / exact.damage[alive]
    assert np.abs(ratio - 1).max() < 0.4
    assert abs(ratio.mean() - 1) < 0.05


def test_grape_is_the_mean_of_weight_times_gradient_squared(classifier, data, chosen) -> None:
    found = grape_map(classifier, data.images, data.labels, chosen, batch_size=1, menu=(2, 4))
    assert (found.measure, found.menu) == ("grape", (2, 4))
    weights = {layer.name: layer.weight() for layer in quantisable_layers(classifier.model)}
    for row, positions in enumerate(chosen.values()):
        gradients = image_gradients(classifier, data, positions)
        exact = torch.cat(
            [((g * weights[name]) ** 2).mean(0).sum(1) for name, g in gradients.items()]
        )
        np.testing.assert_allclose(
            found.damage[row], exact.detach().numpy()[:, None] * trend((2, 4)), rtol=2e-3, atol=1e-9
        )


def test_gradient_is_the_pull_of_batches_of_equal_size(classifier, data, chosen) -> None:
    for batch_size in (1, 16):
        wide = {group: positions[:8] for group, positions in chosen.items()}
        wide = {group: np.tile(positions, 16) for group, positions in wide.items()}
        found = gradient_map(
            classifier, data.images, data.labels, wide, batch_size=batch_size, menu=(2,)
        )
        for row, positions in enumerate(wide.values()):
            gradients = image_gradients(classifier, data, positions)
            parts = np.array_split(np.arange(len(positions)), len(positions) // batch_size)
            exact = [
                torch.cat([g[part].mean(0).abs().sum(1) for g in gradients.values()]).detach()
                for part in parts
            ]
            np.testing.assert_allclose(
                found.damage[row, :, 0], torch.stack(exact).mean(0), rtol=2e-3, atol=1e-7
            )


def test_a_small_group_shrinks_the_batches_of_all(classifier, data, chosen) -> None:
    positions = chosen["large"]
    assert len(chosen["small"]) // FEWEST_BATCHES == 1
    alone = {"large": positions}
    beside = {"large": positions, "small": chosen["small"]}
    ones = gradient_map(classifier, data.images, data.labels, alone, batch_size=1, menu=(2,))
    found = gradient_map(classifier, data.images, data.labels, beside, batch_size=16, menu=(2,))
    np.testing.assert_array_equal(found.damage[0], ones.damage[0])


class Smooth(nn.Module):
    """Small enough for the whole Hessian."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # One pixel: the colours of single pixels are nearly independent, which keeps the Hessian well spread.
        return self.head(torch.tanh(self.first(x[:, :, 0, 0])))


@pytest.fixture
def smooth() -> Classifier:
    torch.manual_seed(1)
    preprocessing = Preprocessing(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return Classifier(Smooth(), "smooth", ("a", "b", "c"), preprocessing)


def exact_diagonal(classifier, data, positions) -> dict[str, torch.Tensor]:
    """Diagonal of the Hessian of the mean loss: layer -> (C, K)."""
    layers = quantisable_layers(classifier.model)
    names = [f"{layer.name}.weight" for layer in layers]
    inputs = normalise(data.images[positions], classifier.preprocessing)
    target = torch.as_tensor(data.labels[positions])

    def loss(*weights):
        changed = dict(zip(names, weights, strict=True))
        logits = torch.func.functional_call(classifier.model, changed, (inputs,))
        return functional.cross_entropy(logits, target)

    weights = tuple(layer.module.weight.detach() for layer in layers)
    blocks = torch.autograd.functional.hessian(loss, weights)
    return {
        layer.name: blocks[place][place].reshape(2 * [layer.weights]).diagonal().view_as(weight)
        for place, (layer, weight) in enumerate(zip(layers, weights, strict=True))
    }


def test_hutchinson_estimates_the_exact_diagonal(smooth, data, chosen, monkeypatch) -> None:
    monkeypatch.setattr(second_derivatives, "PROBES", 40)
    noise = np.random.default_rng(3).integers(0, 256, data.images.shape).astype(np.uint8)
    data = replace(data, images=noise)
    layers = quantisable_layers(smooth.model)
    # One column per weight of a channel, so that every weight is seen by itself, before any clipping.
    widest = max(layer.weights_per_channel for layer in layers)
    factors = [
        torch.eye(widest)[:, : layer.weights_per_channel].expand(layer.channels, -1, -1)
        for layer in layers
    ]
    exact = torch.zeros(sum(layer.channels for layer in layers), widest)
    start = 0
    for diagonal in exact_diagonal(smooth, data, chosen["large"]).values():
        exact[start : start + len(diagonal), : diagonal.shape[1]] = diagonal
        start += len(diagonal)
    batches = {"large": [chosen["large"]]}
    found = [
        group_sums(
            smooth, data.images, data.labels, batches, weighed(hessian_diagonal, factors), seed=seed
        )["large"]
        for seed in range(25)
    ]
    estimates = np.stack([one.channels / one.sizes.sum() for one in found])
    error = estimates.std(axis=0) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(axis=0) - exact.numpy()) < 4.5 * error + 1e-7).all()
    assert error.max() < 0.1 * exact.abs().max()


def test_a_channel_of_negative_curvature_counts_as_nothing(smooth, data, chosen) -> None:
    found = hessian_map(smooth, data.images, data.labels, chosen, menu=(2, 3))
    assert (found.damage == 0).any()
    assert (found.damage > 0).any()


class Attention(nn.Module):
    """Fused attention and a hard sigmoid, whose fast kernels cannot be differentiated twice."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(3, 24), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = functional.avg_pool2d(x, 4).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens)[:, None].chunk(3, dim=-1)
        mixed = functional.scaled_dot_product_attention(q, k, v)[:, 0].mean(1)
        return self.head(functional.hardsigmoid(mixed))


def test_hessian_goes_through_fused_operations(data, chosen) -> None:
    torch.manual_seed(0)
    preprocessing = Preprocessing(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    classifier = Classifier(Attention(), "attention", ("a", "b", "c"), preprocessing)
    found = hessian_map(classifier, data.images, data.labels, chosen)
    assert found.damage.sum() > 0


def test_hessian_says_what_it_cannot_differentiate_twice(smooth, data, chosen, monkeypatch) -> None:
    plain = smooth.model.forward
    monkeypatch.setattr(smooth.model, "forward", lambda x: torch.ops.aten.hardsigmoid(plain(x)))
    with pytest.raises(EvaluationError, match="full curvature.*Choose another measure"):
        hessian_map(smooth, data.images, data.labels, chosen)


@pytest.mark.parametrize("name", PURE)
def test_a_group_is_not_changed_by_the_others(name: str, classifier, data, chosen) -> None:
    chosen = {group: positions[:6] for group, positions in chosen.items()}
    together = sensitivity_map(name, classifier, data.images, data.labels, chosen)
    alone = {"small": chosen["small"]}
    single = sensitivity_map(name, classifier, data.images, data.labels, alone)
    row = together.groups.index("small")
    np.testing.assert_array_equal(together.damage[row], single.damage[0])
    np.testing.assert_array_equal(together.spread[:, row], single.spread[:, 0])


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_state_is_bit_identical_afterwards(name: str, classifier, data, chosen) -> None:
    classifier.model.train()
    classifier.model.head.weight.requires_grad_(False)
    before = copy.deepcopy(classifier.model.state_dict())
    sensitivity_map(name, classifier, data.images, data.labels, chosen, menu=(2, 4))
    after = classifier.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert classifier.model.training and classifier.model.norm.training
    assert not classifier.model.head.weight.requires_grad
    assert classifier.model.stem.weight.requires_grad
    assert all(p.grad is None for p in classifier.model.parameters())


@pytest.mark.parametrize("name", PREDICTED)
def test_damage_falls_with_every_bit_and_pruning_costs_most(
    name: str, classifier, data, chosen
) -> None:
    found = sensitivity_map(name, classifier, data.images, data.labels, chosen)
    assert found.menu[0] == 0
    totals = found.monotone_damage.sum(axis=1)
    assert (np.diff(totals, axis=1) < 0).all()
    frame = found.frame()
    assert frame["low"].notna().all()
    assert (frame["low"] <= frame["value"]).all()
    assert (frame["value"] <= frame["high"]).all()


def test_measured_damage_is_the_measured_change(classifier, data, chosen) -> None:
    frame = measured_map(classifier, data.images, data.labels, chosen, bits=(2, 5)).frame
    found = sensitivity_map("measured", classifier, data.images, data.labels, chosen, menu=(2, 5))
    assert (found.granularity, found.menu) == ("layer", (2, 5))
    row = frame[(frame.layer == "stem") & (frame.bits == 2) & (frame.group == "large")].iloc[0]
    place = found.groups.index("large"), found.layers.index("stem"), 0
    assert found.damage[place] == pytest.approx(max(row.loss_change, 0), rel=1e-5)
    assert found.spread[(1, *place)] == pytest.approx(row.loss_high - row.loss_change, rel=1e-5)


@pytest.mark.parametrize("name", PREDICTED)
def test_a_channel_of_zeros_is_no_trouble(name: str, classifier, data, chosen) -> None:
    with torch.no_grad():
        classifier.model.pointwise.weight[3] = 0
    found = sensitivity_map(name, classifier, data.images, data.labels, chosen)
    unit = int(np.searchsorted(found.layer_index, found.layers.index("pointwise"))) + 3
    if name != "gradient":
        assert (found.damage[:, unit] == 0).all()
    assert np.isfinite(found.damage).all()


@pytest.mark.parametrize("name", PREDICTED)
def test_a_single_image_gives_a_map_without_intervals(name: str, classifier, data, chosen) -> None:
    one = {**chosen, "small": chosen["small"][:1]}
    found = sensitivity_map(name, classifier, data.images, data.labels, one, menu=(2, 4))
    assert found.images["small"] == 1
    frame = found.layer_frame(2)
    assert frame[frame.group == "small"]["low"].isna().all()


def test_small_groups_are_cut_into_enough_batches() -> None:
    assert [len(batch) for batch in cut(np.arange(12), 16)] == [2, 2, 2, 2, 1, 1, 1, 1]
    assert len(cut(np.arange(3), 16)) == 3
    assert [len(batch) for batch in cut(np.arange(256), 16)] == [16] * 16


def test_measure_that_does_not_exist(classifier, data, chosen) -> None:
    with pytest.raises(EvaluationError, match="no sensitivity measure 'magic'.*fisher"):
        sensitivity_map("magic", classifier, data.images, data.labels, chosen)


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_broken_weights_name_the_group(name: str, classifier, data, chosen) -> None:
    with torch.no_grad():
        classifier.model.head.weight[0, 0] = float("nan")
    with pytest.raises(EvaluationError, match="group 'large' is not a number"):
        sensitivity_map(name, classifier, data.images, data.labels, chosen)


class Steep(nn.Module):
    """The loss is a number, its gradient is not: the square root of zero has no slope."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.sqrt(0 * self.first(x.mean((2, 3)))))


@pytest.mark.parametrize("name", PREDICTED)
def test_a_gradient_that_is_not_a_number_names_layer_and_group(name: str, data, chosen) -> None:
    preprocessing = Preprocessing(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    classifier = Classifier(Steep(), "steep", ("a", "b", "c"), preprocessing)
    with pytest.raises(
        EvaluationError, match="gradient of layer '(first|head)' on group 'large' is"
    ):
        sensitivity_map(name, classifier, data.images, data.labels, chosen)


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_cancel_stops_the_pass(name: str, classifier, data, chosen) -> None:
    with pytest.raises(Cancelled):
        sensitivity_map(name, classifier, data.images, data.labels, chosen, cancel=lambda: True)


def test_unknown_tone_is_no_group(data) -> None:
    assert set(sample_per_group(data.groups, 100, 0)) == {"small", "large"}


def test_at_most_the_limit_per_group(data) -> None:
    assert max(len(p) for p in sample_per_group(data.groups, 7, 0).values()) == 7


def test_no_known_group_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="No image has a known group"):
        sample_per_group(pd.Series(["unknown", "unknown"]), 10, 0)
