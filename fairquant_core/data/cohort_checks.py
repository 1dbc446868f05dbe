"""What must hold for a table of images; every error names the row, the file or the column."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from fairquant_core.data.split import SPLITS
from fairquant_core.errors import CohortError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "audit": "audit",
    "test": "audit",
    "testing": "audit",
}

NO_ROWS = "{name}: the table has no rows"
MISSING_COLUMN = "{name}: no column for the {role}: looked for {wanted}; the table has {present}"
RESERVED_COLUMN = "{name}: group column {column!r} has a name that is reserved: rename it"
NO_GROUPS = "{name}: no group column is named; choose one of the table's columns: {present}"
MISSING_LABEL = "{name}: {count} rows have no label (rows {rows}): fill them in or remove the rows"
DUPLICATE_ID = "{name}: {count} ids occur more than once, first {ids}: every image needs its own id"
EMPTY_ID = "{name}: {count} rows have no id (rows {rows}): every image needs an id"
MISSING_FILES = (
    "{name}: {count} image files not found under {root}, first: {files}. Put the files there, "
    "correct column {column!r}, or read the cohort with missing='drop' to leave these rows out"
)
OUTSIDE_FILE = (
    "{name}: row {row}: image file {file!r} points outside the cohort's folder: use a path "
    "relative to the folder"
)
TOO_FEW = (
    "{name}: {count} images are too few: at least {minimum} are needed, which gives about 12 to "
    "train on, 3 to validate and 5 to audit; to judge a group, about 20 audit images of that "
    "group (80 images in all) are needed"
)
ONE_CLASS = "{name}: all images have the label {label!r}: a classifier needs at least two classes"
BAD_SPLIT = "{name}: row {row}: split {value!r} is not one of train, validation (val), audit (test)"
EMPTY_SPLIT = (
    "{name}: split {split!r} has no image: {count} images come from only {clusters} independent "
    "patients, lesions or duplicate groups; at least 3 are needed, better 20 per group"
)
LEAKING_SPLIT = (
    "{name}: {count} patients, lesions or duplicate groups have images in more than one split "
    "(for example ids {ids}): move them into one split, or leave the split column out"
)
UNKNOWN_SPLIT = "split {split!r} does not exist: choose train, validation or audit"
UNKNOWN_COLUMN = "cohort {name} has no group column {column!r}; it has {present}"


def clean(values: pd.Series) -> pd.Series:
    """Trimmed strings, "" where missing; whole numbers lose the ".0" that gaps give them."""
    if pd.api.types.is_float_dtype(values):
        known = values.dropna()
        if len(known) and np.isfinite(known).all() and (known == known.round()).all():
            values = values.astype("Int64")
    return values.astype("object").where(values.notna(), "").astype("str").str.strip()


def require_column(name: str, frame: pd.DataFrame, role: str, column: str) -> None:
    if column not in frame.columns:
        present = ", ".join(map(str, frame.columns))
        raise CohortError(
            MISSING_COLUMN.format(name=name, role=role, wanted=repr(column), present=present)
        )


def check_rows(name: str, table: pd.DataFrame) -> None:
    unlabelled = np.flatnonzero(table["label"] == "")
    if len(unlabelled):
        raise CohortError(
            MISSING_LABEL.format(name=name, count=len(unlabelled), rows=_rows(unlabelled))
        )
    nameless = np.flatnonzero(table["id"] == "")
    if len(nameless):
        raise CohortError(EMPTY_ID.format(name=name, count=len(nameless), rows=_rows(nameless)))
    repeated = table["id"][table["id"].duplicated()].unique()
    if len(repeated):
        shown = ", ".join(repr(value) for value in repeated[:5])
        raise CohortError(DUPLICATE_ID.format(name=name, count=len(repeated), ids=shown))


def check_files(name: str, root: Path, files: pd.Series, column: str) -> None:
    for row, file in enumerate(files):
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
            raise CohortError(OUTSIDE_FILE.format(name=name, row=row + 1, file=file))
    absent = [file for file in files if not file or not (root / file).is_file()]
    if absent:
        raise CohortError(
            MISSING_FILES.format(
                name=name, count=len(absent), root=root, files=", ".join(absent[:5]), column=column
            )
        )


def own_split(name: str, values: pd.Series) -> list[str]:
    splits = []
    for row, value in enumerate(values):
        if value.lower() not in SPLIT_NAMES:
            raise CohortError(BAD_SPLIT.format(name=name, row=row + 1, value=value))
        splits.append(SPLIT_NAMES[value.lower()])
    return splits


def check_split(name: str, table: pd.DataFrame, evaluation_only: bool) -> None:
    spread = table.groupby("cluster")["split"].nunique()
    leaking = spread.index[spread > 1]
    if len(leaking):
        ids = table.loc[table["cluster"] == leaking[0], "id"].head(3)
        raise CohortError(LEAKING_SPLIT.format(name=name, count=len(leaking), ids=", ".join(ids)))
    for split in () if evaluation_only else SPLITS:
        if not (table["split"] == split).any():
            raise CohortError(
                EMPTY_SPLIT.format(
                    name=name,
                    split=split,
                    count=len(table),
                    clusters=table["cluster"].nunique(),
                )
            )


def _rows(positions: np.ndarray) -> str:
    shown = ", ".join(str(position + 1) for position in positions[:5])
    return shown + (", ..." if len(positions) > 5 else "")
