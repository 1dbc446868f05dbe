"""A stand-in for the services, so that pages are tested without a worker and without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dashboard.backend.case.new_case import groups_of
from dashboard.backend.run.full_audit import FullAudits, FullAuditView
from dashboard.backend.run.pairs import Pairs, PairView
from dashboard.backend.run.sweeps import Sweeps
from dashboard.backend.views import (
    BoardView,
    CaseView,
    CohortInspection,
    ComparisonView,
    InboxView,
    JobState,
    JobView,
    MethodView,
    NewCase,
    PlanPreview,
    ReviewState,
    RunView,
    SweepPlan,
    WorkerView,
)
from fairquant_core.audit.metrics import AccuracyTable, group_accuracy
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import FairQuantError
from fairquant_core.quantization.catalogue import METHODS, RunConfig
from fairquant_core.quantization.plan import BitPlan
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap
from tests.dashboard.fakes_saliency import FakeSaliency
from tests.dashboard.made_data import (
    CLASSES,
    GROUPS,
    LAYERS,
    NOW,
    case_view,
    cohort_frame,
    compared,
    epochs_frame,
    job_view,
    made_audit,
    made_plan,
    measured_map,
    predictions,
    run_view,
    sensitivity_map,
    trajectory_frame,
)


@dataclass
class FakeServices(FakeSaliency):
    """Services whose state a test sets directly; the calls that change something are recorded."""

    case_views: list[CaseView] = field(default_factory=lambda: [case_view()])
    run_views: list[RunView] = field(default_factory=lambda: [run_view()])
    measured: bool = True
    sensitivity_state: JobView | None = field(default_factory=job_view)
    done_epochs: int = 4
    start_problem: str = ""
    previewed: list[RunConfig] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.frame = cohort_frame()
        self.table = predictions()

    # worker, jobs
    def ensure_worker(self) -> WorkerView:
        return WorkerView(True, 1, NOW, 0.1)

    def worker(self) -> WorkerView:
        return self.ensure_worker()

    def inbox(self) -> InboxView:
        jobs = [*self.run_views, *self.other_jobs]
        open_states = (ReviewState.PROPOSED, ReviewState.VOID)
        awaiting = tuple(
            run
            for run in self.run_views
            if run.state == JobState.FINISHED and run.review_state in open_states
        )
        done = [job for job in jobs if job.state == JobState.FINISHED and not job.seen]
        return InboxView(
            running=tuple(job for job in jobs if job.state.active),
            awaiting_review=awaiting,
            unseen_finished=tuple(job for job in done if job not in awaiting),
            failed=tuple(
                job for job in jobs if job.state in (JobState.FAILED, JobState.INTERRUPTED)
            ),
            others=(),
        )

    def job(self, job_id: str) -> JobView:
        known = [*self.run_views, *self.other_jobs, self.sensitivity_state, self.saliency_state]
        for job in known:
            if job is not None and job.id == job_id:
                return job
        raise FairQuantError(f"There is no job {job_id}.")

    def cancel(self, job_id: str) -> None:
        self.calls.append(("cancel", job_id))

    def resume(self, job_id: str) -> None:
        self.calls.append(("resume", job_id))

    def mark_seen(self, job_id: str) -> None:
        self.calls.append(("mark_seen", job_id))

    def log(self, job_id: str) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "time": [NOW, NOW],
                "stage": ["images", "training"],
                "message": ["Image 1 of 2", "Epoch 1 of 4"],
            }
        )

    # cases
    def cases(self) -> list[CaseView]:
        return self.case_views

    def case(self, case_id: str) -> CaseView:
        for case in self.case_views:
            if case.id == case_id:
                return case
        raise FairQuantError(f"There is no case {case_id}.")

    def default_case(self) -> CaseView | None:
        return self.case_views[0] if self.case_views else None

    def create_case(self, new: NewCase) -> str:
        self.calls.append(("create_case", new))
        if self.fail_with:
            raise FairQuantError(self.fail_with)
        self.case_views.append(case_view(id="new", title=new.title))
        return "new"

    def inspect_cohort(self, folder: Path) -> CohortInspection:
        if self.fail_with:
            raise FairQuantError(self.fail_with)
        return CohortInspection(
            columns=("file", "diagnosis", "fitzpatrick", "sex"),
            guess={
                "adapter": "table",
                "name": "A folder",
                "label_column": "diagnosis",
                "group_columns": {"fitzpatrick": "Clinic annotators"},
                "group_column": "fitzpatrick",
                "scheme": "fst3",
                "classes": CLASSES,
            },
            warnings=("3 of 200 rows have no skin type.",),
            values={"file": 200, "diagnosis": 5, "fitzpatrick": 7, "sex": 3},
            images=200,
            distinct={
                "diagnosis": CLASSES,
                "fitzpatrick": ("-1", "1", "2", "3", "4", "5", "6"),
                "sex": ("female", "male", ""),
            },
        )

    def groups_of(self, inspection: CohortInspection, column: str, scheme: str) -> list[str]:
        return groups_of(inspection, column, scheme)

    def cohort_table(self, case_id: str) -> pd.DataFrame:
        return self.frame

    def image(self, case_id: str, image_id: str, longest_side: int | None = None) -> Image.Image:
        side = longest_side or 128
        y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        spot = np.exp(-4 * (x**2 + y**2))[..., None]
        tone = np.array([224, 172, 140]) - 18 * (int(image_id[-1]) % 6)
        return Image.fromarray(np.clip(tone - 110 * spot, 0, 255).astype(np.uint8))

    def cell_counts(self, case_id: str) -> pd.DataFrame:
        counts = self.frame.groupby(["group", "label", "split"]).size()
        every = pd.MultiIndex.from_product(
            [GROUPS, CLASSES, ("train", "validation", "audit")], names=counts.index.names
        )
        return counts.reindex(every, fill_value=0).rename("n").reset_index()

    def baseline(self, case_id: str, scheme: str | None = None) -> AccuracyTable | None:
        audit = self.table.part("audit")
        groups = audit.groups("skin_type", scheme or "fst3")
        return group_accuracy(audit, "full precision", groups, order=GROUPS, resamples=50)

    # sensitivity and budget
    def request_sensitivity(
        self, case_id: str, bits: tuple[int, ...] = (4,), images_per_group: int = 60
    ) -> str:
        self.calls.append(("request_sensitivity", (case_id, bits, images_per_group)))
        return "job-sensitivity"

    def sensitivity_job(self, case_id: str) -> JobView | None:
        return self.sensitivity_state

    def sensitivity(self, case_id: str) -> tuple[MeasuredMap, SensitivityMap] | None:
        return (measured_map(), sensitivity_map()) if self.measured else None

    def budget_curve(self, case_id: str) -> pd.DataFrame | None:
        if not self.measured:
            return None
        rows = []
        for kind, widths, factor in (
            ("minimax", np.arange(2, 8.01, 0.25), 1.0),
            ("uniform", np.arange(2, 9), 2.2),
        ):
            for bits in widths:
                for place, group in enumerate((*GROUPS, "worst")):
                    rise = factor * 0.9 * (0.6 + 0.2 * min(place, 2)) * 4.0 ** (2 - bits)
                    rows.append((kind, float(bits), 0.12 + bits * 0.19, group, rise))
        columns = ["kind", "bits", "megabytes", "group", "predicted_loss_rise"]
        return pd.DataFrame(rows, columns=columns)

    def plan_preview(
        self,
        case_id: str,
        bits: float,
        granularity: str = "channel",
        wishes: dict[str, Any] | None = None,
    ) -> PlanPreview | None:
        if not self.measured:
            return None
        config = RunConfig(
            method="static_qat", bits=bits, granularity=granularity, **(wishes or {})
        )
        self.previewed.append(config)
        if config.size_bytes is not None:
            bits = min(8.0, (config.size_bytes / 1e6 - 0.12) / 0.19)
        widths = {
            layer: np.clip(np.full(8, int(bits)) + np.arange(8) % 3 - 1, 2, 8) for layer in LAYERS
        }
        plan = BitPlan(widths, {layer: 40 for layer in LAYERS})
        rise = (1 + 0.1 * len(config.pins)) * 4.0 ** (2 - bits)
        return PlanPreview(
            plan=plan,
            predicted={
                group: 0.9 * (0.6 + 0.2 * place) * rise for place, group in enumerate(GROUPS)
            },
            bytes=int(1e6 * (0.12 + bits * 0.19)),
            certificate=0.004,
            requested_bits=bits,
            achieved_bits=bits - 0.002,
            granularity=granularity,
            layers=plan.layer_table(),
        )

    # runs
    def methods(self) -> list[MethodView]:
        return [
            MethodView(card.name, card.title, card.sentence, card.trains, card.learns_bits)
            for card in METHODS.values()
        ]

    def start_run(self, case_id: str, config: dict[str, Any], person: str = "") -> str:
        self.calls.append(("start_run", (case_id, config, person)))
        if self.fail_with:
            raise FairQuantError(self.fail_with)
        new = run_view(
            "run-new", state=JobState.QUEUED, stage="", step=0, result_hash=None, verdict=None
        )
        self.run_views.insert(0, new)
        return new.id

    def plan_sweep(
        self, case_id: str, methods: Any, budgets: Any, seeds: Any, settings: Any
    ) -> SweepPlan:
        return self._sweeps().plan(case_id, methods, budgets, seeds, settings)

    def start_sweep(
        self, case_id: str, methods: Any, budgets: Any, seeds: Any, settings: Any, person: str = ""
    ) -> list[str]:
        return self._sweeps().start(case_id, methods, budgets, seeds, settings, person)

    def board(self, case_id: str) -> BoardView | None:
        return self._sweeps().board(case_id)

    def _sweeps(self) -> Sweeps:
        """The real ones over these runs and audits."""
        runs = SimpleNamespace(all=self.runs, start=self.start_run)
        return Sweeps(runs, self)  # type: ignore[arg-type]

    def runs(self, case_id: str | None = None) -> list[RunView]:
        return [run for run in self.run_views if case_id in (None, run.case_id)]

    def run(self, run_id: str) -> RunView:
        for run in self.run_views:
            if run.id == run_id:
                return run
        raise FairQuantError(f"There is no run {run_id}.")

    def epochs(self, run_id: str) -> pd.DataFrame:
        return epochs_frame(self.done_epochs)

    def bits_trajectory(self, run_id: str) -> pd.DataFrame:
        frame = trajectory_frame(self.done_epochs)
        return frame if self.done_epochs else frame.iloc[:0]

    # results
    def predictions(self, run_id: str) -> Predictions:
        return self.table

    def bit_plan(self, run_id: str) -> BitPlan:
        return made_plan()

    def audit(self, run_id: str) -> dict[str, Any]:
        run = self.run(run_id)
        return made_audit(run.bits, run.seed)

    def comparison(self, run_id: str, scheme: str | None = None) -> ComparisonView:
        return compared(scheme or "fst3")

    def comparable(self, run_id: str) -> dict[str, str]:
        return self._pairs().choices(run_id)

    def measures(self, run_id: str) -> list[dict[str, Any]]:
        return self._pairs().measures(run_id)

    def measure_rows(self, run_id: str, measure: str, scheme: str, others: Any) -> pd.DataFrame:
        return self._pairs().measure_rows(run_id, measure, scheme, others)

    def pair(self, run_id: str, before: str, after: str, scheme: str) -> PairView:
        return self._pairs().pair(run_id, before, after, scheme)

    def full_audit(self, run_id: str, before: str, after: str) -> FullAuditView:
        return self._full_audits().view(run_id, before, after)

    def group_questions(self, run_id: str, before: str, after: str) -> dict[str, Any]:
        return self._full_audits().questions(run_id, before, after)

    def _full_audits(self) -> FullAudits:
        """The real ones over these runs, audits and predictions."""
        cases, results = self._stored()
        return FullAudits(cases, results, self._pairs())

    def _pairs(self) -> Pairs:
        """The real ones over these runs, audits and predictions."""
        runs = [run for run in self.run_views if run.state == JobState.FINISHED]
        jobs = SimpleNamespace(rows=lambda **wanted: runs)
        return Pairs(jobs, *self._stored())  # type: ignore[arg-type]

    def _stored(self) -> tuple[Any, Any]:
        """Stand-ins of the cases and of the results."""
        case = self.case_views[0]
        row = SimpleNamespace(**{**vars(case), "limits": case.limits.to_json()})
        results = SimpleNamespace(finished=self.run, audit=self.audit, predictions=self.predictions)
        return SimpleNamespace(row=lambda case_id: row), results
