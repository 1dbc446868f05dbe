"""The allocation: against brute force and the full linear programme, and its invariants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairquant_core.allocation.allocators import (
    ALLOCATORS,
    curve,
    minimax,
    uniform_widths,
)
from fairquant_core.allocation.dual import DualSolver
from fairquant_core.allocation.problem import build_problem
from fairquant_core.errors import BudgetError
from fairquant_core.sensitivity.maps import SensitivityMap
from tests.core.allocation.general_solvers import (
    brute_force,
    full_programme,
    integer_programme,
)
from tests.core.sensitivity.made_up_maps import made_up_map

BUDGETS = (2.0, 2.3, 3.0, 4.0, 5.5, 7.9, 8.0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bits", [2.0, 2.6, 3.3, 5.0])
def test_layer_plan_equals_brute_force(seed: int, bits: float) -> None:
    sensitivity = made_up_map(7, 1 + seed % 3, layers=7, menu=(2, 3, 4, 8), seed=seed)
    found = minimax(sensitivity, bits, granularity="layer")
    best = brute_force(build_problem(sensitivity, bits, granularity="layer"))
    assert found.objective == pytest.approx(best, rel=1e-6)
    assert found.certificate_gap == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("bits", [2.2, 3.5, 6.0])
def test_dual_bound_equals_the_full_programme(groups: int, bits: float) -> None:
    problem = build_problem(made_up_map(300, groups), bits)
    solution = DualSolver(problem).solve(problem)
    assert solution.bound == pytest.approx(full_programme(problem), rel=5e-5)
    assert solution.bound <= problem.losses(solution.choice).max()


@pytest.mark.parametrize("seed", range(4))
def test_bound_then_exact_then_rounded(seed: int) -> None:
    sensitivity = made_up_map(60, 3, seed=seed)
    for bits in (2.4, 4.0, 6.3):
        problem = build_problem(sensitivity, bits)
        rounded = DualSolver(problem).solve(problem)
        exact = minimax(sensitivity, bits).objective
        assert rounded.bound <= exact * (1 + 1e-9)
        assert exact <= problem.losses(rounded.choice).max() * (1 + 1e-9)


@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("bits", BUDGETS)
def test_channel_plan_is_certified_and_uses_its_budget(groups: int, bits: float) -> None:
    found = minimax(made_up_map(3000, groups, layers=30), bits)
    assert found.achieved_bits <= bits
    assert found.achieved_bits >= bits - 0.02
    assert found.certificate_gap is not None
    assert found.certificate_gap <= 0.01
    assert found.bound is not None
    assert found.objective >= found.bound * (1 - 1e-9)


def test_achieved_bits_and_predictions_are_those_of_the_widths() -> None:
    sensitivity = made_up_map(500, 3)
    found = minimax(sensitivity, 3.7)
    by_hand = (found.widths * sensitivity.weights).sum() / sensitivity.weights.sum()
    assert found.achieved_bits == pytest.approx(by_hand)
    assert found.predicted == sensitivity.predicted(found.widths)
    assert found.objective == pytest.approx(max(found.predicted.values()))
    assert found.predicted[found.worst_group] == max(found.predicted.values())


def test_layers_of_a_channel_map_give_every_channel_its_layers_width() -> None:
    sensitivity = made_up_map(400, 3)
    found = minimax(sensitivity, 4.0, granularity="layer")
    assert found.widths.shape == (400,)
    assert all(len(set(widths.tolist())) == 1 for widths in found.widths_by_layer().values())
    assert found.objective >= minimax(sensitivity, 4.0).objective


@pytest.mark.parametrize(("units", "granularity"), [(2000, "channel"), (12, "layer")])
def test_curve_never_rises_with_the_budget_and_stays_above_its_bound(
    units: int, granularity: str
) -> None:
    sensitivity = made_up_map(units, 3, layers=12)
    budgets = np.arange(2.0, 8.01, 0.25)
    frame = curve(sensitivity, budgets[::-1], granularity=granularity)
    assert frame["bits"].tolist() == budgets.tolist()
    assert (frame["achieved_bits"] <= frame["bits"]).all()
    assert (np.diff(frame["worst"]) <= 0).all()
    assert (frame["bound"] <= frame["worst"] * (1 + 1e-9)).all()
    assert frame[list(sensitivity.groups)].max(axis=1).tolist() == pytest.approx(
        frame["worst"].tolist()
    )


def test_curve_agrees_with_single_allocations() -> None:
    sensitivity = made_up_map(1500, 3)
    frame = curve(sensitivity, [2.5, 4.0, 6.0])
    for row in frame.itertuples():
        single = minimax(sensitivity, row.bits)
        assert single.bound == pytest.approx(row.bound, rel=1e-4)
        assert single.objective == pytest.approx(row.worst, rel=0.01)


def test_uniform_widths_are_never_better_than_the_bound_at_equal_bits() -> None:
    sensitivity = made_up_map(1500, 3)
    uniform = uniform_widths(sensitivity)
    mixed = curve(sensitivity, sensitivity.menu)
    assert uniform["achieved_bits"].tolist() == list(sensitivity.menu)
    assert (uniform["worst"] >= mixed["bound"] * (1 - 1e-9)).all()
    assert uniform["worst"][2] > 1.5 * mixed["worst"][2]


def test_group_weights_protect_the_weighted_group() -> None:
    sensitivity = made_up_map(1500, 3)
    even = minimax(sensitivity, 3.0)
    tilted = minimax(sensitivity, 3.0, group_weights={"group 2": 5.0})
    assert tilted.predicted["group 2"] < even.predicted["group 2"]


def test_floors_pins_and_menu_are_kept() -> None:
    sensitivity = made_up_map(600, 3)
    found = minimax(
        sensitivity, 4.0, menu=(2, 4, 6), floors={"layer1": 4}, pins={"layer0": 8, "layer7": 3}
    )
    widths = found.widths_by_layer()
    assert set(widths["layer0"].tolist()) == {8}
    assert set(widths["layer7"].tolist()) == {3}
    assert widths["layer1"].min() >= 4
    others = np.concatenate([widths[f"layer{number}"] for number in range(1, 7)])
    assert set(others.tolist()) <= {2, 4, 6}
    assert found.achieved_bits <= 4.0


def with_pruning(sensitivity: SensitivityMap, times: float = 3.0) -> SensitivityMap:
    """The map with 0 bits in front: pruning a unit harms some times as much as 2 bits do."""
    damage = sensitivity.damage
    return replace(
        sensitivity,
        menu=(0, *sensitivity.menu),
        damage=np.concatenate([damage[:, :, :1] * times, damage], axis=2),
    )


def test_pruning_is_used_where_it_is_asked_for_and_only_there() -> None:
    pruned = with_pruning(made_up_map(800, 2))
    found = minimax(pruned, 1.5, menu=pruned.menu)
    assert (found.widths == 0).any()
    assert 1.48 <= found.achieved_bits <= 1.5
    assert not (minimax(pruned, 2.5).widths == 0).any()
    with pytest.raises(BudgetError, match="menu starts at 2 bits"):
        minimax(pruned, 1.5)
    assert uniform_widths(pruned)["bits"].tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert curve(pruned, [2.0, 3.0])["worst"].tolist() == pytest.approx(
        curve(made_up_map(800, 2), [2.0, 3.0])["worst"].tolist()
    )


def test_pruned_units_count_as_often_as_asked_and_are_predicted_as_measured() -> None:
    pruned = with_pruning(made_up_map(800, 2), times=1.5)
    once, often = (minimax(pruned, 1.8, menu=pruned.menu, pruned_counts=n) for n in (1.0, 4.0))
    left_out = [int(pruned.weights[found.widths == 0].sum()) for found in (once, often)]
    assert 0 < left_out[1] < 0.8 * left_out[0]
    assert once.objective == pytest.approx(max(once.predicted.values()))
    # What is predicted stays what was measured; what was minimised counts more for what is left out.
    assert often.predicted == pruned.predicted(often.widths)
    damage = pruned.damage.copy()
    damage[:, :, 0] *= 4.0
    dearer = replace(pruned, damage=damage)
    assert often.objective == pytest.approx(max(dearer.predicted(often.widths).values()))
    assert often.certificate_gap is not None and often.certificate_gap <= 0.01
    assert minimax(dearer, 1.8, menu=pruned.menu).objective == pytest.approx(often.objective)
    for wrong in (0.5, float("nan"), float("inf")):
        with pytest.raises(BudgetError, match="at least once"):
            minimax(pruned, 1.8, pruned_counts=wrong)


@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("bits", [0.8, 1.5, 2.5, 4.0])
def test_plans_with_pruning_are_certified(groups: int, bits: float) -> None:
    pruned = with_pruning(made_up_map(3000, groups, layers=30), times=1.5)
    found = minimax(pruned, bits, menu=pruned.menu)
    assert bits - 0.02 <= found.achieved_bits <= bits
    assert found.certificate_gap is not None
    assert found.certificate_gap <= 0.01


@pytest.mark.parametrize("bits", [1.0, 2.2, 3.5])
def test_bound_with_pruning_floors_and_pins_equals_the_full_programme(bits: float) -> None:
    pruned = with_pruning(made_up_map(300, 3))
    wishes = {"floors": {"layer1": 2}, "pins": {"layer2": 3}, "menu": (0, 2, 4, 8)}
    problem = build_problem(pruned, bits, **wishes)
    solution = DualSolver(problem).solve(problem)
    assert solution.bound == pytest.approx(full_programme(problem), rel=5e-5)


@pytest.mark.parametrize("seed", range(4))
def test_layer_plan_with_pruning_equals_an_independent_integer_programme(seed: int) -> None:
    pruned = with_pruning(made_up_map(14, 3, layers=14, seed=seed))
    wishes = {"floors": {"layer1": 3}, "pins": {"layer2": 8}, "menu": pruned.menu}
    problem = build_problem(pruned, 2.4, granularity="layer", **wishes)
    found = minimax(pruned, 2.4, granularity="layer", **wishes)
    assert found.objective == pytest.approx(integer_programme(problem), rel=1e-5)
    assert found.achieved_bits <= 2.4


def test_bounds_name_the_widths_of_every_layer() -> None:
    sensitivity = made_up_map(60, 2)
    wishes = {"menu": (2, 4, 6), "floors": {"layer1": 3}, "pins": {"layer0": 8}}
    for granularity in ("channel", "layer"):
        problem = build_problem(sensitivity, 5.0, granularity=granularity, **wishes)
        assert problem.bounds == {
            "layer0": (8, 8),
            "layer1": (4, 6),
            **{f"layer{number}": (2, 6) for number in range(2, 8)},
        }


def test_units_without_damage_take_no_bits_from_others() -> None:
    sensitivity = made_up_map(900, 2)
    damage = sensitivity.damage.copy()
    damage[:, sensitivity.layer_index == 3] = 0
    flat = SensitivityMap(
        "made up", sensitivity.groups, sensitivity.images, sensitivity.menu, sensitivity.layers,
        sensitivity.weights, sensitivity.layer_index, damage,
    )  # fmt: skip
    found = minimax(flat, 3.0)
    assert set(found.widths_by_layer()["layer3"].tolist()) == {2}
    nothing = minimax(flat.restrict(["group 0"]), 8.0)
    assert nothing.achieved_bits == 8.0


def test_a_map_of_zeros_needs_no_bits_and_is_certified() -> None:
    sensitivity = made_up_map(500, 2)
    zero = SensitivityMap(
        "zero", sensitivity.groups, sensitivity.images, sensitivity.menu, sensitivity.layers,
        sensitivity.weights, sensitivity.layer_index, np.zeros_like(sensitivity.damage),
    )  # fmt: skip
    found = minimax(zero, 4.0)
    assert found.objective == 0
    assert found.certificate_gap == 0


@pytest.mark.parametrize("bits", [2.2, 4.0, 5.0, 6.5])
def test_plans_are_certified_where_few_channels_decide_everything(bits: float) -> None:
    """As in real networks: some channels are dead, and the damage of others spans ten decades."""
    sensitivity = made_up_map(4000, 3, layers=40)
    damage = sensitivity.damage.astype(float) ** 3
    damage[:, np.random.default_rng(1).random(4000) < 0.2] = 0
    found = minimax(replace(sensitivity, damage=damage / damage.max()), bits)
    assert bits - 0.02 <= found.achieved_bits <= bits
    assert found.certificate_gap is not None
    assert found.certificate_gap <= 0.01


def test_identical_channels_are_certified_too() -> None:
    sensitivity = made_up_map(4000, 3, layers=5)
    first = np.searchsorted(sensitivity.layer_index, np.arange(5))
    same = SensitivityMap(
        "same", sensitivity.groups, sensitivity.images, sensitivity.menu, sensitivity.layers,
        sensitivity.weights, sensitivity.layer_index,
        sensitivity.damage[:, first[sensitivity.layer_index]],
    )  # fmt: skip
    found = minimax(same, 3.3)
    assert found.certificate_gap is not None
    assert found.certificate_gap <= 0.01
    assert 3.28 <= found.achieved_bits <= 3.3


@pytest.mark.parametrize("name", sorted(ALLOCATORS))
@pytest.mark.parametrize("granularity", ["channel", "layer"])
def test_every_allocator_keeps_the_budget_and_none_beats_minimax(
    name: str, granularity: str
) -> None:
    sensitivity = made_up_map(1200, 3, layers=12)
    for bits in (2.5, 4.0, 5.2):
        found = ALLOCATORS[name](sensitivity, bits, granularity=granularity)
        assert found.method == name
        assert found.achieved_bits <= bits
        if granularity == "channel":
            assert found.achieved_bits >= bits - 0.02
        best = minimax(sensitivity, bits, granularity=granularity)
        assert max(found.predicted.values()) >= best.bound * (1 - 1e-6)


def test_quantile_at_5_2_bits_is_the_published_split() -> None:
    sensitivity = made_up_map(2000, 3)
    found = ALLOCATORS["quantile"](sensitivity, 5.2)
    shares = [
        sensitivity.weights[found.widths == bits].sum() / sensitivity.weights.sum()
        for bits in (2, 4, 8)
    ]
    assert shares == pytest.approx([0.2, 0.4, 0.4], abs=0.005)
    with pytest.raises(BudgetError, match=r"2, 4 and 8; the menu lacks \[8\]"):
        ALLOCATORS["quantile"](sensitivity, 4.0, menu=(2, 4))


def test_mean_serves_all_images_alike() -> None:
    sensitivity = made_up_map(1500, 3)
    pooled = ALLOCATORS["mean"](sensitivity, 3.0)
    fair = minimax(sensitivity, 3.0)
    images = np.array([sensitivity.images[group] for group in sensitivity.groups])
    rises = [np.array(list(found.predicted.values())) for found in (pooled, fair)]
    overall = [float(rise @ images / images.sum()) for rise in rises]
    assert overall[0] <= overall[1]
    assert max(pooled.predicted.values()) >= max(fair.predicted.values())
    assert pooled.objective == pytest.approx(overall[0])


def test_the_plan_of_an_allocation() -> None:
    sensitivity = made_up_map(400, 2)
    found = minimax(sensitivity, 4.0)
    plan = found.plan(kept_parameters=10)
    assert plan.average_bits == pytest.approx(found.achieved_bits)
    channels = {name: len(widths) for name, widths in found.widths_by_layer().items()}
    layered = minimax(sensitivity.by_layer(), 4.0).plan(channels)
    assert layered.weight_count == plan.weight_count
    assert {name: len(widths) for name, widths in layered.widths.items()} == channels
    with pytest.raises(BudgetError, match="do not divide"):
        minimax(sensitivity.by_layer(), 4.0).plan(dict.fromkeys(channels, 7))


@pytest.mark.parametrize(
    ("bits", "wishes", "message"),
    [
        (1.9, {}, r"smallest reachable average is 2\.000 bits \(the menu starts at 2 bits\)"),
        (2.0, {"pins": {"layer0": 8}}, r"because of floors and pins \(layer0 = 8\)"),
        (2.1, {"floors": {"layer1": 5}, "pins": {"layer2": 8}}, "layer1 >= 5|layer2 = 8"),
        (3.0, {"menu": (4,)}, r"smallest reachable average is 4\.000"),
        (4.0, {"menu": ()}, "must be widths of the sensitivity map"),
        (4.0, {"menu": (2, 9)}, "must be widths of the sensitivity map"),
        (4.0, {"pins": {"nothing": 8}}, "a pin for layer 'nothing'"),
        (4.0, {"floors": {"nothing": 8}}, "a floor for layer 'nothing'"),
        (4.0, {"pins": {"layer0": 9}}, "pin of layer 'layer0' is 9 bits"),
        (4.0, {"pins": {"layer0": 0}}, "pinned to 0 bits, which the sensitivity map has not"),
        (4.0, {"pins": {"layer0": 2}, "floors": {"layer0": 4}}, "below its own floor of 4"),
        (4.0, {"floors": {"layer0": 8}, "menu": (2, 4)}, "above the menu's largest width"),
        (4.0, {"group_weights": {"nobody": 1.0}}, "group 'nobody'"),
        (4.0, {"group_weights": {"group 0": 0.0}}, "above 0"),
        (4.0, {"granularity": "block"}, "'block' is not known"),
        (float("nan"), {}, "not a usable number"),
    ],
)
def test_impossible_wishes_are_named(bits: float, wishes: dict, message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        minimax(made_up_map(100, 2), bits, **wishes)


def test_a_menu_of_one_width_that_meets_the_budget_is_the_uniform_plan() -> None:
    found = minimax(made_up_map(300, 2), 4.5, menu=(4,))
    assert set(found.widths.tolist()) == {4}
    assert found.achieved_bits == 4.0
    assert found.certificate_gap == 0
