"""The tables of the store. Times are UTC ISO strings, so they sort as text on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA_VERSION = 1


class Base(DeclarativeBase):
    """Common base; dictionaries and lists are stored as JSON."""

    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads this class attribute)
        dict[str, Any]: JSON,
        list[str]: JSON,
    }


class Meta(Base):
    """Facts about the store itself, such as its version."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class Case(Base):
    """A classifier, a cohort, groups and limits. Never changed once it is ready."""

    __tablename__ = "cases"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    title: Mapped[str]
    demo: Mapped[bool] = mapped_column(default=False)
    classifier: Mapped[dict[str, Any]]
    cohort: Mapped[dict[str, Any]]
    classes: Mapped[list[str]]
    group_column: Mapped[str]
    group_source: Mapped[str]
    scheme: Mapped[str]
    groups: Mapped[list[str]]
    must_not_miss: Mapped[list[str]]
    limits: Mapped[dict[str, Any]]
    warnings: Mapped[list[str]]
    created: Mapped[str]
    ready: Mapped[bool] = mapped_column(default=False)
    baseline_origin: Mapped[str] = mapped_column(default="")
    # Artefacts: the classifier file, and the full-precision predictions.
    classifier_hash: Mapped[str | None]
    baseline_hash: Mapped[str | None]
    prepare_job: Mapped[str | None]


class Job(Base):
    """A piece of work for the worker. A run is a job of kind "run"."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), index=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    title: Mapped[str]
    # Hash of everything that decides the outcome: two people asking for the same get one job.
    identity: Mapped[str] = mapped_column(String(64), unique=True)
    config: Mapped[dict[str, Any]]
    summary: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(20), index=True)
    # Counts starts; a process of an earlier attempt can no longer write.
    attempt: Mapped[int] = mapped_column(default=0)
    created: Mapped[str]
    queued: Mapped[str]
    started: Mapped[str | None]
    ended: Mapped[str | None]
    stage: Mapped[str] = mapped_column(default="")
    step: Mapped[int] = mapped_column(default=0)
    steps: Mapped[int] = mapped_column(default=0)
    message: Mapped[str] = mapped_column(Text, default="")
    seconds_left: Mapped[float | None]
    figures: Mapped[dict[str, Any]]
    error: Mapped[str] = mapped_column(Text, default="")
    seen: Mapped[bool] = mapped_column(default=False)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    started_by: Mapped[str] = mapped_column(default="")
    worker_token: Mapped[str | None]
    child_pid: Mapped[int | None]
    child_started: Mapped[float | None]
    result_hash: Mapped[str | None]


class ProgressEvent(Base):
    """One reported step of a job."""

    __tablename__ = "progress"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int]
    time: Mapped[str]
    stage: Mapped[str]
    step: Mapped[int]
    steps: Mapped[int]
    message: Mapped[str] = mapped_column(Text)
    figures: Mapped[dict[str, Any]]

    __table_args__ = (Index("progress_of_job", "job_id", "id"),)


class Epoch(Base):
    """Figures of one finished epoch; a resumed run overwrites the epochs it repeats."""

    __tablename__ = "epochs"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[str]
    figures: Mapped[dict[str, Any]]


class AuditEntry(Base):
    """One line of the append-only, hash-chained log; `details` is canonical JSON text."""

    __tablename__ = "audit_log"
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[str]
    action: Mapped[str]
    person: Mapped[str]
    role: Mapped[str]
    subject: Mapped[str] = mapped_column(String(40), index=True)
    details: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class Review(Base):
    """A decision about a run. Counts only while the log entry `sequence` says the same."""

    __tablename__ = "reviews"
    sequence: Mapped[int] = mapped_column(ForeignKey("audit_log.sequence"), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    time: Mapped[str]
    person: Mapped[str]
    role: Mapped[str]
    decision: Mapped[str]
    comment: Mapped[str] = mapped_column(Text)
    override: Mapped[str] = mapped_column(Text)
    verdict_seen: Mapped[str]
    limits_hash: Mapped[str]
    hashes: Mapped[dict[str, Any]]
    authenticated: Mapped[bool]


class Worker(Base):
    """The one worker of this data folder (a single row)."""

    __tablename__ = "workers"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    token: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    process_started: Mapped[float]
    started: Mapped[str]
    heartbeat: Mapped[float]
    app_seen: Mapped[float]


class Note(Base):
    """A remark on a case or run."""

    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    subject: Mapped[str] = mapped_column(String(40), index=True)
    time: Mapped[str]
    person: Mapped[str]
    text: Mapped[str] = mapped_column(Text)


# The log can be appended to, nothing else; whoever removes these triggers still breaks the chain.
SQLITE_TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS audit_log_no_{action.lower()} BEFORE {action} ON audit_log "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    for action in ("UPDATE", "DELETE")
)
