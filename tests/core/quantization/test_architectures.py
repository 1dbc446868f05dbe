"""Every network that we promise: quantise, give the bits a gradient, pack, and read back bit-exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fairquant_core.export.checkpoint import load_packed, save_packed
from fairquant_core.models.inference import predict
from fairquant_core.models.zoo import create
from fairquant_core.quantization.bank import QuantizerBank
from fairquant_core.quantization.compressed import attach, compress
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.quantization.quantizer import quantizers

SIZES = {
    "resnet18": 32,
    "resnet50": 32,
    "deit_tiny_patch16_224": 32,
    "tiny_vit_5m_224": 64,
    "mobilenetv2_100": 32,
    "mobilenetv3_small_100": 32,
}


@pytest.mark.parametrize("architecture", SIZES)
def test_from_quantiser_to_packed_file(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = create(architecture, ("a", "b", "c"), size=SIZES[architecture])
    for name, parameter in classifier.model.named_parameters():
        if parameter.ndim == 1 and name.endswith("weight"):
            # timm starts residual branches at zero, through which no gradient would pass.
            torch.nn.init.ones_(parameter)
    generator = np.random.default_rng(0)
    widths = {
        layer.name: generator.integers(2, 9, layer.channels).astype(np.uint8)
        for layer in quantisable_layers(classifier.model)
    }
    attach(classifier.model, widths)
    owners = quantizers(classifier.model)
    assert set(owners) == set(widths)

    classifier.model.train()
    QuantizerBank(owners).prepare(hardness=1.0)
    side = SIZES[architecture]
    logits = classifier.model(torch.randn(4, 3, side, side))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    silent = [name for name, owner in owners.items() if owner.bits.grad is None]
    assert not silent, f"bits without gradient: {silent}"
    moved = sum(float(owner.bits.grad.abs().sum()) > 0 for owner in owners.values())
    assert moved > 0.9 * len(owners)

    compressed = compress(classifier)
    save_packed(compressed, tmp_path / "model.safetensors", {})
    again = load_packed(tmp_path / "model.safetensors")
    images = generator.integers(0, 255, (5, side, side, 3), dtype=np.uint8)
    expected = predict(compressed.classifier, images)
    assert np.array_equal(predict(again.classifier, images), expected)
    assert np.array_equal(predict(classifier, images), expected), "trained with what is exported"
