"""Batch norms folded into the scale and the bias of the layer before them; the codes stay as they are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import GraphProto, NodeProto

from fairquant_core.export.onnx.tensors import used_names

EPSILON = 1e-5
"""Of ONNX's BatchNormalization where the node names none."""


def fold_norms(
    graph: GraphProto, layers: Iterable[str], tensors: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Take every batch norm out of the graph that directly follows the convolution of a layer.

    Parameters
    ----------
    graph
        Changed in place.
    layers
        Names of the layers; the weight of one is called ``<layer>.weight``.
    tensors
        All tensors of the state dict by name; the new biases are added.

    Returns
    -------
    The number by which the weights of every output channel are to be multiplied, by layer; negative where the norm
    has a negative gain. Layers without a batch norm are left out.

    Shapes: each (C,) float64.
    """
    weights = {f"{layer}.weight": layer for layer in layers}
    used = used_names(graph)
    norms = {node.input[0]: node for node in graph.node if _is_fixed(node, tensors)}
    factors: dict[str, np.ndarray] = {}
    gone = []
    for node in graph.node:
        layer = weights.get(node.input[1]) if node.op_type == "Conv" else None
        norm = norms.get(node.output[0])
        alone = norm is not None and used[node.output[0]] == 1 and used[node.input[1]] == 1
        if layer is None or norm is None or not alone:
            continue
        if len(node.input) > 2 and node.input[2] not in tensors:
            continue
        gain, shift, mean, variance = (tensors[name].astype(np.float64) for name in norm.input[1:])
        factor = gain / np.sqrt(variance + _epsilon(norm))
        bias = tensors[node.input[2]].astype(np.float64) if len(node.input) > 2 else 0.0
        folded = f"{layer}.folded_bias"
        tensors[folded] = ((bias - mean) * factor + shift).astype(np.float32)
        factors[layer] = factor
        del node.input[2:]
        node.input.append(folded)
        node.output[0] = norm.output[0]
        gone.append(norm)
    for norm in gone:
        graph.node.remove(norm)
    return factors


def _is_fixed(node: NodeProto, tensors: dict[str, np.ndarray]) -> bool:
    return node.op_type == "BatchNormalization" and all(name in tensors for name in node.input[1:])


def _epsilon(norm: NodeProto) -> float:
    return next((a.f for a in norm.attribute if a.name == "epsilon"), EPSILON)
