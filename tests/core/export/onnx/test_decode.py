"""Decoding by ONNX operators: two runtimes give the very weights back, whatever the widths."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from fairquant_core.export.onnx.decode import DOMAIN, decode_functions, decode_name, widths_in_use
from fairquant_core.export.onnx.layers import Decoders
from fairquant_core.export.onnx.network import build_model
from fairquant_core.export.onnx.session import open_session
from fairquant_core.export.onnx.slim import slim

MENUS = [(0, 2, 3, 4, 5, 6, 7, 8), (3,), (8, 0), (5, 2), (7, 6, 4)]


def decoding_model(
    codes: np.ndarray, scales: np.ndarray, widths: np.ndarray, shape: tuple[int, ...]
) -> onnx.ModelProto:
    """A model without inputs that gives a layer's weight and its codes."""
    decoders = Decoders()
    decoders.add_weight("one", codes, scales, widths, shape)
    name = decoders.add_codes("two", codes, widths, shape)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["one.weight"], ["weight"])],
        "decoding",
        [],
        [
            helper.make_tensor_value_info("weight", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info(name, TensorProto.INT8, shape),
        ],
    )
    return build_model(graph, decoders.close(graph, {}))


def layer(menu: tuple[int, ...], shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, ...]:
    """Random codes over the whole range of each width, scales of both signs, and the widths."""
    generator = np.random.default_rng(seed)
    widths = np.concatenate([menu, generator.choice(menu, shape[0] - len(menu))]).astype(np.uint8)
    generator.shuffle(widths)
    largest = np.maximum((1 << np.maximum(widths.astype(int) - 1, 0)) - 1, 0)
    count = int(np.prod(shape[1:]))
    codes = np.stack([generator.integers(-top, top + 1, count) for top in largest])
    return codes.astype(np.int8), generator.normal(size=shape[0]).astype(np.float32), widths


@pytest.mark.parametrize("menu", MENUS, ids=str)
@pytest.mark.parametrize("shape", [(9, 5), (16, 3, 3, 3), (40, 1, 5, 1)], ids=str)
def test_two_runtimes_decode_bit_for_bit(menu: tuple[int, ...], shape: tuple[int, ...]) -> None:
    codes, scales, widths = layer(menu, shape, seed=len(shape))
    model = decoding_model(codes, scales, widths, shape)
    onnx.checker.check_model(model, full_check=True)
    expected = (codes.astype(np.float32) * scales[:, None]).reshape(shape)
    for weight, own in (
        ReferenceEvaluator(model).run(None, {}),
        open_session(model.SerializeToString()).run(None, {}),
    ):
        assert weight.dtype == np.float32 and own.dtype == np.int8
        np.testing.assert_array_equal(weight, expected)
        np.testing.assert_array_equal(own, codes.reshape(shape))


def test_a_layer_without_channels_is_zeros_and_needs_no_function() -> None:
    codes, scales, widths = layer((0,), (4, 3), seed=0)
    model = decoding_model(codes, scales, widths, (4, 3))
    assert not model.functions
    weight, own = ReferenceEvaluator(model).run(None, {})
    assert not weight.any() and not own.any() and own.dtype == np.int8


def test_equal_contents_are_held_once() -> None:
    codes, scales, widths = layer((4,), (8, 6), seed=0)
    model = decoding_model(codes, scales, widths, (8, 6))
    names = [tensor.name for tensor in model.graph.initializer]
    assert sum(name.endswith(".packed") for name in names) == 1
    assert sum(name.endswith(".bits") for name in names) == 1


def test_one_function_per_set_of_widths() -> None:
    functions = decode_functions([(8, 0), (4,)], codes=[(4,)])
    assert [function.name for function in functions] == ["Decode_4", "Codes_4", "Decode_8_0"]
    assert {function.domain for function in functions} == {DOMAIN}
    assert all(not node.domain for function in functions for node in function.node)


@pytest.mark.parametrize("whole", [False, True], ids=["float32", "int8"])
def test_layers_of_mixed_widths_share_a_function_and_decode_bit_for_bit(whole: bool) -> None:
    """The shared function knows widths that a layer does not have, down to a layer of two channels."""
    decoders, expected = Decoders(), {}
    for number, menu in enumerate([(8, 3), (7, 5, 0), (4, 2), (6,), (0, 2)]):
        codes, scales, widths = layer(menu, (len(menu) + number, 5), seed=number)
        arguments = f"layer{number}", codes, scales, widths, codes.shape
        if whole:
            name = decoders.add_codes(*arguments[:2], *arguments[3:])
        else:
            decoders.add_weight(*arguments)
            name = f"layer{number}.weight"
        scaled = codes.astype(np.float32) * scales[:, None]
        expected[name] = codes if whole else scaled
    dtype = TensorProto.INT8 if whole else TensorProto.FLOAT
    outputs = [
        helper.make_tensor_value_info(name, dtype, value.shape) for name, value in expected.items()
    ]
    graph = helper.make_graph([], "decoding", [], outputs)
    model = build_model(graph, decoders.close(graph, {}))
    kind = "Codes" if whole else "Decode"
    shared = decode_name((8, 7, 5, 4, 3, 2, 0), codes=whole)
    assert {function.name for function in model.functions} == {shared, f"{kind}_6"}
    slim(model)
    onnx.checker.check_model(model, full_check=True)
    for runtime in (ReferenceEvaluator(model), open_session(model.SerializeToString())):
        for found, value in zip(runtime.run(None, {}), expected.values(), strict=True):
            np.testing.assert_array_equal(found, value)


def test_names() -> None:
    assert decode_name(widths_in_use(np.array([0, 8, 8, 3]))) == "Decode_8_3_0"
