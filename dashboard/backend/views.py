"""What pages read: frozen records without behaviour. Times are UTC ISO strings
("2026-01-31T12:00:00Z").

Nothing heavy is imported here; DataFrames and arrays appear in annotations only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from fairquant_core.audit.criteria import Limits
    from fairquant_core.quantization.plan import BitPlan


class JobState(StrEnum):
    """Life of a job; `cancelled` (by a person) is not `failed`, `interrupted` can resume."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def active(self) -> bool:
        """Whether the job may still change by itself; pages poll only while this is true."""
        return self in (JobState.QUEUED, JobState.RUNNING)

    @property
    def resumable(self) -> bool:
        """Whether `Services.resume` puts it back into the queue."""
        return self in (JobState.INTERRUPTED, JobState.FAILED, JobState.CANCELLED)


class JobKind(StrEnum):
    """What a job computes."""

    PREPARE = "prepare"
    SENSITIVITY = "sensitivity"
    RUN = "run"
    SALIENCY = "saliency"
    EXPORT = "export"
    REPORT = "report"


class ReviewState(StrEnum):
    """Where a run stands between the people. `void`: a byte changed after the decision."""

    NONE = "none"
    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    CHANGES_REQUESTED = "changes requested"
    WITHDRAWN = "withdrawn"
    VOID = "void"


class DecisionKind(StrEnum):
    """What a person can decide about a run."""

    PROPOSE = "propose"
    APPROVE = "approve"
    REJECT = "reject"
    REQUEST_CHANGES = "request changes"
    WITHDRAW = "withdraw"


ROLES: tuple[str, ...] = ("auditor", "clinician")


@dataclass(frozen=True)
class ClassifierView:
    """The full-precision classifier of a case."""

    name: str
    architecture: str
    fingerprint: str
    megabytes: float
    parameters: int = 0


@dataclass(frozen=True)
class CohortView:
    """The images of a case. `n_by_split` has the keys "train", "validation", "audit"."""

    name: str
    fingerprint: str
    synthetic: bool
    n: int
    n_by_split: dict[str, int]
    licence: str


@dataclass(frozen=True)
class CaseView:
    """A classifier, a cohort, groups and limits that were fixed before any run."""

    id: str
    title: str
    classifier: ClassifierView
    cohort: CohortView
    classes: tuple[str, ...]
    group_column: str
    group_source: str
    scheme: str
    groups: tuple[str, ...]
    must_not_miss: tuple[str, ...]
    limits: Limits
    created: str
    ready: bool
    baseline_origin: str
    prepare_job: str | None = None
    warnings: tuple[str, ...] = ()
    intended_use: dict[str, str] = field(default_factory=dict)
    """What people said it is for; keys of `fairquant_core.report.facts.INTENDED_USE`."""


@dataclass(frozen=True)
class JobView:
    """One job as the store knows it; `figures` are the last numbers its progress reported."""

    id: str
    kind: JobKind
    case_id: str
    title: str
    state: JobState
    stage: str
    step: int
    steps: int
    message: str
    seconds_left: float | None
    created: str
    started: str | None
    ended: str | None
    error: str
    config: dict[str, Any]
    seen: bool
    result_hash: str | None
    cancel_requested: bool = False
    started_by: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    run_id: str | None = None
    """The run that a job of another kind is about (saliency, export, report)."""


@dataclass(frozen=True)
class RunView(JobView):
    """A job of kind "run". `bits` is the requested average width, `achieved_bits` the real one."""

    method: str = ""
    method_title: str = ""
    bits: float = 0.0
    seed: int = 0
    epochs: int = 0
    achieved_bits: float | None = None
    bytes_packed: int | None = None
    verdict: str | None = None
    review_state: ReviewState = ReviewState.NONE


@dataclass(frozen=True)
class WorkerView:
    """The worker process. `heartbeat_age` in seconds; `starting` while it was just launched."""

    alive: bool
    pid: int | None
    started: str | None
    heartbeat_age: float | None
    starting: bool = False


@dataclass(frozen=True)
class InboxView:
    """Jobs by what they need from a person. `running` holds queued jobs too, running ones first."""

    running: tuple[JobView, ...]
    awaiting_review: tuple[RunView, ...]
    unseen_finished: tuple[JobView, ...]
    failed: tuple[JobView, ...]
    others: tuple[JobView, ...]


