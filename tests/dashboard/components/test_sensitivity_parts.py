"""The sensitivity page's parts: ranking of layers, intervals, and groups that are not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dashboard.components import sensitivity_sections as sections
from dashboard.components.charts import sensitivity as charts
from tests.dashboard.made_data import GROUPS, LAYERS, case_view, measured_map, sensitivity_map


def table(**layers: list[float]) -> pd.DataFrame:
    """[layer, group, value], one list of values per layer."""
    rows = [
        {"layer": layer, "group": group, "value": value}
        for layer, values in layers.items()
        for group, value in zip(GROUPS, values, strict=True)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("how", "first"), [("max", "peak"), ("worst_k", "two"), ("mean", "all")])
def test_layers_are_ranked_for_whom_one_asks(how: str, first: str) -> None:
    values = table(all=[5.0, 5.0, 5.0], two=[6.0, 6.0, 0.0], peak=[9.0, 0.0, 0.0])

    assert charts.shortlist(values, ["all", "two", "peak"], 1, how) == [first]


def test_every_ranking_on_the_page_has_a_title() -> None:
    assert set(sections.RANKINGS) <= set(sections.REDUCERS)


def spread_map():
    plain = sensitivity_map()
    reach = np.full((2, len(GROUPS), len(LAYERS), len(plain.menu)), 1e-4)
    return replace(plain, spread=reach)


def test_a_prediction_shows_its_interval_and_is_never_bold() -> None:
    values = sections.values((measured_map(), spread_map()), 4, "predicted")
    figure = charts.heatmap(values, LAYERS, GROUPS, "predicted")

    assert "95 %:" in figure.data[0].customdata[0][0]
    cells = [text for trace in figure.data[1:] for text in trace.text]
    assert len(cells) == len(LAYERS) * len(GROUPS)
    assert not any("<b>" in text for text in cells)


def test_a_prediction_without_spread_shows_none() -> None:
    values = sections.values((measured_map(), sensitivity_map()), 4, "predicted")
    figure = charts.heatmap(values, LAYERS, GROUPS, "predicted")

    assert set(np.ravel(figure.data[0].customdata)) == {""}


def test_the_curve_of_a_layer_has_arms_for_predictions_too() -> None:
    rows = sections.layer_rows((measured_map(), spread_map()), LAYERS[0], "predicted")
    figure = charts.layer_curve(rows, GROUPS, "predicted")

    assert rows["bits"].min() >= 2
    assert figure.data[0].error_y.array[0] == pytest.approx(1e-4, rel=1e-3)


def test_the_interval_in_the_hover_is_in_points() -> None:
    values = charts.measured_values(measured_map().frame, 4, "accuracy")
    figure = charts.heatmap(values, LAYERS, GROUPS, "accuracy")
    low = 100 * values["low"][0]

    assert figure.data[0].customdata[0][0].startswith(f"<br>95 %: {low:.3f} to")


def test_a_group_that_is_not_in_the_figure_is_named() -> None:
    case = case_view()
    assert sections.left_out(case, GROUPS) == ""
    assert "Not shown: FST V-VI, without a photograph" in sections.left_out(case, GROUPS[:2])
