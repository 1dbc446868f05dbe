"""Everything a page may call. Plain Python in and out; no Streamlit, no torch.

`open_services` opens the store of a data folder, seeds the demo case and puts right what a crash left
behind. All methods are safe to call from several sessions and threads at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboard.backend import views
from dashboard.backend.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from fairquant_core.audit.metrics import AccuracyTable
    from fairquant_core.audit.predictions import Predictions
    from fairquant_core.quantization.sensitivity_map import MeasuredMap, SensitivityMap


def open_services(settings: Settings | None = None) -> Services:
    """Open the data folder (made if missing), seed the demo case, reconcile interrupted jobs."""
    raise NotImplementedError


class Services:
    """The application without its screen. Every error a person can cause is a `FairQuantError`."""

    settings: Settings

    # worker -----------------------------------------------------------------------------------
    def ensure_worker(self) -> views.WorkerView:
        """Start the worker if none is alive; cheap, call it on every page run that shows jobs."""
        raise NotImplementedError

    def worker(self) -> views.WorkerView:
        """The worker as it is, without starting one."""
        raise NotImplementedError

    def stop_worker(self) -> None:
        """End the worker and its child; a running job becomes `interrupted`."""
        raise NotImplementedError

    # inbox and jobs ---------------------------------------------------------------------------
    def inbox(self) -> views.InboxView:
        """Jobs by what they need: running, awaiting review, finished and unseen, failed, others."""
        raise NotImplementedError

    def job(self, job_id: str) -> views.JobView:
        """One job of any kind. Raises FairQuantError for an unknown id."""
        raise NotImplementedError

    def cancel(self, job_id: str) -> None:
        """A queued job is cancelled at once, a running one within about a second."""
        raise NotImplementedError

    def resume(self, job_id: str) -> None:
        """Queue an interrupted, failed or cancelled job again; it goes on from its checkpoint."""
        raise NotImplementedError

    def mark_seen(self, job_id: str) -> None:
        """The person has looked at the finished or failed job."""
        raise NotImplementedError

    def log(self, job_id: str) -> pd.DataFrame:
        """[time, stage, message] of a job, oldest first."""
        raise NotImplementedError

    # cases ------------------------------------------------------------------------------------
    def cases(self) -> list[views.CaseView]:
        """All cases, the demo first, then newest first."""
        raise NotImplementedError

    def case(self, case_id: str) -> views.CaseView:
        """One case. Raises FairQuantError for an unknown id."""
        raise NotImplementedError

    def default_case(self) -> views.CaseView | None:
        """The case shown when the URL names none: the demo, else the newest, else None."""
        raise NotImplementedError

    def create_case(self, new: views.NewCase) -> str:
        """Validate and store a case and queue its "prepare" job; returns the case id.

        Raises
        ------
        FairQuantError
            With the field, row or file that is wrong and what to do. Nothing is left behind.
        """
        raise NotImplementedError

    def inspect_cohort(self, folder: Path) -> views.CohortInspection:
        """Columns, a guess and warnings for the new-case form, without decoding images."""
        raise NotImplementedError

    def cohort_table(self, case_id: str) -> pd.DataFrame:
        """The cohort table with one more column "group" in the case's scheme."""
        raise NotImplementedError

    def image(self, case_id: str, image_id: str, longest_side: int | None = None) -> Image:
        """An image of the cohort, decoded safely; scaled down when `longest_side` is given."""
        raise NotImplementedError

    def cell_counts(self, case_id: str) -> pd.DataFrame:
        """[group, label, split, n], every combination present, also with n = 0."""
        raise NotImplementedError

    def baseline(self, case_id: str, scheme: str | None = None) -> AccuracyTable | None:
        """Full-precision accuracy on the audit split; None until the case is prepared."""
        raise NotImplementedError

    # sensitivity and budget -------------------------------------------------------------------
    def request_sensitivity(
        self, case_id: str, bits: tuple[int, ...] = (4,), images_per_group: int = 60
    ) -> str:
        """Queue the layer-by-group measurement; the same request returns the same job."""
        raise NotImplementedError

    def sensitivity_job(self, case_id: str) -> views.JobView | None:
        """The newest sensitivity job of the case."""
        raise NotImplementedError

    def sensitivity(self, case_id: str) -> tuple[MeasuredMap, SensitivityMap] | None:
        """The newest finished measurement, or None."""
        raise NotImplementedError

    def budget_curve(self, case_id: str) -> pd.DataFrame | None:
        """[kind ("minimax"|"uniform"), bits, megabytes, group, predicted_loss_rise]; None unmeasured.

        `group` also takes the value "worst": the largest rise over the groups at that point.
        """
        raise NotImplementedError

    def plan_preview(
        self, case_id: str, bits: float, granularity: str = "channel"
    ) -> views.PlanPreview | None:
        """The minimax bit plan at an average width; None until the sensitivity is measured."""
        raise NotImplementedError

    # runs -------------------------------------------------------------------------------------
    def methods(self) -> list[views.MethodView]:
        """The methods a run can use, the recommended one first."""
        raise NotImplementedError

    def start_run(self, case_id: str, config: dict[str, Any], person: str = "") -> str:
        """Queue a run; identical inputs return the id of the run that exists already.

        `config`: keys of RunConfig (method, bits, epochs, seed, granularity, ...); missing keys take
        their defaults. `person`: who starts it (typed in local mode), for the four-eyes rule.
        """
        raise NotImplementedError

    def runs(self, case_id: str | None = None) -> list[views.RunView]:
        """Runs, newest first."""
        raise NotImplementedError

    def run(self, run_id: str) -> views.RunView:
        """One run. Raises FairQuantError for an unknown id."""
        raise NotImplementedError

    def epochs(self, run_id: str) -> pd.DataFrame:
        """[epoch, epochs, loss, validation_loss, average_bits, worst_group_accuracy, accuracy,
        "accuracy: <group>"...], one row per finished epoch."""
        raise NotImplementedError

    def training_steps(self, run_id: str) -> pd.DataFrame:
        """[time, step, loss, average_bits]: the finer curve between epochs."""
        raise NotImplementedError

    def bits_trajectory(self, run_id: str) -> pd.DataFrame:
        """[epoch, layer, bits]: mean width of every layer after every epoch."""
        raise NotImplementedError

    # results ----------------------------------------------------------------------------------
    def predictions(self, run_id: str) -> Predictions:
        """The predictions table ("full precision", "uniform N-bit", "candidate")."""
        raise NotImplementedError

    def audit(self, run_id: str) -> dict[str, Any]:
        """audit.json of a finished run."""
        raise NotImplementedError

    def comparison(self, run_id: str, scheme: str | None = None) -> views.ComparisonView:
        """Accuracy per model and group, differences, flips and verdicts on the audit split."""
        raise NotImplementedError

    def request_saliency(
        self, run_id: str, method: str = "integrated_gradients", image_ids: list[str] | None = None
    ) -> str:
        """Queue saliency maps; without ids: up to 8 audit images per group, flips first."""
        raise NotImplementedError

    def saliency_methods(self) -> dict[str, str]:
        """name -> title of the saliency methods on offer."""
        raise NotImplementedError

    def saliency_job(self, run_id: str, method: str) -> views.JobView | None:
        """The newest saliency job of the run with this method."""
        raise NotImplementedError

    def saliency(self, run_id: str, method: str) -> views.SaliencyView | None:
        """The newest finished maps, or None."""
        raise NotImplementedError

    # review and export ------------------------------------------------------------------------
    def review(self, run_id: str) -> views.ReviewView:
        """State, verdicts, decisions, hashes and whether the run may be exported."""
        raise NotImplementedError

    def decide(
        self,
        run_id: str,
        person: str,
        role: str,
        decision: str,
        comment: str = "",
        override: str | None = None,
    ) -> views.ReviewView:
        """Record a decision ("propose", "approve", "reject", "request changes", "withdraw").

        Raises FairQuantError when the state, the four-eyes rule or a missing override forbids it.
        """
        raise NotImplementedError

    def export(self, run_id: str, person: str = "") -> Path:
        """Path of the bundle (zip) of an approved run. Raises NotApproved with the reason."""
        raise NotImplementedError

    def audit_log(self) -> pd.DataFrame:
        """[sequence, time, action, person, role, subject, details, hash], oldest first."""
        raise NotImplementedError

    def verify_log(self) -> list[str]:
        """Problems found in the hash chain: edited, missing or reordered entries; [] if none."""
        raise NotImplementedError

    def add_note(self, subject: str, person: str, text: str) -> None:
        """Leave a remark on a case or run id."""
        raise NotImplementedError

    def notes(self, subject: str) -> list[views.NoteView]:
        """Remarks on a case or run id, oldest first."""
        raise NotImplementedError
