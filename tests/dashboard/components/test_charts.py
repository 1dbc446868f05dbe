"""Figures as data: what is drawn, marked and said in the alt text."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dashboard.components import tables
from dashboard.components.charts import (
    budget,
    cohort,
    comparison,
    full_audit,
    palette,
    sensitivity,
    training,
)
from dashboard.components.limit_words import Shown
from tests.dashboard.made_data import (
    GROUPS,
    LAYERS,
    compared,
    epochs_frame,
    measured_map,
    trajectory_frame,
)


def texts(figure) -> list[str]:
    """All texts drawn next to marks."""
    return [text for trace in figure.data if trace.text is not None for text in trace.text]


def test_every_group_has_its_own_colour_symbol_and_dash() -> None:
    styles = palette.group_styles([f"FST {name}" for name in ("I", "II", "III", "IV", "V", "VI")])

    for aspect in ("colour", "symbol", "dash"):
        assert len({getattr(style, aspect) for style in styles.values()}) == 6


def test_unknown_does_not_take_a_group_colour() -> None:
    assert palette.group_styles(["unknown", *GROUPS])[GROUPS[0]].colour == palette.OKABE_ITO[0]


def test_missing_interval_draws_no_arm() -> None:
    arms = palette.error_arms([0.5, 0.5], [0.4, np.nan], [0.7, np.nan], "black")

    assert arms["array"] == pytest.approx([0.2, 0.0])
    assert arms["arrayminus"] == pytest.approx([0.1, 0.0])


COUNTS = pd.DataFrame(
    {
        "group": ["FST I-II", "FST I-II", "FST V-VI", "FST V-VI"],
        "label": ["melanoma", "naevus", "melanoma", "naevus"],
        "n": [40, 100, 3, 30],
    }
)


def test_small_cells_are_marked_in_word_and_pattern() -> None:
    cells = cohort.cells(COUNTS, ["FST I-II", "FST V-VI"], ["melanoma"], 20)
    figure = cohort.cell_bars(cells, ["FST I-II", "FST V-VI"], 20)

    assert any("too few" in text for text in texts(figure))
    assert "/" in figure.data[1].marker.pattern.shape
    assert "melanoma in FST V-VI with 3" in cohort.cell_alt(cells, 20)
    assert "melanoma in types V-VI (3)" in cohort.small_cells_sentence(cells, 20)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ([], ""),
        ([1], "1 more photograph is of unknown skin tone and in no group."),
        ([20, 8], "28 more photographs are of unknown skin tone and in no group."),
    ],
)
def test_images_of_unknown_skin_tone_are_named(images: list[int], sentence: str) -> None:
    unknown = pd.DataFrame([{"group": "unknown", "label": "naevus", "n": n} for n in images])
    assert cohort.unknown_sentence(pd.concat([COUNTS, unknown])) == sentence


def test_absent_class_is_a_cell_with_zero_images() -> None:
    cells = cohort.cells(COUNTS, ["FST I-II"], ["keratosis"], 20)

    assert cells.loc[cells["class"] == "keratosis", "images"].tolist() == [0]


def test_without_dangerous_classes_all_images_are_counted_together() -> None:
    cells = cohort.cells(COUNTS, ["FST I-II", "FST V-VI"], [], 20)

    assert cells["class"].unique().tolist() == ["all classes"]
    assert cells["images"].tolist() == [140, 33]


def test_a_loss_of_accuracy_is_positive_and_its_interval_turns_round() -> None:
    frame = measured_map().frame
    values = sensitivity.measured_values(frame, 2, "accuracy")
    source = frame[frame["bits"] == 2].reset_index(drop=True)

    assert values["value"].to_numpy() == pytest.approx(-source["accuracy_change"].to_numpy())
    assert (values["low"] <= values["value"]).all()
    assert (values["value"] <= values["high"]).all()


def test_heatmap_writes_every_number_into_its_cell() -> None:
    values = sensitivity.measured_values(measured_map().frame, 4, "accuracy")
    figure = sensitivity.heatmap(values, LAYERS, GROUPS, "accuracy")

    assert len(texts(figure)) == len(LAYERS) * len(GROUPS)


def test_only_numbers_that_chance_does_not_explain_are_bold() -> None:
    values = pd.DataFrame(
        {
            "layer": ["a", "b"],
            "group": ["g", "g"],
            "value": [0.05, 0.05],
            "low": [0.01, -0.01],
            "high": [0.09, 0.11],
        }
    )
    figure = sensitivity.heatmap(values, ["a", "b"], ["g"], "accuracy")

    assert sorted(texts(figure)) == ["5.0", "<b>5.0</b>"]


@pytest.mark.parametrize(("value", "diverging"), [(-0.02, True), (0.0, False)])
def test_heatmap_diverges_only_where_the_sign_matters(value: float, diverging: bool) -> None:
    values = pd.DataFrame({"layer": ["a", "b"], "group": ["g", "g"], "value": [value, 0.05]})
    heat = sensitivity.heatmap(values, ["a", "b"], ["g"], "accuracy").data[0]

    assert (heat.zmin < 0) == diverging
    assert (len(heat.colorscale) == len(palette.BLUE_ORANGE)) == diverging


def test_shortlist_keeps_the_worst_layers_in_network_order() -> None:
    values = pd.DataFrame({"layer": ["a", "b", "c"], "group": ["g"] * 3, "value": [0.3, 0.1, 0.9]})

    assert sensitivity.shortlist(values, ["a", "b", "c"], 2) == ["a", "c"]


def test_flat_layers_stay_visible_in_the_trajectory() -> None:
    bits = trajectory_frame()
    figure = training.trajectory(bits)
    flat = [trace for trace in figure.data if len(set(trace.y)) == 1]

    assert len(figure.data) == bits["layer"].nunique()
    assert flat and all("lines" in trace.mode for trace in flat)


def test_epoch_axis_reaches_to_the_planned_end() -> None:
    figure = training.accuracy_curves(epochs_frame(2, 10), GROUPS)

    assert figure.layout.xaxis.range[1] > 10


def test_the_point_after_the_last_epoch_is_named() -> None:
    plain = training.accuracy_curves(epochs_frame(2, 4), GROUPS)
    averaged = training.accuracy_curves(epochs_frame(5, 4), GROUPS)

    assert plain.layout.xaxis.ticktext == ("1", "2", "3", "4")
    assert averaged.layout.xaxis.ticktext == ("1", "2", "3", "4", "averaging")
    assert averaged.layout.xaxis.range[1] > 5
    assert training.accuracy_alt(epochs_frame(5, 4)).endswith("50 % after averaging.")
    assert training.loss_alt(epochs_frame(5, 4)) == "Validation loss 0.36 after averaging."


def test_budget_line_is_drawn_with_its_number() -> None:
    figure = training.bits_curve(epochs_frame(), 4.0)

    assert any("budget 4 bits" in note.text for note in figure.layout.annotations)


def rows(view, *models: str) -> pd.DataFrame:
    """Accuracy of a comparison as rows of a measure."""
    found = view.accuracy.rename(columns={"accuracy": "value"})
    return found[found["model"].isin(models)] if models else found


def test_comparison_draws_one_mark_per_group_and_model() -> None:
    view = compared("fst3")
    groups = ["overall", *view.groups]
    figure = full_audit.measure_dots(rows(view), groups, view.models, Shown("accuracy"))
    marks = [trace for trace in figure.data if trace.mode == "markers"]

    assert [trace.name for trace in marks] == list(view.models)
    assert all(len(trace.x) == len(groups) for trace in marks)
    assert len({trace.marker.symbol for trace in marks}) == len(marks)
    assert all("images" in label for label in figure.layout.yaxis.ticktext)


def test_group_without_images_is_left_empty_not_zero() -> None:
    frame = pd.DataFrame({"model": ["full precision"], "group": ["FST VI"], "n": [0]})
    frame = frame.assign(value=np.nan, low=np.nan, high=np.nan)
    figure = full_audit.measure_dots(frame, ["FST VI"], ["full precision"], Shown("accuracy"))

    assert texts(figure) == [""]
    assert "FST VI<br><sup>0 images</sup>" in figure.layout.yaxis.ticktext[0]


def test_limit_is_drawn_on_the_losing_side() -> None:
    figure = comparison.difference_dots(compared("fst3").differences, GROUPS, margin=0.02)

    assert any(shape.x0 == -2.0 for shape in figure.layout.shapes)
    assert figure.layout.xaxis.title.text == "change of accuracy in points (left = worse)"


def test_where_lower_is_better_the_axis_and_the_words_say_so() -> None:
    changes = pd.DataFrame({"group": list(GROUPS), "n": 40, "difference": [-0.2, 0.1, np.nan]})
    changes = changes.assign(low=changes["difference"] - 0.05, high=changes["difference"] + 0.05)
    shown = Shown("Brier score", "brier", higher_is_better=False)
    figure = comparison.difference_dots(changes, GROUPS, shown)

    assert figure.layout.xaxis.title.text == "change of Brier score (right = worse)"
    assert not any(shape.x0 == -2.0 for shape in figure.layout.shapes)
    assert [text.strip() for text in texts(figure)] == ["-0.200", "+0.100", "not estimable"]
    numbers = [trace for trace in figure.data if trace.mode == "text"]
    assert [trace.x[0] for trace in numbers] == pytest.approx([-0.15, 0.15, 0.0]), "behind the arms"
    assert f"{GROUPS[1]} loses most" in comparison.difference_alt(changes, shown)


@pytest.mark.parametrize("wanted", ["png", "svg"])
def test_a_chart_offers_nothing_but_saving_it(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables.st, "session_state", {tables.PICTURE_FORMAT: wanted})
    config = tables.chart_config("compare_dots")

    assert config["modeBarButtons"] == [["toImage"]]
    assert config["toImageButtonOptions"]["format"] == wanted
    assert config["toImageButtonOptions"]["filename"] == "fairquant_compare_dots"


CURVE = pd.DataFrame(
    {
        "kind": ["minimax", "minimax", "uniform"],
        "bits": [3.0, 4.0, 4.0],
        "megabytes": [0.7, 0.9, 0.9],
        "group": "worst",
        "predicted_loss_rise": [0.3, 0.05, 0.12],
    }
)


def test_tradeoff_names_the_chosen_budget_and_compares_with_uniform() -> None:
    none = pd.DataFrame(columns=["method", "bits", "megabytes", "loss_rise"])
    figure = budget.tradeoff(CURVE, budget.Chosen("4 bits", 0.9, 0.2), none)

    assert any("chosen: 4 bits" in note.text for note in figure.layout.annotations)
    assert "4 bits everywhere cost 0.12 nats" in budget.tradeoff_alt(CURVE, 4.0)


def test_the_chosen_budget_is_named_where_no_other_label_stands() -> None:
    none = pd.DataFrame(columns=["method", "bits", "megabytes", "loss_rise"])
    smallest = CURVE.loc[CURVE["kind"] == "uniform", "megabytes"].min()
    for megabytes, side in (
        (smallest - 0.01, "right"),
        (smallest, "right"),
        (1.1 * smallest, "left"),
    ):
        figure = budget.tradeoff(CURVE, budget.Chosen("1.5 bits", megabytes, 0.2), none)
        (note,) = (n for n in figure.layout.annotations if "chosen" in n.text)
        assert note.xanchor == side


@pytest.mark.parametrize("power", [1, 3])
def test_a_run_that_got_better_than_before_is_still_on_the_axis(power: int) -> None:
    """Also on a logarithmic axis, which the predictions alone decide upon."""
    runs = pd.DataFrame(
        {
            "method": ["BAQ", "BAQ"],
            "bits": [4.0, 3.0],
            "megabytes": [0.9, 0.7],
            "loss_rise": [-0.1, 0.5],
        }
    )
    curve = CURVE.assign(predicted_loss_rise=CURVE["predicted_loss_rise"] ** power)
    figure = budget.tradeoff(curve, budget.Chosen("4 bits", 0.9, 0.2), runs)

    drawn = next(trace for trace in figure.data if trace.name == "BAQ (measured)")
    axis = figure.layout.yaxis
    assert list(drawn.text) == ["4 bits, no rise", "3 bits"]
    assert list(drawn.customdata) == [-0.1, 0.5]
    assert axis.type == ("log" if power == 3 else None)
    edge = -0.1 if power == 1 else 10 ** axis.range[0]
    assert list(drawn.y) == pytest.approx([edge, 0.5])
