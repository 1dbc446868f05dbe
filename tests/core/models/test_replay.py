"""A replay gives what the whole network would give, and computes less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fairquant_core.models.replay import Replay, blocks
from fairquant_core.models.zoo import create
from fairquant_core.quantization.layers import quantisable_layers

ARCHITECTURES = {
    "mobilenetv2_050": 32,
    "resnet18": 32,
    "densenet121": 32,
    "convnext_atto": 32,
    "deit_tiny_patch16_224": 32,
    "swin_tiny_patch4_window7_224": 224,
}


def changed(weight: nn.Parameter, work: Callable[[], Tensor]) -> Tensor:
    """What comes out while a weight is another one."""
    before = weight.data
    weight.data = before * 0.8
    try:
        return work()
    finally:
        weight.data = before


def check(model: nn.Module, inputs: Tensor, weights: list[nn.Parameter]) -> None:
    """Every weight changed in turn: the replay and the whole network agree bit for bit."""
    with torch.no_grad():
        replay = Replay(model, inputs)
        assert torch.equal(replay.output, model(inputs))
        for weight in weights:
            whole = changed(weight, lambda: model(inputs))
            again = changed(weight, lambda weight=weight: replay.with_changed(weight))
            assert torch.equal(again, whole)
        assert torch.equal(replay.output, model(inputs))
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_equals_the_whole_pass_bit_for_bit(architecture: str) -> None:
    size = ARCHITECTURES[architecture]
    model = create(architecture, ("a", "b", "c"), size=size).model.eval()
    layers = quantisable_layers(model)
    every = max(1, len(layers) // 8)
    check(model, torch.randn(2, 3, size, size), [layer.module.weight for layer in layers[::every]])


def test_what_lies_before_is_not_computed_again() -> None:
    model = create("mobilenetv2_050", ("a", "b"), size=32).model.eval()
    replay = Replay(model, torch.randn(1, 3, 32, 32))
    calls: Counter[str] = Counter()
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    last = quantisable_layers(model)[-1]
    changed(last.module.weight, lambda: replay.with_changed(last.module.weight))
    computed = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    kept = {name for name, _ in blocks(model)}
    assert set(calls) <= kept  # asked for their output; the layers inside blocks are not even asked
    assert len(computed) > 50 > len(calls)


class Awkward(nn.Module):
    """What makes outputs unreliable: overwritten, computed twice, several at once, weights used from afar."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.pair = _Pair()
        self.borrowed = nn.Linear(4, 4)
        self.twin = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.twin.weight = self.borrowed.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x += 1
        x = self.twice(torch.relu(self.twice(x)))
        one, two = self.pair(x)
        x = functional.linear((one + two).mean((2, 3)), self.borrowed.weight)
        return self.head(torch.relu_(self.twin(x)))


class _Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(x), x


def test_outputs_that_cannot_be_relied_on_are_computed_again() -> None:
    model = Awkward().eval()
    check(model, torch.randn(3, 3, 8, 8), [p for p in model.parameters() if p.ndim > 1])


def test_a_network_that_fails_is_left_as_it_was() -> None:
    model = create("resnet18", ("a", "b"), size=32).model.eval()
    replay = Replay(model, torch.randn(1, 3, 32, 32))
    weight = model.fc.weight
    before = weight.data
    weight.data = torch.zeros(2, 7)
    with pytest.raises(RuntimeError):
        replay.with_changed(weight)
    weight.data = before
    assert not any("forward" in module.__dict__ for module in model.modules())
