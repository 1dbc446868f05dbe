"""Small labels for verdicts, job states and review states: a word, an icon and a colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import streamlit as st

from dashboard.backend.views import JobState, ReviewState
from dashboard.components.words import VERDICT_LABELS

Colour = Literal["red", "orange", "yellow", "blue", "green", "violet", "gray"]


@dataclass(frozen=True)
class Chip:
    """One label; the icon and the word say the same as the colour."""

    label: str
    icon: str
    colour: Colour

    def markdown(self) -> str:
        """The chip inside a line of text."""
        return f":{self.colour}-badge[{self.icon} {self.label}]"

    def draw(self, tip: str | None = None) -> None:
        """Draw the chip on its own."""
        st.badge(self.label, icon=self.icon, color=self.colour, help=tip)


VERDICTS = {
    "WITHIN": Chip(VERDICT_LABELS["WITHIN"], ":material/check_circle:", "green"),
    "OUTSIDE": Chip(VERDICT_LABELS["OUTSIDE"], ":material/cancel:", "red"),
    "INSUFFICIENT EVIDENCE": Chip(
        VERDICT_LABELS["INSUFFICIENT EVIDENCE"], ":material/help:", "orange"
    ),
}
NOT_JUDGED = Chip("Not judged yet", ":material/pending:", "gray")

STATES = {
    JobState.QUEUED: Chip("Waiting", ":material/schedule:", "gray"),
    JobState.RUNNING: Chip("Running", ":material/progress_activity:", "blue"),
    JobState.FINISHED: Chip("Finished", ":material/task_alt:", "green"),
    JobState.FAILED: Chip("Failed", ":material/error:", "red"),
    JobState.CANCELLED: Chip("Cancelled", ":material/block:", "gray"),
    JobState.INTERRUPTED: Chip("Interrupted", ":material/power_off:", "orange"),
}

REVIEWS = {
    ReviewState.NONE: Chip("Not reviewed", ":material/rate_review:", "gray"),
    ReviewState.PROPOSED: Chip("Proposed for approval", ":material/outgoing_mail:", "blue"),
    ReviewState.APPROVED: Chip("Approved", ":material/verified:", "green"),
    ReviewState.REJECTED: Chip("Rejected", ":material/thumb_down:", "red"),
    ReviewState.CHANGES_REQUESTED: Chip("Changes requested", ":material/edit_note:", "orange"),
    ReviewState.WITHDRAWN: Chip("Approval withdrawn", ":material/undo:", "orange"),
    ReviewState.VOID: Chip("Void: something changed", ":material/warning:", "red"),
}

SYNTHETIC = Chip("Synthetic demo data", ":material/science:", "violet")


def verdict_chip(verdict: str | None) -> Chip:
    """Return the chip of a verdict; a missing or unknown one is "not judged"."""
    return VERDICTS.get(str(verdict), NOT_JUDGED)
