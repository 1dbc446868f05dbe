"""The exact-bit ONNX file: as small as its bits, opened by stock runtimes, the very numbers that were audited.

Each layer's weights are one stream of bits that a call of a model-local function turns into float32 when a session is
opened (:mod:`fairquant_core.export.onnx.decode`); the runtime folds that away, so that classifying costs what it costs
with float32 weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from fairquant_core.export.onnx.file import write_onnx
from fairquant_core.export.onnx.layers import Decoders, check_weights, round_layer_inputs
from fairquant_core.export.onnx.network import INPUT, OUTPUT, Network, build_model, catch_network
from fairquant_core.export.onnx.norms import fold_norms
from fairquant_core.export.onnx.size import ideal_bytes
from fairquant_core.export.onnx.slim import slim
from fairquant_core.export.onnx.tensors import close_tensors
from fairquant_core.models.checkpoint import describe
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Report
from fairquant_core.quantization.compressed import Compressed

EXACT, FLOAT, INT8 = "exact", "float", "int8"
"""Kinds of files: the audited numbers in their bits; float32; whole-number arithmetic."""


def export_onnx(
    compressed: Compressed,
    path: Path,
    extra: Mapping[str, Any] | None = None,
    *,
    network: Network | None = None,
    report: Report | None = None,
) -> str:
    """Write a compressed classifier as exact-bit ONNX.

    The input "images" is (batch, 3, S, S) float32, normalised as the description says; the output "logits" is
    (batch, classes). Any batch size.

    Parameters
    ----------
    extra
        JSON-able facts that travel along.
    network
        What :func:`~fairquant_core.export.onnx.network.catch_network` caught before; catching it takes seconds.

    Returns
    -------
    SHA-256 of the file.

    Raises
    ------
    ExportError
        The network cannot be written as ONNX, codes and weights disagree, or the file cannot be written.
    """
    network = network or catch_network(compressed.classifier, report=report)
    model = exact_model(network, compressed)
    slim(model)
    return write_onnx(model, path, describe_export(EXACT, compressed, model, extra))


def export_float(
    classifier: Classifier,
    path: Path,
    extra: Mapping[str, Any] | None = None,
    *,
    network: Network | None = None,
    report: Report | None = None,
) -> str:
    """Write a classifier as ordinary float32 ONNX, to compare with; arguments as :func:`export_onnx`."""
    network = network or catch_network(classifier, report=report)
    graph = network.graph()
    close_tensors(graph, network.tensors(classifier))
    about = {"kind": FLOAT, **_interface(classifier), "extra": dict(extra or {})}
    model = build_model(graph, [])
    slim(model)
    return write_onnx(model, path, about)


def describe_export(
    kind: str, compressed: Compressed, model: ModelProto, extra: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What a file made from a compressed classifier says about itself."""
    plan = compressed.plan
    return {
        "kind": kind,
        **_interface(compressed.classifier),
        "plan": {
            "average_bits": plan.average_bits,
            "weights": plan.weight_count,
            "kept_parameters": plan.kept_parameters,
            "ideal_bytes": ideal_bytes(model),
        },
        "extra": dict(extra or {}),
    }


def _interface(classifier: Classifier) -> dict[str, Any]:
    return {**describe(classifier), "input": INPUT, "output": OUTPUT}


def exact_model(network: Network, compressed: Compressed) -> ModelProto:
    """The model that :func:`export_onnx` writes, with the names of the network; raises as that does."""
    check_weights(compressed)
    graph, tensors = network.graph(), network.tensors(compressed.classifier)
    factors = fold_norms(graph, compressed.plan.layers, tensors)
    round_layer_inputs(graph, compressed.activations, tensors)
    decoders = Decoders()
    for layer, widths in compressed.plan.widths.items():
        # A layer that the prediction does not depend on, such as a second head for training, is left out.
        weight = tensors.pop(f"{layer}.weight", None)
        if weight is not None:
            scales = compressed.scales[layer].astype(np.float64) * factors.get(layer, 1.0)
            decoders.add_weight(layer, compressed.codes[layer], scales, widths, weight.shape)
    return build_model(graph, decoders.close(graph, tensors))
