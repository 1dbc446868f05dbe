"""Every figure of the audits for any two classifiers of a case, by the names that people read.

Figures are read from the audits of the runs that the two belong to; what no audit holds is computed by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dashboard.backend.case.cases import Cases
from dashboard.backend.run.pairs import SAME_MODEL, Pairs
from dashboard.backend.run.results import Results
from fairquant_core.audit.group_questions import GroupQuestions
from fairquant_core.audit.limits import Limits
from fairquant_core.audit.summary_parts import plain
from fairquant_core.errors import EvaluationError

KEPT = ("measures", "metrics", "questions")
"""Parts of audit.json that runs of earlier versions lack."""

OTHER_GROUPS = (
    "Compare: run {run} was audited with the groups {theirs}, this one with {ours}. Start it again."
)


@dataclass(frozen=True)
class FullAuditView:
    """All figures of two classifiers on the audit images, in the groups of the case.

    `models`: titles of `Pairs.choices`, from and to. `metrics`: by title, as "metrics" in audit.json; `measures` says
    what each measure is. `earlier`: titles of those that were audited before all this was kept; then there are no
    metrics.
    """

    models: tuple[str, str]
    images: int
    scheme_title: str
    classes: tuple[str, ...]
    measures: tuple[dict[str, Any], ...]
    metrics: dict[str, dict[str, Any]]
    earlier: tuple[str, ...] = ()


class FullAudits:
    """Reading audits for a pair; every mistake is a `FairQuantError`."""

    def __init__(self, cases: Cases, results: Results, pairs: Pairs) -> None:
        self._cases = cases
        self._results = results
        self._pairs = pairs

    def view(self, run_id: str, before: str, after: str) -> FullAuditView:
        """The figures of two of `Pairs.choices`.

        Raises
        ------
        EvaluationError
            The two are the same, or were not audited on the same images in the same groups.
        """
        if before == after:
            raise EvaluationError(SAME_MODEL.format(name=before))
        self._pairs.table(run_id, (before, after))  # raises for other images, and for other cases
        own = self._results.audit(run_id)
        titles = self._pairs.choices(run_id)
        metrics: dict[str, dict[str, Any]] = {}
        measures: dict[str, dict[str, Any]] = {}
        earlier = []
        for key in (before, after):
            audit = own if key in own["models"] else self._results.audit(key)
            if audit["scheme"] != own["scheme"]:
                raise EvaluationError(
                    OTHER_GROUPS.format(run=key, theirs=audit["scheme"], ours=own["scheme"])
                )
            if not all(part in audit for part in KEPT):
                earlier.append(titles[key])
                continue
            metrics[titles[key]] = audit["metrics"][key if audit is own else audit["candidate"]]
            measures |= {kind["measure"]: kind for kind in audit["measures"]}
        return FullAuditView(
            models=(titles[before], titles[after]),
            images=own["images"],
            scheme_title=own.get("scheme_title", own["scheme"]),
            classes=tuple(own.get("classes", ())),
            measures=tuple(measures.values()),
            metrics={} if earlier else metrics,
            earlier=tuple(earlier),
        )

    def questions(self, run_id: str, before: str, after: str) -> dict[str, Any]:
        """The change with other groups, as "questions" in audit.json; models by their titles.

        "judged" says whether the limits of the case are about this change at all; else their verdicts mean nothing.

        Raises
        ------
        EvaluationError
            As :meth:`view`.
        """
        table = self._pairs.table(run_id, (before, after))
        titles = self._pairs.choices(run_id)
        judge = self._pairs.judge(run_id, before, after)
        if judge is not None and "questions" in judge:
            found = judge["questions"]
            names = {judge["reference"]: titles[before], judge["candidate"]: titles[after]}
        else:
            case = self._cases.row(self._results.finished(run_id).case_id)
            asked = GroupQuestions(table, before, after, Limits.from_json(case.limits))
            found = plain(asked.about(case.group_column, case.scheme))
            names = {before: titles[before], after: titles[after]}
        accuracy = found["unknown"]["accuracy"]
        unknown = {title: accuracy[name] for name, title in names.items()}
        return {
            **found,
            "judged": judge is not None,
            "unknown": {**found["unknown"], "accuracy": unknown},
        }
