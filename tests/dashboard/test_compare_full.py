"""The compare page in full: what the audit of a run holds, with real audits of made predictions."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.charts import full_audit as charts
from dashboard.components.compare import full_audit as sections
from dashboard.components.limit_words import Shown
from fairquant_core.audit.predictions import Predictions
from tests.dashboard.conftest import Open, clean
from tests.dashboard.fakes import FakeServices
from tests.dashboard.made_data import CLASSES, full_audit_of, predictions

PARTS = (
    *("full_measures", "full_gaps", "full_thresholds"),
    *("full_calibration", "full_confusion", "full_questions"),
)
MODELS = ["full precision", "candidate"]


@cache
def full_audit() -> dict[str, Any]:
    """A real audit: V-VI holds no melanoma, some types are unknown, two annotators, two sexes."""
    made = predictions()
    frame = made.frame
    dark = frame["skin_type"].isin(["5", "6"])
    frame = frame[~(dark & (frame["label"] == "melanoma"))].reset_index(drop=True)
    place = pd.Series(range(len(frame)))
    frame["skin_type"] = frame["skin_type"].where(place % 29 != 0)
    frame["second_skin_type"] = frame["skin_type"].where(place % 7 != 0, "3")
    frame["sex"] = (place % 2).map({0: "female", 1: "male"})
    return full_audit_of(Predictions(frame, made.classes, made.models))


@pytest.fixture
def audited(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The full audit behind the page."""
    monkeypatch.setattr(services, "audit", lambda run_id: full_audit())
    return full_audit()


def opened(open_page: Open, *parts: str) -> AppTest:
    app = open_page("compare")
    app.session_state["compare_reading"] = "In full"
    for key in parts:
        app.session_state[key] = True
    return app.run()


def table_with(app: AppTest, column: str) -> pd.DataFrame:
    return next(table.value for table in app.dataframe if column in table.value)


def test_earlier_audits_say_so_and_show_the_page_as_before(open_page: Open) -> None:
    app = opened(open_page)

    assert clean(app)
    assert "The figures of full precision and candidate come from a run" in app.info[0].value
    assert any("between two classifiers" in heading.value for heading in app.subheader)


def test_in_short_shows_none_of_it_and_in_full_draws_it_when_opened(
    audited: dict[str, Any], open_page: Open
) -> None:
    app = open_page("compare")
    assert clean(app)
    assert not any("Every figure" in heading.value for heading in app.subheader)

    app.segmented_control(key="compare_reading").set_value("In full").run()

    assert clean(app)
    assert any("Every figure" in heading.value for heading in app.subheader)
    assert not any(box.key and box.key.startswith("full_") for box in app.selectbox)


def test_every_measure_with_interval_counts_and_reason(
    audited: dict[str, Any], open_page: Open
) -> None:
    app = opened(open_page, "full_measures")

    assert clean(app)
    every = table_with(app, "measure")
    assert set(every["measure"]) == {kind["measure"] for kind in audited["measures"]}
    assert set(every["model"]) == set(MODELS)
    assert {"n", "n_positive", "n_negative", "value", "low", "high"} <= set(every.columns)
    cell = every[(every["measure"] == "sensitivity (melanoma)") & (every["group"] == "FST V-VI")]
    assert len(cell) == 2
    assert cell["value"].isna().all() and cell["low"].isna().all()
    assert all(note.startswith("not estimable: ") for note in cell["note"])


def test_one_measure_is_shown_in_per_cent(audited: dict[str, Any], open_page: Open) -> None:
    app = open_page("compare", expanded=("compare_dots_twin",))
    app.selectbox(key="compare_measure").select("sensitivity (melanoma)").run()

    assert clean(app)
    stored = pd.DataFrame(audited["metrics"]["candidate"]["by_group"])
    stored = stored[stored["measure"] == "sensitivity (melanoma)"].set_index("group")["value"]
    shown = table_with(app, "note")
    shown = shown[shown["model"] == "candidate"].set_index("group")
    assert shown.loc["overall", "value"] == pytest.approx(100 * stored["overall"])
    assert pd.isna(shown.loc["FST V-VI", "value"])
    assert shown.loc["FST V-VI", "note"] == "not estimable: no image of melanoma"


def test_thresholds_show_the_net_benefit(audited: dict[str, Any], open_page: Open) -> None:
    app = opened(open_page, "full_thresholds")

    assert clean(app)
    table = table_with(app, "threshold")
    assert table["threshold"].unique().tolist() == pytest.approx([5, 10, 20, 30, 50])
    row = next(
        row
        for row in audited["metrics"]["candidate"]["by_group"]
        if row["measure"] == "net benefit at 10 % (any of these)" and row["group"] == "overall"
    )
    shown = table[(table["model"] == "candidate") & (table["threshold"].round() == 10)]
    assert shown["value"].item() == pytest.approx(row["value"])


