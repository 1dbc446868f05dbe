"""A cohort: one row per image with label, groups and split, checked when it is made.

No torch here: the web process reads cohorts too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairquant_core.data import skin_tone
from fairquant_core.data.cohort_checks import (
    NO_GROUPS,
    NO_ROWS,
    ONE_CLASS,
    RESERVED_COLUMN,
    TOO_FEW,
    UNKNOWN_COLUMN,
    UNKNOWN_SPLIT,
    check_files,
    check_rows,
    check_split,
    clean,
    own_split,
    require_column,
)
from fairquant_core.data.cohort_warnings import find_warnings
from fairquant_core.data.split import FRACTIONS, SPLITS, connect, split_clusters
from fairquant_core.errors import CohortError
from fairquant_core.files import atomic_path, write_json

#: Below this there is nothing to learn from or to audit; 20 images are 12 / 3 / 5.
MINIMUM_IMAGES = 20
FIXED_COLUMNS = ("id", "file", "label", "cluster", "split")
NOT_A_COHORT = "{folder} holds no saved cohort ({reason})"
CHANGED_TABLE = "{folder}: table.parquet is not the table that was saved: read the data set again"
CHANGED_IMAGES = (
    "{folder}: image files under {root} are not those of the saved cohort: read the data set again"
)

_TABLE, _META, _FORMAT = "table.parquet", "cohort.json", 1


# Compared and hashed by identity: tables have no single truth value; compare fingerprints instead.
@dataclass(frozen=True, eq=False)
class Cohort:
    """Images with labels, groups and splits.

    Attributes
    ----------
    name : words for people.
    root : folder that the files are relative to.
    table : columns id, file, label, cluster, split, then the raw group columns, all strings and
        "" where nothing is known; index 0..N-1, so that ``images[cohort.part("audit").index]``
        fits.
    group_columns : column -> who says so, for people. The first one is the default.
    classes : the labels, sorted.
    synthetic : True for generated images.
    licence : terms of the data, for people.
    warnings : visible problems that do not stop the work.
    masks : id -> file of the lesion's mask as the table names it, relative to `root`; see
        :mod:`fairquant_core.data.masks`. Not part of any fingerprint: masks judge saliency maps only.
    """

    name: str
    root: Path
    table: pd.DataFrame
    group_columns: dict[str, str]
    classes: tuple[str, ...]
    synthetic: bool = False
    licence: str = ""
    warnings: tuple[str, ...] = ()
    masks: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def part(self, split: str) -> pd.DataFrame:
        """Rows of one split; the index keeps the position in the whole table."""
        if split not in SPLITS:
            raise CohortError(UNKNOWN_SPLIT.format(split=split))
        return self.table[self.table["split"] == split]

    def groups(self, column: str, scheme: str | None = None) -> pd.Series:
        """Group of every image, aligned with the table; default scheme: the column's own."""
        if column not in self.group_columns:
            raise CohortError(
                UNKNOWN_COLUMN.format(
                    name=self.name, column=column, present=", ".join(self.group_columns)
                )
            )
        values = self.table[column]
        return skin_tone.assign(values, scheme or skin_tone.default_scheme(values))

    @property
    def label_codes(self) -> np.ndarray:
        """Labels as positions in `classes`. Shapes: (N,) int64."""
        position = {label: code for code, label in enumerate(self.classes)}
        return np.array([position[label] for label in self.table["label"]], dtype=np.int64)

    @cached_property
    def table_fingerprint(self) -> str:
        """SHA-256 of the rows, the classes and the group columns."""
        digest = hashlib.sha256()
        digest.update(json.dumps([list(self.classes), list(self.group_columns)]).encode())
        digest.update(json.dumps(list(self.table.columns)).encode())
        for column in self.table.columns:
            digest.update(json.dumps(self.table[column].tolist()).encode())
        return digest.hexdigest()

    @cached_property
    def images_fingerprint(self) -> str:
        """SHA-256 of the bytes of all image files in table order."""
        digest = hashlib.sha256()
        buffer = bytearray(1 << 20)
        view = memoryview(buffer)
        for file in self.table["file"]:
            one = hashlib.sha256()
            try:
                with (self.root / file).open("rb", buffering=0) as source:
                    while count := source.readinto(buffer):
                        one.update(view[:count])
            except FileNotFoundError:
                check_files(self.name, self.root, self.table["file"], "file")
                raise
            digest.update(one.digest())
        return digest.hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the table and the bytes of the image files; computed once per object."""
        return hashlib.sha256(
            f"{self.table_fingerprint}:{self.images_fingerprint}".encode()
        ).hexdigest()


def build_cohort(
    frame: pd.DataFrame,
    root: Path,
    *,
    name: str,
    label_column: str,
    file_column: str,
    group_columns: dict[str, str],
    id_column: str | None = None,
    cluster_columns: Sequence[str] = (),
    split_column: str | None = None,
    mask_column: str | None = None,
    stratify_group: str | None = None,
    seed: int = 0,
    fractions: tuple[float, float, float] = FRACTIONS,
    evaluation_only: bool = False,
    synthetic: bool = False,
    licence: str = "",
    warnings: Sequence[str] = (),
) -> Cohort:
    """Check a table and split it.

    Parameters
    ----------
    frame : one row per image.
    root : folder that the files are relative to.
    label_column, file_column, id_column : names in `frame`; without an id column the file is the
        id.
    group_columns : column -> who says so.
    cluster_columns : patient, lesion, duplicate group: rows that share a value in any of them are
        never separated. Empty values join nothing.
    split_column : the data set's own split (train, validation or val, audit or test), which is then
        kept, provided that it does not separate a cluster.
    mask_column : file of the lesion's mask, empty where there is none. A mask that cannot be used is
        told where it is used.
    stratify_group : group column by which the split is balanced, besides the label; default: the
        first.
    seed : of the split.
    fractions : of train, validation and audit.
    evaluation_only : put every image into the audit split, whatever its number: for scoring a
        finished classifier on another collection.
    warnings : what the caller already noticed.

    Raises
    ------
    CohortError
        Names the column, row or file and says what to do.
    """
    if not len(frame):
        raise CohortError(NO_ROWS.format(name=name))
    roles = {"label": label_column, "image file": file_column}
    roles |= {"id": id_column} if id_column else {}
    roles |= {"split": split_column} if split_column else {}
    roles |= {"mask": mask_column} if mask_column else {}
    for role, column in [*roles.items(), *(("group", column) for column in group_columns)]:
        require_column(name, frame, role, column)
    for column in cluster_columns:
        require_column(name, frame, "patient, lesion or duplicate group", column)
    if not group_columns:
        raise CohortError(NO_GROUPS.format(name=name, present=", ".join(map(str, frame.columns))))

    table = pd.DataFrame(
        {
            "id": clean(frame[id_column or file_column]),
            "file": clean(frame[file_column]).str.replace("\\", "/", regex=False),
            "label": clean(frame[label_column]),
        }
    ).reset_index(drop=True)
    check_rows(name, table)
    check_files(name, root, table["file"], file_column)
    classes = tuple(sorted(table["label"].unique()))
    if not evaluation_only:
        if len(table) < MINIMUM_IMAGES:
            raise CohortError(TOO_FEW.format(name=name, count=len(table), minimum=MINIMUM_IMAGES))
        if len(classes) < 2:
            raise CohortError(ONE_CLASS.format(name=name, label=classes[0]))

    raw_groups = {}
    for column in group_columns:
        if column in FIXED_COLUMNS:
            raise CohortError(RESERVED_COLUMN.format(name=name, column=column))
        raw_groups[column] = clean(frame[column]).reset_index(drop=True)
    by = stratify_group or next(iter(group_columns))
    if by not in group_columns:
        raise CohortError(
            UNKNOWN_COLUMN.format(name=name, column=by, present=", ".join(group_columns))
        )
    stratum = skin_tone.assign(raw_groups[by], skin_tone.default_scheme(raw_groups[by]))

    identities = [clean(frame[column]).reset_index(drop=True) for column in cluster_columns]
    clusters = connect(identities, len(table))
    table["cluster"] = [f"c{number:06d}" for number in clusters]
    if evaluation_only:
        table["split"] = "audit"
    elif split_column is not None:
        table["split"] = own_split(name, clean(frame[split_column]).reset_index(drop=True))
    else:
        table["split"] = split_clusters(
            clusters, table["label"].tolist(), stratum.tolist(), seed=seed, fractions=fractions
        )
    check_split(name, table, evaluation_only)
    table = table.assign(**raw_groups).astype("str")
    found = find_warnings(table, group_columns, classes, evaluation_only=evaluation_only)
    return Cohort(
        name=name,
        root=Path(root),
        table=table,
        group_columns=dict(group_columns),
        classes=classes,
        synthetic=synthetic,
        licence=licence,
        warnings=(*warnings, *found),
        masks={} if mask_column is None else _masks(table["id"], frame[mask_column]),
    )


def _masks(ids: pd.Series, values: pd.Series) -> dict[str, str]:
    files = clean(values).str.replace("\\", "/", regex=False)
    return {one: file for one, file in zip(ids, files, strict=True) if file}


def save_cohort(cohort: Cohort, folder: Path) -> None:
    """Write table.parquet and cohort.json into `folder`; the images stay where they are."""
    folder = Path(folder)
    with atomic_path(folder / _TABLE) as part:
        cohort.table.to_parquet(part, index=False)
    meta = {
        "format": _FORMAT,
        "name": cohort.name,
        "root": str(cohort.root.resolve()),
        "group_columns": cohort.group_columns,
        "classes": list(cohort.classes),
        "synthetic": cohort.synthetic,
        "licence": cohort.licence,
        "warnings": list(cohort.warnings),
        "table_fingerprint": cohort.table_fingerprint,
        "images_fingerprint": cohort.images_fingerprint,
        "files_state": _files_state(cohort.root, cohort.table["file"]),
        "masks": cohort.masks,
    }
    write_json(folder / _META, meta)


def load_cohort(folder: Path, *, check_images: bool = True) -> Cohort:
    """Read what :func:`save_cohort` wrote.

    The table is always compared with its hash. Images are hashed again only when a file's size or
    time changed since; `check_images` = False trusts the saved hash, for pages that only need the
    table.

    Raises
    ------
    CohortError
        Files are absent, or are not those that were saved.
    """
    folder = Path(folder)
    try:
        meta: dict[str, Any] = json.loads((folder / _META).read_text(encoding="utf-8"))
        table = pd.read_parquet(folder / _TABLE).astype("str")
        cohort = Cohort(
            name=meta["name"],
            root=Path(meta["root"]),
            table=table,
            group_columns=dict(meta["group_columns"]),
            classes=tuple(meta["classes"]),
            synthetic=bool(meta["synthetic"]),
            licence=meta["licence"],
            warnings=tuple(meta["warnings"]),
            # Cohorts saved by earlier versions have no such entry.
            masks=dict(meta.get("masks", {})),
        )
        saved_table, saved_images = meta["table_fingerprint"], meta["images_fingerprint"]
        saved_state = meta["files_state"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CohortError(NOT_A_COHORT.format(folder=folder, reason=error)) from error
    if cohort.table_fingerprint != saved_table:
        raise CohortError(CHANGED_TABLE.format(folder=folder))
    if not check_images:
        cohort.__dict__["images_fingerprint"] = saved_images
        return cohort
    check_files(cohort.name, cohort.root, table["file"], "file")
    if _files_state(cohort.root, table["file"]) == saved_state:
        cohort.__dict__["images_fingerprint"] = saved_images
    elif cohort.images_fingerprint != saved_images:
        raise CohortError(CHANGED_IMAGES.format(folder=folder, root=cohort.root))
    return cohort


def _files_state(root: Path, files: pd.Series) -> str:
    digest = hashlib.sha256()
    for file in files:
        stat = (root / file).stat()
        digest.update(f"{stat.st_size}:{stat.st_mtime_ns};".encode())
    return digest.hexdigest()
