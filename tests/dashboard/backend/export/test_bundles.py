"""What leaves the tool: complete, approved to the last byte, or not at all."""

from __future__ import annotations

import errno
import json
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.backend.export import bundle_files, exports
from dashboard.backend.export.bundle_readme import has_tablet_page
from dashboard.backend.queue.execution import Outcome, execute
from dashboard.backend.services import Services, open_services
from dashboard.backend.views import JobKind, JobState, ReviewState
from fairquant_core.errors import ExportError, NotApproved
from fairquant_core.export.bundle import verify_bundle
from fairquant_core.export.signing import local_key
from tests.dashboard.backend.made_results import (
    approve,
    fingerprint_of,
    finish_export,
    finish_report,
    finish_run,
)


def names_of(bundle: Path) -> set[str]:
    with zipfile.ZipFile(bundle) as opened:
        return set(opened.namelist())


def exported(services: Services) -> list[str]:
    folder = services.settings.exports
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_bundle_holds_everything_and_verifies(ready: str, services: Services) -> None:
    assert services.missing_for_export(services.review(ready)) == []
    path = services.export(ready, "Kwame")
    assert verify_bundle(path) == []
    wanted = {
        *("model.onnx", "export.json", "fast.onnx", "fast.json", "fast_audit.json"),
        *("fast_predictions.parquet", "model.safetensors", "audit.json", "predictions.parquet"),
        *("plan.json", "report.html", "report.pdf", "report.json", "label.pdf", "checklist.json"),
        *("decisions.json", "README.txt", "MANIFEST.json"),
    }
    assert wanted <= names_of(path)
    with zipfile.ZipFile(path) as bundle:
        decisions = json.loads(bundle.read("decisions.json"))
        readme = bundle.read("README.txt").decode()
    said = [entry["action"] for entry in decisions["entries"]]
    assert said == ["case created", "propose", "approve"]
    assert f"evaluate --model {path.name}" in readme
    assert "Kwame" in readme
    assert "fast.onnx" in readme
    entry = services.audit_log().iloc[-1]
    assert (entry["action"], entry["person"]) == ("export", "Kwame")
    # Exporting again writes the very same bytes.
    before = path.read_bytes()
    assert services.export(ready).read_bytes() == before
    assert exported(services) == [path.name]


def test_nothing_leaves_before_the_files_were_checked(
    finished_run: str, services: Services
) -> None:
    assert any(
        "not been checked" in one
        for one in services.missing_for_export(services.review(finished_run))
    )
    services.start_export(finished_run, "Ada")
    assert any(
        "being checked" in one for one in services.missing_for_export(services.review(finished_run))
    )
    with pytest.raises(NotApproved):
        services.export(finished_run)
    assert exported(services) == []


def test_a_failed_check_says_why(finished_run: str, services: Services) -> None:
    job_id = services.start_export(finished_run, "Ada")
    claimed = services._jobs.claim("a test")
    assert claimed is not None
    services._jobs.end(job_id, claimed.attempt, JobState.FAILED, "The layer 'x' cannot be written.")
    (missing,) = services.missing_for_export(services.review(finished_run))
    assert "The layer 'x' cannot be written" in missing
    # Asking again queues the same job once more.
    assert services.start_export(finished_run, "Ada") == job_id
    assert services.job(job_id).state == JobState.QUEUED


def test_a_file_that_predicts_otherwise_stays(
    finished_run: str, services: Services, tmp_path: Path
) -> None:
    finish_export(services, finished_run, tmp_path, objections=("3 images get another class",))
    approve(services, finished_run)
    finish_report(services, finished_run, tmp_path)
    with pytest.raises(ExportError, match="may not leave: 3 images get another class"):
        services.export(finished_run)


def test_the_report_must_tell_of_this_approval(
    finished_run: str, services: Services, tmp_path: Path
) -> None:
    finish_export(services, finished_run, tmp_path)
    finish_report(services, finished_run, tmp_path)
    approve(services, finished_run)
    with pytest.raises(ExportError, match="no report yet that tells of this approval"):
        services.export(finished_run)
    finish_report(services, finished_run, tmp_path)
    assert services.export(finished_run).is_file()


