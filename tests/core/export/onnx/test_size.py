"""The exact file is as small as its bits: overhead is counted against what is really in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fairquant_core.export.onnx.exact import export_onnx
from fairquant_core.export.onnx.file import read_onnx
from fairquant_core.export.onnx.network import Network, catch_network
from fairquant_core.export.onnx.size import ideal_bytes, size_limit
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.compressed import Compressed, compress_with
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.quantization.plan import stream_bytes
from tests.conftest import MixedDemo
from tests.core.export.onnx.networks import classifier_of

SMALL = "mobilenetv3_small_100"
"""Of the networks that are offered the one in which the graph weighs most beside the weights."""

CONSTANTS = 64
"""Bytes of small numbers of the network itself, such as where a Clip cuts off."""


@pytest.fixture(scope="module")
def small() -> Classifier:
    """Random weights, and noise on everything, so that no two tensors are equal and shared."""
    classifier = classifier_of(SMALL, 64)
    generator = torch.Generator().manual_seed(1)
    for tensor in classifier.model.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.01 * torch.randn(tensor.shape, generator=generator)
    return classifier


@pytest.fixture(scope="module")
def network(small: Classifier) -> Network:
    return catch_network(small)


def real_ideal(compressed: Compressed) -> int:
    """Counted by hand for a MobileNet: of every channel its codes, a scale, a width and one bias."""
    plan = compressed.plan
    channels = sum(map(len, plan.widths.values()))
    streams = (
        stream_bytes(widths, plan.weights_per_channel[layer])
        for layer, widths in plan.widths.items()
    )
    return sum(streams) + channels * (4 + 1 + 4)


def drawn(classifier: Classifier, kind: str) -> Iterator[tuple[str, np.ndarray]]:
    """Plans that weigh little: by channel in many different sets of widths, or by layer."""
    generator = np.random.default_rng(0)
    for layer in quantisable_layers(classifier.model):
        menu = generator.choice((0, 2, 3, 4, 5), 3, replace=False) if kind == "channel" else (2, 4)
        count = layer.channels if kind == "channel" else 1
        widths = np.broadcast_to(generator.choice(menu, count), layer.channels)
        yield layer.name, widths.astype(np.uint8)


def test_the_mixed_demo_is_within_five_percent(mixed_demo: MixedDemo) -> None:
    ideal = real_ideal(mixed_demo.compressed)
    assert ideal < mixed_demo.onnx.stat().st_size <= 1.05 * ideal
    assert ideal <= ideal_bytes(read_onnx(mixed_demo.onnx)[0]) <= ideal + CONSTANTS
    assert size_limit(mixed_demo.compressed.classifier.architecture) == 1.05


@pytest.mark.parametrize("kind", ["channel", "layer"])
def test_few_bits_in_a_small_network_are_within_five_percent(
    kind: str, small: Classifier, network: Network, tmp_path: Path
) -> None:
    compressed = compress_with(small, dict(drawn(small, kind)))
    assert compressed.plan.average_bits < 3.7
    export_onnx(compressed, tmp_path / "model.onnx", network=network)
    ideal = ideal_bytes(read_onnx(tmp_path / "model.onnx")[0])
    assert ideal < (tmp_path / "model.onnx").stat().st_size <= 1.05 * ideal
    # Layers with equal widths hold them once, so there may be less than a plan asks for, never more.
    assert ideal <= real_ideal(compressed) + CONSTANTS
