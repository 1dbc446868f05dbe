"""The range of each channel: never worse than the largest weight's, and nothing is missed by looking at less."""

from __future__ import annotations

import pytest
import torch

from fairquant_core.quantization import ranges
from fairquant_core.quantization.codes import quantise
from fairquant_core.quantization.ranges import best_clip, largest_clip


def column(bits: float, rows: int) -> torch.Tensor:
    return torch.full((rows, 1), float(bits))


def squared_error(weight: torch.Tensor, clip: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    codes, scale = quantise(weight, clip, bits)
    return (codes * scale - weight).square().sum(1)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_best_range_never_loses_to_the_largest_weight(bits: int) -> None:
    weight = torch.randn(32, 300, generator=torch.Generator().manual_seed(bits))
    width = column(bits, 32)
    largest, found = largest_clip(weight, width), best_clip(weight, width)
    error = squared_error(weight, found, width)
    assert (error <= squared_error(weight, largest, width) + 1e-6).all()
    shares = torch.linspace(0.15, 1, 400)
    fine = torch.stack([squared_error(weight, largest * share, width) for share in shares]).amin(0)
    assert float((error / fine).mean()) < 1.04


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_lowest_code_lies_on_the_side_that_needs_it(bits: int) -> None:
    weight = torch.randn(64, 9, generator=torch.Generator().manual_seed(bits))
    width = column(bits, 64)
    found = best_clip(weight, width)
    assert {*found.sign().flatten().tolist()} == {-1.0, 1.0}
    error = squared_error(weight, found, width)
    shares, largest = torch.linspace(0.15, 1, 400), largest_clip(weight, width)
    best = {
        sign: torch.stack([squared_error(weight, sign * largest * s, width) for s in shares]).amin(
            0
        )
        for sign in (-1, 1)
    }
    assert float((error / torch.minimum(best[-1], best[1])).mean()) < 1.04
    assert float((error / best[1]).mean()) < 0.95  # than with the lowest code below zero everywhere
    codes, scale = quantise(weight, found, width)
    assert (codes.amin(), codes.amax()) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert torch.equal(scale.sign(), found.sign())


@pytest.mark.parametrize("count", [1, 9, 300, 4608])
@pytest.mark.parametrize("heavy", [False, True])
def test_shares_that_are_not_tried_could_not_have_been_the_best(
    count: int, heavy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(count)
    weight = torch.randn(40, count, generator=generator)
    if heavy:
        weight = weight**5
    for bits in range(2, 9):
        width = column(bits, 40)
        found = squared_error(weight, best_clip(weight, width), width)
        with monkeypatch.context() as patch:
            patch.setattr(ranges, "_lowest_share", lambda bits, count: 0.0)
            everything = squared_error(weight, best_clip(weight, width), width)
        torch.testing.assert_close(found, everything, rtol=1e-5, atol=1e-9)


def test_channels_of_several_widths_get_what_each_would_get_alone() -> None:
    weight = torch.randn(7, 50, generator=torch.Generator().manual_seed(0))
    bits = torch.tensor([0, 2, 8, 2, 3, 0, 5]).float().unsqueeze(1)
    found = best_clip(weight, bits)
    for row in range(7):
        alone = best_clip(weight[row : row + 1], bits[row : row + 1])
        torch.testing.assert_close(found[row : row + 1], alone)
    pruned = bits == 0
    assert torch.equal(found[pruned], weight.abs().amax(1, keepdim=True)[pruned])
