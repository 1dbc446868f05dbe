"""Every page from the entrypoint, with fake services: full, empty and failed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.backend.views import DecisionKind, JobKind, JobState, ReviewState
from fairquant_core.errors import EvaluationError
from tests.dashboard.conftest import Open, answer, clean, press, shown
from tests.dashboard.fakes import FakeServices
from tests.dashboard.made_data import case_view, job_view, run_view

QUESTIONS = {
    "inbox": "What needs me?",
    "case": "What are we judging, on whom?",
    "sensitivity": "Which layers matter to whom?",
    "budget": "How small can it get, and who pays?",
    "runs": "How is training going?",
    "compare": "Does anyone lose?",
    "saliency": "Does it still look at the lesion?",
    "review": "May it leave?",
    "report": "What does the board read?",
}
EXPANDERS = {
    "inbox": ("inbox_cases", "inbox_runs"),
    "case": (
        *("case_cells_twin", "baseline_details", "case_examples", "case_splits"),
        *("case_warnings", "case_limits", "case_use"),
    ),
    "sensitivity": ("heatmap_twin", "layer_curve_twin", "sensitivity_again"),
    "budget": ("tradeoff_twin", "budget_wishes", "budget_plan", "run_more"),
    "runs": ("run_config", "run_log", "run_board"),
    "compare": ("compare_dots_twin", "compare_flips"),
    "saliency": ("saliency_groups_twin",),
    "review": ("review_hashes", "review_log"),
}
MAIN_FIGURE = {"case", "sensitivity", "budget", "runs", "compare", "saliency"}


@pytest.mark.parametrize("name", QUESTIONS)
def test_page_asks_its_question_and_answers_in_one_sentence(name: str, open_page: Open) -> None:
    app = open_page(name)

    assert clean(app)
    assert app.title[0].value == QUESTIONS[name]
    assert answer(app).endswith(".")


def test_a_page_that_cannot_go_on_says_why(
    open_page: Open, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise EvaluationError("the two tables do not hold the same images")

    monkeypatch.setattr(services, "measure_rows", refuse)
    app = open_page("compare")

    assert not app.exception
    assert [shown(error.value) for error in app.error] == [
        "the two tables do not hold the same images"
    ]
    assert app.title[0].value == QUESTIONS["compare"]


@pytest.mark.parametrize("name", EXPANDERS)
def test_page_with_all_details_open(name: str, open_page: Open) -> None:
    app = open_page(name)
    for key in EXPANDERS[name]:
        app.session_state[key] = True
    app.run()

    assert clean(app)
    assert app.dataframe


@pytest.mark.parametrize("name", sorted(MAIN_FIGURE))
def test_figures_have_an_alt_text(name: str, open_page: Open) -> None:
    figures = open_page(name).get("plotly_chart")

    assert figures
    assert all(len(figure.proto.alt) > 20 for figure in figures)


@pytest.mark.parametrize("name", QUESTIONS)
def test_page_without_any_case(name: str, open_page: Open, services: FakeServices) -> None:
    services.case_views, services.run_views = [], []

    app = open_page(name)

    assert clean(app)
    assert app.title[0].value == QUESTIONS[name]


@pytest.mark.parametrize("name", QUESTIONS)
def test_page_of_a_case_without_runs_and_measurement(
    name: str, open_page: Open, services: FakeServices
) -> None:
    services.run_views, services.measured, services.sensitivity_state = [], False, None

    assert clean(open_page(name))


@pytest.mark.parametrize("name", QUESTIONS)
def test_page_of_a_case_in_preparation(name: str, open_page: Open, services: FakeServices) -> None:
    job = job_view(JobKind.PREPARE, state=JobState.RUNNING, stage="images", step=3, steps=9)
    services.other_jobs = [job]
    services.run_views = []
    services.case_views = [case_view(ready=False, prepare_job=job.id)]

    assert clean(open_page(name))


@pytest.mark.parametrize("name", ["inbox", "runs", "compare", "saliency", "review", "report"])
@pytest.mark.parametrize(
    "run_state", [JobState.QUEUED, JobState.RUNNING, JobState.CANCELLED, JobState.INTERRUPTED]
)
def test_page_of_an_unfinished_run(
    name: str, run_state: JobState, open_page: Open, services: FakeServices
) -> None:
    services.done_epochs = 2
    services.run_views = [run_view(state=run_state, result_hash=None, verdict=None, seen=False)]

    assert clean(open_page(name))


def test_rounding_is_shown_as_part_of_the_training(open_page: Open, services: FakeServices) -> None:
    services.run_views = [run_view(state=JobState.RUNNING, stage="rounding", result_hash=None)]

    badges = [text.value for text in open_page("runs").markdown if "-badge" in text.value]

    assert [("progress_activity" in text) for text in badges if "Compress and train" in text] == [
        True
    ]
    assert "check" in next(text for text in badges if "sensitive layers" in text)


def test_inbox_shows_why_a_run_failed_and_resumes_it(
    open_page: Open, services: FakeServices
) -> None:
    reason = "The loss is not a number in epoch 2; lower the learning rate."
    services.run_views = [run_view(state=JobState.FAILED, error=reason, seen=False)]

    app = open_page()
    app.button(key="failed_run-1_resume").click().run()

    assert not app.exception
    assert shown(app.error[0].value) == reason
    assert ("resume", "run-1") in services.calls


def test_inbox_says_when_the_demo_is_damaged(open_page: Open, services: FakeServices) -> None:
    services.start_problem = "The built-in demo does not fit together."

    assert shown(open_page().warning[0].value) == services.start_problem


def test_inbox_cancels_a_running_job(open_page: Open, services: FakeServices) -> None:
    services.run_views = [
        run_view(state=JobState.RUNNING, message="Epoch 3 of 4", stage="training")
    ]

    app = open_page()
    assert "Epoch 3 of 4" in app.progress[0].text
    app.button(key="running_run-1_cancel").click().run()

    assert ("cancel", "run-1") in services.calls


def test_opening_a_new_result_marks_it_as_seen_and_moves_to_its_page(
    open_page: Open, services: FakeServices
) -> None:
    services.run_views = [run_view(seen=False)]

    app = open_page()
    app.button(key="open_run-1").click().run()

    assert ("mark_seen", "run-1") in services.calls
    assert app.title[0].value == QUESTIONS["compare"]


def test_address_names_case_and_run(open_page: Open, services: FakeServices) -> None:
    services.run_views = [run_view("run-2"), run_view("run-1")]

    app = open_page("compare", case="demo", run="run-1")

    assert app.query_params["case"] == "demo"
    assert app.query_params["run"] == "run-1"
    assert app.selectbox(key="choose_run").value == "run-1"


def test_unknown_case_in_the_address_falls_back_and_says_so(open_page: Open) -> None:
    app = open_page("case", case="gone")

    assert clean(app)
    assert "does not exist" in app.warning[0].value
    assert app.query_params["case"] == "demo"


def test_choosing_another_run_changes_the_address(open_page: Open, services: FakeServices) -> None:
    services.run_views = [run_view("run-2"), run_view("run-1", bits=3.0)]

    app = open_page("compare")
    app.selectbox(key="choose_run").select("run-1").run()

    assert app.query_params["run"] == "run-1"


def test_synthetic_cohort_is_marked_on_every_page(open_page: Open, services: FakeServices) -> None:
    demo = case_view()
    real = replace(demo, cohort=replace(demo.cohort, synthetic=False))

    def marked() -> bool:
        return any("Synthetic demo data" in text.value for text in open_page("case").markdown)

    assert marked()
    services.case_views = [real]
    assert not marked()


def test_measuring_the_layers_starts_a_job(open_page: Open, services: FakeServices) -> None:
    services.measured, services.sensitivity_state = False, None

    app = open_page("sensitivity")
    press(app, "Measure the layers")

    assert services.calls == [("request_sensitivity", ("demo", (2, 4), 60))]


@pytest.mark.parametrize("measure", ["accuracy", "loss", "predicted"])
def test_sensitivity_shows_every_measure(measure: str, open_page: Open) -> None:
    app = open_page("sensitivity")
    app.session_state["sensitivity_measure"] = measure
    app.run()

    assert clean(app)
    assert answer(app).startswith("Squeezing layer")


def test_slider_changes_the_sentence(open_page: Open) -> None:
    app = open_page("budget")
    before = answer(app)
    app.slider(key="budget_bits").set_value(2.5).run()

    assert clean(app)
    assert before.startswith("At 4 bits")
    assert answer(app).startswith("At 2.5 bits")


def test_starting_a_run_leads_to_its_page(open_page: Open, services: FakeServices) -> None:
    app = open_page("budget")
    app.slider(key="budget_bits").set_value(3.5).run()
    app.text_input(key="person").set_value("Ada").run()
    press(app, "Start the run")

    name, (case_id, config, person) = next(c for c in services.calls if c[0] == "start_run")
    assert (name, case_id, person) == ("start_run", "demo", "Ada")
    assert config["bits"] == 3.5
    assert app.title[0].value == QUESTIONS["runs"]
    assert app.query_params["run"] == "run-new"


def test_a_refused_run_says_why_and_keeps_the_settings(
    open_page: Open, services: FakeServices
) -> None:
    services.fail_with = "This method needs a whole number of bits, not 3.5."

    app = open_page("budget")
    app.slider(key="budget_bits").set_value(3.5).run()
    press(app, "Start the run")

    assert shown(app.error[0].value) == services.fail_with
    assert app.slider(key="budget_bits").value == 3.5


def test_compare_in_full_shows_differences_and_all_schemes(open_page: Open) -> None:
    app = open_page("compare")
    app.session_state["compare_reading"] = "In full"
    app.session_state["compare_scheme"] = "fst6"
    app.run()

    assert clean(app)
    assert any("between two classifiers" in heading.value for heading in app.subheader)


def test_export_is_refused_with_the_reason(open_page: Open) -> None:
    app = open_page("review")

    assert shown(app.warning[0].value) == "Nobody has approved this run yet."
    assert not app.get("download_button")


def test_decision_is_recorded_and_marked_as_unauthenticated(
    open_page: Open, services: FakeServices
) -> None:
    app = open_page("review")
    app.text_input(key="person").set_value("Ada")
    app.segmented_control(key="decision_role_0").set_value("auditor")
    app.radio(key="decision_kind_0").set_value(DecisionKind.REJECT)
    app.text_area(key="decision_comment_0").set_value("Types V-VI cannot be judged.")
    app.form_submit_button[0].click().run()

    assert clean(app)
    decided = next(call for call in services.calls if call[0] == "decide")[1]
    assert decided[1:5] == ("Ada", "auditor", "reject", "Types V-VI cannot be judged.")
    assert any("unauthenticated" in text.value for text in app.markdown)


def test_nothing_is_decided_by_default(open_page: Open, services: FakeServices) -> None:
    app = open_page("review")
    assert app.radio(key="decision_kind_0").value is None
    app.text_input(key="person").set_value("Ada")
    app.form_submit_button[0].click().run()

    assert not app.exception
    assert not [call for call in services.calls if call[0] == "decide"]
    assert "what you decide" in app.error[0].value


def test_decision_without_a_name_is_refused(open_page: Open) -> None:
    app = open_page("review")
    app.segmented_control(key="decision_role_0").set_value("auditor")
    app.radio(key="decision_kind_0").set_value(DecisionKind.REJECT)
    app.form_submit_button[0].click().run()

    assert shown(app.error[0].value) == "Person: say who decides."


def test_approved_run_can_be_downloaded(
    open_page: Open, services: FakeServices, tmp_path: Path
) -> None:
    services.bundle = tmp_path / "bundle.zip"
    services.bundle.write_bytes(b"PK")
    services.run_views = [run_view(review_state=ReviewState.APPROVED)]

    app = open_page("review")
    assert not app.get("download_button")
    press(app, "Make the bundle")

    assert clean(app)
    assert "Download the bundle" in app.get("download_button")[0].label


def test_only_a_click_exports_because_every_export_is_logged(
    open_page: Open, services: FakeServices, tmp_path: Path
) -> None:
    services.bundle = tmp_path / "bundle.zip"
    services.bundle.write_bytes(b"PK")
    services.run_views = [run_view(review_state=ReviewState.APPROVED)]

    app = open_page("review")
    app.run()
    assert not services.calls
    press(app, "Make the bundle")
    app.run()

    assert services.calls == [("export", "run-1")]


def test_a_bundle_that_does_not_verify_says_why(open_page: Open, services: FakeServices) -> None:
    services.run_views = [run_view(review_state=ReviewState.APPROVED)]

    app = open_page("review")
    press(app, "Make the bundle")

    assert shown(app.error[0].value) == "The packed model changed since the approval."
    assert not app.get("download_button")


@pytest.mark.parametrize("name", ["sensitivity", "saliency"])
def test_looking_at_a_new_result_takes_it_out_of_the_inbox(
    name: str, open_page: Open, services: FakeServices
) -> None:
    job = job_view(JobKind(name), seen=False)
    services.sensitivity_state = services.saliency_state = job

    open_page(name)

    assert ("mark_seen", job.id) in services.calls
