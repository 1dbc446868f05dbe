"""The network of a classifier as an ONNX graph whose tensors are still open.

What is caught is the arithmetic only: every tensor of the state dict is an input of the graph, so that nothing that
the exporter does can fold, rename or round a weight. Whoever writes a file closes these inputs.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import FunctionProto, ModelProto, helper
from onnxscript import optimizer
from torch import nn

from fairquant_core.errors import ExportError
from fairquant_core.export.onnx.decode import DOMAIN, DOMAIN_VERSION, OPSET
from fairquant_core.export.onnx.tensors import close_tensors, used_names
from fairquant_core.models.rounded_inputs import _round_first_input
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Report, say

INPUT, OUTPUT, BATCH = "images", "logits", "batch"
IR_VERSION = 9
"""The newest that every runtime with opset 20 opens."""

NOT_CAUGHT = (
    "The network '{name}' cannot be written as ONNX ({reason}). The packed file can be handed out instead; for ONNX "
    "choose an architecture whose forward pass does not depend on the values in the picture."
)

OTHER_NETWORK = (
    "The network that was written as ONNX is not that of '{name}': they differ at '{tensor}'. Write the network of "
    "this classifier."
)


@dataclass(frozen=True)
class Network:
    """The graph of one architecture; holds for every classifier with the same shapes.

    Attributes
    ----------
    skeleton : inputs are the pictures and the open tensors, by their names in the state dict.
    state : names of the open tensors that the prediction depends on.
    """

    skeleton: ModelProto
    state: tuple[str, ...]

    def tensors(self, classifier: Classifier) -> dict[str, np.ndarray]:
        """The classifier's own tensors for the open places, in the order of its state dict.

        Raises
        ------
        ExportError
            The classifier is of another architecture or shape than the one that was caught.
        """
        shapes = {
            value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
            for value in self.skeleton.graph.input
        }
        state = classifier.model.state_dict()
        for name in self.state:
            if name not in state or tuple(state[name].shape) != shapes[name]:
                raise ExportError(OTHER_NETWORK.format(name=classifier.name, tensor=name))
        return {
            name: state[name].detach().cpu().contiguous().numpy()
            for name in state
            if name in set(self.state)
        }

    def graph(self) -> onnx.GraphProto:
        """A copy of the graph whose open tensors are no longer inputs; the caller adds them."""
        graph = onnx.GraphProto()
        graph.CopyFrom(self.skeleton.graph)
        keep = [value for value in graph.input if value.name == INPUT]
        del graph.input[:]
        graph.input.extend(keep)
        return graph


def catch_network(classifier: Classifier, *, report: Report | None = None) -> Network:
    """Follow one forward pass and write it down as ONNX, for any number of pictures at once.

    Layers that round their input are caught without the rounding, which the file's writer puts back.

    Raises
    ------
    ExportError
        The network does something that ONNX has no operator for, or that depends on the picture's values.
    """
    say(report, "export", 0, 1, "Writing the network as ONNX")
    model = classifier.copy().model.cpu().eval()
    for module in model.modules():
        hooks = module._forward_pre_hooks
        for key in [key for key, hook in hooks.items() if hook is _round_first_input]:
            del hooks[key]
    program = _export(classifier, model)
    graph = program.model.graph
    state = set(model.state_dict())
    lifted = {}
    for name, value in list(graph.initializers.items()):
        if name not in state and value.const_value is not None:
            lifted[name] = value.const_value.numpy()
        del graph.initializers[name]
        value.const_value = None
        graph.inputs.append(value)
    optimizer.optimize_ir(program.model)
    skeleton = program.model_proto
    _strip(skeleton)
    inputs = [value for value in skeleton.graph.input if value.name not in lifted]
    del skeleton.graph.input[:]
    skeleton.graph.input.extend(inputs)
    close_tensors(skeleton.graph, lifted)
    used = {name for node in skeleton.graph.node for name in node.input}
    say(report, "export", 1, 1, "The network is written as ONNX")
    return Network(skeleton, tuple(sorted(state & used)))


def _export(classifier: Classifier, model: nn.Module) -> torch.onnx.ONNXProgram:
    size = classifier.preprocessing.size
    pictures = torch.zeros(2, 3, size, size)
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # About the insides of torch, nothing that a person could act on.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (pictures,),
                dynamo=True,
                optimize=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim(BATCH)},),
                verbose=False,
            )
    except (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError) as error:
        cause = error.__cause__ or error
        reason = next((line for line in str(cause).splitlines() if line.strip()), repr(cause))
        raise ExportError(NOT_CAUGHT.format(name=classifier.name, reason=reason)) from error
    finally:
        noisy.setLevel(level)
    assert program is not None
    return program


def _strip(model: ModelProto) -> None:
    """Take out stack traces, shapes of everything in between and names of nodes: up to megabytes of text."""
    model.ir_version = IR_VERSION
    model.ClearField("doc_string")
    model.graph.ClearField("doc_string")
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("name")
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("doc_string")
        del value.metadata_props[:]


def build_model(graph: onnx.GraphProto, functions: list[FunctionProto]) -> ModelProto:
    """A model from a closed graph and the functions that it calls; constants that nothing reads are left out."""
    used = used_names(graph)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    opsets = [helper.make_opsetid("", OPSET)]
    if functions:
        opsets.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
    return helper.make_model(
        graph,
        functions=functions,
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="FairQuant Audit",
    )
