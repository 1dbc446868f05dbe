"""Finding the columns and the image files of a table that somebody else made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from fairquant_core.data import skin_tone
from fairquant_core.data.cohort_checks import MISSING_COLUMN, SPLIT_NAMES, clean
from fairquant_core.data.masks import FOLDER
from fairquant_core.errors import CohortError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
UNREADABLE_TABLE = "{path} cannot be read as a table ({reason}): save it as CSV in UTF-8"

FILES = (
    "file",
    "filename",
    "file_name",
    "image_file",
    "image_path",
    "filepath",
    "path",
    "image",
    "img",
    "image_id",
    "img_id",
    "isic_id",
    "image_name",
    "ddi_file",
    "md5hash",
)
LABELS = (
    "label",
    "diagnosis",
    "diagnostic",
    "dx",
    "disease",
    "condition",
    "class",
    "target",
    "diagnosis_3",
    "diagnosis_2",
    "diagnosis_1",
    "benign_malignant",
)
IDS = ("id", "image_id", "img_id", "isic_id", "md5hash", "ddi_id")
CLUSTERS = (
    ("patient", "patient_id", "subject_id", "case_id"),
    ("lesion", "lesion_id"),
    ("duplicate_group", "duplicate", "duplicate_id"),
)
#: Path of a picture that is white where the lesion is; see `data.masks`.
MASKS = ("mask", "mask_file", "mask_path", "lesion_mask")
SPLITS = ("split", "partition", "fold")
#: Group columns by usual name, skin tone first: the first one is the cohort's default.
GROUPS = (
    "fitzpatrick",
    "fitspatrick",
    "fitzpatrick_scale",
    "fitzpatrick_centaur",
    "fitzpatrick_skin_type",
    "fitzpatrick_type",
    "fst",
    "skin_type",
    "skin_tone",
    "monk",
    "mst",
    "monk_skin_tone",
    "monk_skin_tone_label_us",
    "monk_skin_tone_label_india",
    "sex",
    "gender",
    "sex_at_birth",
    "age_group",
    "ethnicity",
    "race",
    "region",
    "localization",
    "anatom_site_general",
)


def read_table(path: Path) -> pd.DataFrame:
    """A CSV as strings, so that no id loses its leading zeros."""
    try:
        return pd.read_csv(path, dtype="str", keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise CohortError(UNREADABLE_TABLE.format(path=path, reason=error)) from error


def read_header(path: Path) -> list[str]:
    """Column names of a CSV."""
    try:
        return list(pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise CohortError(UNREADABLE_TABLE.format(path=path, reason=error)) from error


def find_column(frame: pd.DataFrame, candidates: Sequence[str]) -> str | None:
    """First column whose name is among the candidates, whatever its case."""
    by_name = {str(column).strip().lower(): str(column) for column in frame.columns}
    return next((by_name[name] for name in candidates if name in by_name), None)


def need_column(
    frame: pd.DataFrame, candidates: Sequence[str], *, name: str, role: str, chosen: str | None
) -> str:
    """The chosen column, else the first candidate that is there.

    Raises
    ------
    CohortError
        Names what was looked for and what the table has.
    """
    wanted = (chosen,) if chosen else tuple(candidates)
    column = chosen if chosen in frame.columns else None if chosen else find_column(frame, wanted)
    if column is None:
        raise CohortError(
            MISSING_COLUMN.format(
                name=name,
                role=role,
                wanted=", ".join(repr(one) for one in wanted),
                present=", ".join(map(str, frame.columns)),
            )
        )
    return column


def find_groups(frame: pd.DataFrame, taken: Iterable[str]) -> dict[str, str]:
    """Columns that people are usually grouped by.

    Skin tone is kept even when all images have one type, because that must be seen; another
    column that says the same for every image tells nothing.
    """
    by_name = {str(column).strip().lower(): str(column) for column in frame.columns}
    used = set(taken)
    found = [by_name[name] for name in GROUPS if name in by_name and by_name[name] not in used]
    return {column: f"column {column}" for column in found if _tells_groups(frame[column])}


def _tells_groups(values: pd.Series) -> bool:
    groups = set(skin_tone.assign(values, "values")) - {skin_tone.UNKNOWN}
    return len(groups) > 1 or skin_tone.is_fitzpatrick(values) or skin_tone.is_monk(values)


def find_clusters(frame: pd.DataFrame) -> tuple[str, ...]:
    """Columns that say which images show the same patient, lesion or picture."""
    found = (find_column(frame, candidates) for candidates in CLUSTERS)
    return tuple(column for column in found if column is not None)


def find_split(frame: pd.DataFrame) -> str | None:
    """The data set's own split, if every value in such a column names one of the three."""
    column = find_column(frame, SPLITS)
    if column is None or not clean(frame[column]).str.lower().isin(SPLIT_NAMES).all():
        return None
    return column


def locate_files(root: Path, values: pd.Series) -> pd.Series:
    """Path of each image relative to `root`; the value itself where no such file is found.

    A value may be a path, a file name anywhere below `root`, or a name whose ending differs or is
    absent (``PAT_1_2.png`` finds ``images/PAT_1_2.jpg``). Names that several files share are not
    guessed; a mask may have its photograph's name, so files in the folder of masks come second.
    """
    paths = [
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    exact = set(paths)
    photographs = [path for path in paths if not path.startswith(f"{FOLDER}/")]
    by_name, by_stem = (
        _unique((key(path), path) for path in paths)
        | _unique((key(path), path) for path in photographs)
        for key in (_name, _stem)
    )

    def locate(value: str) -> str:
        value = value.replace("\\", "/")
        if value in exact:
            return value
        name = value.rsplit("/", 1)[-1]
        # A path with folders must fit as it is: another folder's file of that name is another file.
        if name != value:
            return value
        # An id may hold dots, so the whole name is tried before its ending is cut off.
        return by_name.get(name) or by_stem.get(name) or by_stem.get(_stem(name)) or value

    return clean(values).map(locate).astype("str")


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _stem(path: str) -> str:
    name = _name(path)
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in SUFFIXES else name


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    ambiguous: set[str] = set()
    for name, path in pairs:
        if name in found:
            ambiguous.add(name)
        found[name] = path
    return {name: path for name, path in found.items() if name not in ambiguous}
