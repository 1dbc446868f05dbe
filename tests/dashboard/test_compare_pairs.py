"""The compare page: any two classifiers, the measure of the limits, and the units of each measure."""

from __future__ import annotations

import pandas as pd
import pytest

from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.summary import compare
from tests.dashboard.conftest import Open, answer, clean
from tests.dashboard.fakes import FakeServices
from tests.dashboard.made_data import case_view, predictions, run_view

SENSITIVITY = Limits("sensitivity", 0.05, 3, positive=("melanoma",))


def opened(open_page: Open, **chosen: str):
    app = open_page("compare")
    app.session_state["compare_reading"] = "In full"
    for name, value in chosen.items():
        app.session_state[f"compare_{name}"] = value
    return app.run()


def changes(app) -> pd.DataFrame:
    return next(table.value for table in app.dataframe if "p_value" in table.value)


def test_two_baselines_can_be_compared(open_page: Open) -> None:
    app = opened(open_page, before="uniform 4-bit", after="full precision")

    assert clean(app)
    limits = case_view().limits
    expected = compare(
        predictions().part("audit"),
        "uniform 4-bit",
        "full precision",
        group_column="skin_type",
        scheme="fst3",
        limits=limits,
    )
    wanted = pd.DataFrame(expected["differences"])
    assert changes(app)["difference"].tolist() == pytest.approx(100 * wanted["difference"])
    assert changes(app)["p_value"].tolist() == pytest.approx(wanted["p_value"].tolist())
    assert any("Nothing is judged" in text.value for text in app.caption)


def test_one_classifier_alone_is_no_pair(open_page: Open) -> None:
    app = opened(open_page, before="candidate", after="candidate")

    assert clean(app)
    assert any("two different classifiers" in text.value for text in app.info)


def test_the_measure_of_the_limits_leads_the_page(open_page: Open, services: FakeServices) -> None:
    services.case_views = [case_view(limits=SENSITIVITY)]
    app = opened(open_page)

    assert clean(app)
    assert app.selectbox(key="compare_measure").value == "sensitivity (melanoma)"
    assert "5 points of sensitivity for melanoma" in answer(app)
    assert any("5 points of sensitivity for melanoma" in text.value for text in app.caption)
    figure = app.get("plotly_chart")[0]
    assert "Sensitivity (melanoma) per group" in figure.proto.alt


def test_a_score_without_a_right_or_wrong_has_no_counts(open_page: Open) -> None:
    app = opened(open_page, measure="Brier score")

    assert clean(app)
    table = changes(app)
    assert not {"lost", "gained"} & set(table)
    assert table["difference"].abs().max() < 1
    assert "Brier score per group" in app.get("plotly_chart")[0].proto.alt


def test_two_runs_of_the_same_label_can_both_be_chosen(
    open_page: Open, services: FakeServices
) -> None:
    services.run_views = [run_view("run-1"), run_view("run-2")]
    app = open_page("compare", case="demo", run="run-1")

    assert len(set(app.selectbox(key="choose_run").options)) == 2
    app.selectbox(key="choose_run").select("run-2").run()
    assert app.query_params["run"] in ("run-2", ["run-2"])


def test_a_candidate_of_another_run_stands_beside(open_page: Open, services: FakeServices) -> None:
    services.run_views = [run_view(), run_view("run-2", title="Uniform 3 bits", method="uniform")]
    app = open_page("compare", expanded=("compare_dots_twin",), case="demo", run="run-1")
    app.multiselect(key="compare_beside").select("run-2").run()

    assert clean(app)
    shown = next(table.value for table in app.dataframe if "note" in table.value)
    models = ["full precision", "uniform 4-bit", "candidate", "Uniform 3 bits"]
    assert list(dict.fromkeys(shown["model"])) == models