def test_gaps_stand_beside_the_gap_by_chance(audited: dict[str, Any], open_page: Open) -> None:
    app = opened(open_page, "full_gaps")

    assert clean(app)
    assert any("of 5 classes estimable" in text.value for text in app.markdown)
    fairness = table_with(app, "by_chance")
    assert fairness["by_chance"].notna().any()
    assert "gap_by_chance" in table_with(app, "worst_group")
    assert set(table_with(app, "tpr_gap")["class"]) == set(CLASSES)


def test_calibration_and_confusion_of_a_chosen_group(
    audited: dict[str, Any], open_page: Open
) -> None:
    app = opened(open_page, "full_calibration", "full_confusion")
    app.selectbox(key="full_calibration_group").select("FST V-VI")
    app.selectbox(key="full_confusion_group").select("FST V-VI").run()

    assert clean(app)
    assert set(table_with(app, "confidence")["group"]) == {"FST V-VI"}
    cells = table_with(app, "truth")
    stored = audited["metrics"]["candidate"]["confusion"]["FST V-VI"]
    assert cells["candidate"].tolist() == [count for row in stored for count in row]
    assert cells.loc[cells["truth"] == "melanoma", "candidate"].sum() == 0


def test_other_groups_annotators_and_unknown_tone(audited: dict[str, Any], open_page: Open) -> None:
    app = opened(open_page, "full_questions")

    assert clean(app)
    asked = audited["questions"]
    options = app.selectbox(key="full_question").options
    assert len(options) == len(asked["schemes"]) + 2
    assert {"skin_type and sex", "groups of second_skin_type"} <= set(options)
    agreement = table_with(app, "grouping")
    exact = asked["annotators"][0]["agreement"]["types"]["exact"]["value"]
    assert agreement["value"].iloc[0] == pytest.approx(exact)
    unknown = asked["unknown"]["n"]
    assert unknown > 0
    assert any(f"{unknown} photographs" in text.value for text in app.markdown)

    app.selectbox(key="full_question").select("skin_type and sex").run()

    assert clean(app)
    assert "FST V-VI, female" in set(table_with(app, "verdict")["group"])


def test_every_chart_has_an_alt_text_and_a_table_to_download(
    audited: dict[str, Any], open_page: Open
) -> None:
    app = opened(open_page, *PARTS)

    assert clean(app)
    figures = app.get("plotly_chart")
    assert len(figures) == 2 + 7
    assert all(len(figure.proto.alt) > 20 for figure in figures)
    assert len(app.get("download_button")) == 1 + 9


def test_a_measure_that_is_not_estimable_has_no_mark(
    audited: dict[str, Any], services: FakeServices
) -> None:
    rows = sections.rows_of(services.full_audit("run-1", *MODELS), "by_group")
    rows = rows[rows["measure"] == "sensitivity (melanoma)"]
    groups = list(dict.fromkeys(rows["group"]))

    shown = Shown("sensitivity (melanoma)", "sensitivity")
    figure = charts.measure_dots(rows, groups, MODELS, shown)

    place = groups.index("FST V-VI")
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    assert len(marks) == len(MODELS)
    assert all(pd.isna(trace.x[place]) for trace in marks)
    alt = charts.measure_alt(rows, groups, MODELS, shown)
    assert "FST V-VI: full precision not estimable and candidate not estimable;" in alt


def test_treating_everybody_is_the_yardstick_of_the_net_benefit() -> None:
    rows = pd.DataFrame({"model": "candidate", "threshold": [0.1, 0.5], "value": [0.2, 0.1]})
    rows = rows.assign(n_positive=30, n_negative=70, low=0.0, high=0.3)

    figure = charts.decision_curve(rows, ["candidate"], "overall")

    everybody = next(trace for trace in figure.data if trace.name == "treat everybody")
    assert list(everybody.y) == pytest.approx([0.3 - 0.7 / 9, 0.3 - 0.7])
    alt = charts.decision_alt(rows, "overall", ["candidate"])
    assert alt == "Net benefit for overall: candidate 0.200 at 10 % and 0.100 at 50 %."


def test_marks_of_the_calibration_curve_count_their_photographs() -> None:
    rows = pd.DataFrame({"n": [1, 25, 100], "confidence": [0.3, 0.6, 0.9], "accuracy": 0.5})
    rows = rows.assign(model="candidate", low=0.4, high=0.6)

    figure = charts.calibration_curve(rows, ["candidate"], "overall")

    sizes = next(trace for trace in figure.data if trace.name == "candidate").marker.size
    assert list(sizes) == [charts.SMALLEST, charts.BIGGEST / 2, charts.BIGGEST]


def test_confusion_shades_are_shares_of_the_truth() -> None:
    counts = [[3, 1], [0, 0]]

    figure = charts.confusion_matrix(counts, CLASSES[:2])

    assert figure.data[0].z[0].tolist() == [0.75, 0.25]
    assert pd.isna(figure.data[0].z[1]).all()
    alt = charts.confusion_alt(counts, CLASSES[:2], "FST V-VI", "candidate")
    assert "3 of 4 photographs right" in alt
    assert "benign naevus is taken for dermatofibroma (1 time)" in alt
