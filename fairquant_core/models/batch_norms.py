"""The batch norms of a network, and which layers they stand behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fairquant_core.models.hooks import hooked
from fairquant_core.models.unchanged import StateUnchanged


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Those that hold running statistics, in the network's order."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]


def norms_behind(
    model: nn.Module, modules: Sequence[nn.Module], inputs: Tensor
) -> dict[int, _BatchNorm]:
    """Number of a module -> the batch norm that its output goes to, if it goes nowhere else.

    Read from the graph of one pass, so that no layout of blocks is assumed. Left out are modules and norms that
    are called twice, and norms without a bias.

    Shapes: ``inputs`` (B, 3, S, S); one image is enough.
    """
    outputs: dict[int, list[Any]] = {}

    def look(number: int, module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        outputs.setdefault(number, []).append(out.grad_fn)

    with StateUnchanged(model), hooked(dict(enumerate(modules)), look), torch.enable_grad():
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        readers = _readers(model(inputs).grad_fn)
    norm_of: dict[Any, _BatchNorm] = {
        norm.bias: norm for norm in batch_norms(model) if norm.bias is not None
    }
    found: dict[int, _BatchNorm] = {}
    for number, steps in outputs.items():
        behind = readers.get(steps[0], [])
        if len(steps) > 1 or len(behind) != 1 or "BatchNorm" not in behind[0].name():
            continue
        for parameter, _ in behind[0].next_functions:
            norm = norm_of.get(getattr(parameter, "variable", None))
            if norm is not None and len(readers[parameter]) == 1:
                found[number] = norm
    return found


def slope_of(norm: _BatchNorm) -> Tensor:
    """How the output of a norm in evaluation mode follows its input. Shapes: (C,)."""
    assert norm.running_var is not None
    return norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()


def _readers(last: Any) -> dict[Any, list[Any]]:
    """Of every step of a computation, the steps that read what it gives."""
    found: dict[Any, list[Any]] = {last: []}
    waiting = [last]
    while waiting:
        step = waiting.pop()
        for earlier, _ in step.next_functions:
            if earlier is None:
                continue
            if earlier not in found:
                found[earlier] = []
                waiting.append(earlier)
            found[earlier].append(step)
    return found
