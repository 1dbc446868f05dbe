"""The saliency page reaches every flip: how many there are, maps of more, those of unknown skin tone."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.backend.saliency.views import SaliencyChoice
from dashboard.components.saliency.flips import ABOUT_UNKNOWN
from tests.dashboard.conftest import Open, answer, clean, shown
from tests.dashboard.fakes import FakeServices
from tests.dashboard.made_data import GROUPS, drawing
from tests.dashboard.made_saliency import made_saliency

MANY = pd.DataFrame({"group": [*GROUPS, "unknown"], "flips": [30, 10, 8, 2], "asked": [8, 8, 8, 1]})


@pytest.fixture
def many(services: FakeServices) -> FakeServices:
    """30 flips of I-II, 10 of III-IV, 8 of V-VI, and two of unknown skin tone, one of them with a map."""
    view = made_saliency(services.frame, SaliencyChoice(), ["Candidate"])
    frame = view.frame.copy()
    frame.loc[0, ["group", "sampled"]] = ["unknown", False]
    services.saliency_view = replace(view, frame=frame, flips=MANY)
    return services


def texts(app: AppTest) -> str:
    return shown(" ".join(text.value for text in app.markdown))


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button if str(button.key).startswith("flips_")]


def test_every_group_says_how_many_of_its_flips_are_shown(
    many: FakeServices, open_page: Open
) -> None:
    app = open_page("saliency")

    assert clean(app)
    assert "FST I-II: 8 of 30 flips shown" in texts(app)
    assert "FST V-VI: 8 of 8 flips shown" in texts(app)
    assert labels(app) == ["Draw 8 more", "Draw all 22", "Draw all 2", "Draw all 1"]
    assert any("25 of 50 flips are shown as well" in text.value for text in app.caption)


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("flips_FST I-II_8", ("FST I-II", 8)),
        ("flips_FST I-II_all", ("FST I-II", None)),
        ("flips_unknown_all", ("unknown", None)),
    ],
)
def test_more_flips_are_asked_for(
    key: str, asked: tuple[str, int | None], many: FakeServices, open_page: Open
) -> None:
    app = open_page("saliency")
    app.button(key=key).click().run()

    assert clean(app)
    assert many.calls == [("request_more_flips", ("run-1", SaliencyChoice(), *asked))]


def test_what_was_drawn_stays_while_more_is_drawn(many: FakeServices, open_page: Open) -> None:
    many.saliency_state = drawing(8, 16)

    app = open_page("saliency")

    assert clean(app)
    assert "Map 8 of 16" in app.progress[0].text
    assert "overlaps" in answer(app)
    assert len(app.image) > 3
    assert all(button.disabled for button in app.button if str(button.key).startswith("flips_"))
    assert app.button(key="saliency_cancel").label == "Cancel"


def test_a_refused_request_says_why(many: FakeServices, open_page: Open) -> None:
    many.fail_with = "There is no further flip in the group 'FST III-IV'."
    app = open_page("saliency")
    app.button(key="flips_FST III-IV_all").click().run()

    assert shown(app.error[0].value) == many.fail_with


def test_flips_of_unknown_skin_tone_have_a_section_of_their_own(
    many: FakeServices, open_page: Open
) -> None:
    app = open_page("saliency")

    assert clean(app)
    assert "Skin tone unknown" in [heading.value for heading in app.subheader]
    assert ABOUT_UNKNOWN in [text.value for text in app.caption]
    assert "Skin tone unknown: 1 of 2 flips shown" in texts(app)
    assert "unknown" not in app.selectbox(key="saliency_group").options
    alts = [picture.alt for images in app.image for picture in images.proto.imgs]
    assert sum(alt.endswith("skin tone unknown") for alt in alts) == 3
    assert not any("skin tone unknown" in alt for alt in alts[:9])


def test_flips_of_unknown_skin_tone_have_pages_of_their_own(
    many: FakeServices, open_page: Open
) -> None:
    view = many.saliency_view
    assert view is not None
    frame = view.frame.copy()
    frame.loc[:3, "group"] = "unknown"
    many.saliency_view = replace(view, frame=frame)
    app = open_page("saliency")
    app.selectbox(key="saliency_unknown_page").select(2).run()

    assert clean(app)
    assert app.selectbox(key="saliency_unknown_page").options == ["1 of 2", "2 of 2"]
    alts = [picture.alt for images in app.image for picture in images.proto.imgs]
    assert sum(alt.endswith("skin tone unknown") for alt in alts) == 3


def test_without_unknown_flips_there_is_no_such_section(open_page: Open) -> None:
    app = open_page("saliency")

    assert clean(app)
    assert "Photographs that flipped" in [heading.value for heading in app.subheader]
    assert "Skin tone unknown" not in [heading.value for heading in app.subheader]


def test_figures_for_statisticians_stand_below_the_maps_in_full_only(open_page: Open) -> None:
    app = open_page("saliency")
    assert "same place: " in texts(app)
    assert "completeness delta" not in texts(app)

    app.segmented_control(key="saliency_reading").set_value("In full").run()

    assert clean(app)
    assert "completeness delta" in texts(app) and "drift " in texts(app)
