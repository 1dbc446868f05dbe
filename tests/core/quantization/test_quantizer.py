"""The quantiser: what it rounds to, what it costs, and that everything in it really learns."""

from __future__ import annotations

import numba
import pytest
import torch
from torch.nn.utils import parametrize

from fairquant_core.quantization import kernels
from fairquant_core.quantization.bank import QuantizerBank
from fairquant_core.quantization.codes import grid_of, levels, quantise
from fairquant_core.quantization.compressed import attach, compress
from fairquant_core.quantization.quantizer import FakeQuantizer, quantizers
from fairquant_core.quantization.ranges import best_clip
from fairquant_core.quantization.straight_through import Mixture, rounded
from fairquant_core.training.methods import uniform_widths


def column(bits: float, rows: int) -> torch.Tensor:
    return torch.full((rows, 1), float(bits))


def one_layer(weight: torch.Tensor, quantizer: FakeQuantizer) -> torch.nn.Linear:
    """A layer with this weight and quantiser."""
    layer = torch.nn.Linear(weight.shape[1], len(weight), bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    parametrize.register_parametrization(layer, "weight", quantizer, unsafe=True)
    return layer


def signal_to_noise(weight: torch.Tensor, bits: int) -> float:
    codes, scale = quantise(
        weight, best_clip(weight, column(bits, len(weight))), column(bits, len(weight))
    )
    error = codes * scale - weight
    return float(10 * torch.log10(weight.square().mean() / error.square().mean()))


def test_codes_are_whole_and_within_the_width() -> None:
    weight = torch.randn(6, 50)
    bits = torch.tensor([2, 3, 4, 5, 6, 8]).float().unsqueeze(1)
    codes, _ = quantise(weight, best_clip(weight, bits), bits)
    assert torch.equal(codes, codes.round())
    assert (codes.amin(1, keepdim=True) >= -(2 ** (bits - 1))).all()
    assert (codes.amax(1, keepdim=True) <= 2 ** (bits - 1) - 1).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_every_code_of_a_width_is_used_and_weights_go_to_the_nearest(bits: int) -> None:
    """Against the plain formula, weight by weight."""
    weight = torch.randn(3, 4000, generator=torch.Generator().manual_seed(bits)) * 2
    clip = torch.tensor([[1.0], [2.0], [5.0]])
    codes, scale = quantise(weight, clip, column(bits, 3))
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    torch.testing.assert_close(scale, clip / ((2**bits - 1) / 2))
    expected = (weight / scale).round().clamp(lowest, highest)
    edge = ((weight / scale).remainder(1) - 0.5).abs() < 1e-4
    assert torch.equal(codes[~edge], expected[~edge])
    assert {codes.min().item(), codes.max().item()} == {lowest, highest}


def test_the_lowest_code_lowers_the_error_of_normal_weights() -> None:
    """What the docstring claims: decibels gained over codes that are symmetric about zero, at equal bytes."""
    weight = torch.randn(1, 400_000, generator=torch.Generator().manual_seed(0))
    for bits, gain in ((2, 1.06), (3, 0.63), (4, 0.37)):
        top = 2 ** (bits - 1) - 1
        symmetric = max(
            float(
                -10
                * torch.log10(((weight / s).round().clamp(-top, top) * s - weight).square().mean())
            )
            for s in torch.linspace(0.2, 1.5, 131)
        )
        assert signal_to_noise(weight, bits) - symmetric == pytest.approx(gain, abs=0.05)


def test_signal_to_noise_rises_six_decibels_per_bit() -> None:
    weight = torch.rand(64, 4096, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rises = [signal_to_noise(weight, b + 1) - signal_to_noise(weight, b) for b in range(4, 8)]
    assert all(5.5 < rise < 6.8 for rise in rises), rises


def test_at_least_as_good_as_torchao_at_the_same_width() -> None:
    primitives = pytest.importorskip("torchao.quantization.quant_primitives")
    weight = torch.randn(32, 512, generator=torch.Generator().manual_seed(1))
    for bits in (3, 4, 8):
        bottom, top = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        scale, zero = primitives.choose_qparams_affine(
            weight,
            primitives.MappingType.SYMMETRIC,
            (1, 512),
            torch.int8,
            bottom,
            top,
        )
        codes = primitives.quantize_affine(weight, (1, 512), scale, zero, torch.int8, bottom, top)
        back = primitives.dequantize_affine(codes, (1, 512), scale, zero, torch.int8, bottom, top)
        theirs = float(10 * torch.log10(weight.square().mean() / (back - weight).square().mean()))
        assert signal_to_noise(weight, bits) >= theirs - 0.01


def test_channel_of_zeros_stays_zero() -> None:
    codes, scale = quantise(
        torch.zeros(2, 9), best_clip(torch.zeros(2, 9), column(3, 2)), column(3, 2)
    )
    assert torch.equal(codes, torch.zeros(2, 9))
    assert torch.isfinite(scale).all()


def test_gradient_of_the_range_matches_the_learned_step_size_formula() -> None:
    weight = torch.randn(4, 30, dtype=torch.float32)
    quantizer = FakeQuantizer(weight, torch.full((4,), 3.0))
    with torch.no_grad():
        quantizer.log_clip -= 0.5  # so that some weights are clipped
    upstream = torch.randn(4, 30)
    leaf = weight.clone().requires_grad_()
    quantizer(leaf).backward(upstream)
    assert set(quantizer.sign.flatten().tolist()) == {-1.0, 1.0}
    clip, steps = quantizer.clip.detach(), levels(column(3, 4))
    codes, scale = quantise(weight, clip, column(3, 4))
    inside = (weight + scale / 2).abs() <= clip.abs()
    per_weight = torch.where(inside, codes - weight / scale, codes)
    by_step = (upstream * per_weight).sum(1, keepdim=True)
    torch.testing.assert_close(
        quantizer.log_clip.grad, by_step / steps * clip, atol=1e-4, rtol=1e-4
    )
    assert torch.equal(leaf.grad, torch.where(inside, upstream, torch.zeros(())))


def test_gradient_of_the_bits_is_the_difference_between_the_two_widths() -> None:
    weight = torch.randn(5, 40)
    quantizer = FakeQuantizer(weight, torch.full((5,), 3.25))
    layer = one_layer(weight, quantizer)
    QuantizerBank(layer).prepare(hardness=1.0)
    upstream = torch.randn(5, 40)
    layer.weight.backward(upstream)
    clip = quantizer.clip.detach()
    low, high = (
        codes * scale for codes, scale in (quantise(weight, clip, column(b, 5)) for b in (3, 4))
    )
    expected = (upstream * (high - low)).sum(1, keepdim=True)
    torch.testing.assert_close(quantizer.bits.grad, expected, atol=1e-5, rtol=1e-4)
    assert (quantizer.bits.grad != 0).all()


def test_what_is_left_out_stays_out_while_widths_are_learned_and_nothing_else_is() -> None:
    weight = torch.randn(3, 40)
    quantizer = FakeQuantizer(weight, torch.tensor([0.0, 2.0, 3.5]), menu=(0, 2, 3, 4))
    layer = one_layer(weight, quantizer)
    bank = QuantizerBank(layer)
    average = bank.prepare(hardness=1.0)
    (layer.weight.sum() + average).backward()
    assert quantizer.bits.grad is not None and (quantizer.bits.grad != 0).all()
    with torch.no_grad():
        for push in (-5.0, 3.0):
            quantizer.bits.add_(push)
            bank.keep_in_menu()
            expected = [0.0, 2.0, 2.0] if push < 0 else [0.0, 4.0, 4.0]
            assert quantizer.bits.flatten().tolist() == expected
    # Half of 2 bits is no width to learn: a narrow channel is the mixture of 2 and 3 bits at least.
    assert bank.menus.tolist() == [[0.0] * 4, [2.0, 3.0, 4.0, 4.0], [2.0, 3.0, 4.0, 4.0]]


@pytest.mark.parametrize("granularity", ["channel", "layer"])
def test_bits_receive_gradient_through_the_network(classifier, data, granularity) -> None:
    attach(classifier.model, uniform_widths(classifier, 4), granularity=granularity)
    QuantizerBank(classifier.model).prepare(hardness=1.0)
    inputs = torch.randn(8, 3, 16, 16)
    torch.nn.functional.cross_entropy(classifier.model(inputs), torch.arange(8) % 3).backward()
    for name, quantizer in quantizers(classifier.model).items():
        assert quantizer.bits.shape == (
            (1, 1) if granularity == "layer" else (len(quantizer.log_clip), 1)
        )
        assert quantizer.bits.grad is not None, name
        assert quantizer.bits.grad.abs().sum() > 0, name


def test_whole_widths_round_the_same_with_and_without_learning() -> None:
    weight = torch.randn(4, 20)
    quantizer = FakeQuantizer(weight, torch.tensor([2.0, 3.0, 5.0, 8.0]))
    hard = quantizer(weight)
    layer = one_layer(weight, quantizer)
    bank = QuantizerBank(layer)
    assert float(bank.prepare(hardness=1.0).detach()) == 4.5
    torch.testing.assert_close(layer.weight, hard, atol=1e-7, rtol=1e-6)
    bank.prepare(hardness=None)
    assert torch.equal(layer.weight, hard), "whole widths are rounded bit for bit alike"


def test_layers_rounded_together_get_what_each_would_get_alone() -> None:
    """Values and every gradient, however a layer's weights lie in memory."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(6, 3, 3, 3), (8, 1, 3, 3), (5, 40), (4, 1, 3, 3)]
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    upstream = [torch.randn(shape, generator=generator) for shape in shapes]

    def gradients(places: list[int], order: torch.memory_format) -> list[list[torch.Tensor]]:
        def turned(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.contiguous(memory_format=order) if tensor.ndim == 4 else tensor

        leaves = [turned(weights[place].clone()).requires_grad_() for place in places]
        rows = [len(leaf) for leaf in leaves]
        clip = torch.cat([torch.full((len(leaf), 1), 1.0) for leaf in leaves]).requires_grad_()
        share = torch.cat(
            [torch.linspace(0, 1, len(leaf)).unsqueeze(1) for leaf in leaves]
        ).requires_grad_()
        grids = (grid_of(clip, levels(column(bits, len(clip)))) for bits in (2, 4))
        out = rounded(leaves, Mixture(clip, *grids, share))
        torch.autograd.backward(out, [turned(upstream[place]) for place in places])
        parts = zip(clip.grad.split(rows), share.grad.split(rows), strict=True)
        return [
            [value.detach(), leaf.grad, *part]
            for value, leaf, part in zip(out, leaves, parts, strict=True)
        ]

    together = gradients([0, 1, 2, 3], torch.channels_last)
    for place in range(4):
        (alone,) = gradients([place], torch.contiguous_format)
        for found, expected in zip(together[place], alone, strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("share", [None, 0.5])
def test_weights_that_are_no_numbers_stay_so(share: float | None) -> None:
    """So that training stops, instead of going on with the end of the range."""
    weight = torch.tensor([[0.3, float("nan"), float("inf")]])
    clip, grid = column(1.0, 1), grid_of(column(1.0, 1), levels(column(4, 1)))
    mixture = Mixture(clip, grid, *([] if share is None else [grid, column(share, 1)]))
    (out,) = rounded([weight], mixture)
    assert out.isnan().tolist() == [[False, True, False]]


def test_rounding_needs_no_folder_to_keep_what_is_compiled(monkeypatch) -> None:
    def nowhere(function):
        raise RuntimeError("cannot cache function: no locator available")

    real = numba.njit
    monkeypatch.setattr(
        numba, "njit", lambda **how: nowhere if how.pop("cache", False) else real(**how)
    )
    doubled = kernels._compiled()(lambda number: 2 * number)
    assert doubled(21) == 42


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_gradients_are_those_of_plain_arithmetic_with_straight_through_rounding(
    share: float,
) -> None:
    """Against automatic differentiation of the formula, only the rounding detached."""
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(4, 30, generator=generator).requires_grad_()
    upstream = torch.randn(4, 30, generator=generator)
    clip = torch.tensor([[0.5], [1.0], [2.0], [4.0]]).requires_grad_()
    part = column(share, 4).requires_grad_()

    def plain(bits: int) -> torch.Tensor:
        scale = clip / levels(column(bits, 4))
        bounded = (weight / scale).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        inside = (weight / scale + 0.5).abs() <= levels(column(bits, 4))
        exact = torch.where(inside, weight / scale, bounded.detach())
        return (exact + (bounded.round() - exact).detach()) * scale

    expected = torch.lerp(plain(3), plain(4), part)
    wanted = torch.autograd.grad(expected, (weight, clip, part), upstream)
    grids = (grid_of(clip, levels(column(bits, 4))) for bits in (3, 4))
    (out,) = rounded([weight], Mixture(clip, *grids, part))
    torch.testing.assert_close(out, expected)
    for found, other in zip(
        torch.autograd.grad(out, (weight, clip, part), upstream), wanted, strict=True
    ):
        torch.testing.assert_close(found, other, atol=1e-5, rtol=1e-4)


def test_compressed_weights_are_what_the_network_computed_with(classifier) -> None:
    attach(classifier.model, uniform_widths(classifier, 3))
    classifier.model.eval()
    inputs = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        expected = classifier.model(inputs)
        finished = compress(classifier)
        assert torch.equal(finished.classifier.model(inputs), expected)
        assert torch.equal(classifier.model(inputs), expected), "the input must stay usable"
    assert not any(parametrize.is_parametrized(m) for m in finished.classifier.model.modules())
    assert finished.plan.average_bits == 3.0
    for name, codes in finished.codes.items():
        weight = finished.classifier.model.get_submodule(name).weight.detach().flatten(1)
        again = torch.from_numpy(codes).float() * torch.from_numpy(finished.scales[name])[:, None]
        assert torch.equal(weight, again)


def test_a_training_from_before_ranges_had_signs_goes_on_with_what_it_had() -> None:
    weight = torch.randn(6, 9)
    old, new = (FakeQuantizer(weight, torch.full((6,), 3.0)) for _ in range(2))
    old.sign.fill_(1.0)
    state = old.state_dict()
    del state["sign"]
    assert not torch.equal(new(weight), old(weight))
    new.load_state_dict(state)
    assert torch.equal(new(weight), old(weight))
