"""Convolutions of whole numbers: QuantizeLinear and DequantizeLinear where runtimes look for them.

A runtime that knows the pattern ``DequantizeLinear -> Conv -> (Relu) -> QuantizeLinear`` computes it with whole
numbers; one that does not gets the same numbers in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import GraphProto, NodeProto, helper

from fairquant_core.export.onnx_layers import Decoders
from fairquant_core.export.onnx_tensors import insert_before, used_names
from fairquant_core.export.onnx_whole import WholeLayer
from fairquant_core.models.rounded_inputs import InputRange

POOLS = ("MaxPool", "AveragePool")

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


def rounded_values(graph: GraphProto, convolutions: Mapping[str, NodeProto]) -> dict[str, str]:
    """The values that are to be rounded, each with the value whose range it takes.

    These are what convolutions read and make, after their Relu where one follows, sums of such values, and
    what is pooled from them, which needs no range of its own.
    """
    used = used_names(graph)
    relus = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "Relu"}

    def result(node: NodeProto) -> str:
        value = node.output[0]
        return relus[value] if value in relus and used[value] == 1 else value

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
        share = np.abs(bias) / (layer.scales * own.scale) / BIAS_LIMIT
        layer = layer.coarser(np.ceil(np.log2(np.maximum(share, 1.0))).astype(np.int64))
    name, scales = layer.name, layer.scales.astype(np.float32)
    tensors[f"{name}.weight.step"] = scales
    tensors[f"{name}.weight.zero"] = np.zeros(len(scales), dtype=np.int8)
    codes = decoders.add_codes(name, layer.codes, layer.widths, layer.shape)
    pairs = [(1, codes, f"{name}.weight")]
    if bias is not None:
        steps = (scales * np.float32(own.scale)).astype(np.float32)
        tensors[f"{name}.bias.codes"] = np.rint(bias / steps.astype(np.float64)).astype(np.int32)
        tensors[f"{name}.bias.step"] = steps
        tensors[f"{name}.bias.zero"] = np.zeros(len(steps), dtype=np.int32)
        pairs.append((2, f"{name}.bias.codes", f"{name}.bias"))
    for place, source, prefix in pairs:
        inputs = [source, f"{prefix}.step", f"{prefix}.zero"]
        node.input[place] = f"{prefix}.value"
        new = helper.make_node("DequantizeLinear", inputs, [f"{prefix}.value"], axis=0)
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