def test_the_report_must_tell_of_these_files(
    finished_run: str, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same decision, but the report was written about other bytes."""
    finish_export(services, finished_run, tmp_path)
    approve(services, finished_run)
    review = services.review(finished_run)
    other = replace(review, hashes={**review.hashes, "onnx": "0" * 64})
    with monkeypatch.context() as patched:
        patched.setattr(services, "review", lambda _: other)
        finish_report(services, finished_run, tmp_path)
    with pytest.raises(ExportError, match="and of these files"):
        services.export(finished_run)


def test_the_same_files_are_asked_for_once(finished_run: str, services: Services) -> None:
    first = services.start_export(finished_run, "Ada")
    assert services.start_export(finished_run, "Kwame") == first
    found = services.job(first)
    assert (found.kind, found.run_id, found.started_by) == (JobKind.EXPORT, finished_run, "Ada")


def test_an_approval_binds_the_files_it_saw(ready: str, services: Services) -> None:
    bound = services.review(ready).decisions[-1].hashes
    assert {"onnx", "onnx check", "fast onnx", "fast audit", "split"} <= set(bound)
    export = services.export_view(ready)
    assert export is not None
    path = services._artefacts.path(str(export.job.result_hash), exports.EXACT_FILE)
    path.write_bytes(path.read_bytes() + b"x")
    assert services.review(ready).state == ReviewState.VOID
    with pytest.raises(NotApproved, match="the exported file changed"):
        services.export(ready)
    path.unlink()
    assert services.review(ready).state == ReviewState.VOID


def test_a_file_of_another_classifier_is_refused(
    finished_run: str, services: Services, tmp_path: Path
) -> None:
    """Somebody approved the bytes of this file; it is not made of the approved model all the same."""
    finish_export(services, finished_run, tmp_path, fingerprint=fingerprint_of("another"))
    approve(services, finished_run)
    finish_report(services, finished_run, tmp_path)
    with pytest.raises(NotApproved, match="made from the classifier"):
        services.export(finished_run)
    assert exported(services) == []


@pytest.mark.parametrize("verdict", ["INSUFFICIENT EVIDENCE", "OUTSIDE", None])
def test_a_fast_file_with_a_worse_verdict_or_no_gain_stays(
    finished_run: str, services: Services, tmp_path: Path, verdict: str | None
) -> None:
    finish_export(services, finished_run, tmp_path, fast=verdict)
    view = services.export_view(finished_run)
    assert view is not None and view.may_leave and not view.fast_offered
    assert (verdict or "1.30 x") in view.fast_why_not
    approve(services, finished_run)
    finish_report(services, finished_run, tmp_path)
    names = names_of(services.export(finished_run))
    assert "fast.json" in names and "fast.onnx" not in names


def test_the_log_says_which_limits_and_verdicts_were_seen(ready: str, services: Services) -> None:
    log = services.audit_log()
    said = json.loads(log[log["action"] == "approve"]["details"].iloc[-1])
    assert said["limits"] == services._cases.row(services.run(ready).case_id).limits
    assert (said["verdict_seen"], said["fast_verdict_seen"]) == ("WITHIN", "WITHIN")


def test_the_control_has_no_file_to_make(
    ready_case: str, services: Services, tmp_path: Path
) -> None:
    run_id = services.start_run(ready_case, {"method": "full_precision", "bits": 4.0}, "Rosa")
    finish_run(services, run_id, tmp_path)
    folder = services._artefacts.path(str(services.run(run_id).result_hash), "plan.json")
    folder.unlink()
    with pytest.raises(ExportError, match="compresses nothing"):
        services.start_export(run_id, "Ada")


def test_checking_again_voids_what_saw_the_old_check(
    ready: str, services: Services, tmp_path: Path
) -> None:
    first = services.export_view(ready)
    again = services.start_export(ready, "Ada", again=True)
    assert first is not None and again != first.job.id
    assert services.start_export(ready, "Ada", again=True) == again, "it has not finished yet"
    assert services.review(ready).may_export, "nothing has changed yet"
    assert finish_export(services, ready, tmp_path, fast=None) == again
    assert services.review(ready).state == ReviewState.VOID


def test_a_changed_file_is_made_anew(ready: str, services: Services) -> None:
    export = services.export_view(ready)
    assert export is not None
    services._artefacts.path(str(export.job.result_hash), exports.EXACT_FILE).write_bytes(b"no")
    assert services.start_export(ready, "Ada") == export.job.id
    assert services.job(export.job.id).state == JobState.QUEUED


def test_a_job_on_a_full_disk_says_so(finished_run: str, services: Services) -> None:
    job_id = services.start_export(finished_run, "Ada")
    claimed = services._jobs.claim("a test")
    assert claimed is not None

    def full(_task: object) -> Outcome:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        execute(job_id, claimed.attempt, services.settings, {JobKind.EXPORT: full})
    ended = services.job(job_id)
    assert ended.state == JobState.FAILED
    assert "disk of this machine is full" in ended.error


def test_the_tablet_page_says_who_approved_it_and_the_readme_how_to_open_it(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, str] = {}

    def page(onnx: Path, facts: dict[str, str]) -> dict[str, Path | bytes]:
        told.update(facts, onnx=onnx.name)
        return {"tablet/index.html": b"a page", "tablet/serve.py": b"a server"}

    monkeypatch.setattr(bundle_files, "tablet_files", page)
    path = services.export(ready)
    assert told["onnx"] == "model.onnx"
    assert (told["approved_by"], told["approved_role"]) == ("Kwame", "clinician")
    assert told["verdict"] == services.review(ready).overall_verdict
    with zipfile.ZipFile(path) as bundle:
        text = bundle.read("README.txt").decode()
    assert "python tablet/serve.py" in text and "https or localhost" in text
    assert has_tablet_page(path) and services.left_out(ready) == []
    assert not has_tablet_page(path.with_name("absent.zip"))


def test_a_bundle_leaves_without_the_tablet_page_and_says_why(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> None:
        raise ExportError("The runtime for browsers is not installed.")

    monkeypatch.setattr(bundle_files, "tablet_files", absent)
    path = services.export(ready)
    assert not any(name.startswith("tablet/") for name in names_of(path))
    assert any("runtime for browsers" in text for text in services.left_out(ready))
    with zipfile.ZipFile(path) as bundle:
        assert "tablet" not in bundle.read("README.txt").decode()
    assert not has_tablet_page(path)
    assert verify_bundle(path) == []


def test_the_key_stays_here_and_its_public_half_goes_along(ready: str, services: Services) -> None:
    path = services.export(ready)
    key = local_key(services.settings.keys)
    with zipfile.ZipFile(path) as bundle:
        assert bundle.read("signing_key.pub") == key.public_pem
        assert key.fingerprint in bundle.read("README.txt").decode()
        secret = key.private_path.read_bytes()
        assert not any(secret in bundle.read(name) for name in bundle.namelist())


def test_two_people_export_at_once(ready: str, services: Services) -> None:
    sums: list[bytes] = []

    def act() -> None:
        own = open_services(services.settings)
        sums.append(own.export(ready, "Kwame").read_bytes())

    threads = [threading.Thread(target=act) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sums) == 2 and sums[0] == sums[1]
    assert len(exported(services)) == 1
    assert services.audit_log()["action"].tolist().count("export") == 2
    assert services.verify_log() == []


def test_a_full_disk_leaves_no_half_bundle(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = zipfile.ZipFile.open

    def full(self: zipfile.ZipFile, name: object, mode: str = "r", *rest: object) -> object:
        if mode == "w":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, name, mode, *rest)  # type: ignore[call-overload]

    monkeypatch.setattr(zipfile.ZipFile, "open", full)
    with pytest.raises(ExportError, match="No space left"):
        services.export(ready)
    assert exported(services) == []
    assert "export" not in services.audit_log()["action"].tolist()
    monkeypatch.undo()
    assert services.export(ready).is_file()
