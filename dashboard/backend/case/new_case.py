"""Making a case: everything a person can get wrong is checked before anything is stored."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from dashboard.backend.case.cases import COHORT_FOLDER, cohort_facts
from dashboard.backend.case.classifier_file import ClassifierFile
from dashboard.backend.queue.jobs import JobRequest, Jobs
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Case
from dashboard.backend.records.store import Store, now
from dashboard.backend.settings import Settings
from dashboard.backend.views import CohortInspection, JobKind, NewCase
from fairquant_core.audit.criteria import Limits
from fairquant_core.data import skin_tone
from fairquant_core.data.adapters import ADAPTERS, Request, find_table, read_cohort
from fairquant_core.data.cohort import Cohort, load_cohort, save_cohort
from fairquant_core.data.table_columns import read_header
from fairquant_core.errors import CheckpointError, ClassifierError, CohortError, FairQuantError
from fairquant_core.report.facts import INTENDED_USE

CLASSIFIER_FILE = "classifier.safetensors"
MOST_NAMED = 200
"""Columns with more values are ids or file names, not diagnoses or groups."""

LONGEST_STATEMENT = 600
"""Characters of one statement on the intended use; the label in the bundle has one page."""

NO_TITLE = "Title: give the case a name, so that others recognise it."
TWO_GROUPS = (
    "Group column {column!r}: only {known} has images with a known group; a comparison needs at "
    "least two groups. Choose another column or grouping."
)
GROUP_NOT_AUDITED = (
    "Group column {column!r}: the {split} split holds images of {count} known group; at least two "
    "are needed. Choose another grouping, or give the data set more images."
)
STRANGE_CLASS = "Must not be missed: {wrong} is no class of this cohort; the classes are {known}."
STRANGE_GROUP = "Limits: {wrong} is no group of this cohort; the groups are {known}."
STRANGE_STATEMENT = (
    "Intended use: {wrong} is nothing that a report says; the statements are {known}."
)
LONG_STATEMENT = "{title}: {count} characters are too many; at most {most} fit into a report."
NO_CLASSIFIER = (
    "Classifier: choose a weights file, or the name of an architecture that is to be fine-tuned."
)
NEEDS_ARCHITECTURE = (
    "Classifier: {path} does not say what it is; give the architecture (timm's name) too."
)
CLASSES_DIFFER = (
    "Classifier: it does not know {missing}, which are labels of the cohort; it knows {known}. "
    "Use a cohort with the same labels, or fine-tune a classifier on this cohort."
)


def inspect_cohort(folder: Path) -> CohortInspection:
    """Columns, a guess and warnings for the new-case form, without opening images."""
    folder = Path(folder).expanduser()
    table = find_table(folder)
    header = read_header(table)
    names = frozenset(str(name).strip().lower() for name in header)
    chosen = next(one for one in ADAPTERS if one.recognises(table, names))
    columns = tuple(str(name) for name in header)
    guess: dict[str, Any] = {
        "adapter": chosen.name,
        "name": table.parent.resolve().name,
        "label_column": "",
        "group_columns": {},
        "group_column": "",
        "scheme": "values",
        "classes": (),
    }
    try:
        reading = chosen.read(Request(table.parent, table, None, None))
    except CohortError as error:
        # The person can still choose: an unusual table is no reason to stop here.
        return CohortInspection(columns, guess, (str(error),))
    frame = reading.frame
    group = next(iter(reading.group_columns), "")
    guess |= {
        "name": reading.name,
        "label_column": reading.label_column,
        "group_columns": dict(reading.group_columns),
        "group_column": group,
        "classes": tuple(sorted(set(frame[reading.label_column].astype(str)) - {""})),
    }
    warnings = list(reading.warnings)
    if group:
        guess["scheme"] = skin_tone.default_scheme(frame[group])
    else:
        warnings.append("No column looks like a group of people; choose one.")
    absent = sum(not (reading.root / str(file)).is_file() for file in frame[reading.file_column])
    if absent:
        warnings.append(
            f"{absent} of {len(frame)} image files were not found under {reading.root}."
        )
    values = {name: int(frame[name].nunique()) for name in columns if name in frame.columns}
    distinct = {
        name: tuple(sorted(set(frame[name].dropna().astype(str)) - {""}))
        for name, count in values.items()
        if count <= MOST_NAMED
    }
    return CohortInspection(columns, guess, tuple(warnings), values, len(frame), distinct)


def groups_of(inspection: CohortInspection, column: str, scheme: str) -> list[str]:
    """The groups that a column will have, as far as its values are known; for the form."""
    values = pd.Series(inspection.distinct.get(column, ()), name=column, dtype=object)
    try:
        found = skin_tone.assign(values, scheme)
    except CohortError:
        return []  # the column cannot be grouped that way, which is said when the case is made
    return [name for name in skin_tone.ordered(found, scheme) if name != skin_tone.UNKNOWN]


class CaseMaker:
    """Checks what a person entered, stores it, and asks the worker to prepare it."""

    def __init__(self, store: Store, settings: Settings, artefacts: Artefacts, jobs: Jobs) -> None:
        self._store = store
        self._settings = settings
        self._artefacts = artefacts
        self._jobs = jobs

    def create(self, new: NewCase) -> str:
        """Store the case and queue its preparation; returns its id."""
        if not new.title.strip():
            raise FairQuantError(NO_TITLE)
        cohort = read_cohort(
            Path(new.cohort_folder).expanduser(),
            labels=new.label_column or None,
            groups=new.group_column or None,
            seed=new.split_seed,
            missing="drop" if new.drop_missing_files else "error",
        )
        column = new.group_column or next(iter(cohort.group_columns))
        scheme = new.scheme or skin_tone.default_scheme(cohort.table[column])
        groups = check_groups(cohort, column, scheme)
        limits = check_limits(new, cohort, groups)
        intended_use = check_intended_use(new)
        about, files = self._classifier(new, cohort)
        identifier = f"case-{uuid.uuid4().hex[:8]}"
        source = {
            "folder": str(Path(new.cohort_folder).expanduser().resolve()),
            "labels": new.label_column or None,
            "groups": column,
            "scheme": scheme,
            "split_seed": new.split_seed,
        }
        case = Case(
            id=identifier,
            title=new.title.strip(),
            classifier=about,
            cohort={**cohort_facts(cohort, source), "intended_use": intended_use},
            classes=list(cohort.classes),
            group_column=column,
            group_source=cohort.group_columns[column],
            scheme=scheme,
            groups=groups,
            must_not_miss=list(new.must_not_miss),
            limits=limits.to_json(),
            warnings=list(cohort.warnings),
            created=now(),
            ready=False,
            classifier_hash=self._artefacts.publish(files) if files else None,
        )
        folder = self._settings.case_folder(identifier)
        try:
            save_unhashed(cohort, folder / COHORT_FOLDER)
            with self._store.write() as session:
                session.add(case)
                session.flush()
                job = self._jobs.add(session, prepare_request(case))
                case.prepare_job = job.id
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return identifier

    def _classifier(self, new: NewCase, cohort: Cohort) -> tuple[dict[str, Any], dict[str, Path]]:
        """What is known about the classifier, and the file to keep."""
        if new.classifier_path is None:
            return _to_be_fitted(new)
        file = ClassifierFile.read(new.classifier_path)
        about = file.description
        facts: dict[str, Any] = {
            "name": file.path.stem,
            "architecture": new.architecture or "",
            "fingerprint": "",
            "megabytes": file.megabytes,
            "parameters": file.parameters,
            "origin": "file",
            "size": new.image_size,
        }
        if about is None:
            if not new.architecture:
                raise CheckpointError(NEEDS_ARCHITECTURE.format(path=file.path))
            facts["file"] = f"source{file.path.suffix.lower()}"
        else:
            missing = [name for name in cohort.classes if name not in about["classes"]]
            if missing:
                raise ClassifierError(
                    CLASSES_DIFFER.format(
                        missing=", ".join(missing), known=", ".join(about["classes"])
                    )
                )
            facts |= {
                "name": about.get("name") or file.path.stem,
                "architecture": about["architecture"],
                "fingerprint": about["fingerprint"],
                "file": CLASSIFIER_FILE,
            }
        return facts, {facts["file"]: file.path}


def check_groups(cohort: Cohort, column: str, scheme: str) -> list[str]:
    """The known groups in display order. Raises CohortError when there is nothing to compare."""
    groups = cohort.groups(column, scheme)
    known = [name for name in skin_tone.ordered(groups, scheme) if name != skin_tone.UNKNOWN]
    if len(known) < 2:
        raise CohortError(TWO_GROUPS.format(column=column, known=", ".join(known) or "no group"))
    for split in ("train", "audit"):
        inside = set(groups[(cohort.table["split"] == split).to_numpy()]) - {skin_tone.UNKNOWN}
        if len(inside) < 2:
            raise CohortError(
                GROUP_NOT_AUDITED.format(column=column, split=split, count=len(inside))
            )
    return known


def check_limits(new: NewCase, cohort: Cohort, groups: list[str]) -> Limits:
    """The limits of the case, with the classes that must not be missed filled in."""
    if wrong := [name for name in new.must_not_miss if name not in cohort.classes]:
        raise FairQuantError(
            STRANGE_CLASS.format(wrong=", ".join(wrong), known=", ".join(cohort.classes))
        )
    limits = new.limits or Limits()
    if wrong := [name for name in limits.groups if name not in groups]:
        raise FairQuantError(STRANGE_GROUP.format(wrong=", ".join(wrong), known=", ".join(groups)))
    if wrong := [name for name in limits.positive if name not in cohort.classes]:
        raise FairQuantError(
            STRANGE_CLASS.format(wrong=", ".join(wrong), known=", ".join(cohort.classes))
        )
    return limits


def check_intended_use(new: NewCase) -> dict[str, str]:
    """What people said it is for, in the order of the report, without empty statements."""
    if wrong := [name for name in new.intended_use if name not in INTENDED_USE]:
        raise FairQuantError(
            STRANGE_STATEMENT.format(wrong=", ".join(wrong), known=", ".join(INTENDED_USE))
        )
    said = {name: new.intended_use.get(name, "").strip() for name in INTENDED_USE}
    for name, text in said.items():
        if len(text) > LONGEST_STATEMENT:
            raise FairQuantError(
                LONG_STATEMENT.format(
                    title=INTENDED_USE[name], count=len(text), most=LONGEST_STATEMENT
                )
            )
    return {name: text for name, text in said.items() if text}


def save_unhashed(cohort: Cohort, folder: Path) -> None:
    """Save the table now and leave the hash of the image bytes to the "prepare" job.

    Reading every image file of a large cohort takes longer than a person waits for a form.
    """
    light = replace(cohort)
    light.__dict__["images_fingerprint"] = ""
    save_cohort(light, folder)


def hash_images(folder: Path) -> Cohort:
    """Complete a cohort that `save_unhashed` saved; reads every image file once."""
    # A copy remembers no hash, so saving it computes the real one.
    cohort = replace(load_cohort(folder, check_images=False))
    save_cohort(cohort, folder)
    return cohort


def prepare_request(case: Case) -> JobRequest:
    """Decode the images, fine-tune if needed, and score the full-precision classifier."""
    return JobRequest(
        JobKind.PREPARE,
        case.id,
        f"Preparing {case.title}",
        {"table": case.cohort["table_fingerprint"], "classifier": case.classifier},
        {},
    )


def _to_be_fitted(new: NewCase) -> tuple[dict[str, Any], dict[str, Path]]:
    if not new.architecture:
        raise ClassifierError(NO_CLASSIFIER)
    facts: dict[str, Any] = {
        "name": f"{new.architecture}, fine-tuned",
        "architecture": new.architecture,
        "fingerprint": "",
        "megabytes": 0.0,
        "parameters": 0,
        "origin": "fit",
        "size": new.image_size,
        "fit_epochs": new.fit_epochs,
        "download_weights": new.download_weights,
        "file": "",
    }
    if new.weights_path is None:
        return facts, {}
    file = ClassifierFile.read(new.weights_path)
    facts["file"] = f"weights{file.path.suffix.lower()}"
    return facts, {facts["file"]: file.path}
