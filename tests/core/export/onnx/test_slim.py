"""Taking out what says nothing: the same numbers, and the names that others ask for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from fairquant_core.export.onnx.exact import exact_model
from fairquant_core.export.onnx.network import build_model
from fairquant_core.export.onnx.session import network_input, open_session
from fairquant_core.export.onnx.slim import slim
from tests.core.export.onnx.networks import compressed_of, network_of, pictures


@pytest.fixture
def both() -> tuple[ModelProto, ModelProto]:
    """A model as it was made, and after slimming."""
    made = exact_model(network_of("tiny", 16), compressed_of("tiny", 16))
    smaller = ModelProto()
    smaller.CopyFrom(made)
    slim(smaller)
    return made, smaller


def test_the_logits_are_the_same_bits(both: tuple[ModelProto, ModelProto]) -> None:
    pixels = network_input(pictures(3, 16), compressed_of("tiny", 16).classifier.preprocessing)
    for run in (
        lambda model: ReferenceEvaluator(model).run(None, {"images": pixels}),
        lambda model: open_session(model.SerializeToString()).run(None, {"images": pixels}),
    ):
        (before,), (after,) = map(run, both)
        np.testing.assert_array_equal(before, after)
    assert both[1].ByteSize() < both[0].ByteSize()


def test_only_names_that_others_ask_for_stay_long(both: tuple[ModelProto, ModelProto]) -> None:
    made, smaller = (model.graph for model in both)
    asked = {
        tensor.name: numpy_helper.to_array(tensor).tobytes()
        for tensor in made.initializer
        if tensor.name.endswith((".weight.packed", ".weight.bits"))
    }
    found = {each.name: numpy_helper.to_array(each).tobytes() for each in smaller.initializer}
    assert {name: found.get(name) for name in asked} == asked
    kept = {"images", "logits", *asked}
    names = {name for node in smaller.node for name in (*node.input, *node.output)}
    assert all(len(name) <= 2 for name in names - kept)
    assert [function.doc_string for function in both[1].functions] == [
        function.name for function in both[0].functions
    ]


def single(node: NodeProto) -> NodeProto:
    """The one node of a slimmed graph."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    model = build_model(helper.make_graph([node], "one", values[:1], values[1:]), [])
    slim(model)
    return model.graph.node[0]


@pytest.mark.parametrize(
    ("operator", "attributes", "left"),
    [
        ("Conv", {"strides": [1, 1], "dilations": [1, 1], "pads": [0] * 4, "group": 1}, []),
        ("Conv", {"strides": [1, 2], "group": 8}, ["group", "strides"]),
        ("MaxPool", {"kernel_shape": [1, 1], "ceil_mode": 0}, ["kernel_shape"]),
        ("LayerNormalization", {"axis": -1, "epsilon": 1e-6}, ["epsilon"]),
        ("Softmax", {"axis": 1}, ["axis"]),
        ("Transpose", {"perm": [1, 1]}, ["perm"]),
    ],
)
def test_only_defaults_are_left_out(
    operator: str, attributes: dict[str, int | list[int]], left: list[str]
) -> None:
    node = helper.make_node(operator, ["x", "x"], ["y"], name="long", **attributes)
    found = single(node)
    assert [attribute.name for attribute in found.attribute] == left
    assert not found.HasField("name")


def test_shapes_take_a_byte_per_number() -> None:
    shape = numpy_helper.from_array(np.array([64, 3, 7, 7], np.int64), "shape")
    signed = numpy_helper.from_array(np.array([-1, 9], np.int64), "signed")
    values = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n"]) for name in "xy"]
    node = helper.make_node("Concat", ["x", "shape", "signed"], ["y"], axis=0)
    model = build_model(helper.make_graph([node], "g", values[:1], values[1:], [shape, signed]), [])
    slim(model)
    onnx.checker.check_model(model, full_check=True)
    assert [bool(each.raw_data) for each in model.graph.initializer] == [False, True]
    expected = [5, 64, 3, 7, 7, -1, 9]
    for runtime in (ReferenceEvaluator(model), open_session(model.SerializeToString())):
        assert runtime.run(None, {"x": np.array([5])})[0].tolist() == expected


def test_names_that_a_branch_reads_stay() -> None:
    """A graph inside an attribute reads values of the graph around it by their names."""
    branch = helper.make_graph(
        [helper.make_node("Neg", ["outer"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Abs", ["x"], ["outer"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    yes = numpy_helper.from_array(np.array(True), "yes")
    model = build_model(helper.make_graph(nodes, "g", values[:1], values[1:], [yes]), [])
    slim(model)
    session = open_session(model.SerializeToString())
    assert session.run(None, {"x": np.array([1, -2], np.float32)})[0].tolist() == [-1, -2]
