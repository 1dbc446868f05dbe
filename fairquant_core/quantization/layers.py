"""What is quantised in a network: its Conv2d and Linear weights, one unit per output channel."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize

from fairquant_core.errors import ClassifierError

NOTHING_TO_QUANTISE = (
    "The network '{name}' has no Conv2d or Linear layer, so there is nothing to quantise."
)


@dataclass(frozen=True)
class QuantisableLayer:
    """One Conv2d or Linear layer.

    Shapes: the weight is read as (channels, weights_per_channel).
    """

    name: str
    module: nn.Module
    channels: int
    weights_per_channel: int

    @property
    def weights(self) -> int:
        """Number of weights in the layer."""
        return self.channels * self.weights_per_channel

    def weight(self) -> Tensor:
        """The full-precision weight as (channels, weights_per_channel); shares memory with the layer."""
        return original_weight(self.module).flatten(1)


def original_weight(module: nn.Module) -> nn.Parameter:
    """The trainable full-precision weight, whether or not a quantiser is attached."""
    if parametrize.is_parametrized(module, "weight"):
        return module.parametrizations.weight.original  # type: ignore[union-attr,return-value]
    return module.weight  # type: ignore[return-value]


def quantisable_layers(model: nn.Module) -> list[QuantisableLayer]:
    """List the layers in the order in which the network registers them.

    Raises
    ------
    ClassifierError
        If there is none.
    """
    found = [
        QuantisableLayer(
            name, module, original_weight(module).shape[0], original_weight(module)[0].numel()
        )
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    if not found:
        raise ClassifierError(NOTHING_TO_QUANTISE.format(name=type(model).__name__))
    return found


def kept_parameters(model: nn.Module) -> int:
    """How many float numbers stay in full precision: biases, norms and their running statistics."""
    quantised = sum(layer.weights for layer in quantisable_layers(model))
    floats = sum(t.numel() for t in model.state_dict().values() if t.is_floating_point())
    return floats - quantised
