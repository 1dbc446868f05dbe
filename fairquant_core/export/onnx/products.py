"""Products of matrices of whole numbers, with a range of the input that is found for every picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper

from fairquant_core.export.onnx.layers import Decoders
from fairquant_core.export.onnx.tensors import used_names
from fairquant_core.export.onnx.whole import WholeLayer
from fairquant_core.models.rounded_inputs import InputRange


def quantised_products(graph: GraphProto, layers: Iterable[str]) -> dict[str, NodeProto]:
    """The layers whose weights, turned over, go into one product of matrices."""
    used = used_names(graph)
    turned = {
        node.output[0]: node.input[0].removesuffix(".weight")
        for node in graph.node
        if node.op_type == "Transpose"
        and used[node.input[0]] == used[node.output[0]] == 1
        and [list(a.ints) for a in node.attribute if a.name == "perm"] == [[1, 0]]
    }
    names = set(layers)
    return {
        turned[node.input[1]]: node
        for node in graph.node
        if node.op_type == "MatMul" and turned.get(node.input[1]) in names
    }


def write_products(
    graph: GraphProto,
    products: Mapping[str, NodeProto],
    layers: Mapping[str, WholeLayer],
    trained: Mapping[str, InputRange],
    decoders: Decoders,
    tensors: dict[str, np.ndarray],
) -> None:
    """Replace each product by one of whole numbers; a range that the classifier was trained with is kept.

    The nodes are those that ONNX Runtime fuses to one: DynamicQuantizeLinear (or QuantizeLinear), MatMulInteger,
    Cast, Mul.
    """
    by_node = {id(node): layers[name] for name, node in products.items()}
    rounded: dict[tuple[str, InputRange | None], list[str]] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        layer = by_node.get(id(node))
        if layer is None:
            nodes.append(node)
            continue
        name, own = layer.name, trained.get(layer.name)
        key = node.input[0], own
        if key not in rounded:
            new, rounded[key] = _rounding(name, node.input[0], own, tensors)
            nodes.append(new)
        codes, scale, zero = rounded[key]
        weight = decoders.add_codes(name, layer.codes, layer.widths, layer.shape)
        tensors[f"{name}.weight.step"] = layer.scales.astype(np.float32)
        made = [f"{name}.{part}" for part in ("turned", "sum", "float_sum", "step")]
        nodes += [
            helper.make_node("Transpose", [weight], [made[0]], perm=[1, 0]),
            helper.make_node("MatMulInteger", [codes, made[0], zero], [made[1]]),
            helper.make_node("Cast", [made[1]], [made[2]], to=TensorProto.FLOAT),
            helper.make_node("Mul", [scale, f"{name}.weight.step"], [made[3]]),
            helper.make_node("Mul", [made[2], made[3]], list(node.output)),
        ]
    needed = {name for node in nodes for name in node.input}
    del graph.node[:]
    graph.node.extend(
        node for node in nodes if node.op_type != "Transpose" or node.output[0] in needed
    )


def _rounding(
    layer: str, value: str, own: InputRange | None, tensors: dict[str, np.ndarray]
) -> tuple[NodeProto, list[str]]:
    """The node that rounds an input, and its codes, scale and zero point."""
    names = [f"{layer}.input_{part}" for part in ("codes", "scale", "zero_point")]
    if own is None:
        return helper.make_node("DynamicQuantizeLinear", [value], names), names
    tensors[names[1]] = np.array(own.scale, dtype=np.float32)
    tensors[names[2]] = np.array(own.zero_point, dtype=np.uint8)
    return helper.make_node("QuantizeLinear", [value, *names[1:]], names[:1]), names
