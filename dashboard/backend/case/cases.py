"""Cases as pages read them: rows of the store, the cohort behind them, the baseline."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import select

from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Case
from dashboard.backend.records.store import Store
from dashboard.backend.settings import Settings
from dashboard.backend.views import CaseView, ClassifierView, CohortView
from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.metrics import AccuracyTable, group_accuracy
from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.cohort import Cohort, load_cohort
from fairquant_core.data.images import open_image
from fairquant_core.data.skin_tone import SCHEMES, UNKNOWN, ordered
from fairquant_core.data.split import SPLITS
from fairquant_core.errors import FairQuantError

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

Kept = TypeVar("Kept")

COHORT_FOLDER = "cohort"
PREDICTIONS_FILE = "predictions.parquet"
FULL_PRECISION = "full precision"
KEPT = 4
"""Cohorts and baselines held in memory; a cohort of 17,000 images takes about 20 MB."""

NO_CASE = "There is no case with the id {case_id!r} in this data folder. Choose one from the list."
NO_IMAGE = "The cohort of this case has no image with the id {image_id!r}."
NOT_READY = (
    "The case '{title}' is not ready yet: its images are still to be decoded and scored. Wait for "
    "the job 'prepare', or resume it if it stopped."
)


class Cases:
    """Reading cases."""

    def __init__(self, store: Store, settings: Settings, artefacts: Artefacts) -> None:
        self._store = store
        self._settings = settings
        self._artefacts = artefacts
        self._lock = threading.Lock()
        self._cohorts: OrderedDict[tuple[str, str], Cohort] = OrderedDict()
        self._baselines: OrderedDict[tuple[str, str], AccuracyTable] = OrderedDict()

    def rows(self) -> list[Case]:
        """All cases: the demo first, then newest first."""
        with self._store.read() as session:
            query = select(Case).order_by(Case.demo.desc(), Case.created.desc(), Case.id)
            return list(session.scalars(query))

    def row(self, case_id: str) -> Case:
        """One case. Raises FairQuantError for an unknown id."""
        with self._store.read() as session:
            case = session.get(Case, case_id)
        if case is None:
            raise FairQuantError(NO_CASE.format(case_id=case_id))
        return case

    def ready_row(self, case_id: str) -> Case:
        """One case that can be worked on. Raises FairQuantError while it is being prepared."""
        case = self.row(case_id)
        if not case.ready:
            raise FairQuantError(NOT_READY.format(title=case.title))
        return case

    def cohort(self, case_id: str) -> Cohort:
        """The cohort, without looking at the image files again; shared, do not change it."""
        case = self.row(case_id)
        key = (case_id, case.cohort.get("fingerprint", ""))
        with self._lock:
            if key not in self._cohorts:
                folder = self._settings.case_folder(case_id) / COHORT_FOLDER
                self._cohorts[key] = load_cohort(folder, check_images=False)
            return _recent(self._cohorts, key)

    def table(self, case_id: str) -> pd.DataFrame:
        """The cohort table with one more column "group" in the case's scheme."""
        case, cohort = self.row(case_id), self.cohort(case_id)
        groups = cohort.groups(case.group_column, case.scheme)
        return cohort.table.assign(group=groups.astype(object))

    def image(self, case_id: str, image_id: str, longest_side: int | None) -> Image:
        """One picture, decoded safely."""
        cohort = self.cohort(case_id)
        found = cohort.table.loc[cohort.table["id"] == image_id, "file"]
        if found.empty:
            raise FairQuantError(NO_IMAGE.format(image_id=image_id))
        picture = open_image(cohort.root / found.iloc[0], shrink_to=longest_side)
        if longest_side is not None:
            picture.thumbnail((longest_side, longest_side))
        return picture

    def cell_counts(self, case_id: str) -> pd.DataFrame:
        """[group, label, split, n] with every combination, also the empty ones."""
        import pandas as pd

        case, cohort, table = self.row(case_id), self.cohort(case_id), self.table(case_id)
        groups = list(case.groups)
        if (table["group"] == UNKNOWN).any():
            groups.append(UNKNOWN)
        every = pd.MultiIndex.from_product(
            [groups, list(cohort.classes), list(SPLITS)], names=["group", "label", "split"]
        )
        counts = table.groupby(["group", "label", "split"]).size()
        return counts.reindex(every, fill_value=0).rename("n").reset_index()

    def baseline_predictions(self, case_id: str) -> Predictions | None:
        """Full-precision predictions on validation and audit images; None until prepared."""
        case = self.row(case_id)
        if case.baseline_hash is None:
            return None
        return Predictions.load(self._artefacts.path(case.baseline_hash, PREDICTIONS_FILE))

    def baseline(self, case_id: str, scheme: str | None) -> AccuracyTable | None:
        """Full-precision accuracy on the audit split; None until prepared."""
        case = self.row(case_id)
        if case.baseline_hash is None:
            return None
        scheme = scheme or case.scheme
        key = (f"{case.baseline_hash}:{case.group_column}:{case.limits}", scheme)
        with self._lock:
            if key not in self._baselines:
                predictions = self.baseline_predictions(case_id)
                assert predictions is not None
                audit = predictions.part("audit")
                groups = audit.groups(case.group_column, scheme)
                order = group_order(groups, scheme)
                minimum = Limits.from_json(case.limits).minimum_images
                self._baselines[key] = group_accuracy(
                    audit, FULL_PRECISION, groups, order=order, minimum=minimum
                )
            return _recent(self._baselines, key)


def view(case: Case) -> CaseView:
    """The case as pages see it."""
    about, cohort = case.classifier, case.cohort
    return CaseView(
        id=case.id,
        title=case.title,
        classifier=ClassifierView(
            about.get("name", ""),
            about.get("architecture", ""),
            about.get("fingerprint", ""),
            float(about.get("megabytes", 0.0)),
            int(about.get("parameters", 0)),
        ),
        cohort=CohortView(
            cohort.get("name", ""),
            cohort.get("fingerprint", ""),
            bool(cohort.get("synthetic", False)),
            int(cohort.get("n", 0)),
            dict(cohort.get("n_by_split", {})),
            cohort.get("licence", ""),
        ),
        classes=tuple(case.classes),
        group_column=case.group_column,
        group_source=case.group_source,
        scheme=case.scheme,
        groups=tuple(case.groups),
        must_not_miss=tuple(case.must_not_miss),
        limits=Limits.from_json(case.limits),
        created=case.created,
        ready=case.ready,
        baseline_origin=case.baseline_origin,
        prepare_job=case.prepare_job,
        warnings=tuple(case.warnings),
        intended_use=dict(cohort.get("intended_use") or {}),
    )


def cohort_facts(cohort: Cohort, source: Mapping[str, object]) -> dict[str, object]:
    """What the store keeps about a cohort; the fingerprint joins when the images were hashed.

    `source` says how it was read, so that it can be read the same way again.
    """
    counts = cohort.table["split"].value_counts()
    return {
        "name": cohort.name,
        "fingerprint": "",
        "table_fingerprint": cohort.table_fingerprint,
        "synthetic": cohort.synthetic,
        "licence": cohort.licence,
        "n": len(cohort),
        "n_by_split": {split: int(counts.get(split, 0)) for split in SPLITS},
        "source": dict(source),
    }


def group_order(groups: pd.Series, scheme: str) -> list[str]:
    """Display order with the groups of the scheme that hold no image: absence must be seen."""
    return ordered({*SCHEMES[scheme].groups, *groups.unique()}, scheme)


def _recent(kept: OrderedDict[tuple[str, str], Kept], key: tuple[str, str]) -> Kept:
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)
    return kept[key]
