"""One run's configuration: what contradicts itself is refused by name, and what is stored can be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairquant_core.allocation.allocators import ALLOCATORS
from fairquant_core.errors import BudgetError, FairQuantError, TrainingError
from fairquant_core.quantization.bounds import allowed_widths, lifted_layers, width_bounds
from fairquant_core.quantization.cards import PRUNED_COUNTS
from fairquant_core.quantization.catalogue import (
    MENU,
    METHODS,
    RECOMMENDED,
    TRAINED_SHARE,
    RunConfig,
)

FULL: dict[str, Any] = {
    "method": "static_qat",
    "bits": 3.5,
    "menu": (8, 4, 0, 2),
    "floors": {"stem": 4},
    "pins": {"head": 8, "features.3": 2},
    "size_bytes": 1_500_000,
    "activation_bits": 8,
    "group_weights": {"FST V-VI": 2},
}


def test_a_configuration_survives_the_round_trip_through_json() -> None:
    config = RunConfig(**FULL)
    again = RunConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.digest == config.digest
    assert again.menu == (0, 2, 4, 8)
    assert again.group_weights == {"FST V-VI": 2.0}


def test_the_order_of_wishes_does_not_matter() -> None:
    one = RunConfig(pins={"a": 8, "b": 4}, menu=(4, 2, 8))
    other = RunConfig(pins={"b": 4, "a": 8}, menu=(8, 4, 4, 2))
    assert one.digest == other.digest


@pytest.mark.parametrize("change", sorted(set(FULL) - {"method"}))
def test_every_wish_changes_the_digest(change: str) -> None:
    plain = RunConfig(method="static_qat")
    assert RunConfig(method="static_qat", **{change: FULL[change]}).digest != plain.digest


def test_a_configuration_of_the_first_version_is_still_read() -> None:
    stored = {
        "method": "baq", "bits": 4.0, "epochs": 4, "seed": 0, "granularity": "channel",
        "batch_size": 32, "learning_rate": 1e-3, "bit_learning_rate": 0.03, "fairness": "worst",
        "fairness_weight": 0.5, "distillation": True, "images_per_group": 256,
        "menu": [2, 3, 4, 5, 6, 7, 8], "version": 1,
    }  # fmt: skip
    before = RunConfig(menu=MENU, trained_share=1.0, learning_rate=1e-3)
    assert RunConfig.from_json(stored) == before
    assert RunConfig.from_json({**stored, "version": 2}).trained_share == 1.0
    with pytest.raises(TrainingError, match="newer program"):
        RunConfig.from_json({"version": 99})
    with pytest.raises(TrainingError, match="unknown fields: speed"):
        RunConfig.from_json({"speed": 3})


def test_generous_budgets_are_averaged_unless_the_run_says_otherwise() -> None:
    assert RunConfig(bits=4.0).trained_share == TRAINED_SHARE < 1
    assert RunConfig(bits=4.0, trained_share=1.0).trained_share == 1
    assert RunConfig(bits=2.5).trained_share == 1
    assert RunConfig(method="static_qat", bits=4.0).trained_share == 1
    with pytest.raises(TrainingError, match="'trained_share' is -0.5"):
        RunConfig(trained_share=-0.5)


def test_left_out_channels_count_more_where_rounding_is_compensated() -> None:
    assert RunConfig(bits=2.0).pruned_counts == PRUNED_COUNTS > 1
    assert RunConfig(method="minimax_ptq", bits=2.0).pruned_counts == PRUNED_COUNTS
    assert RunConfig(method="static_qat", bits=2.0).pruned_counts == 1
    assert RunConfig(bits=2.0, pruned_counts=3.0).pruned_counts == 3
    assert (
        RunConfig(bits=4.0).pruned_counts
        == RunConfig(bits=4.0, pruned_counts=3.0).pruned_counts
        == 1
    )
    before = {**RunConfig(bits=2.0, pruned_counts=1.0).to_json(), "version": 3}
    del before["pruned_counts"]
    assert RunConfig.from_json(before).pruned_counts == 1
    with pytest.raises(TrainingError, match="'pruned_counts' is 0.5"):
        RunConfig(bits=2.0, pruned_counts=0.5)


def test_titles_name_the_budget_that_was_asked_for() -> None:
    assert RunConfig(bits=3.5).title == "Learned bit-widths (BAQ), 3.5 bits, seed 0"
    assert "1.5 MB" in RunConfig(size_bytes=1_500_000).title
    assert "bits" not in RunConfig(method="full_precision").title


def test_a_size_needs_no_bits_that_fit_the_menu() -> None:
    assert RunConfig(method="uniform_qat", size_bytes=900_000, bits=3.7, menu=(2, 4)).bits == 3.7


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"bits": 2.2, "menu": (3, 4, 8)}, "the menu reaches from 3 to 8 bits"),
        ({"bits": 8.5, "pins": {"head": 8}}, "the menu with the pins reaches from 2 to 8"),
        ({"bits": 4.5, "menu": (4,)}, "one width, 4 bits, so the budget can only be 4 bits"),
        ({"menu": (0,)}, "at least one of the latter"),
        ({"menu": (2, 9)}, "from 2 to 8 only"),
        ({"pins": {"head": 9}}, "pin of layer 'head' is 9 bits"),
        ({"floors": {"stem": 1}}, "floor of layer 'stem' is 1 bits"),
        ({"pins": {"head": 2}, "floors": {"head": 4}}, "pinned to 2 bits, below its own floor"),
        ({"menu": (2, 3, 4), "floors": {"stem": 6}}, "above the menu's largest width, 4"),
        ({"method": "uniform_qat", "pins": {"head": 8}}, "it cannot take pins"),
        ({"method": "uniform_qat", "bits": 3.5}, "needs a whole number of bits"),
        ({"method": "uniform_ptq", "bits": 3, "menu": (2, 4)}, "needs that width in the menu"),
        ({"method": "full_precision", "floors": {"a": 4}}, "it cannot take floors"),
        ({"method": "blind_qat", "group_weights": {"a": 2}}, "does not look at groups"),
        ({"method": "fairquant_qat", "menu": (2, 3, 4)}, r"lacks \[8\]"),
        ({"group_weights": {"a": 0}}, "above 0"),
        ({"group_weights": {"a": float("nan")}}, "above 0"),
        ({"size_bytes": 0}, "0 bytes cannot be made"),
        ({"activation_bits": 4}, "8 bits or stay in float"),
        ({"method": "magic"}, "'magic' is not known"),
    ],
)
def test_contradictions_are_named(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(FairQuantError, match=message) as caught:
        RunConfig(**wishes)
    assert isinstance(caught.value, BudgetError) or "magic" in message


def test_without_a_menu_a_method_has_its_own() -> None:
    assert RunConfig(method="baq", bits=2.0).menu == (0, *MENU)
    assert RunConfig(method="static_qat", bits=2.4).menu == (0, *MENU)
    assert RunConfig(method="baq", bits=2.5).menu == MENU
    assert RunConfig(method="baq", bits=3.0).menu == MENU
    assert RunConfig(method="static_qat", bits=2.5).menu == MENU
    assert RunConfig(method="minimax_ptq", bits=2.5).menu == MENU
    assert RunConfig(method="hawq_qat", bits=2.0).menu == MENU
    assert RunConfig(method="baq", bits=2.0, menu=MENU).menu == MENU


def test_one_width_is_allowed_where_it_is_the_budget() -> None:
    assert RunConfig(menu=(4,), bits=4).widths == (4,)
    assert RunConfig(menu=(4,), bits=4.2, pins={"head": 8}).widths == (4, 8)


def test_recommended_methods_and_allocators_exist() -> None:
    assert set(RECOMMENDED) < set(METHODS)
    planned = {card.allocate for card in METHODS.values() if card.mixed}
    assert planned <= set(ALLOCATORS)


def test_bounds_of_floors_and_pins() -> None:
    bounds = width_bounds(["a", "b", "c"], (8, 2, 4), {"a": 3}, {"b": 6})
    assert bounds == {"a": (4, 8), "b": (6, 6), "c": (2, 8)}
    assert allowed_widths((0, 2, 4)) == (0, 2, 4)


def test_many_lifted_layers_are_counted_not_listed() -> None:
    bounds = {f"layer{number}": (8, 8) for number in range(9)}
    weights = {f"layer{number}": number + 1 for number in range(9)}
    text = lifted_layers(bounds, weights, 2)
    assert text.startswith("layer8 = 8, layer7 = 8")
    assert text.endswith("layer3 = 8 and 3 more")
