"""The first and the third step of the review page: check the files, download them."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from dashboard.backend.export.exports import ExportView
from dashboard.backend.views import JobKind, JobState, ReviewState
from tests.dashboard.conftest import Open, clean, press, shown
from tests.dashboard.fakes import FakeServices
from tests.dashboard.made_data import job_view, made_audit, run_view
from tests.dashboard.made_export import made_check

DONE = job_view(JobKind.EXPORT, id="job-export", seen=False, state=JobState.FINISHED)


def own_audit(verdict: str) -> dict[str, Any]:
    verdicts = [{"group": "FST V-VI", "n": 40, "verdict": verdict, "sentence": "As it is."}]
    return {
        **made_audit(),
        "verdict": verdict,
        "comparisons": {"candidate": {"verdicts": verdicts}},
    }


def view(**changes: Any) -> ExportView:
    found = ExportView(
        DONE,
        check=made_check(),
        fast=made_check(kind="int8", ratio=0.38, other_class=1),
        fast_audit=own_audit("WITHIN"),
        fast_why_not="",
        bytes={"model.onnx": 840_000},
    )
    return replace(found, **changes)


def said(app: AppTest) -> str:
    texts = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error]
    return shown("\n".join(text.value for text in texts))


def cells(app: AppTest, number: int) -> str:
    return app.table[number].value.to_csv()


def test_the_steps_are_named_in_their_order(open_page: Open) -> None:
    app = open_page("review")
    assert clean(app)
    assert [heading.value[:1] for heading in app.subheader][:3] == ["1", "2", "3"]


def test_a_click_asks_for_the_check(open_page: Open, services: FakeServices) -> None:
    app = open_page("review")
    assert "Not known yet" in said(app)
    press(app, "Check the files")
    assert clean(app)
    assert ("start_export", ("run-1", False)) in services.calls


def test_a_refused_check_says_why(open_page: Open, services: FakeServices) -> None:
    services.fail_with = "This run compresses nothing."
    app = open_page("review")
    press(app, "Check the files")
    assert "compresses nothing" in said(app)


def test_a_running_check_shows_its_stage(open_page: Open, services: FakeServices) -> None:
    job = job_view(JobKind.EXPORT, state=JobState.RUNNING, stage="fast check", step=1, steps=4)
    services.exported, services.other_jobs = ExportView(job), [job]
    app = open_page("review")
    assert clean(app)
    assert "is being written" in said(app)
    assert "Measure the fast file" in shown(app.get("progress")[0].proto.text)


def test_a_failed_check_can_be_resumed(open_page: Open, services: FakeServices) -> None:
    job = job_view(JobKind.EXPORT, state=JobState.FAILED, error="The layer 'x' cannot be written.")
    services.exported, services.other_jobs = ExportView(job), [job]
    app = open_page("review")
    assert "The layer 'x' cannot be written" in said(app)
    press(app, "Resume")
    assert ("resume", job.id) in services.calls


def test_a_checked_file_answers_in_plain_words(open_page: Open, services: FakeServices) -> None:
    services.exported, services.other_jobs = view(), [DONE]
    app = open_page("review", expanded=("export_parity_twin", "export_costs_twin"))
    assert clean(app)
    text = said(app)
    assert "Yes. On all 8 audit photographs the file names the same class" in text
    assert "0.38 times (95 %: 0.35 to 0.41)" in text
    assert "1 of 8 audit photographs get another class" in text
    parity, costs = cells(app, -2), cells(app, -1)
    assert "4 of 4" in parity and "All photographs" in parity
    for figure in ("0.84 MB", "6.2 MB", "3.998 (asked: 4)", "0.21 s", "5.3 ms", "1.01 times"):
        assert figure in costs, figure
    assert ("mark_seen", "job-export") in services.calls
    assert len(app.dataframe) >= 2, "both tables have a twin"


def test_it_can_be_measured_again(open_page: Open, services: FakeServices) -> None:
    services.exported, services.other_jobs = view(), [DONE]
    app = open_page("review", expanded=("export_runtimes",))
    assert "a decision that saw the old check is void" in said(app).lower()
    press(app, "Check again")
    assert ("start_export", ("run-1", True)) in services.calls


def test_objections_are_red_and_nothing_is_claimed(open_page: Open, services: FakeServices) -> None:
    objection = "3 of 8 images get another class than from the audited classifier"
    check = made_check(other_class=3, objections=(objection,))
    services.exported = view(check=check, objections=(objection,))
    app = open_page("review")
    assert not app.exception
    assert objection in shown(app.error[0].value)
    assert "No. The file may not leave" in said(app)


def test_a_slower_file_is_not_offered_and_says_so(open_page: Open, services: FakeServices) -> None:
    why = "No fast file: it takes 1.30 x (1.27 to 1.33) the time of the float32 file here."
    fast = made_check(kind="int8", ratio=1.3, objections=("slower",))
    services.exported = view(fast=fast, fast_audit=None, fast_why_not=why)
    app = open_page("review")
    assert clean(app)
    assert why in said(app)
    assert "1.30 times" in cells(app, -1)


def test_a_file_with_an_audit_of_its_own_says_so(open_page: Open, services: FakeServices) -> None:
    audit = own_audit("INSUFFICIENT EVIDENCE")
    services.exported = view(check=made_check(other_class=2), own_audit=audit)
    app = open_page("review")
    assert clean(app)
    assert "2 of 8 audit photographs get another class" in said(app)
    assert "its verdict is INSUFFICIENT EVIDENCE" in said(app)


def test_what_is_missing_stands_in_the_place_of_the_button(
    open_page: Open, services: FakeServices, tmp_path: Path
) -> None:
    services.run_views = [run_view(review_state=ReviewState.APPROVED)]
    services.lacking = ["There is no report yet that tells of this approval."]
    services.bundle = tmp_path / "bundle.zip"
    app = open_page("review")
    assert "no report yet" in said(app)
    assert "Make the bundle" not in [button.label for button in app.button]


def test_a_bundle_with_the_tablet_page_says_how_to_try_it(
    open_page: Open, services: FakeServices, tmp_path: Path
) -> None:
    services.run_views = [run_view(review_state=ReviewState.APPROVED)]
    services.bundle = tmp_path / "bundle.zip"
    with zipfile.ZipFile(services.bundle, "w") as bundle:
        bundle.writestr("tablet/index.html", "a page")
    app = open_page("review")
    assert "Try it on your tablet" not in labels(app)
    press(app, "Make the bundle")
    assert clean(app)
    assert "Try it on your tablet" in labels(app)
    app.session_state["review_tablet"] = True
    app.run()
    assert "python tablet/serve.py" in said(app)
    assert "https or localhost" in said(app)


def test_a_bundle_without_it_offers_nothing_and_says_why(
    open_page: Open, services: FakeServices, tmp_path: Path
) -> None:
    services.run_views = [run_view(review_state=ReviewState.APPROVED)]
    services.bundle = tmp_path / "bundle.zip"
    with zipfile.ZipFile(services.bundle, "w") as bundle:
        bundle.writestr("model.onnx", "a classifier")
    app = open_page("review")
    press(app, "Make the bundle")
    assert clean(app)
    assert "Try it on your tablet" not in labels(app)
    assert "The page for tablets is not in the bundle." in said(app)


def labels(app: AppTest) -> list[str]:
    return [expander.label for expander in app.expander]
