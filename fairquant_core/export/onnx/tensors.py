"""Putting tensors into an ONNX graph, each content once and whole numbers no wider than they need to be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

NARROW_FROM = 256
"""Whole numbers that take fewer bytes are left as they are. Units: bytes."""


def close_tensors(graph: GraphProto, tensors: Mapping[str, np.ndarray]) -> None:
    """Give the graph those of the tensors that its nodes ask for.

    TinyViT's tables of positions are six times the same 300 kB of int64, all of them below 256: such tensors are
    kept once, in as many bytes as they need, and widened when the file is opened.
    """
    used = used_names(graph)
    first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    same: dict[str, str] = {}
    casts = []
    for name, array in tensors.items():
        if name not in used:
            continue
        key = array.dtype.str, array.shape, array.tobytes()
        if key in first:
            same[name] = first[key]
            continue
        first[key] = name
        narrow = _narrow(array)
        if narrow.dtype == array.dtype:
            graph.initializer.append(numpy_helper.from_array(array, name))
        else:
            graph.initializer.append(numpy_helper.from_array(narrow, f"{name}.narrow"))
            wide = helper.np_dtype_to_tensor_dtype(array.dtype)
            casts.append(helper.make_node("Cast", [f"{name}.narrow"], [name], to=wide))
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in same:
                node.input[place] = same[name]
    prepend(graph, casts)


def prepend(graph: GraphProto, nodes: list[NodeProto]) -> None:
    """Put nodes before all others, which may use what they make; nodes held elsewhere are then copies."""
    everything = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(everything)


def insert_before(graph: GraphProto, node: NodeProto, nodes: list[NodeProto]) -> None:
    """Put nodes directly before another one; all nodes stay the graph's own and can be changed afterwards."""
    place = next(index for index, other in enumerate(graph.node) if other is node)
    for offset, new in enumerate(nodes):
        graph.node.insert(place + offset, new)


def used_names(graph: GraphProto) -> dict[str, int]:
    """How often every value is read, being an output of the graph included."""
    counts: dict[str, int] = {}
    for name in (
        *(name for node in graph.node for name in node.input),
        *(value.name for value in graph.output),
    ):
        counts[name] = counts.get(name, 0) + 1
    return counts


def _narrow(array: np.ndarray) -> np.ndarray:
    """The same whole numbers in the smallest type that holds them."""
    if array.dtype != np.int64 or array.nbytes < NARROW_FROM:
        return array
    for dtype in (np.uint8, np.int16, np.int32):
        if np.array_equal(array.astype(dtype), array):
            return array.astype(dtype)
    return array
