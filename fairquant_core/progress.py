"""How long work tells where it stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """One message from work in progress.

    Parameters
    ----------
    stage
        Which part of the work: ``"images"``, ``"sensitivity"``, ``"training"``, ``"audit"``, ...
    step, steps
        Step ``step`` of ``steps`` of this stage; never a guessed percentage.
    seconds_left
        Estimate for this stage from the steps so far; None before there is a basis.
    figures
        Numbers computed so far, e.g. the loss.
    """

    stage: str
    step: int
    steps: int
    message: str
    seconds_left: float | None = None
    figures: dict[str, Any] = field(default_factory=dict)


Report = Callable[[Progress], None]
Stop = Callable[[], bool]


class StageClock:
    """Turns "step k of n" into progress with an estimate of the time left."""

    def __init__(self, report: Report | None, stage: str, message: str) -> None:
        self.report, self.stage, self.message = report, stage, message
        self.started = time.monotonic()

    def __call__(self, step: int, steps: int) -> None:
        if self.report:
            left = (time.monotonic() - self.started) * (steps - step) / max(step, 1)
            message = self.message.format(step=step, steps=steps)
            self.report(Progress(self.stage, step, steps, message, left))


def say(report: Report | None, stage: str, step: int, steps: int, message: str) -> None:
    """Report one step without an estimate, if anybody listens."""
    if report:
        report(Progress(stage, step, steps, message))
