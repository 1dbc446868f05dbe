"""The budget page: bits or megabytes, wishes that narrow the plan, and the run that comes out of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.components.budget import run_form
from dashboard.components.budget.controls import Asked, described
from fairquant_core.quantization.catalogue import MENU, METHODS, RECOMMENDED, RunConfig
from fairquant_core.sensitivity.measures import REVISION
from tests.dashboard.conftest import Open, answer, clean, press, shown
from tests.dashboard.fakes import FakeServices
from tests.dashboard.made_data import GROUPS, LAYERS


@pytest.fixture
def page(open_page: Open) -> AppTest:
    return open_page("budget", expanded=("budget_wishes", "run_more"))


def started(services: FakeServices) -> dict[str, Any]:
    """The configuration of the run that was started; the core accepts it."""
    config = next(call for call in services.calls if call[0] == "start_run")[1][1]
    RunConfig.from_json(config)
    return config


def planned(services: FakeServices) -> RunConfig:
    """What was planned last; the plan without wishes, which it is compared with, is left out."""
    usual = RunConfig(method="static_qat")
    return next(
        config
        for config in reversed(services.previewed)
        if (config.menu, config.floors, config.pins) != (usual.menu, {}, {})
    )


def to_megabytes(app: AppTest) -> None:
    app.segmented_control(key="budget_unit").set_value("size").run()


def test_the_slider_turns_from_bits_to_megabytes_and_stays_at_the_plan(
    page: AppTest, services: FakeServices
) -> None:
    to_megabytes(page)

    assert clean(page)
    slider = page.slider(key="budget_megabytes")
    assert slider.value == pytest.approx(0.88, abs=0.011)
    assert (slider.min, slider.max) == pytest.approx((0.5, 1.64), abs=0.011)
    assert answer(page).startswith("0.88 MB leave 4.00 bits for each weight")

    slider.set_value(1.2).run()
    assert clean(page)
    assert answer(page).startswith("1.2 MB leave 5.68 bits")
    press(page, "Start the run")
    config = started(services)
    assert config["size_bytes"] == 1_200_000
    assert config["bits"] == pytest.approx(5.684, abs=0.001)


def test_a_size_for_a_uniform_method_is_a_whole_width(
    page: AppTest, services: FakeServices
) -> None:
    to_megabytes(page)
    page.slider(key="budget_megabytes").set_value(1.2).run()
    page.selectbox(key="run_method").select("uniform_qat").run()
    press(page, "Start the run")

    config = started(services)
    assert (config["bits"], config["size_bytes"]) == (5, 1_200_000)


def test_the_first_and_last_layer_are_kept_with_one_click(
    page: AppTest, services: FakeServices
) -> None:
    press(page, "Keep the first and the last layer at 8 bits")

    assert clean(page)
    assert planned(services).pins == {LAYERS[0]: 8, LAYERS[-1]: 8}
    said = next(text.value for text in page.markdown if text.value.startswith("Wishes:"))
    assert said.startswith("Wishes: 2 layer rules. They cost the worst group")
    press(page, "Start the run")
    assert started(services)["pins"] == {LAYERS[0]: 8, LAYERS[-1]: 8}


def test_rules_are_added_replaced_and_taken_away(page: AppTest, services: FakeServices) -> None:
    page.selectbox(key="budget_rule_layer").select(LAYERS[1])
    page.selectbox(key="budget_rule_kind").select("floors")
    page.selectbox(key="budget_rule_width").select(5)
    press(page, "Add")
    assert planned(services).floors == {LAYERS[1]: 5}

    page.selectbox(key="budget_rule_width").select(6)
    press(page, "Add")
    assert planned(services).floors == {LAYERS[1]: 6}

    press(page, "Keep the first and the last layer at 8 bits")
    page.multiselect(key="budget_rules").unselect((LAYERS[1], "floors", 6)).run()
    assert clean(page)
    assert planned(services).floors == {}
    assert len(planned(services).pins) == 2

    press(page, "Take all wishes back")
    assert clean(page)
    assert not any(text.value.startswith("Wishes:") for text in page.markdown)
    assert not page.multiselect


def test_wishes_hold_while_the_expander_is_closed_and_on_other_pages(
    page: AppTest, services: FakeServices
) -> None:
    press(page, "Keep the first and the last layer at 8 bits")
    page.pills(key="budget_menu").set_value([0, 2, 4, 8]).run()
    page.number_input(key=f"budget_weight_demo_{GROUPS[-1]}").set_value(2.0).run()
    page.session_state["budget_wishes"] = False
    page.run()
    page.switch_page("app_pages/case.py").run()
    page.switch_page("app_pages/budget.py").run()

    assert clean(page)
    last = planned(services)
    assert (len(last.pins), last.menu, last.group_weights) == (2, (0, 2, 4, 8), {GROUPS[-1]: 2.0})


def test_small_budgets_may_leave_channels_out_unless_it_is_unwished(
    page: AppTest, services: FakeServices
) -> None:
    assert page.slider(key="budget_bits").min == 1.5
    assert services.previewed[-1].menu == MENU
    page.slider(key="budget_bits").set_value(1.6).run()
    assert clean(page)
    assert services.previewed[-1].menu == (0, *MENU)

    page.pills(key="budget_small_menu").set_value(list(MENU)).run()
    assert clean(page)
    assert page.slider(key="budget_bits").value == 2.0
    assert MENU in {config.menu for config in services.previewed if config.bits == 2.0}


def test_impossible_wishes_say_why_and_can_be_mended(page: AppTest, services: FakeServices) -> None:
    page.pills(key="budget_menu").set_value([2, 3]).run()

    assert not page.exception
    assert "the menu reaches from 2 to 3 bits" in shown(page.error[0].value)
    assert not [button for button in page.button if button.label == "Start the run"]
    press(page, "Take all wishes back")
    assert clean(page)
    assert answer(page).startswith("At 4 bits")


def test_methods_to_compare_with_come_last(page: AppTest) -> None:
    options = page.selectbox(key="run_method").options
    assert len(options) == len(METHODS)
    assert not any(option.startswith("To compare with") for option in options[: len(RECOMMENDED)])
    assert all(option.startswith("To compare with") for option in options[len(RECOMMENDED) :])


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("size", [None, 1_234_567])
def test_every_method_gets_the_wishes_that_it_can_follow(method: str, size: int | None) -> None:
    wishes = Asked(4.0, size, menu=(2, 4, 8), pins={"head": 8}, group_weights={"FST V-VI": 2.0})
    preview = FakeServices().plan_preview("demo", wishes.bits, "channel", wishes.wishes)
    assert preview is not None
    card = METHODS[method]
    config = RunConfig(method=method, **run_form.budget_fields(card, wishes, preview))
    assert bool(config.pins) == card.mixed
    assert bool(config.group_weights) == (card.allocate == "minimax")
    assert config.size_bytes == (None if method == "full_precision" else size)


def test_more_settings_start_from_those_of_the_method(
    page: AppTest, services: FakeServices
) -> None:
    assert page.selectbox(key="run_fairness_baq").value == METHODS["baq"].fairness
    page.selectbox(key="run_method").select("fairquant_qat").run()
    page.toggle(key="run_activations").set_value(True).run()
    press(page, "Start the run")

    config = started(services)
    assert config["fairness"] == METHODS["fairquant_qat"].fairness
    assert config["activation_bits"] == 8


def test_a_method_says_which_wishes_it_cannot_follow() -> None:
    wishes = Asked(4.0, pins={"head": 8})
    assert "not passed on" in run_form.explained(METHODS["uniform_qat"], wishes)
    assert "not passed on" not in run_form.explained(METHODS["uniform_qat"], Asked(4.0))
    assert "not passed on" not in run_form.explained(METHODS["baq"], wishes)
    assert "Its own plan differs" in run_form.explained(METHODS["blind_qat"], wishes)
    assert "2602.23192" in run_form.explained(METHODS["fairquant_qat"], wishes)


def test_wishes_in_words() -> None:
    assert described(Asked(4.0)) == ""
    assert described(Asked(4.0, menu=(2, 4, 8), group_weights={"a": 2.0})) == (
        "only 2, 4 and 8 bits, 1 group weighed differently"
    )


@pytest.mark.parametrize("name", ["sensitivity", "budget"])
@pytest.mark.parametrize("before", [{"measure": "fisher"}, {"revision": REVISION - 1}])
def test_a_measurement_that_plans_are_no_longer_made_from_says_so(
    name: str,
    before: dict[str, Any],
    open_page: Open,
    services: FakeServices,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not open_page(name).warning
    measured, predicted = services.sensitivity("case")
    older = replace(predicted, **before)
    monkeypatch.setattr(services, "sensitivity", lambda _: (measured, older))
    st.cache_resource.clear()

    app = open_page(name)
    assert clean(app)
    assert "measure the layers again" in app.warning[0].value
