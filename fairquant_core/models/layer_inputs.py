"""What a layer sees: the inputs of its weights as columns, and their moments."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

CELLS = 8
"""Positions per side that are read of each image; neighbouring ones say nearly the same."""

CHUNK = 32
"""Images that are unfolded together."""


def input_columns(layer: nn.Module, inputs: Tensor, shift: int = 0) -> Tensor:
    """The inputs that meet a layer's weights, one column per position.

    Of maps with many positions only some are read, evenly spaced.

    Parameters
    ----------
    layer
        A Conv2d (also grouped) or Linear.
    shift
        Moves the positions that are read; call with 0, 1, 2, ... so that all are met.

    Shapes: ``inputs`` (B, C_in, H, W) or (B, ..., C_in); returns (B, groups, K, positions), K as in the layer's weight
    flattened to (channels, K).
    """
    if not isinstance(layer, nn.Conv2d):
        tokens = inputs.reshape(len(inputs), -1, inputs.shape[-1])
        every = max(1, tokens.shape[1] // CELLS**2)
        return tokens[:, shift % every :: every].transpose(1, 2).unsqueeze(1)
    padded = functional.pad(inputs, _padding(layer, inputs), mode=_padding_mode(layer))
    shape, strides = [*padded.shape[:2]], [*padded.stride()[:2]]
    first = padded.storage_offset()
    taps, steps = [], []
    for axis in (0, 1):
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
        positions = (padded.shape[2 + axis] - reach - 1) // layer.stride[axis] + 1
        every = max(1, positions // CELLS)
        skipped, step = shift % every, padded.stride(2 + axis)
        first += skipped * layer.stride[axis] * step
        shape.append(-(-(positions - skipped) // every))
        taps.append(layer.dilation[axis] * step)
        steps.append(every * layer.stride[axis] * step)
    # A view of (B, C_in, taps, taps, positions, positions); unfolding a map takes twice as long.
    shape[2:2] = layer.kernel_size
    windows = padded.as_strided(shape, (*strides, *taps, *steps), first)
    return windows.reshape(len(inputs), layer.groups, -1, math.prod(shape[4:]))


def _padding_mode(layer: nn.Conv2d) -> str:
    return "constant" if layer.padding_mode == "zeros" else layer.padding_mode


def _padding(layer: nn.Conv2d, inputs: Tensor) -> list[int]:
    """As the layer pads; where it pads in a way of its own, enough for one position (left, right, top, bottom)."""
    padding = list(layer._reversed_padding_repeated_twice)
    for axis in (0, 1):
        needed = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        own = padding[2 - 2 * axis : 4 - 2 * axis]
        missing = max(0, needed - inputs.shape[2 + axis] - sum(own))
        padding[2 - 2 * axis] += (missing + 1) // 2
        padding[3 - 2 * axis] += missing // 2
    return padding


def row_shares(shares: Tensor, rows: int) -> Tensor:
    """How much each row of a layer's input counts, where networks cut images into windows or flatten tokens.

    The rows of an image stand together and share what the image counts; where they cannot be told apart, all count
    alike.

    Shapes: ``shares`` (B,) -> (rows,), adding up to the same.
    """
    each, rest = divmod(rows, len(shares))
    if rest:
        return shares.sum().expand(rows) / rows
    return shares.repeat_interleave(each) / each


def second_moment(layer: nn.Module, inputs: Tensor, shares: Tensor) -> Tensor:
    """``H = sum_i share_i E_positions[x x^T]`` over the images of a batch.

    Shapes: ``inputs`` as in :func:`input_columns`, or with several rows per image; ``shares`` (B,), how much each
    image counts; returns (groups, K, K) float32.
    """
    shares = row_shares(shares, len(inputs))
    total: Tensor | None = None
    for number, start in enumerate(range(0, len(inputs), CHUNK)):
        columns = input_columns(layer, inputs[start : start + CHUNK], number)
        share = shares[start : start + CHUNK] / columns.shape[3]
        flat = (columns * share.sqrt().view(-1, 1, 1, 1)).permute(1, 2, 0, 3).flatten(2)
        product = flat @ flat.transpose(1, 2)
        total = product if total is None else total.add_(product)
    assert total is not None
    return total
