"""What a finished run found: predictions, audit, the comparison, and saliency maps."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dashboard.backend.case.cases import Cases, group_order
from dashboard.backend.queue.jobs import Jobs
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Case, Job
from dashboard.backend.review.evidence import AUDIT_FILE, PLAN_FILE, PREDICTIONS_FILE
from dashboard.backend.views import ComparisonView, JobKind, JobState
from fairquant_core.audit.comparison import flips, paired_difference
from fairquant_core.audit.criteria import Limits, Verdict
from fairquant_core.audit.grouping import OVERALL
from fairquant_core.audit.metrics import group_accuracy
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import EvaluationError, FairQuantError
from fairquant_core.quantization.plan import BitPlan

if TYPE_CHECKING:
    import pandas as pd

KEPT = 4
ACCURACY_COLUMNS = ["model", "group", "n", "accuracy", "low", "high"]
NO_RESULT = "This run is {state} and has no result. {what}"


class Results:
    """Reading the artefacts of finished runs."""

    def __init__(self, jobs: Jobs, cases: Cases, artefacts: Artefacts) -> None:
        self._jobs = jobs
        self._cases = cases
        self._artefacts = artefacts
        self._lock = threading.Lock()
        self._comparisons: OrderedDict[tuple[str, str], ComparisonView] = OrderedDict()

    def finished(self, run_id: str) -> Job:
        """The row of a finished run. Raises FairQuantError for any other."""
        run = self._jobs.row(run_id, JobKind.RUN)
        if run.state != JobState.FINISHED.value or run.result_hash is None:
            active = JobState(run.state).active
            what = "Wait until it has finished." if active else "Resume it, or start another one."
            raise FairQuantError(NO_RESULT.format(state=run.state, what=what))
        return run

    def predictions(self, run_id: str) -> Predictions:
        """The predictions table of all models and of the validation and audit images."""
        run = self.finished(run_id)
        return Predictions.load(self._artefacts.path(str(run.result_hash), PREDICTIONS_FILE))

    def bit_plan(self, run_id: str) -> BitPlan | None:
        """The plan of the exported file; None for the full-precision control, which has none."""
        run = self.finished(run_id)
        if not self._artefacts.has(str(run.result_hash), PLAN_FILE):
            return None
        path = self._artefacts.path(str(run.result_hash), PLAN_FILE)
        return BitPlan.from_json(json.loads(path.read_text(encoding="utf-8")))

    def audit(self, run_id: str) -> dict[str, Any]:
        """audit.json."""
        run = self.finished(run_id)
        path = self._artefacts.path(str(run.result_hash), AUDIT_FILE)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise EvaluationError(
                f"audit.json of this run was changed and cannot be read: {error}"
            ) from error

    def comparison(self, run_id: str, scheme: str | None) -> ComparisonView:
        """Full precision beside the candidate, per group of one scheme."""
        run = self.finished(run_id)
        case = self._cases.row(run.case_id)
        scheme = scheme or case.scheme
        key = (str(run.result_hash), scheme)
        with self._lock:
            if key in self._comparisons:
                self._comparisons.move_to_end(key)
                return self._comparisons[key]
        view = self._compare(run_id, case, scheme)
        with self._lock:
            self._comparisons[key] = view
            while len(self._comparisons) > KEPT:
                self._comparisons.popitem(last=False)
        return view

    def _compare(self, run_id: str, case: Case, scheme: str) -> ComparisonView:
        import pandas as pd

        audit = self.audit(run_id)
        table = self.predictions(run_id).part(audit["split"] or "audit")
        before, after = audit["reference"], audit["candidate"]
        groups = table.groups(case.group_column, scheme)
        order = group_order(groups, scheme)
        judged = audit["comparisons"][after]
        if scheme == audit["scheme"]:
            # The run computed these with the same code; reading them keeps the page quick.
            accuracy = _stored_accuracy(audit)
            differences = pd.DataFrame(judged["differences"])
        else:
            accuracy = _accuracy(table, groups, order)
            limits = Limits.from_json(case.limits)
            differences = paired_difference(
                table,
                before,
                after,
                groups,
                metric=limits.metric,
                positive=limits.positive,
                order=order,
                minimum_positives=limits.class_minimums[0],
                minimum_negatives=limits.class_minimums[1],
            )
        return ComparisonView(
            accuracy=accuracy,
            differences=differences,
            flips=flips(table, before, after, groups),
            verdicts=pd.DataFrame(judged["verdicts"]),
            overall_verdict=str(audit.get("verdict") or Verdict.INSUFFICIENT),
            scheme=scheme,
            groups=tuple(order),
            models=tuple(table.models),
        )


def _accuracy(table: Predictions, groups: pd.Series, order: list[str]) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for model in table.models:
        scored = group_accuracy(table, model, groups, order=order)
        rows = [scored.overall.to_dict(), *scored.by_group.to_dict("records")]
        parts.append(_long(model, rows))
    return pd.concat(parts, ignore_index=True)


def _stored_accuracy(audit: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for model in audit["models"]:
        scored = audit["accuracy"][model]
        parts.append(_long(model, [scored["overall"], *scored["by_group"]]))
    return pd.concat(parts, ignore_index=True)


def _long(model: str, rows: Sequence[Mapping[Any, Any]]) -> pd.DataFrame:
    """One row per group; what is not estimable becomes NaN, never 0."""
    import pandas as pd

    frame = pd.DataFrame(rows).assign(model=model)
    frame.loc[frame.index[0], "group"] = OVERALL
    numbers = {"accuracy": float, "low": float, "high": float}
    return frame[ACCURACY_COLUMNS].astype(numbers)
