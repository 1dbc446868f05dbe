"""Every network that we promise: quantise weights and inputs, train, pack, and read back bit-exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fairquant_core.data.training_data import TrainingData
from fairquant_core.export.checkpoint import load_packed, save_packed
from fairquant_core.models.inference import predict
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.activations import attach_activations, calibrate
from fairquant_core.quantization.compressed import attach, compress
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.training.loop import Schedule, TrainingLoop

BATCH = 6


@dataclass(frozen=True)
class Promised:
    """An architecture, a picture size that is quick, and layers that must be quantised in it."""

    architecture: str
    size: int
    layers: tuple[str, ...]


PROMISED = (
    Promised("resnet18", 32, ("conv1", "layer4.0.downsample.0", "fc")),
    Promised("resnet50", 32, ("layer1.0.conv3", "fc")),
    Promised("mobilenetv2_100", 32, ("blocks.0.0.conv_dw", "classifier")),
    Promised("mobilenetv3_small_100", 32, ("blocks.1.0.conv_dw", "blocks.0.0.se.conv_reduce")),
    Promised("deit_tiny_patch16_224", 32, ("patch_embed.proj", "blocks.0.attn.qkv", "head")),
    Promised(
        "tiny_vit_5m_224",
        64,
        (
            "patch_embed.conv1.conv",
            "stages.0.blocks.0.conv2.conv",
            "stages.1.blocks.0.attn.qkv",
        ),
    ),
)


def example(promised: Promised) -> tuple[Classifier, TrainingData]:
    """A random network whose layers all matter, and two groups of random pictures."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    classifier = create(promised.architecture, ("a", "b", "c"), size=promised.size)
    for name, parameter in classifier.model.named_parameters():
        if parameter.ndim == 1 and name.endswith(("weight", "gamma")):
            # timm starts residual branches at zero, through which no gradient would pass.
            torch.nn.init.ones_(parameter)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (BATCH, promised.size, promised.size, 3), dtype=np.uint8)
    groups = pd.Series(["light", "dark"] * (BATCH // 2))
    split = np.array(["train"] * BATCH, dtype=object)
    return classifier, TrainingData(images, np.arange(BATCH) % 3, groups, split)


@pytest.mark.parametrize("promised", PROMISED, ids=lambda promised: promised.architecture)
def test_from_quantiser_to_packed_file(promised: Promised, tmp_path: Path) -> None:
    classifier, data = example(promised)
    generator = np.random.default_rng(0)
    layers = quantisable_layers(classifier.model)
    widths = {x.name: generator.integers(2, 9, x.channels).astype(np.uint8) for x in layers}
    assert set(promised.layers) <= set(widths)
    ranges = calibrate(classifier, data.images, data.positions("train"), data.groups)
    owners = attach(classifier.model, widths)
    attach_activations(classifier.model, ranges)
    assert set(owners) == set(widths) == set(ranges)

    schedule = Schedule(2, BATCH, 1e-3, seed=0, budget=4.0, bit_learning_rate=0.03)
    loop = TrainingLoop(classifier, data, schedule, None)
    loop.step(loop.train_positions, 0, 0)
    silent = [name for name, q in owners.items() if not float(q.bits.grad.abs().sum()) > 0]  # type: ignore[union-attr]
    assert not silent, f"bits without gradient: {silent}"

    compressed = compress(classifier)
    path = tmp_path / "model.safetensors"
    save_packed(compressed, path, {})
    again = load_packed(path)
    assert again.activations == compressed.activations == ranges
    expected = predict(compressed.classifier, data.images, batch_size=BATCH)
    assert np.array_equal(predict(again.classifier, data.images, batch_size=BATCH), expected)
    trained = predict(classifier, data.images, batch_size=BATCH)
    assert np.array_equal(trained, expected), "trained with what is exported"
    assert path.stat().st_size == again.plan.packed_bytes() + overhead(again.classifier, path)


def overhead(classifier: Classifier, path: Path) -> int:
    """Bytes of a packed file beyond its plan: the header, and the buffers of whole numbers."""
    with path.open("rb") as file:
        header = 8 + int.from_bytes(file.read(8), "little")
    tensors = classifier.model.state_dict().values()
    return header + sum(t.nbytes for t in tensors if not t.is_floating_point())
