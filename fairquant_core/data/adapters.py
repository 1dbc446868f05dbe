"""Reading data sets as they are distributed: one adapter per data set, in a registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from fairquant_core.data import table_columns as columns
from fairquant_core.data.cohort import Cohort, build_cohort
from fairquant_core.errors import CohortError

NO_FOLDER = "{folder} is not a folder and not a CSV file"
NO_TABLE = "{folder} holds no CSV file: put one table with one row per image there"
MANY_TABLES = "{folder} holds {count} CSV files ({names}): give the path of the one to read"
BAD_DESCRIPTION = "{path} cannot be read ({reason}): make the demo cohort again"
BAD_MISSING = "missing={value!r} does not exist: choose 'error' or 'drop'"
DROPPED = (
    "{count} of {total} rows were left out because their image file was not found (first: {files})."
)
NO_GROUPS = (
    "{name}: no column looks like a group of people; choose one of the table's columns as groups: "
    "{present}"
)


@dataclass(frozen=True)
class Reading:
    """What an adapter found in a folder: the table and what its columns mean."""

    name: str
    root: Path
    frame: pd.DataFrame
    label_column: str
    file_column: str
    group_columns: dict[str, str]
    id_column: str | None = None
    cluster_columns: tuple[str, ...] = ()
    split_column: str | None = None
    synthetic: bool = False
    licence: str = ""
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Request:
    """What the person asked for."""

    folder: Path
    table: Path
    labels: str | None
    groups: str | None


@dataclass(frozen=True)
class Adapter:
    """Recognises a data set by the names of its columns, and reads it."""

    name: str
    recognises: Callable[[Path, frozenset[str]], bool]
    read: Callable[[Request], Reading]


#: Asked in this order; the last one takes every table.
ADAPTERS: list[Adapter] = []
#: Column in which adapters put the located files.
FILE = "image file"


def adapter(
    name: str, recognises: Callable[[Path, frozenset[str]], bool]
) -> Callable[[Callable[[Request], Reading]], Callable[[Request], Reading]]:
    """Register a reader; `recognises` sees the table's path and its column names in lower case."""

    def register(read: Callable[[Request], Reading]) -> Callable[[Request], Reading]:
        ADAPTERS.append(Adapter(name, recognises, read))
        return read

    return register


def read_cohort(
    folder: Path,
    *,
    labels: str | None = None,
    groups: str | None = None,
    seed: int = 0,
    missing: str = "error",
    evaluation_only: bool = False,
) -> Cohort:
    """Read a data set from its folder.

    Parameters
    ----------
    folder : with one table and its images (or the path of the table).
    labels : column of the diagnosis, instead of the adapter's choice.
    groups : column of the groups to compare; it becomes the first group column and balances the
        split.
    seed : of the split, where the data set does not bring its own.
    missing : "error", or "drop" to leave out rows whose image file is absent; the cohort's
        warnings then say how many.
    evaluation_only : see :func:`~fairquant_core.data.cohort.build_cohort`.

    Raises
    ------
    CohortError
        Names the column, row or file and says what to do.
    """
    if missing not in ("error", "drop"):
        raise CohortError(BAD_MISSING.format(value=missing))
    table = find_table(Path(folder))
    names = frozenset(str(name).strip().lower() for name in columns.read_header(table))
    chosen = next(one for one in ADAPTERS if one.recognises(table, names))
    reading = chosen.read(Request(table.parent, table, labels, groups))
    if groups:
        reading = _groups_first(reading, groups)
    if not reading.group_columns:
        present = ", ".join(map(str, reading.frame.columns))
        raise CohortError(NO_GROUPS.format(name=reading.name, present=present))
    if missing == "drop":
        reading = _without_missing_files(reading)
    return build_cohort(
        reading.frame,
        reading.root,
        name=reading.name,
        label_column=reading.label_column,
        file_column=reading.file_column,
        id_column=reading.id_column,
        group_columns=reading.group_columns,
        cluster_columns=reading.cluster_columns,
        split_column=reading.split_column,
        mask_column=columns.find_column(reading.frame, columns.MASKS),
        stratify_group=groups,
        seed=seed,
        evaluation_only=evaluation_only,
        synthetic=reading.synthetic,
        licence=reading.licence,
        warnings=reading.warnings,
    )


