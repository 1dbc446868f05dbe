"""The bit plan: averages over weights, exact JSON, honest bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fairquant_core.errors import BudgetError
from fairquant_core.quantization.plan import PLANES, BitPlan, stream_bytes


def two_layers() -> BitPlan:
    return BitPlan(
        {"stem": np.array([8, 2, 0]), "head": np.array([3, 3])},
        {"stem": 9, "head": 100},
        kept_parameters=7,
    )


def test_average_counts_weights_not_channels() -> None:
    plan = two_layers()
    assert plan.weight_count == 3 * 9 + 2 * 100
    assert plan.average_bits == pytest.approx((10 * 9 + 6 * 100) / 227)


def test_uniform_plan_has_exactly_its_bits() -> None:
    plan = BitPlan.uniform({"a": 10, "b": 3}, {"a": 4, "b": 5}, 5)
    assert plan.average_bits == 5.0
    assert plan.widths["b"].tolist() == [5] * 5
    assert plan.widths["b"].dtype == np.uint8


def test_json_round_trip_is_exact() -> None:
    rng = np.random.default_rng(0)
    plan = BitPlan(
        {f"layer{i}": rng.choice([0, 2, 3, 4, 5, 6, 7, 8], size=50) for i in range(5)},
        {f"layer{i}": i + 1 for i in range(5)},
        kept_parameters=12,
    )
    text = json.dumps(plan.to_json())
    again = BitPlan.from_json(json.loads(text))
    assert again == plan
    assert hash(again) == hash(plan)
    assert again.layers == plan.layers
    assert len(text) < 5 * 50 + 5 * 60 + 100


def test_packed_bytes_by_hand() -> None:
    # stem: 9 codes of 8 bits (two 4-bit planes of 4.5 -> 5 bytes each), 9 of 2 bits (3 bytes), 9 pruned;
    # head: 200 codes of 3 bits (50 + 25 bytes); 5 channels x 5 bytes; 7 kept numbers.
    assert two_layers().packed_bytes() == (5 + 5 + 3) + (50 + 25) + 25 + 28


def test_planes_add_up_to_their_width_and_divide_a_byte() -> None:
    for width, planes in PLANES.items():
        assert sum(planes) == width
        assert all(8 % plane == 0 for plane in planes)


def test_stream_is_never_more_than_the_padding_above_ideal() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        widths = rng.choice([0, 2, 3, 4, 5, 6, 7, 8], size=rng.integers(1, 40))
        weights = int(rng.integers(1, 30))
        ideal = widths.sum() * weights / 8
        planes = sum(len(PLANES[width]) for width in set(widths.tolist()) - {0})
        assert ideal <= stream_bytes(widths, weights) < ideal + planes + 1e-9


def test_layer_table_has_one_row_per_layer() -> None:
    table = two_layers().layer_table()
    assert table["layer"].tolist() == ["stem", "head"]
    assert table["weights"].tolist() == [27, 200]
    assert table["bits"].tolist() == pytest.approx([10 / 3, 3.0])
    assert table["lowest"].tolist() == [0, 3]


def test_plan_cannot_be_changed_and_copies_its_input() -> None:
    widths = np.array([4, 4])
    plan = BitPlan({"a": widths}, {"a": 1})
    widths[0] = 8
    assert plan.average_bits == 4.0
    with pytest.raises(ValueError, match="read-only"):
        plan.widths["a"][0] = 8


@pytest.mark.parametrize("width", [1, 9, 32, -2, 2.5])
def test_illegal_width_is_named(width: float) -> None:
    with pytest.raises(BudgetError, match=r"Layer 'stem', channel 1: .* is not a legal width"):
        BitPlan({"stem": np.array([4, width])}, {"stem": 9})


@pytest.mark.parametrize(
    ("widths", "weights", "kept", "message"),
    [
        ({}, {}, 0, "holds no layer"),
        ({"a": np.array([4])}, {"b": 1}, 0, "differing: a, b"),
        ({"a": np.array([4])}, {"a": 0}, 0, "0 weights per channel"),
        ({"a": np.array([[4]])}, {"a": 1}, 0, "one number per channel"),
        ({"a": np.array([], dtype=int)}, {"a": 1}, 0, "one number per channel"),
        ({"a": np.array([4])}, {"a": 1}, -1, "cannot be negative"),
    ],
)
def test_bad_plans_are_refused(widths: dict, weights: dict, kept: int, message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        BitPlan(widths, weights, kept)


@pytest.mark.parametrize(
    "content",
    [{}, {"version": 2}, {"version": 1, "layers": [], "kept_parameters": 0}, {"version": 1}],
)
def test_other_json_is_not_a_plan(content: dict) -> None:
    with pytest.raises(BudgetError):
        BitPlan.from_json(content)
