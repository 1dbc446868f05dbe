"""The built-in case: seeded at first start from `assets/demo`, with its audit already computed.

The folder holds cohort.csv, cohort.json and images/ (the synthetic cohort), classifier.safetensors,
the full-precision predictions in predictions.parquet, and provenance.json, which says how they were
made.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from dashboard.backend.case.cases import COHORT_FOLDER, PREDICTIONS_FILE, cohort_facts
from dashboard.backend.case.classifier_file import ClassifierFile
from dashboard.backend.case.new_case import CLASSIFIER_FILE, check_groups
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Case
from dashboard.backend.records.store import Store, digest, now
from dashboard.backend.settings import Settings
from fairquant_core.audit.criteria import Limits
from fairquant_core.data import skin_tone
from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.cohort import Cohort, save_cohort
from fairquant_core.errors import CohortError
from fairquant_core.files import file_hash

PARTS = ("cohort.csv", "cohort.json", CLASSIFIER_FILE, PREDICTIONS_FILE, "provenance.json")
TITLE = "Demo: synthetic skin lesions"
EARLIER = "Earlier demo"
INTENDED_USE = {
    "purpose": "Trying out this program: how a classifier is made smaller, judged and signed.",
    "population": "Nobody: every photograph was drawn by a program.",
    "users": "People who want to get to know this program.",
    "care_pathway": "Outside of any care.",
    "reference_standard": "The program that drew a lesion also named it.",
    "setting": "Drawn by a program that comes with this one.",
}
BROKEN = (
    "The built-in demo in {folder} does not fit together: {reason}. Restore the folder from the "
    "repository."
)


def seed_demo(store: Store, settings: Settings, artefacts: Artefacts) -> str | None:
    """Make the demo case if it is not there yet; returns its id, or None without demo files.

    A new version of the files makes a new case; runs on the old one stay with the old one.
    """
    folder = settings.assets_folder / "demo"
    if not all((folder / part).is_file() for part in PARTS):
        return None
    version = digest({part: file_hash(folder / part) for part in PARTS})
    identifier = f"demo-{version[:8]}"
    with store.read() as session:
        known = session.get(Case, identifier) is not None
    cohort_folder = settings.case_folder(identifier) / COHORT_FOLDER
    if known and _root(cohort_folder) == str(folder.resolve()):
        return identifier
    if known:
        # The checkout was moved: the same images are in another place now.
        _save(read_cohort(folder), cohort_folder)
        return identifier
    case = _build(identifier, folder, settings, artefacts)
    try:
        with store.write() as session:
            session.execute(
                update(Case).where(Case.demo).values(demo=False, title=f"{EARLIER}: {TITLE}")
            )
            session.add(case)
    except IntegrityError:
        # Another process seeded it in the meantime.
        return identifier
    return identifier


def _build(identifier: str, folder: Path, settings: Settings, artefacts: Artefacts) -> Case:
    about = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    cohort = read_cohort(folder)
    column = next(iter(cohort.group_columns))
    scheme = skin_tone.default_scheme(cohort.table[column])
    file = ClassifierFile.read(folder / CLASSIFIER_FILE)
    if file.description is None:
        raise CohortError(BROKEN.format(folder=folder, reason="the classifier has no description"))
    facts = cohort_facts(
        cohort,
        {
            "folder": str(folder.resolve()),
            "labels": None,
            "groups": None,
            "scheme": scheme,
            "split_seed": 0,
        },
    )
    facts |= {"fingerprint": cohort.fingerprint, "intended_use": INTENDED_USE}
    _require_fitting(about, folder, cohort, file.description)
    _save(cohort, settings.case_folder(identifier) / COHORT_FOLDER)
    return Case(
        id=identifier,
        title=TITLE,
        demo=True,
        classifier={
            "name": file.description.get("name", ""),
            "architecture": file.description["architecture"],
            "fingerprint": file.description["fingerprint"],
            "megabytes": file.megabytes,
            "parameters": file.parameters,
            "origin": "demo",
            "file": CLASSIFIER_FILE,
        },
        cohort=facts,
        classes=list(cohort.classes),
        group_column=column,
        group_source=cohort.group_columns[column],
        scheme=scheme,
        groups=check_groups(cohort, column, scheme),
        must_not_miss=_must_not_miss(about, cohort.classes),
        limits=Limits().to_json(),
        warnings=list(cohort.warnings),
        created=now(),
        ready=True,
        baseline_origin=_origin(about, len(cohort.part("audit"))),
        classifier_hash=artefacts.publish({CLASSIFIER_FILE: folder / CLASSIFIER_FILE}),
        baseline_hash=artefacts.publish({PREDICTIONS_FILE: folder / PREDICTIONS_FILE}),
    )


def _save(cohort: Cohort, folder: Path) -> None:
    """Save by replacing whole files: several first starts at once do the same without harm."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        save_cohort(cohort, Path(temporary))
        for path in Path(temporary).iterdir():
            path.replace(folder / path.name)


def _root(folder: Path) -> str | None:
    """Where the saved cohort expects its images; None if it has to be saved again."""
    try:
        return str(json.loads((folder / "cohort.json").read_text(encoding="utf-8"))["root"])
    except (OSError, ValueError, KeyError):
        return None


def _must_not_miss(about: dict[str, Any], classes: tuple[str, ...]) -> list[str]:
    named = about.get("must_not_miss")
    if named is None:
        from fairquant_core.data.demo import MALIGNANT

        named = MALIGNANT
    return [name for name in classes if name in named]


def _require_fitting(
    about: dict[str, Any], folder: Path, cohort: Cohort, description: dict[str, Any]
) -> None:
    """The predictions belong to these very images and this very classifier."""
    for key, found, reason in (
        ("cohort_fingerprint", cohort.fingerprint, "the images are not those that were scored"),
        (
            "classifier_fingerprint",
            description["fingerprint"],
            "the classifier is not the one that scored the images",
        ),
    ):
        if about.get(key) != found:
            raise CohortError(BROKEN.format(folder=folder, reason=reason))


def _origin(about: dict[str, Any], audited: int) -> str:
    text = (
        f"Computed on {str(about.get('made', ''))[:10]} on {audited} audit images, before delivery"
    )
    command = about.get("command", "")
    return f"{text}. Remake it with: {command}" if command else f"{text}."
