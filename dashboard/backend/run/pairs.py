"""Any two classifiers of a case on the same audit images, and any measure of all of them.

What the audits of the runs hold is read; other pairs and groupings are computed by the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboard.backend.case.cases import Cases
from dashboard.backend.queue.jobs import Jobs
from dashboard.backend.run.results import Results
from dashboard.backend.views import JobKind, JobState
from fairquant_core.audit.comparison import flips
from fairquant_core.audit.limits import Limits
from fairquant_core.audit.measures import Measure
from fairquant_core.audit.predictions import IMAGE_COLUMNS, Predictions
from fairquant_core.audit.summary import compare, measure_rows, measures_of
from fairquant_core.errors import EvaluationError

if TYPE_CHECKING:
    import pandas as pd

SAME_MODEL = "Compare: choose two different classifiers; {name} cannot be compared with itself."
OTHER_CASE = "Compare: run {run} belongs to another case; choose candidates of the same case."
NUMBERS = (
    *("before", "after", "difference", "low", "high", "p_value", "p_holm"),
    *("lost", "gained", "n_positive", "n_negative", "classes_estimable"),
)
"""Columns that stay numbers where not a single value is there."""

UNKNOWN_MEASURE = "Compare: there is no measure {name!r}; choose one of {known}."


@dataclass(frozen=True)
class PairView:
    """What changed from one classifier to another, on the audit images.

    `differences`: every measure per group [measure, group, n, n_positive, n_negative,
    classes_estimable, before, after, difference, low, high, lost, gained, p_value, p_holm, estimable,
    reason]. `verdicts`: [group, verdict, sentence, ...] as an audit holds them; empty where nothing was
    judged, because the limits of a case are about its own groups, from full precision to a candidate.
    `flips`: [id, group, label, before, after, kind]. `groups`: in order, without "overall".
    """

    before: str
    after: str
    differences: pd.DataFrame
    verdicts: pd.DataFrame
    flips: pd.DataFrame
    groups: tuple[str, ...]

    @property
    def judged(self) -> bool:
        """Whether an audit judged this very change in these very groups."""
        return not self.verdicts.empty


class Pairs:
    """Reading and computing comparisons; every mistake is a `FairQuantError`."""

    def __init__(self, jobs: Jobs, cases: Cases, results: Results) -> None:
        self._jobs = jobs
        self._cases = cases
        self._results = results

    def choices(self, run_id: str) -> dict[str, str]:
        """Key -> title: the classifiers of this run, then the candidates of other finished runs."""
        run = self._results.finished(run_id)
        others = [
            row
            for row in self._jobs.rows(
                kind=JobKind.RUN, case_id=run.case_id, state=JobState.FINISHED
            )
            if row.id != run_id and row.result_hash
        ]
        titles = [row.title for row in (run, *others)]
        found = {model: model for model in self._results.audit(run_id)["models"]}
        for row in others:
            alone = titles.count(row.title) == 1
            found[row.id] = row.title if alone else f"{row.title} ({row.id[-4:]})"
        return found

    def measures(self, run_id: str) -> list[dict[str, Any]]:
        """What can be compared: the measures of the audit, that of the limits among them."""
        return [measure.to_json() for measure in self._measures(run_id).values()]

    def pair(self, run_id: str, before: str, after: str, scheme: str | None = None) -> PairView:
        """From one of `choices` to another, per group of one scheme."""
        import pandas as pd

        if before == after:
            raise EvaluationError(SAME_MODEL.format(name=before))
        audit = self._results.audit(run_id)
        case = self._cases.row(self._results.finished(run_id).case_id)
        scheme = scheme or audit["scheme"]
        table = self.table(run_id, (before, after))
        judge = self.judge(run_id, before, after)
        owner, name = (audit, after) if judge is None else (judge, judge["candidate"])
        found = _stored(owner, before, name) if scheme == owner["scheme"] else None
        if found is None:
            found = compare(
                table,
                before,
                after,
                group_column=case.group_column,
                scheme=scheme,
                limits=_limits(case.limits, case.groups, scheme == case.scheme),
                must_not_miss=case.must_not_miss,
            )
        differences = pd.DataFrame(found["metric_differences"])
        groups = tuple(dict.fromkeys(row["group"] for row in found["differences"]))
        judged = judge is not None and scheme == judge["scheme"]
        return PairView(
            before=before,
            after=after,
            differences=differences.astype(dict.fromkeys(NUMBERS, float)),
            verdicts=pd.DataFrame(owner["comparisons"][name]["verdicts"] if judged else []),
            flips=flips(table, before, after, table.groups(case.group_column, scheme)),
            groups=groups[1:],
        )

    def measure_rows(
        self, run_id: str, measure: str, scheme: str | None = None, others: Sequence[str] = ()
    ) -> pd.DataFrame:
        """One measure per group, of all classifiers of this run and the candidates of others.

        Returns
        -------
        pandas.DataFrame
            [model, measure, group, n, n_positive, n_negative, classes_estimable, value, low, high,
            estimable, reason]; `model` is a title of `choices`.
        """
        import pandas as pd

        known = self._measures(run_id)
        if measure not in known:
            raise EvaluationError(UNKNOWN_MEASURE.format(name=measure, known=", ".join(known)))
        audit = self._results.audit(run_id)
        case = self._cases.row(self._results.finished(run_id).case_id)
        scheme = scheme or audit["scheme"]
        table = self.table(run_id, others)
        rows = _rows_in(audit, known[measure], audit["models"], scheme)
        for other in others:
            judged = self._results.audit(other)
            found = _rows_in(judged, known[measure], [judged["candidate"]], scheme)
            rows = None if rows is None or found is None else rows + _named(found, other)
        if rows is None:
            limits = _limits(case.limits, case.groups, scheme == case.scheme)
            column = case.group_column
            rows = measure_rows(
                table, known[measure], group_column=column, scheme=scheme, limits=limits
            )
        frame = pd.DataFrame(rows)
        frame["model"] = frame["model"].map(self.choices(run_id))
        return frame.astype(dict.fromkeys(("value", "low", "high"), float))

    def judge(self, run_id: str, before: str, after: str) -> dict[str, Any] | None:
        """The audit whose verdict is about this pair; None where nobody judged it."""
        audit = self._results.audit(run_id)
        if before != audit["reference"]:
            return None
        if after in audit["models"]:
            return audit if after == audit["candidate"] else None
        other = self._results.audit(after)
        return other if other["reference"] == before else None

    def _measures(self, run_id: str) -> dict[str, Measure]:
        case = self._cases.row(self._results.finished(run_id).case_id)
        limits = Limits.from_json(case.limits)
        found = {one.title: one for one in measures_of(limits, case.must_not_miss)}
        return found | {limits.measure.title: limits.measure}

    def table(self, run_id: str, keys: Sequence[str]) -> Predictions:
        """The audit images of this run, with the candidates of other runs under their ids."""
        table = self._results.predictions(run_id).part("audit")
        case_id = self._results.finished(run_id).case_id
        for key in dict.fromkeys(keys):
            if key in table.models:
                continue
            if self._results.finished(key).case_id != case_id:
                raise EvaluationError(OTHER_CASE.format(run=key))
            other = self._results.predictions(key).part("audit")
            scores = other.probabilities(self._results.audit(key)["candidate"])
            about = other.frame[list(IMAGE_COLUMNS)]
            table = table.joined(Predictions.build(about, other.classes, {key: scores}))
        return table


def _limits(stored: dict[str, Any], groups: Sequence[str], same_groups: bool) -> Limits:
    """The limits; where the groups are others, all known ones must pass."""
    limits = Limits.from_json(stored)
    if same_groups or not limits.groups:
        return limits
    return Limits.from_json({**stored, "groups": []})


def _stored(audit: dict[str, Any], before: str, after: str) -> dict[str, Any] | None:
    """The comparison as the run's audit holds it; None where it does not."""
    judged = audit["comparisons"].get(after, {}) if before == audit["reference"] else {}
    for one in (judged, *audit.get("other_comparisons", ())):
        if (one.get("before"), one.get("after")) == (before, after) and "metric_differences" in one:
            return one
    return None


def _rows_in(
    audit: dict[str, Any], measure: Measure, models: Sequence[str], scheme: str
) -> list[dict[str, Any]] | None:
    """Rows of one measure as the audit holds them; None where it does not, or means other classes."""
    kinds = {kind["measure"]: kind for kind in audit.get("measures", ())}
    kind = kinds.get(measure.title)
    if kind is None or scheme != audit["scheme"] or set(kind["classes"]) != set(measure.positive):
        return None
    rows: list[dict[str, Any]] = []
    for model in models:
        found = audit["metrics"].get(model)
        if found is None:
            return None
        rows += [
            {**row, "model": model} for row in found["by_group"] if row["measure"] == measure.title
        ]
    return rows


def _named(rows: Sequence[dict[str, Any]], model: str) -> list[dict[str, Any]]:
    return [{**row, "model": model} for row in rows]
