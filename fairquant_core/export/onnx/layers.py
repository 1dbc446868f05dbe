"""The layers of a compressed classifier in an ONNX graph: where they compute, and where their weights come from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import FunctionProto, GraphProto, NodeProto, TensorProto, helper

from fairquant_core.errors import ExportError
from fairquant_core.export.checkpoint import NOT_THE_WEIGHTS
from fairquant_core.export.onnx.decode import DOMAIN, decode_functions, decode_name, widths_in_use
from fairquant_core.export.onnx.tensors import close_tensors, insert_before, prepend
from fairquant_core.export.packing import pack_codes
from fairquant_core.models.rounded_inputs import InputRange
from fairquant_core.quantization.compressed import Compressed

COMPUTING = ("Conv", "Gemm", "MatMul")

TOP = 8
"""Codes are decoded into the top bits of a byte. Units: bits."""

NAMED_LATER = "Decode"
"""Which function a call needs is known when all layers are there."""

UNSUPPORTED = (
    "The layer '{layer}' does not appear in the ONNX graph as a convolution or a product of matrices, so its input "
    "cannot be rounded there: leave the activations in float, or hand out the packed file."
)


class Decoders:
    """Collects, layer by layer, the nodes, tensors and functions that decode the weights.

    Layers whose channels all have one width call a function for that width, which is short. All others share one for
    every width that any of them has: one per set of widths would weigh 4 kB each, and there can be as many sets as
    layers.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray] = {}
        self._nodes: list[NodeProto] = []
        self._calls: dict[bool, list[tuple[NodeProto, tuple[int, ...]]]] = {False: [], True: []}

    def add_weight(
        self,
        layer: str,
        codes: np.ndarray,
        scales: np.ndarray,
        widths: np.ndarray,
        shape: tuple[int, ...],
    ) -> None:
        """Make ``<layer>.weight`` in float32; the scales may be negative.

        Shapes: ``codes`` (C, K) int8, ``scales`` and ``widths`` (C,), ``shape`` that of the weight.
        """
        name = f"{layer}.weight"
        if not widths.any():
            self._zeros(name, shape, TensorProto.FLOAT)
            return
        self.tensors[f"{name}.scale"] = np.ldexp(
            scales.astype(np.float64), widths.astype(np.int64) - TOP
        ).astype(np.float32)
        self._call(name, name, codes, widths, shape, whole=False)

    def add_codes(
        self, layer: str, codes: np.ndarray, widths: np.ndarray, shape: tuple[int, ...]
    ) -> str:
        """Make ``<layer>.codes`` in int8 and return that name. Shapes: as :meth:`add_weight`."""
        name = f"{layer}.codes"
        if not widths.any():
            self._zeros(name, shape, TensorProto.INT8)
        else:
            self._call(f"{layer}.weight", name, codes, widths, shape, whole=True)
        return name

    def close(self, graph: GraphProto, tensors: Mapping[str, np.ndarray]) -> list[FunctionProto]:
        """Put everything into the graph, with the other tensors that it asks for; returns the functions."""
        sets = {whole: _name_functions(calls, whole) for whole, calls in self._calls.items()}
        prepend(graph, self._nodes)
        close_tensors(graph, {**self.tensors, **tensors})
        return decode_functions(sets[False], codes=sets[True])

    def _call(
        self,
        prefix: str,
        output: str,
        codes: np.ndarray,
        widths: np.ndarray,
        shape: tuple[int, ...],
        *,
        whole: bool,
    ) -> None:
        self.tensors[f"{prefix}.packed"] = np.frombuffer(pack_codes(codes, widths), np.uint8)
        self.tensors[f"{prefix}.bits"] = widths.astype(np.uint8)
        self.tensors[f"{prefix}.shape"] = np.array(shape, dtype=np.int64)
        kinds = ["packed", "bits", "shape"] + ([] if whole else ["scale"])
        call = helper.make_node(
            NAMED_LATER, [f"{prefix}.{kind}" for kind in kinds], [output], domain=DOMAIN
        )
        self._nodes.append(call)
        self._calls[whole].append((call, widths_in_use(widths)))

    def _zeros(self, output: str, shape: tuple[int, ...], dtype: int) -> None:
        """A layer with every channel pruned."""
        self.tensors[f"{output}.shape"] = np.array(shape, dtype=np.int64)
        zero = helper.make_tensor("", dtype, [1], [0])
        self._nodes.append(
            helper.make_node("ConstantOfShape", [f"{output}.shape"], [output], value=zero)
        )


def _name_functions(
    calls: list[tuple[NodeProto, tuple[int, ...]]], whole: bool
) -> set[tuple[int, ...]]:
    """Let every call name its function; returns the sets of widths for which there must be one."""
    mixed = {width for _, widths in calls if len(widths) > 1 for width in widths}
    shared = tuple(sorted(mixed, reverse=True))
    sets = set()
    for call, widths in calls:
        own = widths if len(widths) == 1 else shared
        call.op_type = decode_name(own, codes=whole)
        sets.add(own)
    return sets


def check_weights(compressed: Compressed) -> None:
    """Make sure that the file will hold the classifier that was audited.

    Raises
    ------
    ExportError
        Codes times scales are not the weights of a layer.
    """
    state = compressed.classifier.model.state_dict()
    for layer, codes in compressed.codes.items():
        weight = state.get(f"{layer}.weight")
        product = codes.astype(np.float32) * compressed.scales[layer].astype(np.float32)[:, None]
        if weight is None or not np.array_equal(product, weight.detach().cpu().flatten(1).numpy()):
            raise ExportError(NOT_THE_WEIGHTS.format(layer=layer))


def computing_nodes(graph: GraphProto, layer: str) -> list[NodeProto]:
    """The nodes that multiply with a layer's weight, which may be turned over or reshaped on the way there."""
    found, names = [], {f"{layer}.weight"}
    for node in graph.node:
        if node.op_type in COMPUTING and node.input[1] in names:
            found.append(node)
        elif names.intersection(node.input):
            names.update(node.output)
    return found


def round_layer_inputs(
    graph: GraphProto, ranges: Mapping[str, InputRange], tensors: dict[str, np.ndarray]
) -> None:
    """Round the input of every layer that has a range, as the classifier itself does.

    Parameters
    ----------
    graph, tensors
        Changed in place: the graph gets the nodes, the tensors their scales and zero points.

    Raises
    ------
    ExportError
        A layer multiplies in a way that has no input to round.
    """
    rounded: dict[tuple[str, InputRange], str] = {}
    for layer, (scale, zero_point) in ranges.items():
        nodes = computing_nodes(graph, layer)
        if not nodes:
            raise ExportError(UNSUPPORTED.format(layer=layer))
        parameters = [f"{layer}.input_scale", f"{layer}.input_zero_point"]
        tensors[parameters[0]] = np.array(scale, dtype=np.float32)
        tensors[parameters[1]] = np.array(zero_point, dtype=np.uint8)
        for node in nodes:
            key = node.input[0], InputRange(scale, zero_point)
            if key not in rounded:
                rounded[key] = f"{layer}.rounded_input{len(rounded)}"
                _insert_rounding(graph, node, parameters, rounded[key])
            node.input[0] = rounded[key]


def _insert_rounding(
    graph: GraphProto, before: NodeProto, parameters: list[str], output: str
) -> None:
    codes = f"{output}.codes"
    rounding = helper.make_node("QuantizeLinear", [before.input[0], *parameters], [codes])
    back = helper.make_node("DequantizeLinear", [codes, *parameters], [output])
    insert_before(graph, before, [rounding, back])
