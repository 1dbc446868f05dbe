"""Looking at a network without moving it."""

from __future__ import annotations

from torch import nn


class StateUnchanged:
    """Guard: evaluation mode inside; training mode, gradients and flags are put back afterwards.

    Sensitivity and saliency look at a classifier; they must not move it. **Deviation** from the public
    FairQuant code, whose importance pass runs in training mode and shifts batch-norm statistics.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> nn.Module:
        self._training = {name: module.training for name, module in self.model.named_modules()}
        self._flags = [(p, p.requires_grad, p.grad) for p in self.model.parameters()]
        self.model.eval()
        for parameter, _, _ in self._flags:
            parameter.grad = None
        return self.model

    def __exit__(self, *_: object) -> None:
        for name, module in self.model.named_modules():
            module.training = self._training[name]
        for parameter, requires_grad, gradient in self._flags:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient
