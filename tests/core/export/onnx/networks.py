"""Small compressed classifiers, caught as ONNX once for all tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fairquant_core.data.images import Preprocessing
from fairquant_core.export.onnx.network import Network, catch_network
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.compressed import Compressed, compress_with
from fairquant_core.quantization.layers import quantisable_layers

CLASSES = ("benign", "malignant", "other")
EVERY_WIDTH = (0, 2, 3, 4, 5, 6, 7, 8)


class Tiny(nn.Module):
    """A normed convolution, a depthwise one, a residual sum, a layer that can be pruned away, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.depth_norm = nn.BatchNorm2d(8)
        self.gone = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu6(self.norm(self.stem(x)))
        x = x + self.depth_norm(self.depth(x)).relu() + self.gone(x)
        return self.head(x.mean(dim=(2, 3)))


def settle_norms(model: nn.Module) -> None:
    """Statistics and gains as after a training, some gains negative and one zero."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            with torch.no_grad():
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.weight[::5] *= -1
                module.weight[3] = 0
                module.bias.normal_(0, 0.1, generator=generator)


def compress_randomly(
    classifier: Classifier, menu: Sequence[int] = EVERY_WIDTH, seed: int = 0, pruned: str = ""
) -> Compressed:
    """Random widths per channel; the layer ``pruned`` loses all of them."""
    generator = np.random.default_rng(seed)
    layers = quantisable_layers(classifier.model)
    widths = {one.name: generator.choice(menu, one.channels).astype(np.uint8) for one in layers}
    if pruned:
        widths[pruned][:] = 0
    return compress_with(classifier, widths)


def classifier_of(architecture: str, size: int) -> Classifier:
    """A randomly initialised classifier whose batch norms look trained."""
    torch.manual_seed(0)
    if architecture == "tiny":
        model = Tiny().eval()
        classifier = Classifier(model, architecture, CLASSES, Preprocessing(size))
    else:
        classifier = create(architecture, CLASSES, size=size)
    settle_norms(classifier.model)
    return classifier


@cache
def compressed_of(architecture: str, size: int) -> Compressed:
    """The same network for every test."""
    torch.set_num_threads(1)
    pruned = "gone" if architecture == "tiny" else ""
    return compress_randomly(classifier_of(architecture, size), pruned=pruned)


@cache
def network_of(architecture: str, size: int) -> Network:
    """What catching the network gave; takes seconds."""
    return catch_network(compressed_of(architecture, size).classifier)


def pictures(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Random pixels. Shapes: (count, size, size, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
