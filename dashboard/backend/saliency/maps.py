"""Asking for saliency maps of a run and reading them.

Every job is about all images of a question: who wants more flips asks anew, for those and for all before, and the job
takes what earlier ones have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from dashboard.backend.case.cases import Cases
from dashboard.backend.queue.jobs import JobRequest, Jobs
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Case, Job
from dashboard.backend.run.results import Results
from dashboard.backend.saliency.images import (
    GAINED,
    LOST,
    Decisions,
    flip_counts,
    flips_by_group,
    sample,
)
from dashboard.backend.saliency.reuse import SALIENCY_FILE
from dashboard.backend.saliency.views import TARGETS, SaliencyChoice, SaliencyView
from dashboard.backend.views import JobKind, JobState
from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.masks import mask_state
from fairquant_core.errors import EvaluationError
from fairquant_core.explain.catalogue import METHODS

if TYPE_CHECKING:
    import pandas as pd

GROUPS_FILE = "saliency_groups.parquet"
MOST_OTHERS = 3
"""More columns than these leave no room for a picture."""

MOST_PER_GROUP = 100
CHANGES = (
    *("candidate", "id", "after", "flip", "drift", "overlap", "estimable"),
    *("lesion_before", "lesion_after"),
)

UNKNOWN_METHOD = "There is no saliency method {name!r}; choose one of {known}."
UNKNOWN_TARGET = "There is no target {name!r}; choose one of {known}."
UNKNOWN_CLASS = "The case has no class {name!r}; choose one of {known}."
TOO_MANY = "At most {most} further candidates can be shown beside this one, not {found}."
OTHER_CASE = "Run {run} belongs to another case; only candidates of the same case can be compared."
OTHER_IMAGES = "Run {run} was audited on other images than run {own}; start it again."
BAD_NUMBER = "The sample needs 2 to {most} images per group, not {found}."
NO_MORE = "There is no further flip in the group {group!r} whose maps were not asked for."
NO_IMAGES = "The audit split holds no image of a group of this case."


class SaliencyMaps:
    """Jobs of kind "saliency" and their results."""

    def __init__(self, jobs: Jobs, cases: Cases, artefacts: Artefacts, results: Results) -> None:
        self._jobs = jobs
        self._cases = cases
        self._artefacts = artefacts
        self._results = results

    def request(self, run_id: str, choice: SaliencyChoice) -> str:
        """Queue the maps of some images by full precision and by the run and others."""
        return self._ask(run_id, choice)

    def request_more(
        self, run_id: str, choice: SaliencyChoice, group: str, count: int | None = None
    ) -> str:
        """Queue the maps of further flips of one group beside those that were asked for before.

        Parameters
        ----------
        group : one of the case, or "unknown".
        count : how many more; None takes all that are left.

        Raises
        ------
        EvaluationError
            There is no further flip in this group, or what `request` raises.
        """
        return self._ask(run_id, choice, group, count)

    def _ask(
        self, run_id: str, choice: SaliencyChoice, more: str = "", count: int | None = None
    ) -> str:
        run = self._results.finished(run_id)
        case = self._cases.row(run.case_id)
        choice = _normal(choice, run_id)
        _check(choice, case)
        runs = [run, *(self._results.finished(one) for one in choice.others)]
        for other in runs[1:]:
            if other.case_id != case.id:
                raise EvaluationError(OTHER_CASE.format(run=other.id))
        decisions = self._decisions(case, runs)
        sampled = sample(case, decisions, choice.per_group)
        flips = flips_by_group(case, decisions)
        results = {one.id: str(one.result_hash) for one in runs}
        wanted = {*sampled, *self._asked(run_id, choice, results)}
        for inside in flips.values():
            wanted.update(inside[: choice.per_group])
        if more:
            left = [one for one in flips.get(more, ()) if one not in wanted]
            if not left:
                raise EvaluationError(NO_MORE.format(group=more))
            wanted.update(left[:count])
        ids = [one for inside in flips.values() for one in inside if one in wanted]
        ids += [one for one in sampled if one not in set(ids)]
        if not ids:
            raise EvaluationError(NO_IMAGES)
        config: dict[str, Any] = {
            "choice": _json(choice),
            "results": results,
            "image_ids": ids,
            "sampled": sampled,
        }
        if masks := mask_state(self._cases.cohort(case.id), ids):
            # Other masks are another question; without any it is the one that was always asked.
            config["masks"] = masks
        return self._jobs.submit(
            JobRequest(
                JobKind.SALIENCY,
                run.case_id,
                f"{METHODS[choice.method].title} of {len(ids)} images",
                {"config": config},
                config,
                parent_id=run.id,
            ),
            self._whole,
        )

    def _asked(self, run_id: str, choice: SaliencyChoice, results: dict[str, str]) -> set[str]:
        """Images that jobs about the same maps are or were drawn for, whatever the size of the sample."""
        question = {**_json(choice), "per_group": None}
        found: set[str] = set()
        for row in self._jobs.rows(kind=JobKind.SALIENCY, parent_id=run_id):
            alive = JobState(row.state).active or row.state == JobState.FINISHED.value
            about = {**row.config.get("choice", {}), "per_group": None}
            if alive and (about, row.config.get("results")) == (question, results):
                found.update(row.config["image_ids"])
        return found

    def job(self, run_id: str, choice: SaliencyChoice) -> Job | None:
        """The job that was asked for last with this choice."""
        return next(iter(self._rows(run_id, choice, None)), None)

    def last(self, run_id: str) -> SaliencyChoice | None:
        """What was asked for last, by anybody; None if nothing was."""
        names = SaliencyChoice.__dataclass_fields__
        for row in self._jobs.rows(kind=JobKind.SALIENCY, parent_id=run_id):
            found = row.config.get("choice", {})
            if set(found) == set(names):
                return SaliencyChoice(**{**found, "others": tuple(found["others"])})
        return None

    def view(self, run_id: str, choice: SaliencyChoice) -> SaliencyView | None:
        """The newest finished maps of this choice; None if there are none."""
        row = self._shown(run_id, choice)
        return None if row is None else self._read(row, choice)

    def result(self, run_id: str, choice: SaliencyChoice) -> str | None:
        """The artefact that `view` reads, also while further maps are drawn; None if there is none."""
        row = self._shown(run_id, choice)
        return None if row is None else row.result_hash

    def _shown(self, run_id: str, choice: SaliencyChoice) -> Job | None:
        # Who asked for more flips has all the others too; a job that was resumed later may have fewer.
        rows = self._rows(run_id, choice, JobState.FINISHED, largest_first=True)
        whole = (row for row in rows if row.result_hash and self._whole(row.result_hash))
        return next(whole, None)

    def outdated(self, run_id: str, choice: SaliencyChoice) -> bool:
        """Whether masks of the lesions came, went or changed since these maps were drawn."""
        row = next(iter(self._rows(run_id, choice, JobState.FINISHED)), None)
        return row is not None and bool(self._other_masks([row]))

    def _other_masks(self, rows: Sequence[Job]) -> set[str]:
        """Ids of those jobs of a case that were drawn with other masks than there are now."""
        ids = list(dict.fromkeys(one for row in rows for one in row.config["image_ids"]))
        known = mask_state(self._cases.cohort(rows[0].case_id), ids) if rows else []
        now = {state[0]: state for state in known}
        return {
            row.id
            for row in rows
            if [now[one] for one in row.config["image_ids"] if one in now]
            != row.config.get("masks", [])
        }

    def _whole(self, result: str) -> bool:
        return all(self._artefacts.has(result, name) for name in (SALIENCY_FILE, GROUPS_FILE))

    def _rows(
        self,
        run_id: str,
        choice: SaliencyChoice,
        state: JobState | None,
        largest_first: bool = False,
    ) -> list[Job]:
        choice = _normal(choice, run_id)
        runs = [self._jobs.row(one, JobKind.RUN) for one in (run_id, *choice.others)]
        results = {run.id: run.result_hash for run in runs}
        wanted = _json(choice)
        rows = self._jobs.rows(kind=JobKind.SALIENCY, parent_id=run_id, state=state)
        found = [
            row
            for row in rows
            if (row.config.get("choice"), row.config.get("results")) == (wanted, results)
        ]
        # Newest first, but before all others those that were drawn with the masks that are there now.
        other = self._other_masks(found)
        return sorted(
            found,
            key=lambda row: (row.id in other, -len(row.config["image_ids"]) * largest_first),
        )

    def _decisions(self, case: Case, runs: Sequence[Job]) -> list[Decisions]:
        found = [self._decided(case, run.id) for run in runs]
        own = found[0].frame["id"].tolist()
        for run, other in zip(runs[1:], found[1:], strict=True):
            if other.frame["id"].tolist() != own:
                raise EvaluationError(OTHER_IMAGES.format(run=run.id, own=runs[0].id))
        return found

    def _decided(self, case: Case, run_id: str) -> Decisions:
        import numpy as np
        import pandas as pd

        audit: Predictions = self._results.predictions(run_id).part("audit")
        known = self._results.audit(run_id)
        before, after = known["reference"], known["candidate"]
        was, now = audit.correct(before), audit.correct(after)
        flip = np.where(was == now, "", np.where(was, LOST, GAINED))
        frame = pd.DataFrame(
            {
                "id": audit.frame["id"].astype(str).to_numpy(),
                "group": audit.groups(case.group_column, case.scheme).astype(object).to_numpy(),
                "label": audit.frame["label"].to_numpy(),
                "before": audit.predicted(before).to_numpy(),
                "after": audit.predicted(after).to_numpy(),
                "flip": flip,
            }
        )
        return Decisions(run_id, frame)

    def _read(self, row: Job, choice: SaliencyChoice) -> SaliencyView:
        import numpy as np
        import pandas as pd

        from fairquant_core.explain.maps import ComparedMaps

        result = str(row.result_hash)
        maps = ComparedMaps.load(self._artefacts.path(result, SALIENCY_FILE))
        by_group = pd.read_parquet(self._artefacts.path(result, GROUPS_FILE))
        runs = [self._jobs.row(one) for one in maps.models[1:]]
        titles = _titles(runs)
        case = self._cases.row(row.case_id)
        decisions = self._decisions(case, runs)
        asked = list(row.config["image_ids"])
        frame = decisions[0].frame.set_index("id", drop=False).loc[asked].reset_index(drop=True)
        places = {one: place for place, one in enumerate(maps.ids)}
        lesion = maps.lesion
        areas = {} if lesion is None else dict(zip(maps.ids, lesion.area, strict=True))
        problems = row.summary.get("problems", {})
        mask_problems = row.summary.get("mask_problems", {})
        frame = frame.drop(columns=["after", "flip"]).assign(
            target=_target_names(choice, case, decisions[0], frame),
            sampled=frame["id"].isin(row.config["sampled"]),
            problem=[problems.get(one, "") for one in asked],
            place=[places.get(one, -1) for one in asked],
            lesion_area=[float(areas.get(one, np.nan)) for one in asked],
            mask_problem=[mask_problems.get(one, "") for one in asked],
        )
        changes = maps.changes().rename(columns={"model": "candidate"})
        parts, flips = [], []
        for title, decided in zip(titles.values(), decisions, strict=True):
            own = decided.frame[["id", "after", "flip"]].assign(candidate=titles[decided.run_id])
            drift = changes[changes["candidate"] == decided.run_id].drop(columns="candidate")
            parts.append(own[own["id"].isin(asked)].merge(drift, on="id", how="left"))
            flips.append(decided.flips(asked).assign(candidate=title))
        table = pd.concat(parts, ignore_index=True)
        table["estimable"] = table["estimable"].eq(True)
        by_group = by_group.rename(columns={"model": "candidate"})
        by_group["candidate"] = by_group["candidate"].map(titles)
        by_group = by_group.merge(pd.concat(flips), on=["candidate", "group"], how="left")
        return SaliencyView(
            choice=choice,
            candidates=tuple(titles.values()),
            frame=frame,
            changes=table[list(CHANGES)],
            pictures=maps.pictures,
            completeness=maps.completeness,
            score_change=maps.score_change,
            by_group=by_group.fillna({"flips": 0, "flips_shown": 0}),
            crop=float(row.summary.get("crop", 1.0)),
            covers=None if lesion is None else lesion.covers,
            flips=flip_counts(flips_by_group(case, decisions), asked),
        )


def _normal(choice: SaliencyChoice, run_id: str) -> SaliencyChoice:
    """Choices that mean the same are the same."""
    others = tuple(sorted(set(choice.others) - {run_id}))
    named = choice.target_class if choice.target == "class" else ""
    return replace(choice, others=others, target_class=named)


def _json(choice: SaliencyChoice) -> dict[str, Any]:
    return {**asdict(choice), "others": list(choice.others)}


def _check(choice: SaliencyChoice, case: Case) -> None:
    if choice.method not in METHODS:
        raise EvaluationError(UNKNOWN_METHOD.format(name=choice.method, known=", ".join(METHODS)))
    if choice.target not in TARGETS:
        raise EvaluationError(UNKNOWN_TARGET.format(name=choice.target, known=", ".join(TARGETS)))
    if choice.target == "class" and choice.target_class not in case.classes:
        raise EvaluationError(
            UNKNOWN_CLASS.format(name=choice.target_class, known=", ".join(case.classes))
        )
    if len(choice.others) > MOST_OTHERS:
        raise EvaluationError(TOO_MANY.format(most=MOST_OTHERS, found=len(choice.others)))
    if not 2 <= choice.per_group <= MOST_PER_GROUP:
        raise EvaluationError(BAD_NUMBER.format(most=MOST_PER_GROUP, found=choice.per_group))


def _target_names(
    choice: SaliencyChoice, case: Case, own: Decisions, frame: pd.DataFrame
) -> list[str]:
    """Name of the class whose score the maps of each row explain."""
    if choice.target == "class":
        return [choice.target_class] * len(frame)
    column = {"predicted": "before", "candidate": "after", "true": "label"}[choice.target]
    return own.frame.set_index("id")[column].loc[frame["id"]].tolist()


def _titles(runs: Sequence[Job]) -> dict[str, str]:
    """Run id -> its title; two of the same title are told apart by their ids."""
    names = [run.title for run in runs]
    return {
        run.id: run.title if names.count(run.title) == 1 else f"{run.title} ({run.id[-4:]})"
        for run in runs
    }
