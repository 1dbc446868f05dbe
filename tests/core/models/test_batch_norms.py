"""Which norm stands behind a layer, on small networks of every layout, and what its bias tells."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fairquant_core.models.batch_norms import norms_behind, slope_of
from fairquant_core.models.zoo import create
from fairquant_core.quantization.layers import quantisable_layers


class Net(nn.Module):
    """Two convolutions and a norm of each kind; subclasses say how they are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.bare = nn.BatchNorm2d(4, affine=False)

    def behind(self) -> dict[str, str]:
        """Name of a convolution -> name of its norm."""
        modules = {"first": self.first, "second": self.second}
        found = norms_behind(self, list(modules.values()), torch.randn(1, 3, 8, 8))
        names = {module: name for name, module in self.named_modules()}
        return {list(modules)[number]: names[norm] for number, norm in found.items()}


class Chain(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.second(self.norm(self.first(x)).relu())).relu().mean((2, 3))


class Skip(Net):
    """The first output goes round its norm as well."""

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return self.other(self.second(self.norm(first).relu()) + first).mean((2, 3))


class Shared(Net):
    """One norm for both."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.second(self.norm(self.first(x)))).mean((2, 3))


class CalledTwice(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.second(self.second(self.norm(self.first(x))))).mean((2, 3))


class Later(Net):
    """A rectifier stands between, and a norm without a bias."""

    def forward(self, x: Tensor) -> Tensor:
        return self.bare(self.second(self.norm(self.first(x).relu()))).mean((2, 3))


class Unused(Net):
    """A layer whose output nothing reads."""

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        self.second(first.detach())
        return self.norm(first).mean((2, 3))


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Chain, {"first": "norm", "second": "other"}),
        (Skip, {}),
        (Shared, {}),
        (CalledTwice, {"first": "norm"}),
        (Later, {}),
        (Unused, {"first": "norm"}),
    ],
)
def test_a_norm_counts_only_right_behind(network: type[Net], expected: dict[str, str]) -> None:
    assert network().behind() == expected


def test_looking_leaves_the_network_as_it_was() -> None:
    network = Chain().train()
    network.first.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.behind()
    assert network.training
    assert not network.first.weight.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert not network.first._forward_hooks


def test_its_bias_tells_the_gradient_of_the_layers_own() -> None:
    torch.manual_seed(0)
    network = Chain()
    nn.init.normal_(network.norm.weight)
    nn.init.normal_(network.norm.running_mean)
    nn.init.uniform_(network.norm.running_var, 0.5, 2)
    total = network.eval()(torch.randn(5, 3, 8, 8)).square().sum()
    own, told = torch.autograd.grad(total, (network.first.bias, network.norm.bias))
    torch.testing.assert_close(slope_of(network.norm) * told, own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("architecture", "without"), [("mobilenetv2_100", 1), ("resnet18", 1)])
def test_in_usual_networks_all_but_the_head_have_one(architecture: str, without: int) -> None:
    model = create(architecture, ("a", "b"), size=32).model
    modules = [layer.module for layer in quantisable_layers(model)]
    found = norms_behind(model, modules, torch.randn(1, 3, 32, 32))
    assert len(found) == len(modules) - without
    assert len(set(found.values())) == len(found)
