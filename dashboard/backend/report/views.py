"""What pages read about the report of a run; a record without behaviour, as in `views`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dashboard.backend.views import JobView


@dataclass(frozen=True)
class ReportView:
    """The report of a run.

    `job` is the newest request, `files` (name -> path) and the rest are of the newest finished report; without one
    `files` is empty. `up_to_date`: nothing was decided, drawn or measured since. `log_sequence`: number of the last
    decision it knows, 0 without any. `checklist`: rows guideline, item, asks, state, shown, missing, section.
    """

    run_id: str
    job: JobView
    files: dict[str, Path] = field(default_factory=dict)
    made: str = ""
    images: bool = False
    approved: bool = False
    up_to_date: bool = False
    log_sequence: int = 0
    result_hash: str = ""
    checklist: tuple[dict[str, str], ...] = ()
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
