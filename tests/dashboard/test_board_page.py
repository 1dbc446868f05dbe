"""The runs page with several candidates: the form that starts many, the chart and its tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.backend.views import JobState, RunView
from tests.dashboard.conftest import Open, clean, press, shown
from tests.dashboard.fakes import FakeServices
from tests.dashboard.made_data import case_view, run_view


def several() -> list[RunView]:
    """BAQ at three budgets, two seeds each, and the control."""
    runs = [
        run_view(
            f"baq-{bits}-{seed}",
            bits=bits,
            seed=seed,
            bytes_packed=int(250_000 * bits),
            config={"method": "baq", "bits": bits, "seed": seed},
        )
        for bits in (2.0, 3.0, 4.0)
        for seed in (0, 1)
    ]
    control = run_view(
        "control",
        method="full_precision",
        method_title="Full precision, trained on equally long",
        bits=4.0,
        bytes_packed=6_200_000,
        achieved_bits=None,
        config={"method": "full_precision"},
    )
    return [*runs, control]


def captions(app: AppTest) -> str:
    return " ".join(shown(text.value) for text in app.caption)


def test_all_candidates_are_drawn_with_the_answer_in_a_sentence(
    open_page: Open, services: FakeServices
) -> None:
    services.run_views = several()

    app = open_page("runs", expanded=("pareto_twin", "pareto_changes", "pareto_all"))

    assert clean(app)
    assert "All candidates of this case" in [head.value for head in app.subheader]
    sentence = next(t.value for t in app.markdown if "serves its worst group best" in t.value)
    assert "the smallest is Learned bit-widths (BAQ), 2 bits" in shown(sentence)
    assert any(chart.proto.alt.startswith("Of 5 candidates") for chart in app.get("plotly_chart"))
    means, changes, single = (frame.value for frame in app.dataframe[:3])
    assert len(changes) == 4 * len(several()) and changes["difference"].between(-100, 0).any()
    assert "Change of accuracy from the classifier as given" in captions(app)
    assert means["seeds"].fillna(0).tolist() == [0, 1, 2, 2, 2] and len(single) == 8
    assert means["worst"].between(1, 100).all()


def test_one_finished_run_needs_no_board(open_page: Open, services: FakeServices) -> None:
    services.run_views = [*several()[:1], run_view("next", state=JobState.QUEUED)]

    assert not open_page("runs").subheader


def test_form_says_what_it_means_before_anything_starts(
    open_page: Open, services: FakeServices
) -> None:
    services.run_views = several()
    app = open_page("runs", expanded=("sweep",))
    app.multiselect(key="sweep_methods").set_value(["baq", "uniform_qat"])
    app.multiselect(key="sweep_budgets").set_value([2.5, 3.0])
    app.number_input(key="sweep_seeds").set_value(3).run()

    assert clean(app)
    assert "9 runs in all" in captions(app)
    assert "cannot be run: The same bits everywhere, then training at 2.5 bits" in captions(app)
    assert not [call for call in services.calls if call[0] == "start_run"]


def test_starting_several_leads_to_the_first_that_is_new(
    open_page: Open, services: FakeServices
) -> None:
    app = open_page("runs", expanded=("sweep",))
    app.text_input(key="person").set_value("Ada").run()
    press(app, "Start 7 runs")

    started = [call[1] for call in services.calls if call[0] == "start_run"]
    assert len(started) == 7 and {person for _, _, person in started} == {"Ada"}
    assert {config["method"] for _, config, _ in started} == {
        "baq",
        "static_qat",
        "uniform_qat",
        "full_precision",
    }
    assert app.query_params["run"] == "run-new"


def test_what_is_there_already_is_not_started(open_page: Open, services: FakeServices) -> None:
    wanted = services.plan_sweep("demo", ["baq"], [4.0], [0], {}).configs[0]
    services.run_views = [run_view(config=wanted)]
    app = open_page("runs", expanded=("sweep",))
    app.multiselect(key="sweep_methods").set_value(["baq"])
    app.multiselect(key="sweep_budgets").set_value([4.0]).run()

    assert "1 run in all, 1 of them there already" in captions(app)
    button = next(button for button in app.button if button.label == "Nothing to start")
    assert button.disabled


@pytest.mark.parametrize(
    ("methods", "message"),
    [([], "Choose at least one method"), (["uniform_ptq"], "needs a whole number of bits")],
)
def test_impossible_choices_are_explained(
    methods: list[str], message: str, open_page: Open, services: FakeServices
) -> None:
    app = open_page("runs", expanded=("sweep",))
    app.multiselect(key="sweep_methods").set_value(methods)
    app.multiselect(key="sweep_budgets").set_value([2.5]).run()

    assert clean(app) and message in shown(app.info[0].value)


def test_refusal_by_the_backend_is_shown(open_page: Open, services: FakeServices) -> None:
    services.fail_with = "The case is not ready."
    app = open_page("runs", expanded=("sweep",))
    press(app, "Start 7 runs")

    assert shown(app.error[0].value) == services.fail_with


def test_first_runs_of_a_case_can_be_several(open_page: Open, services: FakeServices) -> None:
    services.run_views = []
    app = open_page("runs", expanded=("sweep",))
    assert clean(app) and "7 runs in all" in captions(app)

    services.case_views = [replace(case_view(), ready=False)]
    app = open_page("runs", expanded=("sweep",))
    assert clean(app) and not app.multiselect


def test_damaged_files_are_said(
    open_page: Open, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.run_views = several()
    whole = services.audit
    monkeypatch.setattr(services, "audit", lambda run: {} if run == "control" else whole(run))

    app = open_page("runs")

    assert "were damaged" in app.warning[0].value
    assert any(chart.proto.alt.startswith("Of 4 candidates") for chart in app.get("plotly_chart"))
