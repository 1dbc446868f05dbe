"""Progress of a job: written by its process, read by the pages."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from dashboard.backend.records.schema import Epoch, Job, ProgressEvent
from dashboard.backend.records.store import Store, now
from dashboard.backend.views import JobState
from fairquant_core.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

WRITE_SECONDS = 0.5
"""Shortest time between two writes of the same stage; epochs and new stages are always written."""

EVENT_SECONDS = 2.0
"""Shortest time between two lines of the finer training curve."""

EPOCH_COLUMNS = (
    "epoch",
    "epochs",
    "loss",
    "validation_loss",
    "average_bits",
    "widths_moved",
    "worst_group_accuracy",
    "accuracy",
)


class Recorder:
    """Progress callback of one attempt at one job.

    `stopped` becomes true when the job was cancelled or taken away; a pipeline asks it between
    steps.
    """

    def __init__(self, store: Store, job_id: str, attempt: int) -> None:
        self._store = store
        self._job_id = job_id
        self._attempt = attempt
        self._stage = ""
        self._logged = ("", "")
        self._written = -math.inf
        self._event_written = -math.inf
        self.stopped = False

    def __call__(self, progress: Progress) -> None:
        """Store an event, unless the last one was only a moment ago."""
        moment = time.monotonic()
        epoch_ended = is_epoch(progress.figures)
        new_stage = progress.stage != self._stage
        last_step = bool(progress.steps) and progress.step >= progress.steps
        if not (epoch_ended or new_stage or last_step) and moment - self._written < WRITE_SECONDS:
            return
        self._stage, self._written = progress.stage, moment
        line = (progress.stage, progress.message)
        as_event = (
            epoch_ended
            or new_stage
            or (line != self._logged and not _counts_only(line, self._logged))
            or (bool(progress.figures) and moment - self._event_written >= EVENT_SECONDS)
        )
        if as_event:
            self._logged, self._event_written = line, moment
        self._write(progress, as_event, epoch_ended)

    def cancelled(self) -> bool:
        """Whether the job should stop; the `cancel` callable of a pipeline."""
        return self.stopped

    def _write(self, progress: Progress, as_event: bool, epoch_ended: bool) -> None:
        figures = plain(progress.figures)
        with self._store.write() as session:
            job = session.get(Job, self._job_id)
            if job is None or (job.state, job.attempt) != (JobState.RUNNING.value, self._attempt):
                self.stopped = True
                return
            if job.cancel_requested:
                self.stopped = True
            job.stage, job.message = progress.stage, progress.message
            job.step, job.steps = int(progress.step), int(progress.steps)
            job.seconds_left = finite(progress.seconds_left)
            if figures:
                job.figures = {**job.figures, **_small(figures)}
            if as_event:
                session.add(
                    ProgressEvent(
                        job_id=self._job_id,
                        attempt=self._attempt,
                        time=now(),
                        stage=progress.stage,
                        step=int(progress.step),
                        steps=int(progress.steps),
                        message=progress.message,
                        figures=_small(figures),
                    )
                )
            if epoch_ended:
                session.merge(
                    Epoch(
                        job_id=self._job_id,
                        epoch=int(figures["epoch"]),
                        time=now(),
                        figures=figures,
                    )
                )


def is_epoch(figures: dict[str, Any]) -> bool:
    """Whether figures close an epoch; by-step figures have no validation."""
    return "epoch" in figures and ("validation_loss" in figures or "group_accuracy" in figures)


def plain(value: Any) -> Any:
    """Figures as JSON can hold them: numpy scalars become numbers, NaN and infinity None."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return finite(value)
    return value


def finite(value: float | None) -> float | None:
    """The value, or None if it is not a finite number."""
    return float(value) if value is not None and math.isfinite(value) else None


def _small(figures: dict[str, Any]) -> dict[str, Any]:
    """Without the long per-layer table, which lives in the epochs."""
    return {key: value for key, value in figures.items() if key != "bits_by_layer"}


def _counts_only(line: tuple[str, str], before: tuple[str, str]) -> bool:
    """Whether two messages of one stage differ in digits only ("image 12 of 90")."""
    return line[0] == before[0] and _letters(line[1]) == _letters(before[1])


def _letters(text: str) -> str:
    return "".join(character for character in text if not character.isdigit())


# reading --------------------------------------------------------------------------------------
def log(store: Store, job_id: str) -> pd.DataFrame:
    """[time, stage, message], oldest first; repeated lines appear once."""
    import pandas as pd

    lines: list[tuple[str, str, str]] = []
    for event in _events(store, job_id):
        if not lines or (event.stage, event.message) != lines[-1][1:]:
            lines.append((event.time, event.stage, event.message))
    return pd.DataFrame(lines, columns=["time", "stage", "message"])


def training_steps(store: Store, job_id: str) -> pd.DataFrame:
    """[time, step, loss, average_bits] between the epochs, of the newest pass over each step."""
    import pandas as pd

    rows: dict[int, tuple[str, int, float | None, float | None]] = {}
    for event in _events(store, job_id):
        if event.stage == "training" and "loss" in event.figures:
            figures = event.figures
            rows[event.step] = (
                event.time,
                event.step,
                figures.get("loss"),
                figures.get("average_bits"),
            )
    frame = pd.DataFrame(
        [rows[step] for step in sorted(rows)], columns=["time", "step", "loss", "average_bits"]
    )
    return frame.astype({"loss": float, "average_bits": float})


def epochs(store: Store, job_id: str) -> pd.DataFrame:
    """One row per finished epoch, with a column "accuracy: <group>" per group."""
    import pandas as pd

    rows = []
    for epoch in _epochs(store, job_id):
        row = {name: epoch.figures.get(name) for name in EPOCH_COLUMNS}
        for group, accuracy in epoch.figures.get("group_accuracy", {}).items():
            row[f"accuracy: {group}"] = accuracy
        rows.append(row)
    frame = pd.DataFrame(rows, columns=None if rows else list(EPOCH_COLUMNS))
    numbers = [name for name in frame.columns if name not in ("epoch", "epochs")]
    return frame.astype(dict.fromkeys(numbers, float))


def bits_trajectory(store: Store, job_id: str) -> pd.DataFrame:
    """[epoch, layer, bits]: mean width of every layer after every epoch."""
    import pandas as pd

    rows = [
        (epoch.epoch, layer, float(bits))
        for epoch in _epochs(store, job_id)
        for layer, bits in epoch.figures.get("bits_by_layer", {}).items()
    ]
    return pd.DataFrame(rows, columns=["epoch", "layer", "bits"])


def _events(store: Store, job_id: str) -> list[ProgressEvent]:
    query = select(ProgressEvent).where(ProgressEvent.job_id == job_id).order_by(ProgressEvent.id)
    with store.read() as session:
        return list(session.scalars(query))


def _epochs(store: Store, job_id: str) -> list[Epoch]:
    with store.read() as session:
        return list(
            session.scalars(select(Epoch).where(Epoch.job_id == job_id).order_by(Epoch.epoch))
        )
