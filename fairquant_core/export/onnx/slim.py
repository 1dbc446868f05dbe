"""Taking out of an ONNX file what says nothing: in a small network that weighs as much as many layers.

Nothing here changes what is computed. What goes are long names of values that nobody asks for, attributes that say what
holds without them, fields that are there and empty, and the seven bytes of zeros in every whole number of a shape.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, product
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fairquant_core.export.onnx.decode import DOMAIN, OPSET

PACKED, BITS = ".packed", ".bits"
"""Endings of the two tensors by whose names a bundle's verification finds the codes of a layer."""

WINDOWS = ("Conv", "MaxPool", "AveragePool")
WITHOUT = {"strides": 1, "dilations": 1, "pads": 0}
"""What each number is where a window names none; these defaults depend on the rank, so no schema holds them."""


def slim(model: ModelProto) -> None:
    """Make a closed model smaller, in place; its inputs, outputs and packed tensors keep their names.

    Functions get short names too and say in their documentation what they were called.
    """
    graph = model.graph
    for node in _nodes(model):
        _drop_defaults(node)
        for field in ("name", "doc_string", "overload"):
            node.ClearField(field)
    for tensor in graph.initializer:
        _short_numbers(tensor)
    kept = {value.name for value in (*graph.input, *graph.output)}
    kept |= {tensor.name for tensor in graph.initializer if tensor.name.endswith((PACKED, BITS))}
    if not any(_holds_graph(node) for node in graph.node):
        inside = [tensor.name for tensor in graph.initializer]
        short = _shorten(inside, graph.node, kept)
        for tensor in graph.initializer:
            tensor.name = short.get(tensor.name, tensor.name)
    for function in model.functions:
        short = _shorten(function.input, function.node, set())
        for names in (function.input, function.output):
            names[:] = [short[name] for name in names]
    _rename_functions(model)


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


def _holds_graph(node: NodeProto) -> bool:
    """Whether values may be read inside an attribute, where they would have to be renamed too."""
    return any(each.HasField("g") or each.graphs for each in node.attribute)


def _shorten(inside: Iterable[str], nodes: Sequence[NodeProto], kept: set[str]) -> dict[str, str]:
    """Rename values in nodes, those from outside first; returns the new names by the old ones."""
    made = (name for node in nodes for name in node.output)
    fresh = (name for name in _short_names() if name not in kept)
    short: dict[str, str] = {}
    for name in (*inside, *made):
        if name and name not in kept and name not in short:
            short[name] = next(fresh)
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [short.get(name, name) for name in names]
    return short


def _short_names() -> Iterator[str]:
    """Letters, then a letter with letters and digits behind it.

    >>> from itertools import islice
    >>> names = list(islice(_short_names(), 54))
    >>> names[0], names[51:]
    ('a', ['Z', 'aa', 'ab'])
    """
    behind = string.ascii_letters + string.digits
    for length in count():
        for parts in product(string.ascii_letters, *[behind] * length):
            yield "".join(parts)


def _rename_functions(model: ModelProto) -> None:
    short = dict(zip((each.name for each in model.functions), _short_names(), strict=False))
    for function in model.functions:
        function.doc_string, function.name = function.name, short[function.name]
    for node in model.graph.node:
        if node.domain == DOMAIN:
            node.op_type = short[node.op_type]


def _drop_defaults(node: NodeProto) -> None:
    """Leave out attributes that say what the operator does without them."""
    if node.domain:
        return
    schema = onnx.defs.get_schema(node.op_type, OPSET)
    needed = []
    for attribute in node.attribute:
        attribute.ClearField("doc_string")
        if node.op_type in WINDOWS and set(attribute.ints) == {WITHOUT.get(attribute.name)}:
            continue
        known = schema.attributes.get(attribute.name)
        if known is None or not _same_value(attribute, known.default_value):
            needed.append(_short_constant(node, attribute))
    del node.attribute[:]
    node.attribute.extend(needed)


def _same_value(attribute: AttributeProto, default: Any) -> bool:
    same_type = default.type == attribute.type and attribute.type != AttributeProto.UNDEFINED
    return same_type and helper.get_attribute_value(attribute) == helper.get_attribute_value(
        default
    )


def _short_constant(node: NodeProto, attribute: AttributeProto) -> AttributeProto:
    """A constant of 64-bit whole numbers as numbers instead of as a tensor of eight bytes each."""
    tensor = attribute.t
    if node.op_type != "Constant" or attribute.name != "value":
        return attribute
    if tensor.data_type != TensorProto.INT64 or len(tensor.dims) > 1 or 0 in tensor.dims:
        return attribute
    values = numpy_helper.to_array(tensor)
    if values.ndim:
        return helper.make_attribute("value_ints", values.tolist())
    return helper.make_attribute("value_int", int(values))


def _short_numbers(tensor: TensorProto) -> None:
    """Write 64-bit whole numbers with as many bytes as each one needs, which is one where it is below 128."""
    if tensor.data_type != TensorProto.INT64 or not tensor.HasField("raw_data"):
        return
    values = numpy_helper.to_array(tensor)
    if values.size and values.min() >= 0 and values.max() < np.iinfo(np.int32).max:
        tensor.ClearField("raw_data")
        tensor.int64_data.extend(values.ravel().tolist())
