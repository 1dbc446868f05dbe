"""Asking for saliency maps of a run and reading them.

Two kinds of images are shown: a random sample of each group, on which alone a statement about the
group rests, and images whose decision flipped, which people want to see first but which drift more
than others.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from dashboard.backend.artefacts import Artefacts
from dashboard.backend.cases import Cases, group_order
from dashboard.backend.jobs import JobRequest, Jobs
from dashboard.backend.results import Results
from dashboard.backend.schema import Job
from dashboard.backend.views import JobKind, JobState, SaliencyView
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import EvaluationError
from fairquant_core.explain.catalogue import METHODS

if TYPE_CHECKING:
    import pandas as pd

SALIENCY_FILE = "saliency.npz"
SAMPLED_PER_GROUP = 8
FLIPS_PER_GROUP = 4

UNKNOWN_METHOD = "There is no saliency method {name!r}; choose one of {known}."
STRANGE_IMAGES = "These images are not in the audit split of this run: {ids}."
NO_IMAGES = "Choose at least one image for the saliency maps."


class SaliencyMaps:
    """Jobs of kind "saliency" and their results."""

    def __init__(self, jobs: Jobs, cases: Cases, artefacts: Artefacts, results: Results) -> None:
        self._jobs = jobs
        self._cases = cases
        self._artefacts = artefacts
        self._results = results

    def request(self, run_id: str, method: str, image_ids: list[str] | None) -> str:
        """Queue the maps of some images, before and after."""
        if method not in METHODS:
            raise EvaluationError(UNKNOWN_METHOD.format(name=method, known=", ".join(METHODS)))
        run = self._results.finished(run_id)
        audit = self._results.predictions(run_id).part("audit")
        if image_ids is None:
            sampled, flipped = self._choose(run, audit)
            ids = [*flipped, *(one for one in sampled if one not in set(flipped))]
        else:
            ids, sampled = list(dict.fromkeys(image_ids)), []
            strange = sorted(set(ids) - set(audit.frame["id"]))
            if strange:
                raise EvaluationError(STRANGE_IMAGES.format(ids=", ".join(strange[:5])))
        if not ids:
            raise EvaluationError(NO_IMAGES)
        config = {"method": method, "image_ids": ids, "sampled": sampled}
        return self._jobs.submit(
            JobRequest(
                JobKind.SALIENCY,
                run.case_id,
                f"{METHODS[method].title} of {len(ids)} images",
                {"run": run.id, "result": run.result_hash, "config": config},
                config,
                parent_id=run.id,
            ),
            lambda result: self._artefacts.has(result, SALIENCY_FILE),
        )

    def job(self, run_id: str, method: str) -> Job | None:
        """The job that was asked for last."""
        return next(iter(self._rows(run_id, method, None)), None)

    def view(self, run_id: str, method: str) -> SaliencyView | None:
        """The newest finished maps; None if there are none."""
        for row in self._rows(run_id, method, JobState.FINISHED):
            if row.result_hash and self._artefacts.has(row.result_hash, SALIENCY_FILE):
                return self._read(row, method)
        return None

    def _rows(self, run_id: str, method: str, state: JobState | None) -> list[Job]:
        self._jobs.row(run_id, JobKind.RUN)
        rows = self._jobs.rows(kind=JobKind.SALIENCY, parent_id=run_id, state=state)
        return [row for row in rows if row.config["method"] == method]

    def _choose(self, run: Job, audit: Predictions) -> tuple[list[str], list[str]]:
        """Ids of the random sample per group, and ids of flips per group (lost ones first)."""
        case = self._cases.row(run.case_id)
        groups = audit.groups(case.group_column, case.scheme)
        flips = self._results.comparison(run.id, None).flips
        sampled: list[str] = []
        flipped: list[str] = []
        for group in case.groups:
            ids = audit.frame.loc[(groups == group).to_numpy(), "id"].tolist()
            # By hash of run and id: random, but the same for everybody who asks.
            ids.sort(key=lambda one: hashlib.sha256(f"{run.id}:{one}".encode()).digest())
            sampled += ids[:SAMPLED_PER_GROUP]
            flipped += flips.loc[flips["group"] == group, "id"].head(FLIPS_PER_GROUP).tolist()
        return sampled, flipped

    def _read(self, row: Job, method: str) -> SaliencyView:
        import numpy as np

        from fairquant_core.explain.drift import group_drift, image_drift

        path = self._artefacts.path(str(row.result_hash), SALIENCY_FILE)
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        ids = arrays["ids"].astype(str).tolist()
        before, after = arrays["maps_before"], arrays["maps_after"]
        frame = self._frame(row, ids).join(image_drift(before, after))
        sampled = frame[frame["sampled"]]
        case = self._cases.row(row.case_id)
        by_group = group_drift(
            sampled,
            sampled["group"],
            clusters=sampled["cluster"].to_numpy(),
            order=group_order(sampled["group"], case.scheme),
        )
        return SaliencyView(
            method=method,
            frame=frame,
            maps_before=before,
            maps_after=after,
            completeness_before=arrays.get("completeness_before"),
            completeness_after=arrays.get("completeness_after"),
            by_group=by_group,
        )

    def _frame(self, row: Job, ids: list[str]) -> pd.DataFrame:
        """What is known about each image, in the order of the maps."""
        import pandas as pd

        assert row.parent_id is not None
        case = self._cases.row(row.case_id)
        audit = self._results.predictions(row.parent_id).part("audit")
        known = self._results.audit(row.parent_id)
        before, after = known["reference"], known["candidate"]
        was, now = audit.correct(before), audit.correct(after)
        table = pd.DataFrame(
            {
                "id": audit.frame["id"].astype(str),
                "group": audit.groups(case.group_column, case.scheme).astype(object),
                "label": audit.frame["label"],
                "before": audit.predicted(before),
                "after": audit.predicted(after),
                "flip": [
                    "lost" if a and not b else "gained" if b and not a else ""
                    for a, b in zip(was, now, strict=True)
                ],
                "cluster": audit.frame["cluster"],
            }
        ).set_index("id", drop=False)
        frame = table.loc[ids].reset_index(drop=True)
        return frame.assign(sampled=frame["id"].isin(row.config["sampled"]))
