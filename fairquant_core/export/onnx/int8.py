"""The fast ONNX file: the same codes multiplied as whole numbers, with activations in 8 bits.

Convolutional networks get fixed ranges for their activations, found on training images, in the form that runtimes fuse
to whole-number convolutions (QuantizeLinear and DequantizeLinear around them); transformers get ranges that are
found anew for every picture (DynamicQuantizeLinear and MatMulInteger). Rounding activations changes the predictions, so
this is another classifier than the audited one: it needs an audit and a decision of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from fairquant_core.errors import ExportError
from fairquant_core.export.onnx.convolutions import (
    drop_bends,
    quantised_convolutions,
    round_values,
    rounded_values,
    write_convolution,
)
from fairquant_core.export.onnx.exact import INT8, describe_export, exact_model
from fairquant_core.export.onnx.file import write_onnx
from fairquant_core.export.onnx.layers import Decoders, check_weights, round_layer_inputs
from fairquant_core.export.onnx.network import Network, build_model, catch_network
from fairquant_core.export.onnx.norms import fold_norms
from fairquant_core.export.onnx.products import quantised_products, write_products
from fairquant_core.export.onnx.ranges import value_ranges
from fairquant_core.export.onnx.slim import slim
from fairquant_core.export.onnx.whole import WholeLayer
from fairquant_core.progress import Report, Stop
from fairquant_core.quantization.compressed import Compressed

FIXED, PER_PICTURE = "fixed", "per picture"
"""How the ranges of activations are found."""

NOTHING_TO_GAIN = (
    "No layer of '{name}' can be multiplied as whole numbers: hand out the exact file alone."
)


def export_int8(
    compressed: Compressed,
    path: Path,
    images: np.ndarray,
    extra: Mapping[str, Any] | None = None,
    *,
    network: Network | None = None,
    report: Report | None = None,
    cancel: Stop | None = None,
) -> str:
    """Write the fast variant of a compressed classifier; whether it is faster is to be measured.

    Parameters
    ----------
    images
        Training images, of every group equally many.
    extra, network
        As for :func:`~fairquant_core.export.onnx.exact.export_onnx`.

    Returns
    -------
    SHA-256 of the file.

    Shapes: ``images`` uint8 (N, S, S, 3).

    Raises
    ------
    ExportError
        As for the exact file; or no layer can gain, there is no image, or an activation is not a number.
    """
    network = network or catch_network(compressed.classifier, report=report)
    model, ranges = int8_model(network, compressed, images, report=report, cancel=cancel)
    slim(model)
    about = describe_export(INT8, compressed, model, extra)
    return write_onnx(model, path, {**about, "activation_bits": 8, "activation_ranges": ranges})


def int8_model(
    network: Network,
    compressed: Compressed,
    images: np.ndarray,
    *,
    report: Report | None = None,
    cancel: Stop | None = None,
) -> tuple[ModelProto, str]:
    """The model that :func:`export_int8` writes, and how its ranges are found; raises as that does.

    Names are those of the network; ranges that the classifier was trained with are kept.
    """
    check_weights(compressed)
    plan, trained = compressed.plan, compressed.activations
    graph, tensors = network.graph(), network.tensors(compressed.classifier)
    factors = fold_norms(graph, plan.layers, tensors)
    convolutions = quantised_convolutions(graph, plan.layers, tensors)
    products = quantised_products(graph, plan.layers)
    layers = {
        layer: WholeLayer.of(compressed, layer, tensors[f"{layer}.weight"].shape, factors)
        for layer in plan.layers
        if f"{layer}.weight" in tensors
    }
    fixed = _weights(layers, convolutions) >= _weights(layers, products)
    if not convolutions and not products:
        raise ExportError(NOTHING_TO_GAIN.format(name=compressed.classifier.name))
    decoders = Decoders()
    if fixed:
        values = rounded_values(graph, convolutions)
        sources = sorted(set(values.values()))
        ranges = value_ranges(
            exact_model(network, compressed),
            sources,
            images,
            compressed.classifier.preprocessing,
            report=report,
            cancel=cancel,
        )
        for layer, node in convolutions.items():
            ranges[values[node.input[0]]] = trained.get(layer, ranges[values[node.input[0]]])
        own_ranges = {name: ranges[source] for name, source in values.items()}
        drop_bends(graph, own_ranges)
        for layer, node in convolutions.items():
            own = own_ranges[node.input[0]]
            write_convolution(graph, node, layers.pop(layer), own, decoders, tensors)
        round_values(graph, own_ranges, tensors)
    else:
        own_layers = {layer: layers.pop(layer) for layer in products}
        write_products(graph, products, own_layers, trained, decoders, tensors)
    round_layer_inputs(graph, {name: trained[name] for name in layers if name in trained}, tensors)
    for rest in layers.values():
        decoders.add_weight(rest.name, rest.codes, rest.scales, rest.widths, rest.shape)
    planned = {f"{layer}.weight" for layer in plan.layers}
    kept = {name: array for name, array in tensors.items() if name not in planned}
    model = build_model(graph, decoders.close(graph, kept))
    return model, FIXED if fixed else PER_PICTURE


def _weights(layers: Mapping[str, WholeLayer], names: Mapping[str, Any]) -> int:
    return sum(layers[name].codes.size for name in names)
