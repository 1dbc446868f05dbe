"""The report page: before, while and after it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.backend.report.views import ReportView
from dashboard.backend.views import JobKind, JobState
from dashboard.components.report_sections import DOWNLOADS, report_sentence
from tests.dashboard.conftest import Open, answer, clean, press
from tests.dashboard.fakes import FakeServices
from tests.dashboard.made_data import NOW, job_view

ROW = {"guideline": "CLAIM", "asks": "Failure analysis", "section": "failures"}
CHECKLIST = (
    {**ROW, "item": "37", "state": "MET", "shown": "each changed *decision*", "missing": ""},
    {**ROW, "item": "31", "state": "PARTIAL", "shown": "maps", "missing": "images"},
    {**ROW, "item": "42", "state": "MISSING", "shown": "", "missing": "who paid for the work"},
)


@pytest.fixture
def view(tmp_path: Path) -> ReportView:
    """A draft that is up to date."""
    files = {}
    for name, *_ in DOWNLOADS:
        files[name] = tmp_path / name
        files[name].write_text("<html><head></head><body>The words of the board</body></html>")
    return ReportView(
        run_id="run-1",
        job=job_view(JobKind.REPORT, id="job-report", run_id="run-1"),
        files=files,
        made=NOW,
        up_to_date=True,
        result_hash="aa" * 32,
        checklist=CHECKLIST,
        counts={"CLAIM": {"MET": 1, "PARTIAL": 1, "MISSING": 1}},
    )


def test_before_anything_is_written(open_page: Open, services: FakeServices) -> None:
    app = open_page("report")

    assert clean(app)
    assert "Nothing is written yet" in answer(app)
    assert not app.get("iframe")
    press(app, "Write the report")
    assert services.calls[-1] == ("start_report", ("run-1", True, ""))


def test_photographs_of_real_people_are_off_unless_somebody_wants_them(
    open_page: Open, services: FakeServices
) -> None:
    case = services.case_views[0]
    services.case_views = [replace(case, cohort=replace(case.cohort, synthetic=False))]
    app = open_page("report")

    assert not app.toggle(key="report_images").value
    press(app, "Write the report")
    assert services.calls[-1] == ("start_report", ("run-1", False, ""))
    app.toggle(key="report_images").set_value(True).run()
    press(app, "Write the report")
    assert services.calls[-1] == ("start_report", ("run-1", True, ""))


def test_preview_downloads_and_checklist(
    view: ReportView, open_page: Open, services: FakeServices
) -> None:
    services.reported = view
    app = open_page("report")

    assert clean(app)
    assert "is a draft" in answer(app)
    frame = app.get("iframe")[0].proto
    assert "The words of the board" in frame.srcdoc
    assert '<base href="about:srcdoc">' in frame.srcdoc
    assert len(app.get("download_button")) >= len(DOWNLOADS)
    table = app.table[0].value
    assert len(table) == 3
    assert "Met" in table["State"].iloc[0]
    assert table["Here"].iloc[0] == "Each changed \\*decision\\*"


def test_checklist_by_state(view: ReportView, open_page: Open, services: FakeServices) -> None:
    services.reported = view
    app = open_page("report")
    app.segmented_control(key="checklist_state").set_value("MISSING").run()

    assert clean(app)
    assert app.table[0].value["Missing"].tolist() == ["Who paid for the work"]


def test_while_it_is_written_the_old_one_is_shown(
    view: ReportView, open_page: Open, services: FakeServices
) -> None:
    job = job_view(JobKind.REPORT, id="job-report", state=JobState.RUNNING, stage="report")
    services.other_jobs = [job]
    services.reported = replace(view, job=job, up_to_date=False)
    app = open_page("report")

    assert clean(app)
    assert "out of date" in answer(app)
    assert app.get("iframe")


def test_a_failure_is_said_and_can_be_resumed(open_page: Open, services: FakeServices) -> None:
    job = job_view(
        JobKind.REPORT, id="job-report", state=JobState.FAILED, error="Install the Pango library."
    )
    services.other_jobs = [job]
    services.reported = ReportView("run-1", job)
    app = open_page("report")

    assert "Install the Pango library" in app.error[0].value
    press(app, "Resume")
    assert ("resume", "job-report") in services.calls


def test_a_refusal_is_shown(open_page: Open, services: FakeServices) -> None:
    services.fail_with = "This run has no result."
    app = open_page("report")
    press(app, "Write the report")

    assert "has no result" in app.error[0].value


def test_sentences(view: ReportView) -> None:
    running = job_view(JobKind.REPORT, state=JobState.RUNNING)

    assert "tells of the approval" in report_sentence(replace(view, approved=True))
    assert "being written" in report_sentence(ReportView("run-1", running))
    assert "not written" in report_sentence(
        ReportView("run-1", replace(running, state=JobState.FAILED))
    )
