"""Watching what modules are given and what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn


@contextmanager
def hooked(modules: Mapping[int, nn.Module], look: Callable[..., Any]) -> Iterator[None]:
    """Inside, ``look(number, module, inputs, output)`` is called whenever one of the modules is."""
    hooks = [
        module.register_forward_hook(partial(look, number)) for number, module in modules.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
