"""What a run's budget means for the classifier at hand: average bits, also where a file size was asked for."""

from __future__ import annotations

from dataclasses import replace

import torch

from fairquant_core.models.checkpoint import describe
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.quantization.file_size import PackedFile
from fairquant_core.quantization.layers import quantisable_layers

DTYPES = {
    **{torch.float64: "F64", torch.int64: "I64", torch.float32: "F32", torch.int32: "I32"},
    **{torch.float16: "F16", torch.bfloat16: "BF16", torch.int16: "I16"},
    **{torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"},
}


def packed_file(classifier: Classifier) -> PackedFile:
    """What the packed file of a full-precision classifier will hold, whatever the widths."""
    tensors = {
        name: (DTYPES[tensor.dtype], tuple(tensor.shape))
        for name, tensor in classifier.model.state_dict().items()
    }
    layers = [layer.name for layer in quantisable_layers(classifier.model)]
    return PackedFile.of(tensors, layers, describe(classifier))


def budget_bits(config: RunConfig, classifier: Classifier) -> float:
    """The budget in average bits per weight.

    Raises
    ------
    BudgetError
        The file size that was asked for cannot be reached.
    """
    if config.size_bytes is None or config.method == "full_precision":
        return config.bits
    return packed_file(classifier).bits_for(config.size_bytes, config)


def resolved(config: RunConfig, classifier: Classifier) -> RunConfig:
    """The configuration with ``bits`` as the classifier makes them; done twice it changes nothing more."""
    return replace(config, bits=budget_bits(config, classifier))
