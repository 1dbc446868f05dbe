"""The saliency page from the entrypoint: what is asked for, what is shown, what is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dashboard.backend.saliency.views import SaliencyChoice, SaliencyView
from fairquant_core.errors import ImageError
from tests.dashboard.conftest import Open, answer, clean, press, shown
from tests.dashboard.fakes import FakeServices
from tests.dashboard.made_data import drawing, run_view
from tests.dashboard.made_saliency import made_saliency


def captions(app: object) -> str:
    return " ".join(caption.value for caption in app.caption)  # type: ignore[attr-defined]


def alt_texts(app: object) -> list[str]:
    return [
        picture.alt
        for images in app.image  # type: ignore[attr-defined]
        for picture in images.proto.imgs
    ]


def view_of(services: FakeServices, **changes: object) -> SaliencyView:
    return replace(made_saliency(services.frame, SaliencyChoice(), ["Candidate"]), **changes)


def test_missing_maps_are_asked_for_with_the_choice(
    open_page: Open, services: FakeServices
) -> None:
    services.saliency_drawn, services.saliency_state = False, None
    services.run_views = [run_view("run-1"), run_view("run-2", bits=3.0)]

    app = open_page("saliency")
    app.selectbox(key="saliency_target").select("class").run()
    app.selectbox(key="saliency_class").select("melanoma").run()
    app.multiselect(key="saliency_others").select("run-2").run()
    app.selectbox(key="saliency_sample").select(16).run()
    press(app, "Draw the maps")

    wanted = SaliencyChoice("integrated_gradients", "class", "melanoma", ("run-2",), 16)
    assert services.calls == [("request_saliency", ("run-1", wanted))]


def test_the_page_opens_with_what_was_asked_for_last(
    open_page: Open, services: FakeServices
) -> None:
    services.saliency_asked = SaliencyChoice("grad_cam", "class", "melanoma", ("gone",), 16)

    app = open_page("saliency")

    assert clean(app)
    assert app.selectbox(key="saliency_method").value == "grad_cam"
    assert app.selectbox(key="saliency_class").value == "melanoma"
    assert app.selectbox(key="saliency_sample").value == 16


def test_a_refused_request_says_why(open_page: Open, services: FakeServices) -> None:
    services.saliency_drawn, services.saliency_state = False, None
    services.fail_with = "Run run-2 belongs to another case."

    app = open_page("saliency")
    press(app, "Draw the maps")

    assert shown(app.error[0].value) == services.fail_with


def test_drawing_shows_progress_and_can_be_cancelled(
    open_page: Open, services: FakeServices
) -> None:
    services.saliency_drawn = False
    services.saliency_state = drawing(8, 48)

    app = open_page("saliency")
    assert "Map 8 of 48" in app.progress[0].text
    app.button(key="saliency_cancel").click().run()

    assert ("cancel", services.saliency_state.id) in services.calls


def test_pictures_have_alt_texts_and_one_scale(open_page: Open) -> None:
    app = open_page("saliency")

    assert clean(app)
    alts = alt_texts(app)
    assert any(alt.startswith("Photograph: ") for alt in alts)
    assert any(alt.startswith("Where full precision looks: ") for alt in alts)
    assert any("Colour scale" in alt for alt in alts)
    assert "share one colour scale" in captions(app)
    assert "not a proof" in captions(app)


def test_every_map_on_its_own_scale_is_said_to_be(open_page: Open) -> None:
    app = open_page("saliency")
    app.toggle(key="saliency_shared").set_value(False).run()

    assert clean(app)
    assert "Every map has its own colour scale" in captions(app)


def test_several_candidates_stand_beside_one_another(
    open_page: Open, services: FakeServices
) -> None:
    services.run_views = [
        run_view("run-1", title="First"),
        run_view("run-2", title="Second", bits=3.0),
    ]

    app = open_page("saliency")
    app.multiselect(key="saliency_others").select("run-2").run()

    assert clean(app)
    heads = [text.value for text in app.markdown]
    assert ":small[**First**]" in heads
    assert ":small[**Second**]" in heads
    assert {"Where First looks", "Where Second looks"} <= {
        alt.split(":")[0] for alt in alt_texts(app)
    }


def test_in_full_shows_every_figure(open_page: Open) -> None:
    app = open_page("saliency")
    assert len(app.get("plotly_chart")) == 1
    for key in ("saliency_groups_twin", "saliency_images", "saliency_notes"):
        app.session_state[key] = True
    app.session_state["saliency_reading"] = "In full"
    app.run()

    assert clean(app)
    assert len(app.get("plotly_chart")) == 2
    assert "full precision: 1.0 % (0 of 12 maps more than 10 %)" in captions(app)
    images = next(table.value for table in app.dataframe if "problem" in table.value)
    assert {"delta_after", "change_before"} <= set(images)
    assert len(images) == 12


def test_a_method_without_completeness_says_so(open_page: Open) -> None:
    app = open_page("saliency")
    app.selectbox(key="saliency_method").select("grad_cam").run()
    app.session_state["saliency_reading"] = "In full"
    app.run()

    assert "no completeness check" in captions(app)


def test_a_note_on_a_photograph_is_kept_and_shown(open_page: Open, services: FakeServices) -> None:
    app = open_page("saliency")
    field = next(area for area in app.text_area if "note_text" in str(area.key))
    image = str(field.key).removeprefix("note_text_").removesuffix("_0")
    field.set_value("Looks at the ruler.")
    app.text_input(key=f"note_person_{image}_0").set_value("Carla")
    next(b for b in app.button if str(b.form_id) == f"note_{image}_0").click().run()

    assert clean(app)
    assert services.image_remarks[image][0].text == "Looks at the ruler."
    assert any("Looks at the ruler" in text.value for text in app.markdown)
    app.session_state["saliency_reading"] = "In full"
    app.session_state["saliency_notes"] = True
    app.run()
    assert any("note" in table.value for table in app.dataframe)


def test_an_empty_note_is_refused(open_page: Open, services: FakeServices) -> None:
    app = open_page("saliency")
    next(b for b in app.button if str(b.form_id).startswith("note_")).click().run()

    assert "no text to keep" in app.error[0].value
    assert not services.image_remarks


def test_a_photograph_that_is_gone_is_named_and_the_maps_stay(
    open_page: Open, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> object:
        raise ImageError("image file a.png not found")

    monkeypatch.setattr(services, "image", gone)
    app = open_page("saliency")

    assert not app.exception
    assert "not found" in shown(app.error[0].value)
    assert any(alt.startswith("Where full precision looks: ") for alt in alt_texts(app))


def test_an_image_without_maps_says_why(open_page: Open, services: FakeServices) -> None:
    view = view_of(services)
    frame = view.frame.assign(place=-1, problem="image file a.png not found: put the file there")
    services.saliency_view = replace(view, frame=frame)

    app = open_page("saliency")

    assert clean(app)
    assert "put the file there" in shown(app.warning[0].value)


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan], ids=["zero", "constant", "nan"])
def test_maps_that_show_nothing_are_not_estimable(
    value: float, open_page: Open, services: FakeServices
) -> None:
    view = view_of(services)
    names = ["drift", "overlap", "drift_low", "drift_high", "overlap_low", "overlap_high"]
    services.saliency_view = replace(
        view,
        pictures=np.full_like(view.pictures, value),
        changes=view.changes.assign(drift=np.nan, overlap=np.nan, estimable=False),
        by_group=view.by_group.assign(**dict.fromkeys(names, np.nan), n=0),
        completeness=np.full_like(view.completeness, np.nan),
    )
    app = open_page("saliency")
    app.session_state["saliency_reading"] = "In full"
    app.run()

    assert clean(app)
    assert answer(app).startswith("No drift can be estimated")
    assert "Not estimable: this map is constant" in captions(app)
    assert "same place: not estimable (overlap)" in " ".join(text.value for text in app.markdown)


@pytest.fixture
def marked(services: FakeServices) -> FakeServices:
    """Maps with masks of the lesions; the first photograph has none."""
    services.saliency_view = made_saliency(
        services.frame, SaliencyChoice(), ["Candidate"], masks=True
    )
    return services


def test_with_masks_the_page_answers_about_the_lesion(
    open_page: Open, marked: FakeServices
) -> None:
    app = open_page("saliency")

    assert clean(app)
    assert "of the attention lies on the lesion" in answer(app)
    assert len(app.get("plotly_chart")) == 2
    alts = alt_texts(app)
    assert any("; the lesion fills 19 % of the picture, outlined" in alt for alt in alts)
    assert any(alt.startswith("Where Candidate looks") and "; on the lesion" in alt for alt in alts)
    assert "rest on 11 of 12 photographs" in captions(app)


def test_the_outline_can_be_switched_off(open_page: Open, marked: FakeServices) -> None:
    app = open_page("saliency")
    app.toggle(key="saliency_outline").set_value(False).run()

    assert clean(app)
    assert not any("outlined" in alt for alt in alt_texts(app))
    assert "border of the lesion" not in captions(app)


def test_without_masks_there_is_nothing_about_the_lesion(open_page: Open) -> None:
    app = open_page("saliency")

    assert "saliency_outline" not in {toggle.key for toggle in app.toggle}
    assert not any("lesion" in heading.value for heading in app.subheader)
    assert not app.info


def test_tables_hold_the_shares_on_the_lesion(open_page: Open, marked: FakeServices) -> None:
    app = open_page("saliency")
    for key in ("saliency_lesion_twin", "saliency_images"):
        app.session_state[key] = True
    app.session_state["saliency_reading"] = "In full"
    app.run()

    assert clean(app)
    groups = next(table.value for table in app.dataframe if "lesion_change" in table.value)
    wanted = 100 * marked.saliency_view.by_group["lesion_change"]  # type: ignore[union-attr]
    assert groups["lesion_change"].tolist() == pytest.approx(wanted.tolist())
    images = next(table.value for table in app.dataframe if "problem" in table.value)
    assert {"lesion_area", "lesion_before", "lesion_after", "mask_problem"} <= set(images)


def test_a_mask_that_cannot_be_used_is_told_beside_its_photograph(
    open_page: Open, marked: FakeServices
) -> None:
    view = marked.saliency_view
    assert view is not None
    problems = ["image file m.png not found", *[""] * (len(view.frame) - 1)]
    marked.saliency_view = replace(view, frame=view.frame.assign(mask_problem=problems))
    app = open_page("saliency")

    assert clean(app)
    assert "on the lesion: not estimable, image file m.png not found" in shown(captions(app))


@pytest.mark.parametrize("with_masks", [False, True])
def test_new_masks_are_offered_to_be_used(
    with_masks: bool, open_page: Open, services: FakeServices
) -> None:
    services.saliency_masks_changed = True
    services.saliency_view = made_saliency(
        services.frame, SaliencyChoice(), ["Candidate"], masks=with_masks
    )
    app = open_page("saliency")
    words = "have changed" if with_masks else "drawn without them"
    assert words in app.info[0].value
    press(app, "Draw the maps again")

    assert services.calls == [("request_saliency", ("run-1", SaliencyChoice()))]
