"""The form for a new case, with fake services."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

from dashboard.components import state
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
