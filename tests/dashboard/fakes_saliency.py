"""The part of the stand-in services that the saliency page asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from dashboard.backend.saliency.views import SaliencyChoice, SaliencyView
from dashboard.backend.views import JobKind, JobView, NoteView
from fairquant_core.errors import FairQuantError
from tests.dashboard.fakes_review import FakeReview
from tests.dashboard.made_data import NOW, job_view
from tests.dashboard.made_saliency import made_saliency


@dataclass
class FakeSaliency(FakeReview):
    """Maps of runs, and notes on photographs; the calls that change something are recorded."""

    frame: pd.DataFrame = field(init=False)
    saliency_drawn: bool = True
    saliency_masks_changed: bool = False
    saliency_state: JobView | None = field(
        default_factory=lambda: job_view(JobKind.SALIENCY, run_id="run-1")
    )
    saliency_view: SaliencyView | None = None
    saliency_asked: SaliencyChoice | None = None
    image_remarks: dict[str, list[NoteView]] = field(default_factory=dict)

    def saliency_methods(self) -> dict[str, str]:
        return {"integrated_gradients": "Integrated Gradients", "grad_cam": "Grad-CAM"}

    def request_saliency(self, run_id: str, choice: SaliencyChoice) -> str:
        self.calls.append(("request_saliency", (run_id, choice)))
        if self.fail_with:
            raise FairQuantError(self.fail_with)
        return "job-saliency"

    def request_more_flips(
        self, run_id: str, choice: SaliencyChoice, group: str, count: int | None = None
    ) -> str:
        self.calls.append(("request_more_flips", (run_id, choice, group, count)))
        if self.fail_with:
            raise FairQuantError(self.fail_with)
        return "job-saliency"

    def last_saliency(self, run_id: str) -> SaliencyChoice | None:
        return self.saliency_asked

    def saliency_job(self, run_id: str, choice: SaliencyChoice) -> JobView | None:
        return self.saliency_state

    def saliency_outdated(self, run_id: str, choice: SaliencyChoice) -> bool:
        return self.saliency_masks_changed

    def saliency_result(self, run_id: str, choice: SaliencyChoice) -> str | None:
        return "9a" * 32 if self.saliency_drawn else None

    def saliency(self, run_id: str, choice: SaliencyChoice) -> SaliencyView | None:
        if not self.saliency_drawn:
            return None
        if self.saliency_view is not None:
            return self.saliency_view
        titles = [self.run(one).title for one in (run_id, *choice.others)]
        return made_saliency(self.frame, choice, titles)

    def add_image_note(self, run_id: str, image_id: str, person: str, text: str) -> None:
        if not text:
            raise FairQuantError("Note: there is no text to keep.")
        self.image_remarks.setdefault(image_id, []).append(NoteView(NOW, person, text))

    def image_notes(self, run_id: str, image_ids: Any) -> dict[str, list[NoteView]]:
        return {one: self.image_remarks[one] for one in image_ids if one in self.image_remarks}
