"""How small an ONNX file could be, counted from what it really holds, and how much larger it may be."""

from __future__ import annotations

from math import prod

from onnx import ModelProto, TensorProto, helper

RESNET_LIMIT, LIMIT = 1.02, 1.05
"""Largest size of an exact file beside its ideal one: of a ResNet, and of every other network."""

TOO_LARGE = (
    "The file takes {ratio:.3f} times its ideal size, more than the {limit:.2f} times that are aimed at: {overhead} "
    "of its {on_disk} bytes say how to compute, and are no weights. That happens in small networks with few bits; it "
    "does not change what the file predicts."
)


def ideal_bytes(model: ModelProto) -> int:
    """Bytes of the tensors that a file holds: packed weights, scales, widths, biases and everything else that is kept.

    A tensor that two layers share counts once, as it is held once; a norm that was folded into its layer counts as the
    bias that is left of it. Shapes, axes and positions, which are whole numbers of 64 bits, belong to the description
    of the computation and do not count.

    Units: bytes.
    """
    return sum(
        prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
        if tensor.data_type != TensorProto.INT64
    )


def size_limit(architecture: str) -> float:
    """How many times its ideal size an exact file of this network may take.

    >>> size_limit("resnet18"), size_limit("mobilenetv3_small_100")
    (1.02, 1.05)
    """
    return RESNET_LIMIT if architecture.startswith("resnet") else LIMIT


def size_warning(on_disk: int, ideal: int, limit: float) -> str:
    """A sentence where a file is larger than its limit, nothing where it is not. Units: bytes.

    >>> size_warning(1040, 1000, 1.05)
    ''
    >>> size_warning(1098, 1000, 1.05)[:37]
    'The file takes 1.098 times its ideal '
    """
    ratio = on_disk / ideal
    if ratio <= limit:
        return ""
    return TOO_LARGE.format(ratio=ratio, limit=limit, overhead=on_disk - ideal, on_disk=on_disk)
