"""Watching what modules are given and what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from torch import nn

Key = TypeVar("Key", int, str)


@contextmanager
def hooked(modules: Mapping[Key, nn.Module], look: Callable[..., None]) -> Iterator[None]:
    """Inside, ``look(key, module, inputs, output)`` is called whenever one of the modules is."""
    hooks = [module.register_forward_hook(partial(look, key)) for key, module in modules.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
