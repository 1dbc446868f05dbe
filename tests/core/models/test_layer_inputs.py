"""The columns that a layer's weights meet: multiplied with the weights they must give the layer's output."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from fairquant_core.models.layer_inputs import input_columns, row_shares, second_moment

LAYERS = {
    "plain": nn.Conv2d(6, 8, 3, padding=1),
    "pointwise": nn.Conv2d(6, 8, 1),
    "pointwise in steps": nn.Conv2d(6, 8, 1, stride=2),
    "pointwise in groups": nn.Conv2d(6, 8, 1, groups=2),
    "in groups": nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2),
    "depthwise": nn.Conv2d(6, 6, 5, padding=2, groups=6),
    "dilated": nn.Conv2d(6, 8, 3, padding=2, dilation=2),
    "patches": nn.Conv2d(6, 8, 2, stride=2),
    "padded to the same size": nn.Conv2d(6, 8, (3, 5), padding="same"),
    "mirrored": nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_columns_times_weights_are_the_outputs(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name].requires_grad_(False)
    inputs = torch.randn(3, 6, 8, 8)
    columns = input_columns(layer, inputs)
    weight = layer.weight.flatten(1).unflatten(0, (layer.groups, -1))
    outputs = torch.einsum("gck,bgkp->bgcp", weight, columns).flatten(1, 2)
    expected = layer(inputs).flatten(2) - layer.bias.view(1, -1, 1)
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)


def test_tokens_of_a_linear_layer() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 4, bias=False).requires_grad_(False)
    for inputs in (torch.randn(3, 7, 5), torch.randn(3, 5), torch.randn(3, 2, 4, 5)):
        columns = input_columns(layer, inputs)
        expected = layer(inputs).reshape(3, -1, 4).transpose(1, 2)
        torch.testing.assert_close(layer.weight @ columns[:, 0], expected)


def test_large_maps_are_sampled_and_every_position_has_its_turn() -> None:
    layer = nn.Conv2d(1, 2, 3, padding=1)
    inputs = torch.arange(24.0**2).view(1, 1, 24, 24)
    seen = [input_columns(layer, inputs, shift)[0, 0, 4] for shift in range(3)]
    assert all(60 <= len(middle) <= 64 for middle in seen)
    rows = torch.cat(seen).div(24, rounding_mode="floor").unique()
    assert rows.tolist() == list(range(24))


def test_maps_smaller_than_a_layer_that_pads_by_itself() -> None:
    columns = input_columns(Conv2dSame(2, 4, 5, stride=2), torch.ones(1, 2, 2, 2))
    assert columns.shape == (1, 1, 50, 1)
    assert float(columns.sum()) == 8


def test_moment_is_the_weighted_mean_of_outer_products() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    inputs = torch.randn(40, 4, 4, 4)  # more images than are unfolded at once
    shares = torch.rand(40)
    shares /= shares.sum()
    columns = input_columns(layer, inputs).double()
    expected = torch.einsum("b,bgkp,bglp->gkl", shares.double(), columns, columns) / 16
    torch.testing.assert_close(
        second_moment(layer, inputs, shares).double(), expected, rtol=1e-4, atol=1e-5
    )


def test_rows_of_an_image_share_what_it_counts() -> None:
    shares = torch.tensor([0.75, 0.25])
    assert row_shares(shares, 2).tolist() == [0.75, 0.25]
    assert row_shares(shares, 4).tolist() == [0.375, 0.375, 0.125, 0.125]
    torch.testing.assert_close(row_shares(shares, 5), torch.full((5,), 0.2))


def test_windows_of_an_image_count_as_the_image() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    images, shares = torch.randn(3, 2, 5, 4), torch.tensor([0.5, 0.3, 0.2])
    whole = second_moment(layer, images, shares)
    torch.testing.assert_close(second_moment(layer, images.flatten(0, 1), shares), whole)
