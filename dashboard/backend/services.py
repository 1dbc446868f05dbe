"""Everything a page may call. Plain Python in and out; no Streamlit, no torch.

`open_services` opens the store of a data folder, seeds the demo case and puts right what a crash
left behind. All methods are safe to call from several sessions and threads at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboard.backend import views
from dashboard.backend.case import cases, demo_case, new_case
from dashboard.backend.queue import progress
from dashboard.backend.queue.jobs import view
from dashboard.backend.queue.supervision import reconcile
from dashboard.backend.run import runs
from dashboard.backend.run.full_audit import FullAuditView
from dashboard.backend.run.pairs import PairView
from dashboard.backend.saliency.views import SaliencyChoice, SaliencyView
from dashboard.backend.service_review import ReviewServices
from dashboard.backend.settings import Settings
from fairquant_core.errors import FairQuantError
from fairquant_core.explain.catalogue import METHODS as SALIENCY_METHODS
from fairquant_core.quantization.plan import BitPlan

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from fairquant_core.audit.metrics import AccuracyTable
    from fairquant_core.audit.predictions import Predictions
    from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap


def open_services(settings: Settings | None = None) -> Services:
    """Open the data folder (made if missing), seed the demo case, reconcile interrupted jobs."""
    return Services(settings or Settings.from_environment())


class Services(ReviewServices):
    """The application without its screen. Every error a person can cause is a `FairQuantError`.

    Attributes
    ----------
    settings
        Where the data are.
    start_problem
        Why the demo case could not be made; "" if it could, or if there are no demo files.
    """

    start_problem: str

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.start_problem = ""
        try:
            demo_case.seed_demo(self._store, settings, self._artefacts)
        except FairQuantError as error:
            # A damaged demo must not keep people from their own cases; the inbox shows this.
            self.start_problem = str(error)
        reconcile(self._store)

    def close(self) -> None:
        """Close the connections to the store; the worker goes on."""
        self._store.close()

    # worker -----------------------------------------------------------------------------------
    def ensure_worker(self) -> views.WorkerView:
        """Start the worker if none is alive; cheap, call it on every page run that shows jobs."""
        return self._supervisor.ensure()

    def worker(self) -> views.WorkerView:
        """The worker as it is, without starting one."""
        return self._supervisor.look()

    def stop_worker(self) -> None:
        """End the worker and its child; a running job becomes `interrupted`."""
        self._supervisor.stop()

    # inbox and jobs ---------------------------------------------------------------------------
    def inbox(self) -> views.InboxView:
        """Jobs by what they need: running, awaiting review, finished and unseen, failed, others."""
        return self._runs.inbox()

    def job(self, job_id: str) -> views.JobView:
        """One job of any kind. Raises FairQuantError for an unknown id."""
        return self._jobs.get(job_id)

    def cancel(self, job_id: str) -> None:
        """A queued job is cancelled at once, a running one within about a second."""
        self._jobs.cancel(job_id)
        if not self._supervisor.look().alive:
            # Nobody is there to obey the request: carry it out here.
            reconcile(self._store)

    def resume(self, job_id: str) -> None:
        """Queue an interrupted, failed or cancelled job again; it goes on from its checkpoint."""
        self._jobs.resume(job_id)

    def mark_seen(self, job_id: str) -> None:
        """The person has looked at the finished or failed job."""
        self._jobs.mark_seen(job_id)

    def log(self, job_id: str) -> pd.DataFrame:
        """[time, stage, message] of a job, oldest first."""
        self._jobs.row(job_id)
        return progress.log(self._store, job_id)

    # cases ------------------------------------------------------------------------------------
    def cases(self) -> list[views.CaseView]:
        """All cases, the demo first, then newest first."""
        return [cases.view(row) for row in self._cases.rows()]

    def case(self, case_id: str) -> views.CaseView:
        """One case. Raises FairQuantError for an unknown id."""
        return cases.view(self._cases.row(case_id))

    def default_case(self) -> views.CaseView | None:
        """The case shown when the URL names none: the demo, else the newest, else None."""
        return next(iter(self.cases()), None)

    def create_case(self, new: views.NewCase) -> str:
        """Validate and store a case and queue its "prepare" job; returns the case id.

        Raises
        ------
        FairQuantError
            With the field, row or file that is wrong and what to do. Nothing is left behind.
        """
        case_id = self._maker.create(new)
        case = self._cases.row(case_id)
        about = {"title": case.title, "limits": case.limits, "cohort": case.cohort["name"]}
        self._log.record("case created", case_id, details=about)
        return case_id

    def inspect_cohort(self, folder: Path) -> views.CohortInspection:
        """Columns, a guess and warnings for the new-case form, without decoding images."""
        return new_case.inspect_cohort(folder)

    def groups_of(self, inspection: views.CohortInspection, column: str, scheme: str) -> list[str]:
        """The groups that a column of an inspected folder will have; for the new-case form."""
        return new_case.groups_of(inspection, column, scheme)

    def cohort_table(self, case_id: str) -> pd.DataFrame:
        """The cohort table with one more column "group" in the case's scheme."""
        return self._cases.table(case_id)

    def image(self, case_id: str, image_id: str, longest_side: int | None = None) -> Image:
        """An image of the cohort, decoded safely; scaled down when `longest_side` is given."""
        return self._cases.image(case_id, image_id, longest_side)

    def cell_counts(self, case_id: str) -> pd.DataFrame:
        """[group, label, split, n], every combination present, also with n = 0."""
        return self._cases.cell_counts(case_id)

    def baseline(self, case_id: str, scheme: str | None = None) -> AccuracyTable | None:
        """Full-precision accuracy on the audit split; None until the case is prepared."""
        return self._cases.baseline(case_id, scheme)

    # sensitivity and budget -------------------------------------------------------------------
    def request_sensitivity(
        self, case_id: str, bits: tuple[int, ...] = (4,), images_per_group: int = 60
    ) -> str:
        """Queue the layer-by-group measurement; the same request returns the same job."""
        return self._budget.request(case_id, bits, images_per_group)

    def sensitivity_job(self, case_id: str) -> views.JobView | None:
        """The newest sensitivity job of the case."""
        row = self._budget.job(case_id)
        return None if row is None else view(row)

    def sensitivity(self, case_id: str) -> tuple[MeasuredMap, SensitivityMap] | None:
        """The newest finished measurement, or None."""
        return self._budget.maps(case_id)

    def budget_curve(self, case_id: str) -> pd.DataFrame | None:
        """[kind ("minimax"|"uniform"), bits, megabytes, group, predicted_loss_rise]; None
        unmeasured.

        `group` also takes the value "worst": the largest rise over the groups at that point.
        """
        return self._budget.curve(case_id)

    def plan_preview(
        self,
        case_id: str,
        bits: float,
        granularity: str = "channel",
        wishes: dict[str, Any] | None = None,
    ) -> views.PlanPreview | None:
        """The minimax bit plan at an average width; None until the sensitivity is measured.

        `wishes` are further fields of a run's configuration, such as size_bytes, menu or pins.
        """
        return self._budget.preview(case_id, bits, granularity, wishes)

    # runs -------------------------------------------------------------------------------------
    def methods(self) -> list[views.MethodView]:
        """The methods a run can use, the recommended one first."""
        return runs.methods()

    def start_run(self, case_id: str, config: dict[str, Any], person: str = "") -> str:
        """Queue a run; identical inputs return the id of the run that exists already.

        `config`: keys of RunConfig (method, bits, epochs, seed, granularity, ...); missing keys
        take their defaults. `person`: who starts it (typed in local mode), for the four-eyes rule.
        """
        return self._runs.start(case_id, config, person)

    def runs(self, case_id: str | None = None) -> list[views.RunView]:
        """Runs, newest first."""
        return self._runs.all(case_id)

    def run(self, run_id: str) -> views.RunView:
        """One run. Raises FairQuantError for an unknown id."""
        return self._runs.one(run_id)

    def plan_sweep(
        self,
        case_id: str,
        methods: Sequence[str],
        budgets: Sequence[float],
        seeds: Sequence[int],
        settings: Mapping[str, Any],
    ) -> views.SweepPlan:
        """Which runs these choices mean; starts nothing. `settings`: further keys of RunConfig."""
        return self._sweeps.plan(case_id, methods, budgets, seeds, settings)

    def start_sweep(
        self,
        case_id: str,
        methods: Sequence[str],
        budgets: Sequence[float],
        seeds: Sequence[int],
        settings: Mapping[str, Any],
        person: str = "",
    ) -> list[str]:
        """Queue all of these runs, existing ones excepted; returns the ids of all."""
        return self._sweeps.start(case_id, methods, budgets, seeds, settings, person)

    def board(self, case_id: str) -> views.BoardView | None:
        """All finished runs of the case beside one another; None before the first."""
        return self._sweeps.board(case_id)

    def epochs(self, run_id: str) -> pd.DataFrame:
        """[epoch, epochs, loss, validation_loss, average_bits, widths_moved, worst_group_accuracy,
        accuracy, "accuracy: <group>"...], one row per finished epoch."""
        return progress.epochs(self._store, self._jobs.row(run_id).id)

    def training_steps(self, run_id: str) -> pd.DataFrame:
        """[time, step, loss, average_bits]: the finer curve between epochs."""
        return progress.training_steps(self._store, self._jobs.row(run_id).id)

    def bits_trajectory(self, run_id: str) -> pd.DataFrame:
        """[epoch, layer, bits]: mean width of every layer after every epoch."""
        return progress.bits_trajectory(self._store, self._jobs.row(run_id).id)

    # results ----------------------------------------------------------------------------------
    def predictions(self, run_id: str) -> Predictions:
        """The predictions table ("full precision", "uniform N-bit", "candidate")."""
        return self._results.predictions(run_id)

    def bit_plan(self, run_id: str) -> BitPlan | None:
        """Bits of every channel in the file of a finished run; None for the control."""
        return self._results.bit_plan(run_id)

    def audit(self, run_id: str) -> dict[str, Any]:
        """audit.json of a finished run."""
        return self._results.audit(run_id)

    def comparison(self, run_id: str, scheme: str | None = None) -> views.ComparisonView:
        """Accuracy per model and group, differences, flips and verdicts on the audit split."""
        return self._results.comparison(run_id, scheme)

    def comparable(self, run_id: str) -> dict[str, str]:
        """Key -> title: the classifiers of a finished run, then other finished runs of the case."""
        return self._pairs.choices(run_id)

    def measures(self, run_id: str) -> list[dict[str, Any]]:
        """What the classifiers of a run can be compared by, as "measures" in audit.json."""
        return self._pairs.measures(run_id)

    def measure_rows(
        self, run_id: str, measure: str, scheme: str | None = None, others: Sequence[str] = ()
    ) -> pd.DataFrame:
        """[model, group, n, value, low, high, ...] of one measure; `others` are further runs."""
        return self._pairs.measure_rows(run_id, measure, scheme, others)

    def pair(self, run_id: str, before: str, after: str, scheme: str | None = None) -> PairView:
        """What changed between any two of `comparable`, every measure per group."""
        return self._pairs.pair(run_id, before, after, scheme)

    def full_audit(self, run_id: str, before: str, after: str) -> FullAuditView:
        """Every figure of any two of `comparable`, in the groups of the case."""
        return self._full_audits.view(run_id, before, after)

    def group_questions(self, run_id: str, before: str, after: str) -> dict[str, Any]:
        """The change between any two of `comparable` with other groups, as in audit.json."""
        return self._full_audits.questions(run_id, before, after)

    def request_saliency(self, run_id: str, choice: SaliencyChoice) -> str:
        """Queue saliency maps of a sample per group and of flips; the same choice, the same job."""
        return self._saliency.request(run_id, choice)

    def request_more_flips(
        self, run_id: str, choice: SaliencyChoice, group: str, count: int | None = None
    ) -> str:
        """Queue the maps of further flips of one group ("unknown" is one too); None: all that are left."""
        return self._saliency.request_more(run_id, choice, group, count)

    def saliency_methods(self) -> dict[str, str]:
        """name -> title of the saliency methods on offer."""
        return {name: method.title for name, method in SALIENCY_METHODS.items()}

    def last_saliency(self, run_id: str) -> SaliencyChoice | None:
        """What was asked for last for this run, or None."""
        return self._saliency.last(run_id)

    def saliency_job(self, run_id: str, choice: SaliencyChoice) -> views.JobView | None:
        """The newest saliency job of the run with this choice."""
        row = self._saliency.job(run_id, choice)
        return None if row is None else view(row)

    def saliency_outdated(self, run_id: str, choice: SaliencyChoice) -> bool:
        """Whether the masks of the lesions are others than when the newest maps were drawn."""
        return self._saliency.outdated(run_id, choice)

    def saliency_result(self, run_id: str, choice: SaliencyChoice) -> str | None:
        """Fingerprint of the newest finished maps, or None; it stays while further ones are drawn."""
        return self._saliency.result(run_id, choice)

    def saliency(self, run_id: str, choice: SaliencyChoice) -> SaliencyView | None:
        """The newest finished maps, or None."""
        return self._saliency.view(run_id, choice)