@adapter("demo", lambda table, names: table.name == "cohort.csv" and _description(table).is_file())
def _read_demo(request: Request) -> Reading:
    """A folder in our own form: cohort.csv with a split, cohort.json beside it."""
    path = _description(request.table)
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        name, licence = str(about["name"]), str(about.get("licence", ""))
        synthetic = bool(about["synthetic"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CohortError(BAD_DESCRIPTION.format(path=path, reason=repr(error))) from error
    frame = columns.read_table(request.table)
    source = "demo generator" if synthetic else "cohort.csv"
    label = columns.need_column(frame, ("label",), name=name, role="label", chosen=request.labels)
    return Reading(
        name=name,
        root=request.folder,
        frame=frame,
        label_column=label,
        file_column=columns.need_column(
            frame, ("file",), name=name, role="image file", chosen=None
        ),
        id_column=columns.find_column(frame, ("id",)),
        group_columns=dict.fromkeys(columns.find_groups(frame, {label}), source),
        cluster_columns=columns.find_clusters(frame),
        split_column=columns.find_column(frame, ("split",)),
        synthetic=synthetic,
        licence=licence,
    )


@adapter(
    "fitzpatrick17k",
    lambda table, names: {"md5hash", "fitzpatrick_scale", "fitzpatrick_centaur"} <= names,
)
def _read_fitzpatrick17k(request: Request) -> Reading:
    """Fitzpatrick17k: two annotators, no patient id; known duplicates where a column marks them."""
    name = "Fitzpatrick17k"
    frame = columns.read_table(request.table)
    label = columns.need_column(frame, ("label",), name=name, role="label", chosen=request.labels)
    given = columns.find_column(frame, ("file",))
    values = frame[given] if given else frame["md5hash"]
    frame[FILE] = columns.locate_files(request.folder, values)
    if not given:
        # Say in an error which file the official layout would have.
        absent = frame[FILE] == frame["md5hash"]
        frame.loc[absent, FILE] = "images/" + frame["md5hash"] + ".jpg"
    return Reading(
        name=name,
        root=request.folder,
        frame=frame,
        label_column=label,
        file_column=FILE,
        id_column="md5hash",
        group_columns={
            "fitzpatrick_scale": "Scale AI annotators",
            "fitzpatrick_centaur": "Centaur Labs annotators",
        },
        cluster_columns=columns.find_clusters(frame),
        licence="annotations CC BY-NC-SA 3.0; images belong to the source atlases (research use)",
    )


@adapter(
    "padufes20",
    lambda table, names: (
        {"patient_id", "lesion_id", "img_id"} <= names
        and bool({"fitspatrick", "fitzpatrick"} & names)
    ),
)
def _read_padufes20(request: Request) -> Reading:
    """PAD-UFES-20; the original spells "fitspatrick" and keeps its files in three subfolders."""
    name = "PAD-UFES-20"
    frame = columns.read_table(request.table)
    candidates = ("label", "diagnostic")
    label = columns.need_column(frame, candidates, name=name, role="label", chosen=request.labels)
    file = columns.need_column(frame, ("file", "img_id"), name=name, role="image file", chosen=None)
    frame[FILE] = columns.locate_files(request.folder, frame[file])
    groups = columns.find_groups(frame, {label, "skin_tone"})
    titles = {"fitspatrick": "clinicians at UFES", "fitzpatrick": "clinicians at UFES"}
    return Reading(
        name=name,
        root=request.folder,
        frame=frame,
        label_column=label,
        file_column=FILE,
        id_column="img_id",
        group_columns={column: titles.get(column, "PAD-UFES-20") for column in groups},
        cluster_columns=("patient_id", "lesion_id"),
        licence="CC BY 4.0 (PAD-UFES-20, doi 10.17632/zr7vgbcyr2.1)",
    )


@adapter("table", lambda table, names: True)
def _read_any_table(request: Request) -> Reading:
    """One CSV and a folder of images, with usual column names or with those that were asked for."""
    frame = columns.read_table(request.table)
    name = request.folder.resolve().name
    label = columns.need_column(
        frame, columns.LABELS, name=name, role="label", chosen=request.labels
    )
    file = columns.need_column(frame, columns.FILES, name=name, role="image file", chosen=None)
    frame[FILE] = columns.locate_files(request.folder, frame[file])
    return Reading(
        name=name,
        root=request.folder,
        frame=frame,
        label_column=label,
        file_column=FILE,
        id_column=columns.find_column(frame, columns.IDS),
        group_columns=columns.find_groups(frame, {label}),
        cluster_columns=columns.find_clusters(frame),
        split_column=columns.find_split(frame),
    )


def _description(table: Path) -> Path:
    return table.with_name("cohort.json")


def find_table(folder: Path) -> Path:
    if folder.is_file() and folder.suffix.lower() == ".csv":
        return folder
    if not folder.is_dir():
        raise CohortError(NO_FOLDER.format(folder=folder))
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csv")
    if not tables:
        raise CohortError(NO_TABLE.format(folder=folder))
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise CohortError(MANY_TABLES.format(folder=folder, count=len(tables), names=names))
    return tables[0]


def _groups_first(reading: Reading, groups: str) -> Reading:
    column = columns.need_column(reading.frame, (), name=reading.name, role="groups", chosen=groups)
    source = reading.group_columns.get(column, f"column {column}")
    return replace(reading, group_columns={column: source} | reading.group_columns)


def _without_missing_files(reading: Reading) -> Reading:
    files = reading.frame[reading.file_column]
    there = pd.Series([bool(file) and (reading.root / file).is_file() for file in files])
    if there.all():
        return reading
    absent = files[~there.to_numpy()]
    sentence = DROPPED.format(count=len(absent), total=len(files), files=", ".join(absent.head(5)))
    return replace(
        reading,
        frame=reading.frame[there.to_numpy()].reset_index(drop=True),
        warnings=(*reading.warnings, sentence),
    )
