"""The real computations behind every kind of job, on coloured squares and a very small network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dashboard.backend.queue.execution import execute
from dashboard.backend.saliency.views import SaliencyChoice
from dashboard.backend.services import Services
from dashboard.backend.views import JobKind, JobState, NewCase
from fairquant_core.audit.criteria import Limits
from fairquant_core.export.verification import verify
from tests.dashboard.backend.made_results import approve, finish_report, write_cohort

torch = pytest.importorskip("torch")


def work_off(services: Services, job_id: str) -> None:
    """Execute a queued job here, as the worker's child does."""
    from dashboard.backend import job

    claimed = services._jobs.claim("a test")
    assert claimed is not None
    assert claimed.id == job_id
    computations = {
        JobKind.PREPARE: job.prepare,
        JobKind.SENSITIVITY: job.sensitivity,
        JobKind.RUN: job.run,
        JobKind.SALIENCY: job.saliency,
        JobKind.EXPORT: job.export,
    }
    assert execute(job_id, claimed.attempt, services.settings, computations) == 0
    ended = services.job(job_id)
    assert (ended.state, ended.error) == (JobState.FINISHED, "")


def test_from_a_table_of_images_to_a_bundle(services: Services, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _journey(services, tmp_path)
    finally:
        torch.set_num_threads(threads)


def _journey(services: Services, tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort")
    case_id = services.create_case(
        NewCase(
            "Squares",
            tmp_path / "cohort",
            "fitzpatrick",
            architecture="mobilenetv3_small_050",
            image_size=32,
            fit_epochs=1,
            must_not_miss=("malignant",),
            limits=Limits(margin=0.45, minimum_images=5),
        )
    )
    prepare_job = services.case(case_id).prepare_job
    assert prepare_job is not None
    work_off(services, prepare_job)
    case = services.case(case_id)
    assert case.ready
    assert len(case.classifier.fingerprint) == 64
    assert len(case.cohort.fingerprint) == 64
    assert services.baseline(case_id) is not None
    assert services.epochs(prepare_job)["epoch"].tolist() == [0, 1], "0 is the start"

    job_id = services.request_sensitivity(case_id, (4,), 2)
    work_off(services, job_id)
    maps = services.sensitivity(case_id)
    assert maps is not None
    assert maps[0].groups == maps[1].groups == case.groups
    assert services.budget_curve(case_id) is not None
    preview = services.plan_preview(case_id, 4.0)
    assert preview is not None

    run_id = services.start_run(case_id, {"method": "minimax_ptq", "bits": 4.0}, "Rosa")
    work_off(services, run_id)
    run = services.run(run_id)
    assert run.achieved_bits is not None
    assert run.achieved_bits <= 4.0
    # The run took the map of the case, so the slider's promise is the file that came out.
    plan = services._artefacts.path(str(run.result_hash), "plan.json").read_text()
    assert f'"kept_parameters": {preview.plan.kept_parameters}' in plan
    assert run.bytes_packed == pytest.approx(preview.bytes, rel=0.25)
    assert run.verdict == services.comparison(run_id).overall_verdict

    _saliency(services, run_id, tmp_path / "cohort")

    _export(services, run_id)

    approve(services, run_id, "Test.")
    finish_report(services, run_id, tmp_path)
    found = verify(services.export(run_id))
    assert [check.sentence for check in found.failed] == []
    assert "Every verdict was judged again" in found.check("Audit figures").sentence


def _export(services: Services, run_id: str) -> None:
    """The real file, opened by the real runtime, on every audit image."""
    job_id = services.start_export(run_id, "Ada")
    work_off(services, job_id)
    view = services.export_view(run_id)
    assert view is not None and view.check is not None
    assert view.may_leave, view.objections
    audit = services.audit(run_id)
    assert view.check["audited"]["images"] == view.check["audited"]["same_class"] == audit["images"]
    assert view.check["audited"]["largest_difference"] < 1e-4
    groups = [row["group"] for row in view.check["parity"]["by_group"]]
    assert set(groups) == set(services.case(services.run(run_id).case_id).groups)
    assert view.check["size"]["bits_requested"] == 4.0
    assert view.check["size"]["bits_achieved"] == services.run(run_id).achieved_bits
    # Whether whole numbers are faster is this machine's answer; both answers are told in full.
    assert view.fast is not None
    assert view.fast["latency"]["faster"] == (view.fast_audit is not None)
    if view.fast_audit is not None:
        assert view.fast_audit["limits"] == audit["limits"]
        assert view.fast_audit["images"] == audit["images"]
    else:
        assert f"{view.fast['latency']['ratio']:.2f} x" in view.fast_why_not
    stages = services.log(job_id)["stage"].drop_duplicates().tolist()
    assert [name for name in stages if name != "own audit"] == [
        "images",
        "exact file",
        "exact check",
        "fast file",
        "fast check",
    ]


def _write_masks(cohort: Path) -> None:
    """The left half of every photograph is lesion."""
    (cohort / "masks").mkdir()
    left = np.arange(8) < 4
    for path in (cohort / "images").iterdir():
        mask = Image.fromarray(np.broadcast_to(left, (8, 8)).copy())
        mask.save(cohort / "masks" / f"{path.stem}.png")


def _saliency(services: Services, run_id: str, cohort: Path) -> None:
    """Maps of the true class; one photograph was lost since the audit."""
    choice = SaliencyChoice("grad_cam", "true", per_group=4)
    _write_masks(cohort)
    job_id = services.request_saliency(run_id, choice)
    lost = services.job(job_id).config["image_ids"][0]
    files = services.cohort_table(services.run(run_id).case_id).set_index("id")["file"]
    (cohort / files[lost]).rename(cohort / "elsewhere")
    work_off(services, job_id)
    (cohort / "elsewhere").rename(cohort / files[lost])
    view = services.saliency(run_id, choice)
    assert view is not None
    problems = view.frame.set_index("id")["problem"]
    assert "not found" in problems[lost]
    assert (problems.drop(lost) == "").all()
    assert view.pictures.shape == (2, len(view.frame) - 1, 32, 32)
    assert np.isfinite(view.pictures).all()
    assert (view.frame["target"] == view.frame["label"]).all()
    assert view.covers is not None
    drawn = view.frame[view.frame["place"] >= 0]
    assert drawn["lesion_area"].to_numpy() == pytest.approx(0.5, abs=0.02)
    assert {"lesion_n", "lesion_change"} <= set(view.by_group)
    assert set(view.by_group["group"]) >= set(services.case(services.run(run_id).case_id).groups)
    _more_maps(services, run_id, choice, lost)


def _more_maps(services: Services, run_id: str, choice: SaliencyChoice, lost: str) -> None:
    """A larger sample draws what is new and the photograph that is back; the rest is taken as it was drawn."""
    before = services.saliency(run_id, choice)
    assert before is not None
    more = SaliencyChoice("grad_cam", "true", per_group=6)
    job_id = services.request_saliency(run_id, more)
    ids = services.job(job_id).config["image_ids"]
    kept = before.frame.loc[before.frame["place"] >= 0, "id"]
    new = set(ids) - set(kept)
    assert lost in new and set(kept) <= set(ids)
    work_off(services, job_id)
    maps = services.log(job_id)["message"].str.extract(r"^Map \d+ of (\d+)$")[0].dropna()
    assert set(maps) == {str(2 * len(new))}
    after = services.saliency(run_id, more)
    assert after is not None
    assert (after.frame["problem"] == "").all()
    assert after.frame["id"].tolist() == ids
    then, now = (view.frame.set_index("id")["place"] for view in (before, after))
    same = list(kept)
    assert np.array_equal(after.pictures[:, now[same]], before.pictures[:, then[same]])
    assert after.changes.set_index("id").loc[same, "lesion_after"].tolist() == pytest.approx(
        before.changes.set_index("id").loc[same, "lesion_after"].tolist(), nan_ok=True
    )
