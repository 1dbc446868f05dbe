"""The bit stream read by standard ONNX operators: model-local functions that give a layer's weights back.

The stream is that of :mod:`fairquant_core.export.packing`. One function is made per set of widths in use. A runtime
works it off when it opens the file, node by node, so the functions are short: all planes of the same number of bits
are spread at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from fairquant_core.quantization.plan import PLANES, PRUNED

OPSET = 20
DOMAIN = "fairquant"
DOMAIN_VERSION = 1

MANY = 2**31
"""Beyond the last dimension of any tensor."""


class Body:
    """The nodes of a function under construction."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}
        self._names = 0

    def names(self, count: int) -> list[str]:
        """New names for values."""
        self._names += count
        return [f"v{number}" for number in range(self._names - count, self._names)]

    def add(
        self, operator: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any
    ) -> Any:
        """Append one node; returns the name of its output, or a list where several were named."""
        names = list(outputs) or self.names(1)
        self._nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names if outputs else names[0]

    def constant(self, values: Any, dtype: type[np.generic] = np.int64) -> str:
        """The name of a constant; equal ones are made once."""
        array = np.asarray(values, dtype=dtype)
        key = array.dtype.str, array.tobytes(), array.shape
        if key not in self._constants:
            tensor = numpy_helper.from_array(array)
            self._constants[key] = self.add("Constant", value=tensor)
        return self._constants[key]

    def function(self, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> FunctionProto:
        """The nodes as a function."""
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_function(DOMAIN, name, inputs, outputs, self._nodes, opsets)


def widths_in_use(widths: np.ndarray) -> tuple[int, ...]:
    """The set of widths of a layer, widest first; a pruned channel counts as width 0.

    >>> widths_in_use(np.array([4, 0, 8, 4]))
    (8, 4, 0)
    """
    return tuple(sorted({int(width) for width in widths}, reverse=True))


def decode_name(widths: Sequence[int], *, codes: bool = False) -> str:
    """The name of the function that decodes layers with these widths.

    >>> decode_name((8, 4, 0)), decode_name((3,), codes=True)
    ('Decode_8_4_0', 'Codes_3')
    """
    return "_".join(["Codes" if codes else "Decode", *map(str, widths)])


def decode_functions(
    sets: Iterable[Sequence[int]], *, codes: Iterable[Sequence[int]] = ()
) -> list[FunctionProto]:
    """All functions that a file needs.

    Parameters
    ----------
    sets
        Sets of widths for which there is to be ``Decode_*(stream, bits, shape, scale) -> float32 weight``. The
        scale is that of a code in the top bits of a byte: the step of the channel times ``2^(b-8)``, which is exact.
    codes
        Sets for which there is to be ``Codes_*(stream, bits, shape) -> int8`` codes.

    Shapes: ``stream`` (N,) uint8, ``bits`` (C,) uint8, ``scale`` (C,) float32, ``shape`` that of the weight, int64.
    """
    wanted = [(tuple(widths), False) for widths in sets]
    wanted += [(tuple(widths), True) for widths in codes]
    return [_decode(widths, codes=whole) for widths, whole in sorted(wanted)]


def _decode(widths: tuple[int, ...], *, codes: bool) -> FunctionProto:
    body = Body()
    name = decode_name(widths, codes=codes)
    bits = body.add("Cast", "bits", to=TensorProto.INT32)
    own = body.add("Slice", "shape", body.constant([1]), body.constant([MANY]))
    size = body.add("ReduceProd", own, keepdims=1)
    kept = [width for width in widths if width != PRUNED]
    column = body.constant([[width] for width in kept], np.int32)
    members = body.add("Cast", body.add("Equal", column, bits), to=TensorProto.INT64)
    channels = body.add("ReduceSum", members, body.constant([1]), keepdims=0)
    values = _values(body, kept, body.add("Mul", channels, size))
    rows = body.add("Reshape", values, body.add("Concat", body.constant([-1]), size, axis=0))
    if len(widths) > 1:
        rows = _in_order(body, rows, bits, size, channels, pruned=PRUNED in widths)
    top = body.add("Cast", rows, to=TensorProto.INT8)
    if codes:
        wide = body.add("Div", body.add("Cast", top, to=TensorProto.INT32), _powers(body, bits))
        body.add("Reshape", body.add("Cast", wide, to=TensorProto.INT8), "shape", outputs=["codes"])
        return body.function(name, ["stream", "bits", "shape"], ["codes"])
    scale = body.add("Unsqueeze", "scale", body.constant([1]))
    weight = body.add("Mul", body.add("Cast", top, to=TensorProto.FLOAT), scale)
    body.add("Reshape", weight, "shape", outputs=["weight"])
    return body.function(name, ["stream", "bits", "shape", "scale"], ["weight"])


def _values(body: Body, widths: Sequence[int], counts: str) -> str:
    """All codes one after the other, width by width, each in the top bits of a byte.

    Shapes: ``counts`` (widths,) codes per width; returns (codes,) uint8.
    """
    planes = [(index, plane) for index, width in enumerate(widths) for plane in PLANES[width]]
    pieces = ["stream"]
    if len(planes) > 1:
        own = body.add("Gather", counts, body.constant([index for index, _ in planes]))
        sizes = _bytes(body, own, [plane for _, plane in planes])
        pieces = body.add("Split", "stream", sizes, outputs=body.names(len(planes)), axis=0)
    spread: dict[tuple[int, int], str] = {}
    for plane in sorted({plane for _, plane in planes}):
        places = [place for place, (_, other) in enumerate(planes) if other == plane]
        own = body.add("Gather", counts, body.constant([planes[place][0] for place in places]))
        parts = _spread(body, plane, [pieces[place] for place in places], own)
        spread |= dict(zip(((place, plane) for place in places), parts, strict=True))
    by_width: dict[int, str] = {}
    consumed = dict.fromkeys(range(len(widths)), 0)
    for place, (index, plane) in enumerate(planes):
        value = spread[place, plane]
        if consumed[index]:
            shift = body.constant(consumed[index], np.uint8)
            value = body.add("BitShift", value, shift, direction="RIGHT")
            value = body.add("BitwiseOr", by_width[index], value)
        by_width[index] = value
        consumed[index] += plane
    if len(widths) == 1:
        return by_width[0]
    return body.add("Concat", *by_width.values(), axis=0)


def _bytes(body: Body, counts: str, planes: list[int]) -> str:
    """Bytes of planes, each padded to a whole byte. Shapes: (planes,)."""
    bits = body.add("Mul", counts, body.constant(planes))
    return body.add("Div", body.add("Add", bits, body.constant([7])), body.constant([8]))


def _spread(body: Body, plane: int, pieces: list[str], counts: str) -> list[str]:
    """Pieces of the stream as one byte per value, which stands in the top bits; padding is cut off.

    Shapes: ``counts`` (pieces,) values in each piece.
    """
    stream = body.add("Concat", *pieces, axis=0) if len(pieces) > 1 else pieces[0]
    column = body.add("Unsqueeze", stream, body.constant([1]))
    shifts = body.constant(range(0, 8, plane), np.uint8)
    shifted = body.add("BitShift", column, shifts, direction="LEFT")
    mask = body.constant(256 - (1 << (8 - plane)), np.uint8)
    flat = body.add("Reshape", body.add("BitwiseAnd", shifted, mask), body.constant([-1]))
    size = _bytes(body, counts, [plane] * len(pieces))
    padded = body.add("Mul", size, body.constant([8 // plane]))
    padding = body.add("Sub", padded, counts)
    column_of = [body.add("Unsqueeze", each, body.constant([1])) for each in (counts, padding)]
    both = body.add("Reshape", body.add("Concat", *column_of, axis=1), body.constant([-1]))
    return body.add("Split", flat, both, outputs=body.names(2 * len(pieces)), axis=0)[::2]


def _in_order(body: Body, rows: str, bits: str, size: str, channels: str, *, pruned: bool) -> str:
    """Rows sorted by width as rows in the order of the channels; pruned channels get a row of zeros.

    Sorting is stable, as TopK takes equal numbers in the order of their positions.
    """
    count = body.add("Slice", "shape", body.constant([0]), body.constant([1]))
    order = body.add("TopK", bits, count, outputs=body.names(2), axis=0)[1]
    rank = body.add("TopK", order, count, outputs=body.names(2), axis=0, largest=0)[1]
    if pruned:
        zero = helper.make_tensor("", TensorProto.UINT8, [1], [0])
        one_row = body.add("Concat", body.constant([1]), size, axis=0)
        rows = body.add("Concat", rows, body.add("ConstantOfShape", one_row, value=zero), axis=0)
        rank = body.add("Min", rank, body.add("ReduceSum", channels, keepdims=1))
    return body.add("Gather", rows, rank, axis=0)


def _powers(body: Body, bits: str) -> str:
    """What a code in the top bits is to be divided by, which is exact and keeps the sign. Shapes: (C, 1)."""
    powers = body.constant([1 if not b else 1 << (8 - b) for b in range(9)], np.int32)
    return body.add("Unsqueeze", body.add("Gather", powers, bits), body.constant([1]))
