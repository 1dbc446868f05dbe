"""Overlays, the order of the gallery, and what the charts say of maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dashboard.backend.saliency.views import SaliencyChoice, SaliencyView
from dashboard.components.charts import saliency
from dashboard.components.saliency import gallery, sections
from tests.dashboard.made_data import GROUPS, cohort_frame
from tests.dashboard.made_saliency import made_saliency


@pytest.fixture
def view() -> SaliencyView:
    return made_saliency(cohort_frame(), SaliencyChoice(), ["First", "Second"])


def test_all_maps_of_an_image_share_one_scale() -> None:
    weak, strong = np.full((8, 8), 0.1), np.full((8, 8), 1.0)

    assert saliency.shared_scale([weak, strong]) == pytest.approx(1.0)
    assert saliency.shared_scale([weak, np.full((8, 8), np.nan)]) == pytest.approx(0.1)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_maps_without_anything_have_no_scale(value: float) -> None:
    assert saliency.shared_scale([np.full((8, 8), value)] * 2) is None


def test_one_strong_spot_sets_the_scale() -> None:
    spot = np.zeros((100, 100))
    spot[3, 4] = 2.0

    assert saliency.shared_scale([spot]) == 2.0


def test_smoothing_for_display_keeps_the_place_of_the_strongest_spot() -> None:
    values = np.zeros((96, 96))
    values[40, 60] = 1.0

    smooth = saliency.smoothed(values)

    assert np.unravel_index(smooth.argmax(), smooth.shape) == (40, 60)
    assert 0 < smooth.max() < 1


def test_overlay_without_strength_is_the_grey_photograph() -> None:
    photograph = Image.new("RGB", (16, 16), (200, 120, 80))
    drawn = saliency.overlay(photograph, np.ones((4, 4)), 1.0, 0.0)

    assert drawn.size == photograph.size
    assert np.array_equal(np.asarray(drawn), np.asarray(photograph.convert("L").convert("RGB")))


def test_overlay_is_brightest_where_the_map_is_strongest() -> None:
    values = np.zeros((16, 16))
    values[4:8, 4:8] = -1.0  # evidence against the class counts as much as evidence for it
    drawn = np.asarray(saliency.overlay(Image.new("RGB", (16, 16)), values, 1.0, 1.0))

    assert drawn[5, 5].sum() > 2 * drawn[14, 14].sum()


def test_the_photograph_is_cut_as_the_classifier_cuts_it() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[25:75, 75:125] = 255
    half = saliency.framed_square(Image.fromarray(pixels), 50, 0.5)

    assert np.asarray(half).min() > 250


def test_the_sheet_holds_every_picture() -> None:
    pictures = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    words = "one photograph " * 20
    page = np.asarray(saliency.sheet([(pictures, words)] * 2, ["A", "B", "C"]))

    for colour in ((255, 0, 0), (0, 128, 0), (0, 0, 255)):
        assert (page == colour).all(axis=2).sum() == 2 * 40 * 40


def test_pictures_start_with_flips_then_with_the_largest_drift(view: SaliencyView) -> None:
    changes = view.changes.copy()
    changes["flip"] = np.where(changes["id"] == view.frame["id"][7], "gained", "")
    changes.loc[(changes["candidate"] == "First"), "flip"] = ""
    changes.loc[changes["id"] == view.frame["id"][2], "drift"] = np.nan
    view = replace(view, changes=changes)
    largest = changes.groupby("id")["drift"].max()

    mixed = gallery.ordered(view, None, flips_first=True)
    assert mixed["id"].iloc[0] == view.frame["id"][7], "a flip of the second candidate counts"
    assert mixed["id"].iloc[1] == largest.drop(view.frame["id"][7]).idxmax()
    assert mixed["id"].iloc[-1] == view.frame["id"][2]
    plain = gallery.ordered(view, None, flips_first=False)
    assert plain["id"].iloc[0] == largest.idxmax()
    assert plain["moved"].dropna().is_monotonic_decreasing
    one = gallery.ordered(view, GROUPS[2], flips_first=True)
    assert set(one["group"]) == {GROUPS[2]}


@pytest.mark.parametrize("measure", [saliency.OVERLAP, saliency.DRIFT], ids=lambda m: m.name)
def test_dots_stand_at_the_means_with_their_intervals(
    view: SaliencyView, measure: saliency.Measure
) -> None:
    figure = saliency.drift_dots(view.by_group, GROUPS, view.candidates, measure)
    marks = [trace for trace in figure.data if trace.mode == "markers"]

    drawn = sorted(float(mark.x[0]) for mark in marks)
    assert drawn == pytest.approx(sorted(view.by_group[measure.name]))
    first = view.by_group[(view.by_group["candidate"] == "First")].iloc[0]
    mark = next(mark for mark in marks if mark.x[0] == first[measure.name])
    assert mark.error_x.array[0] == pytest.approx(
        first[f"{measure.name}_high"] - first[measure.name]
    )
    assert len({mark.y[0] for mark in marks}) == len(marks)
    assert {mark.name for mark in marks if mark.showlegend} == {"First", "Second"}
    text = saliency.drift_alt(view.by_group, view.candidates, measure)
    assert "First: FST I-II" in text
    assert "Second: FST I-II" in text


def test_a_group_without_figures_is_drawn_as_not_estimable(view: SaliencyView) -> None:
    table = view.by_group[view.by_group["candidate"] == "First"].copy()
    names = ["overlap", "overlap_low", "overlap_high"]
    table.loc[table["group"] == GROUPS[2], names] = np.nan
    table.loc[table["group"] == GROUPS[2], "n"] = 0

    figure = saliency.drift_dots(table, GROUPS, ["First"], saliency.OVERLAP)

    words = [text for trace in figure.data if trace.mode == "text" for text in trace.text]
    assert words[2].strip() == "not estimable"
    assert "0 images" in figure.layout.yaxis.ticktext[2]
    assert "V-VI" not in saliency.drift_alt(table, ["First"], saliency.OVERLAP)


def test_incomplete_maps_are_counted(view: SaliencyView) -> None:
    completeness = view.completeness.copy()
    completeness[0, :3] = -1.0
    text = sections.completeness_words(replace(view, completeness=completeness))

    assert f"full precision: 1.0 % (3 of {completeness.shape[1]} maps more than 10 %)" in text


def test_completeness_without_any_score_change_is_not_judged(view: SaliencyView) -> None:
    nothing = np.zeros_like(view.score_change)
    text = sections.completeness_words(replace(view, score_change=nothing, completeness=nothing))

    assert "cannot be judged" in text


def test_the_choice_of_flips_is_told(view: SaliencyView) -> None:
    text = sections.sample_words(view)

    assert f"{len(view.frame)} photographs" in text
    assert "3 of 9 flips" in text
