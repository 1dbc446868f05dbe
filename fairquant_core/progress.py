"""How long work tells where it stands."""

from __future__ import annotations

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
