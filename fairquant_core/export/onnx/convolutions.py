"""Convolutions of whole numbers: QuantizeLinear and DequantizeLinear where runtimes look for them.

A runtime that knows the pattern ``DequantizeLinear -> Conv -> QuantizeLinear`` computes it with whole
numbers; one that does not gets the same numbers in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

from fairquant_core.export.onnx.layers import Decoders
from fairquant_core.export.onnx.tensors import insert_before, used_names
from fairquant_core.export.onnx.whole import WholeLayer
from fairquant_core.models.rounded_inputs import TOP, InputRange

POOLS = ("MaxPool", "AveragePool")

ROUNDING = 1e-6
"""Of a scale to float32."""

BIAS_LIMIT = 2.0**30
"""Largest bias in units of its scale: half of what 32 bits hold, the other half is left for the sum."""


def quantised_convolutions(
    graph: GraphProto, layers: Iterable[str], tensors: Mapping[str, np.ndarray]
) -> dict[str, NodeProto]:
    """The layers whose weights go unchanged into one convolution with a fixed bias or none."""
    used = used_names(graph)
    weights = {f"{layer}.weight": layer for layer in layers}
    return {
        weights[node.input[1]]: node
        for node in graph.node
        if node.op_type == "Conv"
        and node.input[1] in weights
        and used[node.input[1]] == 1
        and all(name in tensors for name in node.input[2:])
    }


@dataclass(frozen=True)
class Bend:
    """A Relu or a Clip from zero upwards that alone reads a value. ``top`` is where it cuts off."""

    node: NodeProto
    top: float


def bends(graph: GraphProto) -> dict[str, Bend]:
    """The bends by the value that they read."""
    used = used_names(graph)
    limits = {tensor.name: tensor for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "Relu":
            found[node.input[0]] = Bend(node, np.inf)
        elif node.op_type == "Clip" and all(name in limits for name in node.input[1:]):
            low, top = (float(numpy_helper.to_array(limits[name])) for name in node.input[1:])
            if low == 0:
                found[node.input[0]] = Bend(node, top)
    return {name: bend for name, bend in found.items() if used[name] == 1}


def rounded_values(graph: GraphProto, convolutions: Mapping[str, NodeProto]) -> dict[str, str]:
    """The values that are to be rounded, each with the value whose range it takes.

    These are what convolutions read and make, after the bend where one follows, sums of such values, and what is
    pooled from them, which needs no range of its own.
    """
    bent = bends(graph)

    def result(node: NodeProto) -> str:
        value = node.output[0]
        return bent[value].node.output[0] if value in bent else value

    mine = {id(node) for node in convolutions.values()}
    values = {node.input[0]: node.input[0] for node in convolutions.values()}
    for node in graph.node:
        if id(node) in mine or (
            node.op_type == "Add" and all(name in values for name in node.input)
        ):
            values.setdefault(result(node), result(node))
        elif node.op_type in POOLS and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    return values


def drop_bends(graph: GraphProto, ranges: Mapping[str, InputRange]) -> None:
    """Take out the bends that rounding does too: codes from 0 to 255 end at zero and at the top of their range.

    Otherwise a runtime that does not see this would leave the convolution before them in float32.
    """
    makers = {name: node for node in graph.node for name in node.output}
    for name, bend in bends(graph).items():
        (output,) = bend.node.output
        own = ranges.get(output)
        if own is None or own.zero_point or own.scale * TOP > bend.top * (1 + ROUNDING):
            continue
        if maker := makers.get(name):
            maker.output[0] = output
            graph.node.remove(bend.node)


def write_convolution(
    graph: GraphProto,
    node: NodeProto,
    layer: WholeLayer,
    own: InputRange,
    decoders: Decoders,
    tensors: dict[str, np.ndarray],
) -> None:
    """Let a convolution read its weight, and its bias, as whole numbers with scales.

    Parameters
    ----------
    own
        Range of the convolution's input.

    A bias that would not fit 32 bits makes the scale of its channel coarser.
    """
    bias = tensors[node.input[2]].astype(np.float64) if len(node.input) > 2 else None
    if bias is not None:
        share = np.abs(bias / (layer.scales * own.scale)) / BIAS_LIMIT
        layer = layer.coarser(np.ceil(np.log2(np.maximum(share, 1.0))).astype(np.int64))
    name, scales = layer.name, layer.scales.astype(np.float32)
    tensors[f"{name}.weight.step"] = scales
    codes = decoders.add_codes(name, layer.codes, layer.widths, layer.shape)
    pairs = [(1, codes, f"{name}.weight")]
    if bias is not None:
        steps = (scales * np.float32(own.scale)).astype(np.float32)
        tensors[f"{name}.bias.codes"] = np.rint(bias / steps.astype(np.float64)).astype(np.int32)
        tensors[f"{name}.bias.step"] = steps
        pairs.append((2, f"{name}.bias.codes", f"{name}.bias"))
    for place, source, prefix in pairs:
        node.input[place] = f"{prefix}.value"
        new = helper.make_node(
            "DequantizeLinear", [source, f"{prefix}.step"], [f"{prefix}.value"], axis=0
        )
        insert_before(graph, node, [new])


def round_values(
    graph: GraphProto, ranges: Mapping[str, InputRange], tensors: dict[str, np.ndarray]
) -> None:
    """Round values where they are made; everything that read them reads the rounded ones."""
    nodes: list[NodeProto] = []
    for name in (value.name for value in graph.input):
        if name in ranges:
            nodes += _pair(name, ranges[name], tensors)
    for node in list(graph.node):
        for place, name in enumerate(node.input):
            if name in ranges:
                node.input[place] = f"{name}.rounded"
        nodes.append(node)
        for name in node.output:
            if name in ranges:
                nodes += _pair(name, ranges[name], tensors)
    del graph.node[:]
    graph.node.extend(nodes)


def _pair(name: str, own: InputRange, tensors: dict[str, np.ndarray]) -> list[NodeProto]:
    parameters = [f"{name}.step", f"{name}.zero"]
    tensors[parameters[0]] = np.array(own.scale, dtype=np.float32)
    tensors[parameters[1]] = np.array(own.zero_point, dtype=np.uint8)
    codes, rounded = f"{name}.codes", f"{name}.rounded"
    return [
        helper.make_node("QuantizeLinear", [name, *parameters], [codes]),
        helper.make_node("DequantizeLinear", [codes, *parameters], [rounded]),
    ]
