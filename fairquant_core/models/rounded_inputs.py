"""Layers that round their input to 8 bits, as a runtime for whole numbers does.

``q = saturate(round(x / scale) + zero_point)`` to 0..255 and ``x_q = (q - zero_point) * scale``, one scale per tensor:
ONNX's QuantizeLinear, in front of QLinearConv and QLinearMatMul. The two numbers are buffers of the layer itself, so
they are copied, saved and fingerprinted with the classifier's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from fairquant_core.errors import ClassifierError

ACTIVATION_BITS = 8
TOP = 2**ACTIVATION_BITS - 1

SCALE, ZERO_POINT = "input_scale", "input_zero_point"
"""Names of the two buffers of a layer."""

SMALLEST_SCALE = 1e-8
"""Scale of an input that is always zero: any positive number gives codes of zero."""

NO_RANGE = (
    "The layer '{layer}' has no range for its input: calibrate the classifier as it is now and "
    "attach all of its ranges."
)


class InputRange(NamedTuple):
    """How the input of one layer is rounded; zero is always met exactly.

    Units: ``scale`` in the input's own unit per code, ``zero_point`` the code of zero, 0..255.
    """

    scale: float
    zero_point: int

    @classmethod
    def covering(cls, lowest: float, highest: float) -> InputRange:
        """The range from ``lowest`` to ``highest``, widened to zero where it does not hold it.

        >>> InputRange.covering(0.0, 127.5)
        InputRange(scale=0.5, zero_point=0)
        """
        lowest, highest = min(lowest, 0.0), max(highest, 0.0)
        scale = float(np.float32(max((highest - lowest) / TOP, SMALLEST_SCALE)))
        return cls(scale, int(np.clip(np.rint(-lowest / scale), 0, TOP)))


class _RoundInput(torch.autograd.Function):
    """Rounds; the gradient passes straight through, except where the input is saturated."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.ends = lowest, highest  # type: ignore[attr-defined]
        return _rounded(x, scale, lowest, highest)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Any:
        x, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        lowest, highest = ctx.ends  # type: ignore[attr-defined]
        step = float(scale)
        ends = (lowest - 0.5) * step, (highest + 0.5) * step
        return torch.ops.aten.hardtanh_backward(gradients[0], x, *ends), None, None, None


def _rounded(x: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
    return torch.div(x, scale).round_().clamp_(lowest, highest).mul_(scale)


def _round_first_input(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook; a plain function, so that copies of the layer share nothing but this code."""
    scale: Tensor = getattr(layer, SCALE)
    zero = int(getattr(layer, ZERO_POINT))
    return (_RoundInput.apply(inputs[0], scale, -zero, TOP - zero), *inputs[1:])


def round_inputs(layers: Mapping[str, nn.Module], ranges: Mapping[str, InputRange]) -> None:
    """Make every layer round its input; layers that do so already take over the new range.

    Parameters
    ----------
    layers, ranges
        By name.

    Raises
    ------
    ClassifierError
        A layer has no range. No layer is changed then.

    Source: ONNX QuantizeLinear; straight-through gradient as in LSQ (Esser et al., ICLR 2020).
    """
    for name in layers:
        if name not in ranges:
            raise ClassifierError(NO_RANGE.format(layer=name))
    for name, layer in layers.items():
        if SCALE not in layer._buffers:
            layer.register_forward_pre_hook(_round_first_input)
        device = next(layer.parameters()).device
        scale, zero_point = ranges[name]
        layer.register_buffer(SCALE, torch.tensor(scale, dtype=torch.float32, device=device))
        layer.register_buffer(
            ZERO_POINT, torch.tensor(zero_point, dtype=torch.uint8, device=device)
        )


def input_ranges(model: nn.Module) -> dict[str, InputRange]:
    """The layers that round their input, by name; empty where activations stay in float."""
    return {
        name: InputRange(float(getattr(module, SCALE)), int(getattr(module, ZERO_POINT)))
        for name, module in model.named_modules()
        if SCALE in module._buffers
    }


def restore_rounding(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make the layers round whose ranges are among the tensors of a file.

    Raises
    ------
    ValueError
        A range is damaged, or the network has no such layer.
    """
    ranges = {}
    for key in tensors:
        name, _, kind = key.rpartition(".")
        if kind == SCALE:
            scale, zero_point = tensors[key], tensors.get(f"{name}.{ZERO_POINT}")
            if zero_point is None or scale.numel() != 1 or zero_point.numel() != 1:
                raise ValueError(f"the range of the input of '{name}' is not two numbers")
            if not 0 < float(scale) < float("inf"):
                raise ValueError(f"the range of the input of '{name}' is {float(scale)} wide")
            ranges[name] = InputRange(float(scale), int(zero_point))
    layers = {
        name: module
        for name, module in model.named_modules()
        if name in ranges and isinstance(module, nn.Conv2d | nn.Linear)
    }
    if strange := sorted(set(ranges) - set(layers)):
        raise ValueError(f"'{strange[0]}' is no layer whose input can be rounded")
    round_inputs(layers, ranges)
