"""Many runs at once, and the board of all candidates of a case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dashboard.backend.services import Services
from dashboard.backend.views import BoardView
from fairquant_core.errors import FairQuantError
from tests.dashboard.backend.made_results import finish_run

PTQ = ("uniform_ptq", "minimax_ptq")


def started(services: Services, case_id: str) -> list[str]:
    return services.start_sweep(
        case_id, (*PTQ, "full_precision"), (4.0, 2.5), (0, 1), {"epochs": 2}, "Rosa"
    )


@pytest.fixture
def board(swept_case: str, services: Services) -> BoardView:
    found = services.board(swept_case)
    assert found is not None
    return found


def test_all_combinations_are_queued_once(ready_case: str, services: Services) -> None:
    ids = started(services, ready_case)
    runs = [services.run(run_id) for run_id in ids]
    assert [(run.seed, run.bits, run.method) for run in runs] == [
        (seed, bits, method)
        for seed in (0, 1)
        for bits, method in (
            (4.0, "uniform_ptq"),
            (4.0, "minimax_ptq"),
            (4.0, "full_precision"),
            (2.5, "minimax_ptq"),
        )
    ]
    assert {run.state for run in runs} == {"queued"} and {run.started_by for run in runs} == {
        "Rosa"
    }
    assert started(services, ready_case) == ids and len(services.runs(ready_case)) == 8
    # The epochs belong to the methods that train.
    assert {run.method: run.config["epochs"] for run in runs}["full_precision"] == 2
    wider = services.plan_sweep(ready_case, PTQ, (4.0, 3.0), (0, 1, 2), {"epochs": 7})
    assert (len(wider.configs), wider.existing) == (12, 4)


def test_what_cannot_be_run_is_said(ready_case: str, services: Services) -> None:
    plan = services.plan_sweep(ready_case, PTQ, (2.5,), (0, 1), {})
    assert [config["method"] for config in plan.configs] == ["minimax_ptq"] * 2
    assert plan.skipped[0][:2] == ("The same bits everywhere, no training", 2.5)
    assert "whole number" in plan.skipped[0][2] and len(plan.skipped) == 1
    for methods, budgets, message in (
        ((), (4.0,), "Choose at least one method"),
        (("uniform_ptq",), (2.5,), "whole number"),
        (("uniform_ptq",), (1.0,), "cannot be met"),
        (("magic",), (4.0,), "'magic' is not known"),
    ):
        with pytest.raises(FairQuantError, match=message):
            services.start_sweep(ready_case, methods, budgets, (0,), {})
    assert services.runs(ready_case) == []


def test_board_holds_what_the_audits_say(
    board: BoardView, swept_case: str, services: Services
) -> None:
    frame = board.candidates
    assert frame["title"].iloc[0] == "Full precision, as given" and len(frame) == 6
    assert (board.waiting, board.stopped, board.unreadable) == (1, 0, ())
    for row in frame.iloc[1:].to_dict("records"):
        found = services.audit(row["run_id"])["accuracy"]["candidate"]
        assert row["accuracy"] == found["overall"]["accuracy"]
        assert row["worst"] == found["worst_accuracy"] and row["gap"] == found["gap"]["value"]
        worst = next(one for one in found["by_group"] if one["group"] == row["worst_group"])
        assert (row["worst_low"], row["worst_high"]) == (worst["low"], worst["high"])
        assert row["accuracy: FST V-VI"] == found["by_group"][2]["accuracy"]
    baseline = services.baseline(swept_case)
    assert baseline is not None
    assert frame["accuracy"].iloc[0] == pytest.approx(baseline.overall["accuracy"])
    control = frame[frame["method"] == "full_precision"]
    assert control["bits"].isna().all() and (control["size_bytes"] == 9000).all()


def test_board_holds_the_paired_changes_of_every_group(
    board: BoardView, services: Services
) -> None:
    changes, runs = board.changes, board.candidates.iloc[1:]
    assert len(changes) == 4 * len(runs), "three groups and all images"
    for _, run in runs.iterrows():
        found = services.audit(run["run_id"])["comparisons"]["candidate"]
        own = changes[(changes["title"] == run["title"]) & (changes["seed"] == run["seed"])]
        own = own[own["bits"].eq(run["bits"]) | own["bits"].isna()].set_index("group")
        for row in found["differences"]:
            assert own.loc[row["group"], ["difference", "low", "high"]].tolist() == [
                row["difference"],
                row["low"],
                row["high"],
            ]
        for row in found["verdicts"]:
            assert own.loc[row["group"], "verdict"] == row["verdict"]


def test_means_over_seeds_and_the_front(board: BoardView) -> None:
    means, frame = board.means, board.candidates
    row = means[(means["method"] == "minimax_ptq") & (means["bits"] == 4)].iloc[0]
    own = frame[(frame["method"] == "minimax_ptq") & (frame["bits"] == 4)]
    assert row["seeds"] == 2
    for name in ("worst", "accuracy", "worst_low", "worst_high"):
        assert row[name] == pytest.approx(own[name].mean())
    assert row["worst_sd"] == pytest.approx(np.std(own["worst"], ddof=1))
    # The other method has the same size but is worse; the control is larger but better.
    assert means[means["on_front"]]["method"].tolist() == ["full_precision", "minimax_ptq"]


def test_other_settings_are_not_averaged_as_if_they_were_seeds(
    swept_case: str, services: Services, tmp_path: Path
) -> None:
    config = {"method": "minimax_ptq", "granularity": "layer", "seed": 2}
    finish_run(services, services.start_run(swept_case, config), tmp_path, 0.9)
    found = services.board(swept_case)
    assert found is not None
    seeds = dict(zip(found.means["title"], found.means["seeds"], strict=True))
    title = "Planned bit-widths, no training"
    assert seeds[f"{title}, granularity channel"] == 2
    assert seeds[f"{title}, granularity layer"] == 1


def test_a_damaged_run_is_named_and_the_others_shown(
    board: BoardView, swept_case: str, services: Services
) -> None:
    run = services.run(board.candidates["run_id"].iloc[2])
    services._artefacts.path(str(run.result_hash), "audit.json").write_text("{")
    found = services.board(swept_case)
    assert found is not None
    assert found.unreadable == (run.title,) and len(found.candidates) == 5


def test_time_is_estimated_from_finished_runs(
    board: BoardView, swept_case: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dashboard.backend.run import sweeps

    assert board.waiting == 1
    minutes = {"full_precision": 4.0, "uniform_ptq": 1.0, "minimax_ptq": 3.0}
    monkeypatch.setattr(
        sweeps, "_minutes", lambda run: minutes[run.method] if run.state == "finished" else None
    )
    # Two epochs took 4 minutes, so five take 10; three seeds of it, and one of the 3-minute method.
    plan = services.plan_sweep(swept_case, ("full_precision",), (4.0,), (0, 1, 2), {"epochs": 5})
    assert plan.seconds == pytest.approx(3 * 600)
    plan = services.plan_sweep(swept_case, ("minimax_ptq",), (4.0,), (0, 9), {"epochs": 5})
    assert plan.existing == 1 and plan.seconds == pytest.approx(180)
    # Never run: as slow as the other one that trains nothing, and as the one that trains.
    plan = services.plan_sweep(swept_case, ("absmax_ptq", "baq"), (4.0,), (0,), {"epochs": 5})
    assert plan.seconds == pytest.approx((2 * 60 + 2 * 180) / 4 + 600)


def test_nothing_finished_means_no_board(ready_case: str, services: Services) -> None:
    started(services, ready_case)
    assert services.board(ready_case) is None
    assert services.plan_sweep(ready_case, PTQ, (3.0,), (0,), {}).seconds is None


def test_runs_of_one_millisecond_are_taken_in_the_order_they_were_asked_for(
    ready_case: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.backend.queue.jobs.now", lambda: "2026-11-28T12:00:00.000Z")
    ids = started(services, ready_case)
    assert ids != sorted(ids)
    taken = [services._jobs.claim("a test") for _ in ids]
    assert [job.id if job else None for job in taken] == ids
