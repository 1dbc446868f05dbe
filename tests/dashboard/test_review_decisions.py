"""The second and the third step of the review page: decide about what is shown, download what still counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.backend.views import DecisionKind, KeyView, ReviewState
from dashboard.components.review import sections
from fairquant_core.errors import FairQuantError, NotApproved
from tests.dashboard.conftest import Open, clean, press, shown
from tests.dashboard.fakes import FakeServices
from tests.dashboard.made_data import run_view

KEY = KeyView("signing_key.pub", b"-----BEGIN PUBLIC KEY-----", "9a" * 32, "2028-11-26", False)


def fill(app: AppTest, decision: DecisionKind = DecisionKind.APPROVE) -> None:
    """Everything but the click."""
    app.text_input(key="person").set_value("Kwame")
    app.segmented_control(key="decision_role_0").set_value("clinician")
    app.radio(key="decision_kind_0").set_value(decision)


def said(app: AppTest) -> str:
    texts = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error]
    return shown("\n".join(text.value for text in texts))


def test_a_decision_is_about_what_the_page_showed(open_page: Open, services: FakeServices) -> None:
    """The check of the files ends between the drawing of the page and the click."""
    app = open_page("review")
    before = dict(services.hashes)
    fill(app)
    services.hashes |= {"fast onnx": "56" * 32, "fast audit": "78" * 32}
    app.form_submit_button[0].click().run()
    assert clean(app)
    assert [what for name, what in services.calls if name == "seen"] == [before]
    # The page was drawn anew since; the next decision is about what it shows now.
    app.segmented_control(key="decision_role_1").set_value("clinician")
    app.radio(key="decision_kind_1").set_value(DecisionKind.REJECT)
    app.form_submit_button[0].click().run()
    assert [what for name, what in services.calls if name == "seen"] == [before, services.hashes]


def test_a_refusal_asks_to_look_again(
    open_page: Open, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FairQuantError("New or changed since this page was drawn: the fast file.")

    app = open_page("review")
    fill(app)
    monkeypatch.setattr(services, "decide", refuse)
    app.form_submit_button[0].click().run()
    assert "New or changed since this page was drawn" in shown(app.error[0].value)


def test_the_form_says_that_the_files_come_first(open_page: Open, services: FakeServices) -> None:
    services.why_no_approval = "Check the files first (step 1)."
    assert "Check the files first" in said(open_page("review"))
    services.why_no_approval = ""
    assert "Check the files first" not in said(open_page("review"))


@pytest.fixture
def offered(open_page: Open, services: FakeServices, tmp_path: Path) -> AppTest:
    """A page with a bundle to download."""
    services.bundle = tmp_path / "bundle.zip"
    services.bundle.write_bytes(b"PK")
    services.run_views = [run_view(review_state=ReviewState.APPROVED)]
    app = open_page("review")
    press(app, "Make the bundle")
    assert clean(app)
    return app


def test_a_download_asks_for_the_approval_once_more(
    open_page: Open,
    services: FakeServices,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the button holds is no file but the question whether it may leave."""
    offers = {}
    monkeypatch.setattr(
        sections.st,
        "download_button",
        lambda label, data, **named: offers.update({named["key"]: data}),
    )
    services.bundle = tmp_path / "bundle.zip"
    services.bundle.write_bytes(b"PK")
    services.run_views = [run_view(review_state=ReviewState.APPROVED)]
    press(open_page("review"), "Make the bundle")
    assert offers["bundle"]() == b"PK"
    services.run_views = [run_view(review_state=ReviewState.WITHDRAWN)]
    with pytest.raises(NotApproved, match="withdrawn"):
        offers["bundle"]()


def test_after_a_withdrawal_the_page_says_what_became_of_the_bundle(
    offered: AppTest, services: FakeServices
) -> None:
    services.run_views = [run_view(review_state=ReviewState.WITHDRAWN)]
    services.set_aside = ["The bundle a-3.zip can no longer be downloaded."]
    offered.run()
    assert clean(offered)
    assert not offered.get("download_button")
    assert "a-3.zip can no longer be downloaded" in said(offered)


def test_the_public_key_is_offered_with_its_fingerprint(
    offered: AppTest, services: FakeServices
) -> None:
    assert "fingerprint" not in said(offered), "there is no key yet"
    services.key = KEY
    offered.run()
    assert clean(offered)
    assert KEY.fingerprint in [code.value for code in offered.code]
    assert "counts until 2028-11-26" in said(offered)
    labels = [button.label for button in offered.get("download_button")]
    assert "Download the public key" in labels
