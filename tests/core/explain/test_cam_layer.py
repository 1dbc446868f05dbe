"""Which layer Grad-CAM looks at, and that its patches form the grid of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from fairquant_core.errors import ClassifierError
from fairquant_core.explain.cam_layer import find_cam_layer
from fairquant_core.models.zoo import create

CLASSES = ("a", "b", "c")


@dataclass(frozen=True)
class Known:
    """A network and the layer that people use for it."""

    architecture: str
    layer: str
    layout: str
    grid: tuple[int, int]
    prefix: int = 0
    size: int = 64


KNOWN = (
    Known("resnet18", "layer4", "channels first", (2, 2)),
    Known("mobilenetv2_100", "bn2", "channels first", (2, 2)),
    Known("mobilenetv3_small_100", "blocks", "channels first", (2, 2)),
    Known("convnext_atto", "norm_pre", "channels first", (2, 2)),
    Known("mobilevit_xxs", "final_conv", "channels first", (2, 2)),
    Known("tiny_vit_5m_224", "stages", "channels first", (2, 2)),
    Known("deit_tiny_patch16_224", "blocks.11.norm1", "tokens", (4, 4), 1),
    Known("deit_tiny_distilled_patch16_224", "blocks.11.norm1", "tokens", (4, 4), 2),
    Known("eva02_tiny_patch14_224", "blocks.11.norm1", "tokens", (4, 4), 1, 56),
    Known("cait_xxs24_224", "blocks.23.norm1", "tokens", (4, 4)),
    Known("xcit_nano_12_p16_224", "blocks.11.norm1", "tokens", (4, 4)),
)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.architecture)
def test_the_layer_and_its_grid(known: Known) -> None:
    torch.manual_seed(0)
    model = create(known.architecture, CLASSES, size=known.size).model.eval()
    example = torch.zeros(1, 3, known.size, known.size)
    layer = find_cam_layer(model, example)
    assert (layer.name, layer.layout, layer.grid) == (known.layer, known.layout, known.grid)
    assert layer.prefix == known.prefix
    kept: list[torch.Tensor] = []
    handle = layer.module.register_forward_hook(lambda *args: kept.append(args[2]))
    with torch.no_grad():
        plain = model(example)
        handle.remove()
        picture = layer.to_picture(kept[0])
        assert picture.shape[2:] == known.grid
        assert torch.equal(layer.from_picture(picture, kept[0]), kept[0])
        with layer.tapped():
            assert torch.equal(model(example), plain)


@pytest.mark.parametrize("architecture", ["levit_128s", "crossvit_tiny_240"])
def test_early_maps_and_attention_maps_are_not_taken_for_the_last_stage(architecture: str) -> None:
    """Their convolutions come first and their last stages are tokens in other shapes."""
    size = 240 if "240" in architecture else 224
    model = create(architecture, CLASSES, size=size).model.eval()
    with pytest.raises(ClassifierError, match="choose Integrated Gradients"):
        find_cam_layer(model, torch.zeros(1, 3, size, size))


def test_tokens_without_a_grid_are_named() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(4)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.norm1(tokens)

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([Block()])

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            tokens = inputs.flatten(1)[:, :28].unflatten(1, (7, 4))
            return self.blocks[0](tokens).mean(1)

    with pytest.raises(ClassifierError, match="the odd one gives 7 tokens per image"):
        find_cam_layer(Odd().eval(), torch.zeros(1, 3, 8, 8), "the odd one")