@dataclass(frozen=True)
class NewCase:
    """What a person enters for a new case.

    Either `classifier_path` (with `architecture` and perhaps `image_size` if the file does not say
    what it is), or `architecture` alone: that timm model is then fine-tuned on the train split
    first, starting from `weights_path`, or from timm's own weights if `download_weights`, else from
    scratch. `scheme` "" means the one that fits the group column. `intended_use`: what people say it is
    for, by the keys of `fairquant_core.report.facts.INTENDED_USE`.
    """

    title: str
    cohort_folder: Path
    group_column: str
    classifier_path: Path | None = None
    architecture: str | None = None
    image_size: int | None = None
    weights_path: Path | None = None
    download_weights: bool = False
    fit_epochs: int = 12
    label_column: str | None = None
    scheme: str = ""
    split_seed: int = 0
    drop_missing_files: bool = False
    must_not_miss: tuple[str, ...] = ()
    limits: Limits | None = None
    intended_use: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CohortInspection:
    """What a folder seems to hold, for the new-case form.

    `guess` has the keys "adapter", "name", "label_column", "group_columns" (column -> source),
    "group_column" (the first of them or ""), "scheme" and "classes"; `values` counts the distinct
    values per column, `distinct` names them where they are few; `images` is the number of rows.
    """

    columns: tuple[str, ...]
    guess: dict[str, Any]
    warnings: tuple[str, ...]
    values: dict[str, int] = field(default_factory=dict)
    images: int = 0
    distinct: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodView:
    """A compression method that can be started."""

    name: str
    title: str
    sentence: str
    trains: bool
    learns_bits: bool = False


@dataclass(frozen=True)
class PlanPreview:
    """A bit plan solved for the slider, before any run.

    `predicted`: group -> predicted rise of its mean loss (nats). `certificate`: fraction by which
    the plan may be worse than the proven bound. `bytes`: size of the packed file.
    """

    plan: BitPlan
    predicted: dict[str, float]
    bytes: int
    certificate: float
    requested_bits: float
    achieved_bits: float
    granularity: str
    layers: pd.DataFrame


@dataclass(frozen=True)
class SweepPlan:
    """The runs that methods x budgets x seeds mean.

    `existing`: how many of `configs` are there already. `skipped`: (method, bits, why it cannot be run).
    `seconds`: what the others may take, one after the other; None without a finished run to go by.
    """

    configs: tuple[dict[str, Any], ...]
    existing: int
    skipped: tuple[tuple[str, float, str], ...]
    seconds: float | None


@dataclass(frozen=True)
class BoardView:
    """All finished runs of a case, audit split.

    `candidates`: one row per run and one for the classifier as given [method, title, bits, seed, images,
    accuracy, worst, worst_low, worst_high, worst_group, gap, "accuracy: <group>"..., bits_achieved,
    size_bytes, minutes, verdict, run_id, on_front]. `means`: one row per title and bits, means over
    seeds, with "<figure>_sd", seeds, worst_groups and on_front. `waiting` and `stopped` count the other
    runs; `unreadable` names finished ones whose files were damaged. `changes`: how much of what the limits
    are about each run changed from the classifier as given, on the same images [title, bits, seed, group,
    n, difference, low, high, verdict].
    """

    candidates: pd.DataFrame
    means: pd.DataFrame
    changes: pd.DataFrame
    waiting: int
    stopped: int
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparisonView:
    """Everything the compare page shows about one run, on the audit split.

    `accuracy`: long [model, group, n, accuracy, low, high] with a group "overall" per model.
    `differences`, `flips`, `verdicts`: full precision -> candidate, as fairquant_core.audit returns
    them. `scheme` is the grouping used; verdicts always use the case's own scheme and limits.
    """

    accuracy: pd.DataFrame
    differences: pd.DataFrame
    flips: pd.DataFrame
    verdicts: pd.DataFrame
    overall_verdict: str
    scheme: str
    groups: tuple[str, ...]
    models: tuple[str, ...]


@dataclass(frozen=True)
class DecisionView:
    """One recorded decision. `authenticated` is False for names typed in local mode."""

    sequence: int
    time: str
    person: str
    role: str
    decision: DecisionKind
    comment: str
    override: str
    verdict_seen: str
    limits_hash: str
    hashes: dict[str, str]
    authenticated: bool


@dataclass(frozen=True)
class ReviewView:
    """Where a run stands.

    `why_not` says why it may not be exported ("" if it may), `why_no_approval` what an approval still waits for
    ("" if nothing), whoever gives it.
    """

    run_id: str
    state: ReviewState
    verdicts: pd.DataFrame
    overall_verdict: str
    needs_override: bool
    decisions: tuple[DecisionView, ...]
    hashes: dict[str, str]
    may_export: bool
    why_not: str
    four_eyes: bool
    allowed: tuple[DecisionKind, ...]
    why_no_approval: str = ""


@dataclass(frozen=True)
class KeyView:
    """The public half of the key that bundles are signed with; `expires` is its last day, None if it has none."""

    file: str
    content: bytes
    fingerprint: str
    expires: str | None
    expired: bool


@dataclass(frozen=True)
class NoteView:
    """A remark a person left on a case or run; not a decision."""

    time: str
    person: str
    text: str
