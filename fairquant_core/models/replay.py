"""Running a network again from where one of its weights was changed, instead of from its input.

What lies before the changed weight gives what it gave before, bit for bit. Most layers of a network for photographs
come after its expensive beginning, so much of the arithmetic is saved. Nothing is assumed about the architecture: what
can be left out is seen in a pass that is watched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class _Left(NamedTuple):
    """A module has been left: when, with what output, and how often that had been written to by then."""

    at: int
    output: Tensor
    version: int


class Replay:
    """One pass of a network through a batch, in the mode that it is in, to be repeated with a changed weight.

    The outputs of the network's blocks are kept, not those of the layers inside them: about as much memory as the pass
    itself takes. A block whose output cannot be relied on (it is called several times, gives something else than one
    tensor, or is overwritten by what follows) is computed again each time. So is all that comes before
    a weight that is used without calling its layer.

    Parameters
    ----------
    inputs
        As the network takes them. Shapes: (B, 3, S, S).

    Attributes
    ----------
    output
        What the network gave as it is.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, inputs: Tensor) -> None:
        self.model, self.inputs = model, inputs
        self._clock = 0
        self._entered: dict[str, int] = {}
        self._left: dict[str, _Left | None] = {}
        hooks = [
            module.register_forward_pre_hook(partial(self._enter, name))
            for name, module in model.named_modules()
        ]
        hooks += [
            module.register_forward_hook(partial(self._leave, name))
            for name, module in blocks(model)
        ]
        try:
            self.output: Tensor = model(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        self._kept = {
            name: left
            for name, left in self._left.items()
            if left is not None and left.output._version == left.version
        }

    def _enter(self, name: str, module: nn.Module, given: tuple[Any, ...]) -> None:
        self._clock += 1
        self._entered.setdefault(name, self._clock)

    def _leave(self, name: str, module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        self._clock += 1
        usable = name not in self._left and isinstance(out, Tensor)
        self._left[name] = _Left(self._clock, out, out._version) if usable else None

    @torch.no_grad()
    def with_changed(self, weight: nn.Parameter) -> Tensor:
        """What the network gives for the same inputs now that this one weight is different.

        Shapes: as ``output``.
        """
        start = self._first_use(weight)
        with _giving(
            {name: left.output for name, left in self._kept.items() if left.at < start}, self.model
        ):
            return self.model(self.inputs)

    def _first_use(self, weight: nn.Parameter) -> int:
        """When the first module that holds the weight was entered, or else the nearest around it that was."""
        moments = []
        for name, module in self.model.named_modules():
            if any(own is weight for own in module.parameters(recurse=False)):
                while name not in self._entered:
                    name = name.rpartition(".")[0]
                moments.append(self._entered[name])
        return min(moments)


def blocks(model: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The parts that a network is a chain of: its children, and those of children that are chains themselves.

    A chain is a ``Sequential``, or has one among its own children. Yields names and modules.
    """
    for name, child in model.named_children():
        inner = f"{path}.{name}" if path else name
        if _is_list(child) or any(map(_is_list, child.children())):
            yield from blocks(child, inner)
        else:
            yield inner, child


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential | nn.ModuleList)


@contextmanager
def _giving(outputs: dict[str, Tensor], model: nn.Module) -> Iterator[None]:
    """Inside, the named modules do not compute: each gives its output."""
    modules = [model.get_submodule(name) for name in outputs]
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for module, output in zip(modules, outputs.values(), strict=True):
            module.forward = partial(_given, output)
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            if own is None:
                del module.forward
            else:
                module.forward = own


def _given(output: Tensor, *_: Any, **__: Any) -> Tensor:
    return output
