"""A stand-in for the services with small, realistic data, so that pages are tested without a worker.

Every figure comes from the real audit functions on made-up predictions; nothing here is a result.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dashboard.backend.views import (
    CaseView,
    ClassifierView,
    CohortInspection,
    CohortView,
    ComparisonView,
    DecisionKind,
    DecisionView,
    InboxView,
    JobKind,
    JobState,
    JobView,
    MethodView,
    NewCase,
    PlanPreview,
    ReviewState,
    ReviewView,
    RunView,
    SaliencyView,
    WorkerView,
)
from fairquant_core.audit.comparison import flips, paired_difference
from fairquant_core.audit.criteria import Limits, judge, overall_verdict
from fairquant_core.audit.metrics import AccuracyTable, group_accuracy
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import FairQuantError, NotApproved
from fairquant_core.explain.drift import group_drift, image_drift
from fairquant_core.quantization.catalogue import METHODS
from fairquant_core.quantization.plan import BitPlan
from fairquant_core.quantization.sensitivity_map import MeasuredMap, SensitivityMap

GROUPS = ("FST I-II", "FST III-IV", "FST V-VI")
CLASSES = ("benign naevus", "dermatofibroma", "keratosis", "melanoma", "vascular lesion")
LAYERS = tuple(
    ["conv_stem"]
    + [f"blocks.{b}.{u}.{c}" for b in range(5) for u in range(2) for c in ("conv_pw", "conv_dw")]
    + ["conv_head", "classifier"]
)
PER_CELL = {"FST I-II": 26, "FST III-IV": 16, "FST V-VI": 6}
NOW = "2026-01-31T12:05:09Z"


def cohort_frame(seed: int = 0) -> pd.DataFrame:
    """A cohort table with fewer dark-skinned images, as in real collections."""
    random = np.random.default_rng(seed)
    rows = []
    for group, size in PER_CELL.items():
        for label in CLASSES:
            for split, share in (("train", 2.4), ("validation", 0.6), ("audit", 1.0)):
                for _ in range(round(size * share)):
                    number = len(rows)
                    tone = {"FST I-II": 1, "FST III-IV": 3, "FST V-VI": 5}[group]
                    rows.append(
                        {
                            "id": f"image-{number:04d}",
                            "file": f"images/{number:04d}.png",
                            "label": label,
                            "cluster": f"image-{number:04d}",
                            "split": split,
                            "skin_type": str(tone + int(random.integers(0, 2))),
                            "group": group,
                        }
                    )
    return pd.DataFrame(rows)


def predictions(frame: pd.DataFrame, harm: float = 0.12, seed: int = 1) -> Predictions:
    """Made-up probabilities: the candidate errs more often, most of all for V-VI."""
    random = np.random.default_rng(seed)
    rows = frame[frame["split"] != "train"].reset_index(drop=True)
    codes = pd.Index(CLASSES).get_indexer(pd.Index(rows["label"]))
    dark = (rows["group"] == "FST V-VI").to_numpy()
    logits = random.normal(0, 1, (len(rows), len(CLASSES)))
    logits[np.arange(len(rows)), codes] += np.where(dark, 2.0, 2.8)
    models = {"full precision": logits}
    for name, scale in (("uniform 4-bit", 1.4), ("candidate", 0.6)):
        noise = random.normal(0, 1, logits.shape) * harm * scale
        models[name] = logits + noise * np.where(dark, 6.0, 2.0)[:, None]
    return Predictions.build(
        rows.drop(columns="group"), CLASSES, {name: _softmax(x) for name, x in models.items()}
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def case_view(**changes: Any) -> CaseView:
    """The demo case as pages see it."""
    frame = cohort_frame()
    view = CaseView(
        id="demo",
        title="Demo: synthetic skin lesions",
        classifier=ClassifierView(
            "MobileNetV3 small (demo)", "mobilenetv3_small_100", "ab" * 32, 6.2, 1_520_000
        ),
        cohort=CohortView(
            "Synthetic skin lesions",
            "cd" * 32,
            True,
            len(frame),
            {k: int(v) for k, v in frame["split"].value_counts().items()},
            "made by this program",
        ),
        classes=CLASSES,
        group_column="skin_type",
        group_source="the generator",
        scheme="fst3",
        groups=GROUPS,
        must_not_miss=("melanoma", "keratosis"),
        limits=Limits(margin=0.02, minimum_images=20),
        created=NOW,
        ready=True,
        baseline_origin="Measured when the demo was made.",
        warnings=("6 pairs of photographs are near-duplicates; they are kept in one split.",),
    )
    return replace(view, **changes)


def job_view(kind: JobKind = JobKind.SENSITIVITY, **changes: Any) -> JobView:
    """A finished job."""
    view = JobView(
        id=f"job-{kind}",
        kind=kind,
        case_id="demo",
        title=f"A job: {kind}",
        state=JobState.FINISHED,
        stage="measured",
        step=20,
        steps=20,
        message="",
        seconds_left=None,
        created=NOW,
        started=NOW,
        ended=NOW,
        error="",
        config={},
        seen=True,
        result_hash="ef" * 32,
    )
    return replace(view, **changes)


def run_view(run_id: str = "run-1", **changes: Any) -> RunView:
    """A finished run."""
    view = RunView(
        id=run_id,
        kind=JobKind.RUN,
        case_id="demo",
        title="Learned bit-widths (BAQ), 4 bits, seed 0",
        state=JobState.FINISHED,
        stage="audit",
        step=4,
        steps=4,
        message="",
        seconds_left=None,
        created=NOW,
        started=NOW,
        ended=NOW,
        error="",
        config={"method": "baq", "bits": 4.0, "epochs": 4, "seed": 0},
        seen=True,
        result_hash="0a" * 32,
        started_by="Ada",
        method="baq",
        method_title="Learned bit-widths (BAQ)",
        bits=4.0,
        seed=0,
        epochs=4,
        achieved_bits=3.997,
        bytes_packed=840_000,
        verdict="INSUFFICIENT EVIDENCE",
        review_state=ReviewState.NONE,
    )
    return replace(view, **changes)


def measured_map(bits: tuple[int, ...] = (2, 4)) -> MeasuredMap:
    """Layer x group costs that grow as the bits fall."""
    random = np.random.default_rng(2)
    rows = []
    for layer in LAYERS:
        base = random.gamma(1.2, 0.008)
        for width in bits:
            for place, group in enumerate(GROUPS):
                change = -base * (1 + 0.7 * place) * (5 - width) / 2 + random.normal(0, 0.004)
                rows.append(
                    {
                        "layer": layer,
                        "bits": width,
                        "group": group,
                        "n": 60,
                        "loss_change": -2 * change,
                        "loss_low": -2 * change - 0.03,
                        "loss_high": -2 * change + 0.03,
                        "accuracy_change": change,
                        "accuracy_low": change - 0.02,
                        "accuracy_high": change + 0.02,
                    }
                )
    return MeasuredMap(pd.DataFrame(rows))


def sensitivity_map() -> SensitivityMap:
    """A curvature map with eight channels per layer."""
    random = np.random.default_rng(3)
    menu = (2, 3, 4, 5, 6, 7, 8)
    units = 8 * len(LAYERS)
    base = random.gamma(1.0, 0.0008, (len(GROUPS), units, 1))
    decay = 4.0 ** -np.arange(len(menu))
    return SensitivityMap(
        "fisher",
        GROUPS,
        {group: 60 for group in GROUPS},
        menu,
        LAYERS,
        np.full(units, 40),
        np.repeat(np.arange(len(LAYERS)), 8),
        base * decay,
    )


def epochs_frame(done: int = 4, total: int = 4) -> pd.DataFrame:
    """What training reported after each epoch."""
    epochs = np.arange(1, done + 1)
    frame = pd.DataFrame(
        {
            "epoch": epochs,
            "epochs": total,
            "loss": 1.2 / epochs,
            "validation_loss": 1.3 / epochs + 0.1,
            "average_bits": 4.0 + 0.4 / epochs**2 - 0.003,
            "worst_group_accuracy": 0.40 + 0.02 * epochs,
            "accuracy": 0.6 + 0.02 * epochs,
        }
    )
    for place, group in enumerate(GROUPS):
        frame[f"accuracy: {group}"] = 0.62 - 0.1 * place + 0.02 * epochs
    return frame


def trajectory_frame(done: int = 4) -> pd.DataFrame:
    """Mean bits per layer: most stay, some move."""
    rows = []
    for place, layer in enumerate(LAYERS):
        for epoch in range(done + 1):
            drift = 0.12 * epoch if place % 9 == 0 else 0.0
            rows.append({"epoch": epoch, "layer": layer, "bits": 3 + place % 4 + drift})
    return pd.DataFrame(rows)


@dataclass
class FakeServices:
    """Services whose state a test sets directly; the calls that change something are recorded."""

    case_views: list[CaseView] = field(default_factory=lambda: [case_view()])
    run_views: list[RunView] = field(default_factory=lambda: [run_view()])
    measured: bool = True
    sensitivity_state: JobView | None = field(default_factory=job_view)
    saliency_drawn: bool = True
    saliency_state: JobView | None = field(
        default_factory=lambda: job_view(JobKind.SALIENCY, config={"run_id": "run-1"})
    )
    other_jobs: list[JobView] = field(default_factory=list)
    decided: list[DecisionView] = field(default_factory=list)
    done_epochs: int = 4
    fail_with: str = ""
    bundle: Path | None = None
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.frame = cohort_frame()
        self.table = predictions(self.frame)

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
        )

    def cohort_table(self, case_id: str) -> pd.DataFrame:
        return self.frame

    def image(self, case_id: str, image_id: str, longest_side: int | None = None) -> Image.Image:
        side = longest_side or 128
        y, x = np.mgrid[-1:1:side * 1j, -1:1:side * 1j]
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
        self, case_id: str, bits: float, granularity: str = "channel"
    ) -> PlanPreview | None:
        if not self.measured:
            return None
        widths = {
            layer: np.clip(np.full(8, int(bits)) + np.arange(8) % 3 - 1, 2, 8) for layer in LAYERS
        }
        plan = BitPlan(widths, {layer: 40 for layer in LAYERS})
        rise = 4.0 ** (2 - bits)
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

    def audit(self, run_id: str) -> dict[str, Any]:
        return {"size": {"bytes_on_disk": 840_000, "bytes_full_precision": 6_200_000}}

    def comparison(self, run_id: str, scheme: str | None = None) -> ComparisonView:
        table = self.table.part("audit")
        groups = table.groups("skin_type", scheme or "fst3")
        order = list(dict.fromkeys(groups.sort_values()))
        parts = []
        for model in table.models:
            scored = group_accuracy(table, model, groups, order=order, resamples=50)
            frame = pd.concat([scored.overall.to_frame().T, scored.by_group], ignore_index=True)
            parts.append(frame.assign(model=model))
        accuracy = pd.concat(parts, ignore_index=True).infer_objects()
        pair = ("full precision", "candidate")
        differences = paired_difference(table, *pair, groups, order=order, resamples=50)
        verdicts = judge(differences, self.case_views[0].limits)
        return ComparisonView(
            accuracy=accuracy[["model", "group", "n", "accuracy", "low", "high"]],
            differences=differences,
            flips=flips(table, *pair, groups),
            verdicts=verdicts.assign(verdict=verdicts["verdict"].astype(str)),
            overall_verdict=str(overall_verdict(verdicts)),
            scheme=scheme or "fst3",
            groups=tuple(order),
            models=tuple(table.models),
        )

    # saliency
    def saliency_methods(self) -> dict[str, str]:
        return {"integrated_gradients": "Integrated Gradients", "grad_cam": "Grad-CAM"}

    def request_saliency(
        self,
        run_id: str,
        method: str = "integrated_gradients",
        image_ids: list[str] | None = None,
    ) -> str:
        self.calls.append(("request_saliency", (run_id, method)))
        return "job-saliency"

    def saliency_job(self, run_id: str, method: str) -> JobView | None:
        return self.saliency_state

    def saliency(self, run_id: str, method: str) -> SaliencyView | None:
        if not self.saliency_drawn:
            return None
        random = np.random.default_rng(4)
        rows = self.frame[self.frame["split"] == "audit"].groupby("group").head(4)
        y, x = np.mgrid[-1:1:64j, -1:1:64j]
        before, after = [], []
        for group in rows["group"]:
            shift = {"FST I-II": 0.05, "FST III-IV": 0.1, "FST V-VI": 0.3}[group]
            noise = random.normal(0, 0.05, (2, 64, 64))
            before.append(np.exp(-5 * (x**2 + y**2)) + noise[0])
            after.append(np.exp(-5 * ((x - shift) ** 2 + y**2)) + noise[1])
        maps = np.array(before, np.float32), np.array(after, np.float32)
        drift = image_drift(*maps)
        groups = rows["group"].reset_index(drop=True)
        frame = pd.DataFrame(
            {
                "id": rows["id"].to_numpy(),
                "group": groups,
                "label": rows["label"].to_numpy(),
                "before": rows["label"].to_numpy(),
                "after": [CLASSES[0] if n % 5 == 0 else label for n, label in enumerate(rows["label"])],
                "flip": ["lost" if n % 5 == 0 else "" for n in range(len(rows))],
                "drift": drift["drift"],
                "overlap": drift["overlap"],
            }
        )
        return SaliencyView(
            method=method,
            frame=frame,
            maps_before=maps[0],
            maps_after=maps[1],
            completeness_before=np.full(len(frame), 0.01),
            completeness_after=np.full(len(frame), 0.02),
            by_group=group_drift(drift, groups, order=GROUPS, resamples=50),
        )

    # review
    def review(self, run_id: str) -> ReviewView:
        run, view = self.run(run_id), self.comparison(run_id)
        approved = run.review_state == ReviewState.APPROVED
        return ReviewView(
            run_id=run_id,
            state=run.review_state,
            verdicts=view.verdicts,
            overall_verdict=view.overall_verdict,
            needs_override=view.overall_verdict != "WITHIN",
            decisions=tuple(self.decided),
            hashes={"model": "12" * 32, "predictions": "34" * 32},
            may_export=approved,
            why_not="" if approved else "Nobody has approved this run yet.",
            four_eyes=True,
            allowed=(DecisionKind.APPROVE, DecisionKind.REJECT, DecisionKind.REQUEST_CHANGES),
        )

    def decide(
        self,
        run_id: str,
        person: str,
        role: str,
        decision: str,
        comment: str = "",
        override: str | None = None,
    ) -> ReviewView:
        self.calls.append(("decide", (run_id, person, role, decision, comment, override)))
        if not person:
            raise FairQuantError("Person: say who decides.")
        self.decided.append(
            DecisionView(
                1, NOW, person, role, DecisionKind(decision), comment, override or "",
                "INSUFFICIENT EVIDENCE", "56" * 32, {}, False,
            )
        )
        return self.review(run_id)

    def export(self, run_id: str, person: str = "") -> Path:
        if self.run(run_id).review_state != ReviewState.APPROVED or self.bundle is None:
            raise NotApproved("Nobody has approved this run yet.")
        return self.bundle

    def audit_log(self) -> pd.DataFrame:
        names = ["sequence", "time", "action", "person", "role", "subject", "details", "hash"]
        row = (1, NOW, "case created", "Ada", "auditor", "demo", "", "78" * 32)
        return pd.DataFrame([row], columns=names)

    def verify_log(self) -> list[str]:
        return []
