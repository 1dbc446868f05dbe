"""Asking for the report of a run: once per moment, with the decisions of that moment, in the worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dashboard.backend.queue.execution import execute
from dashboard.backend.records.schema import Case
from dashboard.backend.report.task import report
from dashboard.backend.report.views import ReportView
from dashboard.backend.saliency.views import SaliencyChoice
from dashboard.backend.services import Services
from dashboard.backend.views import JobKind, JobState
from fairquant_core.errors import ExportError, FairQuantError
from fairquant_core.report import write
from fairquant_core.report.names import FILES
from tests.dashboard.backend.made_results import approve, finish_export, finish_saliency


def carry_out(services: Services, job_id: str) -> None:
    """Do what the worker's child process does."""
    claimed = services._jobs.claim("a test")
    while claimed is not None and claimed.id != job_id:
        claimed = services._jobs.claim("a test")
    assert claimed is not None
    execute(job_id, claimed.attempt, services.settings, {JobKind.REPORT: report})


def written(services: Services, run_id: str, *, images: bool = False) -> ReportView:
    """A finished report as of now."""
    carry_out(services, services.start_report(run_id, images=images, person="Ada"))
    view = services.report_view(run_id)
    assert view is not None
    assert view.job.state == JobState.FINISHED, view.job.error
    return view


@pytest.fixture
def quick_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    """No typesetting, where the test is about something else."""
    monkeypatch.setattr(write, "report_pdf", lambda *_: b"pages")
    monkeypatch.setattr(write, "label_pdf", lambda *_: b"one page")


def test_nobody_asked(finished_run: str, services: Services) -> None:
    assert services.report_view(finished_run) is None


def test_the_same_request_is_made_once(finished_run: str, services: Services) -> None:
    first = services.start_report(finished_run, images=False, person="Ada")
    job = services.job(first)

    assert (job.kind, job.run_id, job.started_by) == (JobKind.REPORT, finished_run, "Ada")
    assert services.start_report(finished_run, images=False, person="Kwame") == first
    assert services.start_report(finished_run, images=True, person="Ada") != first


def test_what_people_said_it_is_for_is_in_the_report(
    finished_run: str, services: Services, quick_pdf: None
) -> None:
    with services._store.write() as session:
        case = session.get(Case, services.run(finished_run).case_id)
        case.cohort = {**case.cohort, "intended_use": {"purpose": "A second look at moles."}}

    view = written(services, finished_run)

    assert "A second look at moles." in view.files["report.html"].read_text(encoding="utf-8")
    rows = {row["item"]: row for row in view.checklist if row["guideline"] == "DECIDE-AI"}
    assert rows["2a"]["state"] == "PARTIAL", "nobody said for which patients"


def test_a_decision_and_new_maps_make_another_request(
    finished_run: str, services: Services, tmp_path: Path
) -> None:
    asked = {services.start_report(finished_run, images=False)}
    services.decide(finished_run, "Ada", "auditor", "propose")
    asked.add(services.start_report(finished_run, images=False))
    maps = services.request_saliency(finished_run, SaliencyChoice(per_group=2))
    finish_saliency(services, maps, tmp_path)
    asked.add(services.start_report(finished_run, images=False))
    finish_export(services, finished_run, tmp_path)
    asked.add(services.start_report(finished_run, images=False))

    assert len(asked) == 4


def test_only_a_finished_run_has_a_report(ready_case: str, services: Services) -> None:
    run_id = services.start_run(ready_case, {"method": "minimax_ptq", "bits": 4.0})

    with pytest.raises(FairQuantError, match="has no result"):
        services.start_report(run_id, images=False)


def test_a_draft_then_an_approval(finished_run: str, services: Services, tmp_path: Path) -> None:
    """A report of before the approval is out of date; the one after it is what the bundle takes."""
    finish_export(services, finished_run, tmp_path)
    draft = written(services, finished_run)

    assert set(draft.files) == set(FILES)
    assert (draft.approved, draft.up_to_date, draft.log_sequence) == (False, True, 0)
    assert "DRAFT: NOT APPROVED" in draft.files["report.html"].read_text()

    approve(services, finished_run)
    old = services.report_view(finished_run)
    assert old is not None
    assert not old.up_to_date
    assert [
        text
        for text in services.missing_for_export(services.review(finished_run))
        if "report" in text
    ]

    final = written(services, finished_run)
    review = services.review(finished_run)
    told = json.loads(final.files["report.json"].read_text())
    assert (final.approved, final.up_to_date) == (True, True)
    assert final.log_sequence == review.decisions[-1].sequence
    assert told["identity"]["hashes"] == review.hashes
    assert "DRAFT" not in final.files["report.html"].read_text()
    assert not [
        text
        for text in services.missing_for_export(services.review(finished_run))
        if "report" in text
    ]
    assert [row["person"] for row in told["decisions"]["rows"]] == ["Ada", "Kwame"]


def test_images_maps_and_exported_files_come_in_when_they_are_there(
    finished_run: str, services: Services, tmp_path: Path
) -> None:
    maps = services.request_saliency(finished_run, SaliencyChoice(per_group=2))
    finish_saliency(services, maps, tmp_path)
    finish_export(services, finished_run, tmp_path)
    view = written(services, finished_run, images=True)

    found = json.loads(view.files["report.json"].read_text())
    assert view.images
    made = found["compression"]
    packed = services.audit(finished_run)["size"]["bytes_on_disk"]
    assert made["bytes_on_disk"] == made["export"]["on_disk"] != packed
    assert made["layers"]
    assert len(found["saliency"]["pictures"]) == 6
    assert "data:image/jpeg" in view.files["report.html"].read_text()
    assert {row["group"] for row in found["saliency"]["by_group"]} >= set(
        found["results"]["groups"][1:]
    )
    assert found["data"]["rows"][0]["audit"] > 0


def test_a_lost_report_is_written_anew(
    finished_run: str, services: Services, quick_pdf: None
) -> None:
    view = written(services, finished_run)
    view.files["label.pdf"].unlink()

    again = services.start_report(finished_run, images=False)

    assert again == view.job.id
    assert services.job(again).state == JobState.QUEUED
    carry_out(services, again)
    mended = services.report_view(finished_run)
    assert mended is not None
    assert mended.files["label.pdf"].is_file()


def test_a_damaged_checklist_is_named(
    finished_run: str, services: Services, quick_pdf: None
) -> None:
    view = written(services, finished_run)
    view.files["checklist.json"].write_text("{")

    with pytest.raises(ExportError, match="checklist of this report was changed"):
        services.report_view(finished_run)


def test_a_damaged_audit_fails_with_a_sentence(finished_run: str, services: Services) -> None:
    job_id = services.start_report(finished_run, images=False)
    result = services.run(finished_run).result_hash
    services._artefacts.path(str(result), "audit.json").write_text("{")
    carry_out(services, job_id)

    job = services.job(job_id)
    assert job.state == JobState.FAILED
    assert "audit.json of this run was changed" in job.error
