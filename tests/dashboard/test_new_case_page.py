"""The form for a new case, with fake services."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

from dashboard.components import state
from fairquant_core.audit.criteria import Limits
from fairquant_core.report.facts import INTENDED_USE
from tests.dashboard.conftest import Open, clean, press, shown
from tests.dashboard.fakes import FakeServices


def new_case_form(open_page: Open, folder: str = "/data/cohort") -> AppTest:
    """The form after the folder was looked at."""
    app = open_page("case", view=state.NEW)
    app.text_input(key="new_folder").set_value(folder)
    press(app, "Look at it")
    return app


def test_new_case_guesses_columns_and_is_created(open_page: Open, services: FakeServices) -> None:
    app = new_case_form(open_page)
    assert app.selectbox(key="new_label").value == "diagnosis"
    assert app.selectbox(key="new_group").value == "fitzpatrick"
    app.text_input(key="new_path").set_value("model.safetensors")
    app.text_input(key="new_title").set_value("Clinic A")
    app.number_input(key="new_margin").set_value(3.0)
    press(app, "Create the case")

    assert clean(app)
    made = next(call for call in services.calls if call[0] == "create_case")[1]
    assert made.title == "Clinic A"
    assert made.classifier_path == Path("model.safetensors")
    assert (made.scheme, made.limits.margin) == ("fst3", 0.03)
    assert app.query_params["case"] == "new"
    # The form's button stands far down; the case begins at its top, once.
    assert scrolls_up(app)
    assert not scrolls_up(app.run())


def scrolls_up(app: AppTest) -> bool:
    return any("scrollTo(0, 0)" in element.proto.body for element in app.get("html"))


def test_new_case_error_is_shown_and_nothing_is_lost(
    open_page: Open, services: FakeServices
) -> None:
    app = new_case_form(open_page)
    services.fail_with = "row 17 of cohort.csv: image file 'a/b.jpg' not found under IMAGES"
    app.text_input(key="new_title").set_value("Clinic A")
    press(app, "Create the case")

    assert shown(app.error[0].value) == services.fail_with
    assert app.text_input(key="new_title").value == "Clinic A"


def test_uploaded_classifier_reaches_the_service_as_a_file(
    open_page: Open, services: FakeServices
) -> None:
    app = new_case_form(open_page)
    app.session_state["new_classifier_way"] = "Upload a file"
    app.run()
    app.file_uploader(key="new_upload").upload("../evil name.safetensors", b"weights").run()
    press(app, "Create the case")

    assert clean(app)
    made = next(call for call in services.calls if call[0] == "create_case")[1]
    assert made.classifier_path.name == "classifier.safetensors"


def made_limits(app: AppTest, services: FakeServices) -> Limits:
    """The limits that reach the service."""
    app.text_input(key="new_title").set_value("Clinic A")
    press(app, "Create the case")
    assert clean(app)
    return next(call for call in services.calls if call[0] == "create_case")[1].limits


def test_every_limit_can_be_set_before_the_run(open_page: Open, services: FakeServices) -> None:
    app = new_case_form(open_page)
    app.multiselect(key="new_must_not_miss").set_value(["melanoma", "keratosis"])
    app.selectbox(key="new_metric").select("sensitivity").run()
    app.selectbox(key="new_positive").select("melanoma")
    app.multiselect(key="new_passing").set_value(["FST V-VI"])
    app.number_input(key="new_margin").set_value(5.0)
    app.number_input(key="new_minimum").set_value(10)
    app.number_input(key="new_minimum_positives_sensitivity").set_value(4)
    app.number_input(key="new_minimum_negatives_sensitivity").set_value(30).run()

    assert "5 points of sensitivity for melanoma" in shown(app.info[0].value)
    wanted = Limits("sensitivity", 0.05, 10, ("FST V-VI",), ("melanoma",), 4, 30)
    assert made_limits(app, services) == wanted


def test_what_it_is_for_reaches_the_case_in_the_order_of_the_report(
    open_page: Open, services: FakeServices
) -> None:
    app = new_case_form(open_page)
    app.text_area(key="new_use_contact").set_value("the skin clinic")
    app.text_area(key="new_use_purpose").set_value("  A second look.\n")
    app.text_area(key="new_use_users").set_value("   ")
    assert len([area for area in app.text_area if area.key.startswith("new_use_")]) == len(
        INTENDED_USE
    )
    made_limits(app, services)

    made = next(call for call in services.calls if call[0] == "create_case")[1]
    assert list(made.intended_use.items()) == [
        ("purpose", "A second look."),
        ("contact", "the skin clinic"),
    ]


def test_a_limit_without_its_condition_is_refused_before_it_is_sent(
    open_page: Open, services: FakeServices
) -> None:
    app = new_case_form(open_page)
    app.selectbox(key="new_metric").select("auroc").run()

    assert clean(app)
    assert "none is named" in app.warning[-1].value
    button = next(button for button in app.button if button.label == "Create the case")
    assert button.disabled
    app.multiselect(key="new_must_not_miss").set_value(["melanoma"]).run()
    assert made_limits(app, services) == Limits(
        "auroc", positive=("melanoma",), minimum_positives=5, minimum_negatives=5
    )


def test_minimums_of_accuracy_are_about_what_must_not_be_missed(
    open_page: Open, services: FakeServices
) -> None:
    app = new_case_form(open_page)
    assert app.number_input(key="new_minimum_positives_accuracy").disabled
    app.multiselect(key="new_must_not_miss").set_value(["melanoma"]).run()
    app.number_input(key="new_minimum_positives_accuracy").set_value(7).run()

    wanted = Limits("accuracy", positive=("melanoma",), minimum_positives=7)
    assert made_limits(app, services) == wanted


def test_the_groups_to_choose_from_follow_the_grouping(open_page: Open) -> None:
    app = new_case_form(open_page)
    assert app.multiselect(key="new_passing").options == ["FST I-II", "FST III-IV", "FST V-VI"]
    app.selectbox(key="new_scheme").select("fst2").run()
    assert app.multiselect(key="new_passing").options == ["FST I-III", "FST IV-VI"]
    app.selectbox(key="new_group").select("sex")
    app.selectbox(key="new_scheme").select("values").run()
    assert app.multiselect(key="new_passing").options == ["female", "male"]
