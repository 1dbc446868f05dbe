"""The quantiser: what it rounds to, what it costs, and that everything in it really learns."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils import parametrize

from fairquant_core.quantization.bank import QuantizerBank
from fairquant_core.quantization.compressed import attach, compress
from fairquant_core.quantization.methods import uniform_widths
from fairquant_core.quantization.quantizer import (
    FakeQuantizer,
    best_clip,
    largest_clip,
    levels,
    quantise,
    quantizers,
)


def column(bits: float, rows: int) -> torch.Tensor:
    return torch.full((rows, 1), float(bits))


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


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_best_range_never_loses_to_the_largest_weight(bits: int) -> None:
    weight = torch.randn(32, 300, generator=torch.Generator().manual_seed(bits))
    largest = largest_clip(weight, column(bits, 32))
    found = best_clip(weight, column(bits, 32))

    def error(clip: torch.Tensor) -> torch.Tensor:
        codes, scale = quantise(weight, clip, column(bits, 32))
        return (codes * scale - weight).square().sum(1)

    assert (error(found) <= error(largest) + 1e-6).all()
    fine = torch.stack([error(largest * share) for share in torch.linspace(0.15, 1, 400)]).amin(0)
    assert float((error(found) / fine).mean()) < 1.04


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
    clip, steps = quantizer.log_clip.detach().exp(), levels(column(3, 4))
    codes, scale = quantise(weight, clip, column(3, 4))
    inside = (weight + scale / 2).abs() <= clip
    per_weight = torch.where(inside, codes - weight / scale, codes)
    by_step = (upstream * per_weight).sum(1, keepdim=True)
    torch.testing.assert_close(
        quantizer.log_clip.grad, by_step / steps * clip, atol=1e-4, rtol=1e-4
    )
    assert torch.equal(leaf.grad, torch.where(inside, upstream, torch.zeros(())))


def test_gradient_of_the_bits_is_the_difference_between_the_two_widths() -> None:
    weight = torch.randn(5, 40)
    quantizer = FakeQuantizer(weight, torch.full((5,), 3.25))
    QuantizerBank({"layer": quantizer}).prepare(hardness=1.0)
    upstream = torch.randn(5, 40)
    quantizer(weight).backward(upstream)
    clip = quantizer.log_clip.detach().exp()
    low, high = (
        codes * scale for codes, scale in (quantise(weight, clip, column(b, 5)) for b in (3, 4))
    )
    expected = (upstream * (high - low)).sum(1, keepdim=True)
    torch.testing.assert_close(quantizer.bits.grad, expected, atol=1e-5, rtol=1e-4)
    assert (quantizer.bits.grad != 0).all()


def test_what_is_left_out_stays_out_while_widths_are_learned_and_nothing_else_is() -> None:
    weight = torch.randn(3, 40)
    quantizer = FakeQuantizer(weight, torch.tensor([0.0, 2.0, 3.5]), menu=(0, 2, 3, 4))
    bank = QuantizerBank({"layer": quantizer})
    average = bank.prepare(hardness=1.0)
    (quantizer(weight).sum() + average).backward()
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
    QuantizerBank(quantizers(classifier.model)).prepare(hardness=1.0)
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
    bank = QuantizerBank({"layer": quantizer})
    assert float(bank.prepare(hardness=1.0).detach()) == 4.5
    torch.testing.assert_close(quantizer(weight), hard, atol=1e-7, rtol=1e-6)


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
