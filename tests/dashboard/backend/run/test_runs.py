"""Runs, sensitivity, budget, comparison and saliency as pages read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.backend.run.budget import LOWEST_WITH_PRUNING
from dashboard.backend.services import Services
from dashboard.backend.views import JobState, ReviewState
from fairquant_core.allocation.allocators import minimax
from fairquant_core.errors import FairQuantError
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap
from tests.dashboard.backend.made_results import (
    finish_prepare,
    finish_sensitivity,
    make_case,
)


def test_identical_runs_are_one_run(ready_case: str, services: Services) -> None:
    first = services.start_run(ready_case, {"method": "baq", "bits": 3.0})
    assert services.start_run(ready_case, {"bits": 3, "method": "baq", "seed": 0}) == first
    assert services.start_run(ready_case, {"method": "baq", "bits": 3.0, "seed": 1}) != first
    assert len(services.runs(ready_case)) == 2


def test_limits_belong_to_the_identity(ready_case: str, services: Services, tmp_path: Path) -> None:
    other = make_case(services, tmp_path, title="Other limits", limits=None)
    finish_prepare(services, other, tmp_path)
    assert services.start_run(ready_case, {}) != services.start_run(other, {})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"method": "magic"}, "magic"),
        ({"bits": 9.0}, "cannot be met"),
        ({"colour": "red"}, "colour"),
        ({"method": "uniform_qat", "bits": 3.5}, "whole number"),
    ],
)
def test_a_wrong_configuration_starts_nothing(
    ready_case: str, services: Services, config: dict[str, object], message: str
) -> None:
    with pytest.raises(FairQuantError, match=message):
        services.start_run(ready_case, config)
    assert services.runs() == []


def test_a_finished_run_shows_its_figures(finished_run: str, services: Services) -> None:
    run = services.run(finished_run)
    assert (run.state, run.method, run.bits, run.epochs) == ("finished", "minimax_ptq", 4.0, 0)
    assert run.achieved_bits == 3.99
    assert run.verdict == "WITHIN"
    assert run.started_by == "Rosa"
    assert run.review_state == ReviewState.NONE
    assert services.audit(finished_run)["verdict"] == "WITHIN"
    assert services.predictions(finished_run).models[:2] == ("full precision", "candidate")


def test_a_run_whose_files_were_changed_is_computed_again(
    finished_run: str, services: Services
) -> None:
    ready_case = services.run(finished_run).case_id
    config = {"method": "minimax_ptq", "bits": 4.0}
    assert services.start_run(ready_case, config) == finished_run
    assert services.run(finished_run).state == JobState.FINISHED
    path = services._artefacts.path(str(services.run(finished_run).result_hash), "audit.json")
    path.write_text("{}")
    assert services.start_run(ready_case, config) == finished_run
    assert services.run(finished_run).state == JobState.QUEUED


def test_the_comparison_is_what_the_audit_says(finished_run: str, services: Services) -> None:
    view = services.comparison(finished_run)
    assert view.models == ("full precision", "candidate", "uniform 4-bit")
    assert view.groups == ("FST I-II", "FST III-IV", "FST V-VI")
    overall = view.accuracy[view.accuracy["group"] == "overall"].set_index("model")
    audit = services.predictions(finished_run).part("audit")
    assert overall.loc["candidate", "accuracy"] == pytest.approx(audit.correct("candidate").mean())
    assert view.verdicts["group"].tolist() == ["overall", *view.groups]
    assert set(view.differences["group"]) == {"overall", *view.groups}
    assert view.overall_verdict == "WITHIN"
    assert services.comparison(finished_run) is view


def test_the_comparison_in_another_scheme(finished_run: str, services: Services) -> None:
    view = services.comparison(finished_run, "fst6")
    empty = view.accuracy[view.accuracy["group"] == "FST II"]
    assert empty["n"].tolist() == [0, 0, 0]
    assert empty["accuracy"].isna().all()
    assert len(view.differences) == 7
    assert view.verdicts["group"].tolist()[1:] == ["FST I-II", "FST III-IV", "FST V-VI"]


def test_results_of_an_unfinished_run_are_refused(ready_case: str, services: Services) -> None:
    run_id = services.start_run(ready_case, {})
    with pytest.raises(FairQuantError, match="queued"):
        services.comparison(run_id)
    with pytest.raises(FairQuantError, match="queued"):
        services.review(run_id)


def test_the_inbox_sorts_by_need(finished_run: str, services: Services) -> None:
    ready_case = services.run(finished_run).case_id
    waiting = services.start_run(ready_case, {"seed": 5})
    inbox = services.inbox()
    assert [job.id for job in inbox.running] == [waiting]
    assert finished_run in [job.id for job in inbox.unseen_finished]
    services.mark_seen(finished_run)
    assert finished_run in [job.id for job in services.inbox().others]
    services.decide(finished_run, "Rosa", "auditor", "propose")
    assert [run.id for run in services.inbox().awaiting_review] == [finished_run]
    services.cancel(waiting)
    inbox = services.inbox()
    assert inbox.running == ()
    assert waiting in [job.id for job in inbox.others]
    everything = (
        inbox.running + inbox.awaiting_review + inbox.unseen_finished + inbox.failed + inbox.others
    )
    assert len({job.id for job in everything}) == len(everything)


def test_the_budget_needs_a_measurement(ready_case: str, services: Services) -> None:
    assert services.sensitivity(ready_case) is None
    assert services.budget_curve(ready_case) is None
    assert services.plan_preview(ready_case, 4.0) is None
    assert services.sensitivity_job(ready_case) is None


def test_curve_and_preview_follow_from_the_map(
    ready_case: str, services: Services, tmp_path: Path
) -> None:
    job_id = services.request_sensitivity(ready_case, (4,), 30)
    assert services.request_sensitivity(ready_case, (4,), 30) == job_id
    finish_sensitivity(services, job_id, tmp_path)
    maps = services.sensitivity(ready_case)
    assert maps is not None
    curve = services.budget_curve(ready_case)
    assert curve is not None
    assert set(curve["kind"]) == {"minimax", "uniform"}
    worst = curve[(curve["group"] == "worst") & (curve["kind"] == "minimax")].sort_values("bits")
    assert worst["predicted_loss_rise"].is_monotonic_decreasing
    assert worst["megabytes"].is_monotonic_increasing
    for bits, predicted in zip(worst["bits"], worst["predicted_loss_rise"], strict=True):
        run = services.plan_preview(ready_case, bits)
        assert run is not None
        assert max(run.predicted.values()) == pytest.approx(predicted), "a run starts on the curve"
    assert worst["bits"].min() == LOWEST_WITH_PRUNING
    again = services.budget_curve(ready_case)
    assert again is not None
    assert again.equals(curve)

    preview = services.plan_preview(ready_case, 3.5)
    assert preview is not None
    assert preview.achieved_bits <= 3.5
    # 72 weights in the map; 8 of the 80 numbers (the biases) stay float32.
    assert preview.plan.kept_parameters == 8
    # The file also holds names, shapes and a description.
    assert 1000 < preview.bytes - preview.plan.packed_bytes() < 3000
    assert set(preview.predicted) == set(services.case(ready_case).groups)
    eight = services.plan_preview(ready_case, 8.0, "layer")
    point = curve[(curve["kind"] == "uniform") & (curve["bits"] == 8) & (curve["group"] == "worst")]
    assert eight is not None
    # The description of the run is a few characters longer or shorter, and padded to eight bytes.
    assert eight.bytes / 1e6 == pytest.approx(point["megabytes"].item(), abs=16e-6)
    with pytest.raises(FairQuantError):
        services.plan_preview(ready_case, 9.0)
    with pytest.raises(FairQuantError, match="Granularity"):
        services.plan_preview(ready_case, 4.0, "pixel")


def test_wishes_reach_the_preview_and_impossible_ones_are_named(
    ready_case: str, services: Services, tmp_path: Path
) -> None:
    finish_sensitivity(services, services.request_sensitivity(ready_case, (4,), 30), tmp_path)

    seven = services.plan_preview(ready_case, 7.0)
    assert seven is not None
    sized = services.plan_preview(ready_case, 4.0, wishes={"size_bytes": seven.bytes})
    assert sized is not None
    assert sized.bytes <= seven.bytes
    assert 5 < sized.requested_bits <= 7

    narrow = services.plan_preview(
        ready_case, 4.0, wishes={"menu": [2, 8], "floors": {"conv": 2}, "group_weights": {}}
    )
    assert narrow is not None
    assert set(narrow.plan.widths["conv"].tolist()) == {2, 8}
    tilted = services.plan_preview(
        ready_case, 4.0, wishes={"group_weights": {services.case(ready_case).groups[0]: 9.0}}
    )
    assert tilted is not None

    for wishes, message in (
        ({"pins": {"conv": 8}}, r"because of floors and pins \(conv = 8\)"),
        ({"pins": {"head": 8}}, "pin for layer 'head'"),
        ({"size_bytes": 20}, "smallest reachable size"),
        ({"group_weights": {"nobody": 2.0}}, "nobody"),
    ):
        with pytest.raises(FairQuantError, match=message):
            services.plan_preview(ready_case, 4.0, wishes=wishes)


def measured(case_id: str, services: Services, folder: Path) -> tuple[MeasuredMap, SensitivityMap]:
    """The maps of a case whose layers were measured."""
    finish_sensitivity(services, services.request_sensitivity(case_id, (4,), 30), folder)
    maps = services.sensitivity(case_id)
    assert maps is not None
    return maps


def test_a_map_without_pruning_says_what_to_do(
    ready_case: str, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = measured(ready_case, services, tmp_path)
    old = replace(made[1], menu=made[1].menu[1:], damage=made[1].damage[:, :, 1:])
    monkeypatch.setattr(services._budget, "_load", lambda artefact: (made[0], old))
    with pytest.raises(FairQuantError, match="measured without pruning"):
        services.plan_preview(ready_case, 2.2)
    kept = services.plan_preview(ready_case, 4.0, wishes={"menu": [2, 3, 4, 5, 6, 7, 8]})
    assert kept is not None
    assert kept.plan.widths["conv"].min() >= 2


def test_the_preview_is_the_plan_that_the_recommended_method_starts_from(
    ready_case: str, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = measured(ready_case, services, tmp_path)
    damage = made[1].damage.copy()
    damage[..., 0] = 1.01 * damage[..., 1]
    cheap = replace(made[1], damage=damage)
    monkeypatch.setattr(services._budget, "_load", lambda artefact: (made[0], cheap))
    preview = services.plan_preview(ready_case, 2.2)
    assert preview is not None
    config = RunConfig(bits=2.2)
    wishes = {"menu": config.menu, "pruned_counts": config.pruned_counts}
    found = preview.plan.widths["conv"].tolist()
    assert found == minimax(cheap, 2.2, **wishes).widths.tolist()
    assert found != minimax(cheap, 2.2, menu=config.menu).widths.tolist()


def test_methods_and_notes(ready_case: str, services: Services) -> None:
    assert services.methods()[0].name == "baq"
    assert "integrated_gradients" in services.saliency_methods()
    services.add_note(ready_case, "Ada", "Check image 7.")
    assert [note.text for note in services.notes(ready_case)] == ["Check image 7."]
    with pytest.raises(FairQuantError):
        services.add_note(ready_case, "Ada", " ")
