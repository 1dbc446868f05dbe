"""Compensated rounding against the textbook form of the method, written out weight by weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fairquant_core.errors import ClassifierError
from fairquant_core.models.layer_inputs import second_moment
from fairquant_core.quantization.codes import levels, quantise
from fairquant_core.quantization.ranges import best_clip
from fairquant_core.quantization.rounding import (
    DAMPENING,
    FLOOR,
    SWEEPS,
    check_moment,
    compensated_codes,
    output_error,
)


def reference(
    weight: np.ndarray, moment: np.ndarray, scale: np.ndarray, highest: np.ndarray, sweeps: int = 0
) -> np.ndarray:
    """Optimal brain quantisation in a fixed order, in double precision, for one group.

    After each input, all that are left are moved by the closed form ``-(error / [H^-1]_qq) [H^-1]_q``, with the
    inverse over the inputs that are left. Then each code in its turn becomes the best one given the others.
    """
    moment = moment + (DAMPENING * np.diag(moment).mean() + FLOOR) * np.eye(len(moment))
    order = np.argsort(-np.diag(moment), kind="stable")
    left, codes = list(order), np.zeros(weight.shape)
    moved = weight.astype(np.float64).copy()
    for column in order:
        inverse = np.linalg.inv(moment[np.ix_(left, left)])
        codes[:, column] = np.clip(np.rint(moved[:, column] / scale), -highest - 1, highest)
        error = moved[:, column] - codes[:, column] * scale
        moved[:, left] -= np.outer(error, inverse[0] / inverse[0, 0])
        left.remove(column)
    for _ in range(sweeps):
        for column in order:
            slope = (codes * scale[:, None] - weight) @ moment[:, column]
            wish = codes[:, column] - slope / (scale * moment[column, column])
            codes[:, column] = np.clip(np.rint(wish), -highest - 1, highest)
    return codes


def case(groups: int, channels: int, inputs: int, *, widths=(2, 3, 4), seed: int = 0):
    """Weights, moments of correlated inputs, and the best ranges for mixed widths."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(groups, channels, inputs, generator=generator)
    mixing = torch.randn(groups, inputs, inputs, generator=generator) / inputs**0.5
    seen = torch.randn(groups, 4 * inputs, inputs, generator=generator) @ mixing + 0.5
    moment = seen.transpose(1, 2) @ seen / seen.shape[1]
    bits = torch.tensor(widths).float()[torch.arange(groups * channels) % len(widths)]
    bits = bits.view(groups, channels, 1)
    clip = best_clip(weight.flatten(0, 1), bits.flatten(0, 1)).view_as(bits)
    return weight, moment, clip, bits


@pytest.mark.parametrize("sweeps", [0, 2])
@pytest.mark.parametrize(("groups", "channels", "inputs"), [(1, 6, 40), (1, 3, 150), (4, 2, 9)])
def test_same_codes_as_the_textbook(groups: int, channels: int, inputs: int, sweeps: int) -> None:
    weight, moment, clip, bits = case(groups, channels, inputs)
    codes = compensated_codes(weight, moment, clip, bits, sweeps=sweeps)
    highest = (2 ** (bits - 1) - 1).numpy()[:, :, 0]
    scale = clip.double().numpy()[:, :, 0] / (highest + 0.5)
    for group in range(groups):
        expected = reference(
            weight[group].numpy(),
            moment[group].double().numpy(),
            scale[group],
            highest[group],
            sweeps,
        )
        # Single precision may decide a tie the other way, and what follows then differs.
        assert (codes[group].numpy() == expected).mean() > 0.99


