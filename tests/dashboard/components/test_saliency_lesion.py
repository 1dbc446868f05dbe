"""What the page says and draws of the attention on the lesion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dashboard.backend.saliency.views import SaliencyChoice, SaliencyView
from dashboard.components.charts import lesion
from dashboard.components.saliency import lesion as saliency_lesion
from tests.dashboard.made_data import GROUPS, cohort_frame
from tests.dashboard.made_saliency import made_saliency


@pytest.fixture
def view() -> SaliencyView:
    """Maps of two candidates with masks; the first image has none."""
    return made_saliency(cohort_frame(), SaliencyChoice(), ["First", "Second"], masks=True)


def figures(change: float, half: float, before: float = 0.64) -> pd.DataFrame:
    """Types V-VI change by so much; the other groups gain a little."""
    changes = np.array([0.01, 0.01, change])
    return pd.DataFrame(
        {
            "group": GROUPS,
            "lesion_area": 0.24,
            "lesion_before": before,
            "lesion_after": before + changes,
            "lesion_change": changes,
            "lesion_change_low": changes - half,
            "lesion_change_high": changes + half,
        }
    )


START = "For types V-VI 61 % of the attention lies on the lesion, which fills 24 % of the picture; "


@pytest.mark.parametrize(
    ("half", "end"),
    [
        (0.05, "at full precision 64 %, a difference that may be chance."),
        (0.01, "at full precision 64 %, more of a difference than chance explains."),
        (np.nan, "at full precision 64 %. One photograph cannot tell whether that is chance."),
    ],
    ids=["unsure", "certain", "one photograph"],
)
def test_the_sentence_names_the_group_that_lost_most(half: float, end: str) -> None:
    assert saliency_lesion.lesion_sentence(figures(-0.03, half)) == START + end


def test_the_sentence_of_an_unchanged_share() -> None:
    text = saliency_lesion.lesion_sentence(figures(-0.001, 0.05))

    assert text.endswith("; at full precision it is the same.")


@pytest.mark.parametrize("masks", [False, True])
def test_without_any_share_the_sentence_is_about_the_overlap(masks: bool) -> None:
    view = made_saliency(cohort_frame(), SaliencyChoice(), masks=masks)
    if masks:
        view = replace(view, by_group=view.by_group.assign(lesion_change=np.nan))

    assert "overlaps by" in saliency_lesion.answer(view)


def test_with_shares_the_sentence_is_about_the_lesion(view: SaliencyView) -> None:
    assert "of the attention lies on the lesion" in saliency_lesion.answer(view)


def test_photographs_of_unknown_type_are_not_named() -> None:
    table = figures(-0.5, 0.01).assign(group=[*GROUPS[:2], "unknown"])

    assert "unknown" not in saliency_lesion.lesion_sentence(table)


def test_every_map_has_its_share(view: SaliencyView) -> None:
    row, changes = view.frame.iloc[3], view.changes.set_index(["candidate", "id"])
    shares = [saliency_lesion.share(view, row, model) for model in range(3)]
    wanted = [
        changes.loc[("First", row["id"]), "lesion_before"],
        changes.loc[("First", row["id"]), "lesion_after"],
        changes.loc[("Second", row["id"]), "lesion_after"],
    ]

    assert shares == [f"on the lesion {100 * value:.0f} %" for value in wanted]
    area = 100 * row["lesion_area"]
    assert saliency_lesion.fact(view, row) == f"the lesion fills {area:.0f} % of the picture"


def test_a_map_that_shows_nothing_has_no_share(view: SaliencyView) -> None:
    view = replace(view, changes=view.changes.assign(lesion_after=np.nan))

    assert saliency_lesion.share(view, view.frame.iloc[3], 1) == "on the lesion not estimable"


def test_a_photograph_without_a_mask_says_so(view: SaliencyView) -> None:
    row = view.frame.iloc[0]
    broken = row.copy()
    broken["mask_problem"] = "image file m.png not found"

    assert saliency_lesion.outline(view, row) is None
    assert saliency_lesion.share(view, row, 0) == ""
    assert (
        saliency_lesion.fact(view, row)
        == "on the lesion: not estimable, this photograph has no mask"
    )
    assert saliency_lesion.fact(view, broken).endswith("not estimable, image file m.png not found")


def test_maps_without_masks_say_nothing_of_the_lesion() -> None:
    view = made_saliency(cohort_frame(), SaliencyChoice())
    row = view.frame.iloc[3]

    assert saliency_lesion.fact(view, row) == saliency_lesion.share(view, row, 0) == ""
    assert saliency_lesion.outline(view, row) is None


def test_the_words_count_photographs_and_masks_that_cannot_be_used(view: SaliencyView) -> None:
    problems = ["image file m.png not found", *[""] * (len(view.frame) - 1)]
    text = saliency_lesion.words(replace(view, frame=view.frame.assign(mask_problem=problems)))

    assert "rest on 11 of 12 photographs" in text
    assert "1 mask cannot be used" in text
    change = view.by_group.set_index(["candidate", "group"]).loc[("First", GROUPS[2])]
    assert f"types V-VI {100 * change['lesion_change']:+.1f} points" in text


def test_dots_stand_at_the_means_and_the_line_at_the_lesions_share(view: SaliencyView) -> None:
    figure = lesion.lesion_dots(view.by_group, GROUPS, view.candidates)
    marks = {trace.name: trace for trace in figure.data if trace.mode == "markers"}
    table = view.by_group.set_index(["candidate", "group"])

    assert list(marks) == ["full precision", "First", "Second", lesion.CHANCE]
    assert list(marks["Second"].x) == table.loc["Second"].loc[list(GROUPS), "lesion_after"].tolist()
    assert (
        list(marks[lesion.CHANCE].x) == table.loc["First"].loc[list(GROUPS), "lesion_area"].tolist()
    )
    heights = [tuple(mark.y) for name, mark in marks.items() if name != lesion.CHANCE]
    assert len(set(heights)) == len(heights)


def test_a_group_without_masks_is_drawn_as_not_estimable(view: SaliencyView) -> None:
    table = view.by_group.copy()
    names = [name for name in table if str(name).startswith("lesion_")]
    table.loc[table["group"] == GROUPS[0], names] = np.nan
    figure = lesion.lesion_dots(table, GROUPS, view.candidates)

    words = [text.strip() for trace in figure.data if trace.mode == "text" for text in trace.text]
    assert words.count("not estimable") == 3
    assert "0 images" in figure.layout.yaxis.ticktext[0]
    assert "I-II" not in lesion.lesion_alt(table, view.candidates).replace("III", "")


def test_the_alt_text_tells_the_figures(view: SaliencyView) -> None:
    row = view.by_group.iloc[0]
    text = lesion.lesion_alt(view.by_group, view.candidates)

    assert (
        f"First: {row['group']} {100 * row['lesion_after']:.0f} % (full precision "
        f"{100 * row['lesion_before']:.0f} %, the lesion fills {100 * row['lesion_area']:.0f} %)"
    ) in text


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_the_outline_shows_on_every_ground_and_only_at_the_border(shade: int) -> None:
    cover = np.zeros((20, 20))
    cover[5:15, 5:15] = 1
    plain = Image.new("RGB", (100, 100), (shade,) * 3)
    drawn = np.asarray(lesion.outlined(plain, cover)).astype(int)
    changed = np.abs(drawn - shade).max(axis=2) > 0

    assert np.ptp(drawn[23:29, 50]) > 100, "light beside dark"
    assert not changed[35:65, 35:65].any()
    assert not changed[:20].any()


def test_a_lesion_cut_off_by_the_edge_has_no_border_there() -> None:
    cover = np.zeros((20, 20))
    cover[:10] = 1
    drawn = np.asarray(lesion.outlined(Image.new("RGB", (100, 100), (128,) * 3), cover))

    assert (drawn[:40] == 128).all()
    assert (drawn[44:54] != 128).any()


def test_an_unknown_lesion_has_no_outline() -> None:
    plain = Image.new("RGB", (8, 8))

    assert lesion.outlined(plain, np.full((4, 4), np.nan)) is plain