def test_grouped_convolution_as_dense_matrices_over_explicit_patches() -> None:
    """Patches cut out one by one and one dense problem per group, in double precision."""
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2, bias=False).requires_grad_(False)
    images = torch.nn.functional.avg_pool2d(torch.randn(12, 6, 22, 22), 3, stride=2).relu()
    moment = second_moment(layer, images, torch.full((12,), 1 / 12))
    bits = torch.tensor([2.0, 3.0, 4.0, 5.0]).repeat(2)
    clip = best_clip(layer.weight.flatten(1), bits.unsqueeze(1))
    codes = compensated_codes(
        layer.weight.view(2, 4, 27), moment, clip.view(2, 4, 1), bits.view(2, 4, 1)
    )
    padded = np.pad(images.numpy().astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    for group in range(2):
        maps = padded[:, 3 * group : 3 * group + 3]
        patches = np.array(
            [
                picture[:, row : row + 3, column : column + 3].ravel()
                for picture in maps
                for row in range(0, 9, 2)
                for column in range(0, 9, 2)
            ]
        )
        highest = 2 ** (bits[:4].numpy() - 1) - 1
        expected = reference(
            layer.weight[4 * group : 4 * group + 4].numpy().reshape(4, 27),
            patches.T @ patches / len(patches),
            clip[4 * group : 4 * group + 4, 0].double().numpy() / (highest + 0.5),
            highest,
            SWEEPS,
        )
        assert (codes[group].numpy() == expected).mean() > 0.99


def test_uncorrelated_inputs_give_nearest_rounding() -> None:
    weight, _, clip, bits = case(2, 5, 30)
    spread = torch.diag_embed(torch.rand(2, 30, generator=torch.Generator().manual_seed(1)) + 0.1)
    codes = compensated_codes(weight, spread, clip, bits)
    torch.testing.assert_close(codes, quantise(weight, clip, bits)[0], rtol=0, atol=0)


def test_no_single_code_could_be_better() -> None:
    weight, moment, clip, bits = case(2, 4, 40)
    once, codes = (
        compensated_codes(weight, moment, clip, bits, sweeps=sweeps) for sweeps in (0, 50)
    )
    scale, highest = clip / levels(bits), 2 ** (bits - 1) - 1
    extra = DAMPENING * moment.diagonal(dim1=1, dim2=2).mean(1) + FLOOR
    moment = moment + extra.view(-1, 1, 1) * torch.eye(40)
    lowest = output_error(codes * scale - weight, moment)
    for column in range(40):
        for move in (-1, 1):
            other = codes.clone()
            other[:, :, column] += move
            moved = other[:, :, column : column + 1]
            allowed = (moved <= highest) & (moved >= -highest - 1)
            error = output_error(other * scale - weight, moment)
            assert bool((error >= lowest * (1 - 1e-5))[allowed].all())
    assert float(lowest.sum()) < float(output_error(once * scale - weight, moment).sum())


@pytest.mark.parametrize("seed", range(3))
def test_output_error_is_lower_than_with_nearest_rounding(seed: int) -> None:
    weight, moment, clip, bits = case(1, 16, 64, seed=seed)
    nearest, scale = quantise(weight, clip, bits)
    before = output_error(nearest * scale - weight, moment)
    codes = compensated_codes(weight, moment, clip, bits)
    after = output_error(codes * scale - weight, moment)
    assert float(after.sum()) < 0.6 * float(before.sum())
    assert bool((codes <= 2 ** (bits - 1) - 1).all() and (codes >= -(2 ** (bits - 1))).all())


def test_the_error_is_that_of_the_outputs() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 8, generator=generator)
    difference = torch.randn(1, 3, 8, generator=generator)
    outputs = inputs @ difference[0].T
    moment = (inputs.T @ inputs / 50).unsqueeze(0)
    torch.testing.assert_close(
        output_error(difference, moment)[0, :, 0], outputs.square().mean(0), rtol=1e-5, atol=1e-6
    )


def test_inputs_that_are_never_seen_or_always_equal() -> None:
    weight, _, clip, bits = case(1, 4, 12)
    nothing = torch.zeros(1, 12, 12)
    nearest = quantise(weight, clip, bits)[0]
    assert torch.equal(compensated_codes(weight, nothing, clip, bits), nearest)
    equal = torch.ones(1, 12, 12)  # rank 1: any error can be undone on the next weight
    codes = compensated_codes(weight, equal, clip, bits)
    scale = clip / levels(bits)
    total = ((codes * scale - weight).sum(2)).abs()
    assert bool((total <= (nearest * scale - weight).sum(2).abs() + 1e-4).all())
    indefinite = equal - 0.2 * torch.eye(12)  # what rounding errors of a sum can leave, and worse
    assert bool(torch.isfinite(compensated_codes(weight, indefinite, clip, bits)).all())


def test_a_matrix_without_a_factor_changes_no_other() -> None:
    """What measured moments lack in precision makes one of them need more dampening; the others do not."""
    weight, moment, clip, bits = case(3, 4, 16)
    alone = compensated_codes(weight[:1], moment[:1], clip[:1], bits[:1])
    broken = moment.clone()
    broken[1] -= 0.5 * torch.eye(16) * moment[1].diagonal().mean()
    assert bool(torch.linalg.cholesky_ex(broken[1].double()).info)
    together = compensated_codes(weight, broken, clip, bits)
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=0)
    assert bool(together.isfinite().all())


def test_pruned_channels_and_channels_of_zeros_stay_zero() -> None:
    weight, moment, _, _ = case(1, 3, 20)
    weight[0, 1] = 0
    bits = torch.tensor([0.0, 4.0, 4.0]).view(1, 3, 1)
    clip = best_clip(weight[0], bits[0]).unsqueeze(0)
    codes = compensated_codes(weight, moment, clip, bits)
    assert not bool(codes[0, :2].any())
    assert bool(codes[0, 2].any())


def test_inputs_that_are_not_numbers_name_the_layer() -> None:
    with pytest.raises(ClassifierError, match=r"'stem'"):
        check_moment(torch.tensor([[float("nan")]]), "stem")
