from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fairquant_core.data import cohort as module
from fairquant_core.data import cohort_checks as checks
from fairquant_core.data import cohort_warnings as texts
from fairquant_core.data.cohort import Cohort, load_cohort, save_cohort
from fairquant_core.errors import CohortError

Build = Callable[..., Cohort]


def test_a_good_table(build: Build, table: pd.DataFrame) -> None:
    cohort = build(table, cluster_columns=("patient",), licence="none")
    assert list(cohort.table.columns) == ["id", "file", "label", "cluster", "split", "tone"]
    assert cohort.classes == ("melanoma", "nevus")
    assert len(cohort) == 40
    assert sum(len(cohort.part(split)) for split in ("train", "validation", "audit")) == 40
    assert cohort.label_codes.tolist() == [0, 1] * 20
    assert cohort.table.groupby("cluster")["split"].nunique().max() == 1


def test_part_keeps_the_position_of_every_image(build: Build, table: pd.DataFrame) -> None:
    cohort = build(table)
    part = cohort.part("audit")
    assert cohort.table.iloc[part.index].equals(part)


def test_groups_are_aligned_and_take_the_columns_own_scheme(
    build: Build, table: pd.DataFrame
) -> None:
    cohort = build(table)
    assert cohort.groups("tone").tolist()[:4] == [
        "FST I-II",
        "FST I-II",
        "FST III-IV",
        "FST III-IV",
    ]
    assert cohort.groups("tone", "fst6").tolist()[0] == "FST I"
    with pytest.raises(CohortError) as caught:
        cohort.groups("sex")
    assert str(caught.value) == checks.UNKNOWN_COLUMN.format(
        name="made up", column="sex", present="tone"
    )


def test_unknown_split(build: Build, table: pd.DataFrame) -> None:
    with pytest.raises(CohortError) as caught:
        build(table).part("test")
    assert str(caught.value) == checks.UNKNOWN_SPLIT.format(split="test")


@dataclasses.dataclass(frozen=True)
class Bad:
    """One defect of the table and the message that names it."""

    name: str
    change: Callable[[pd.DataFrame], pd.DataFrame]
    message: str
    arguments: dict[str, object] = dataclasses.field(default_factory=dict)


def _set(row: int, column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        frame.loc[row, column] = value
        return frame

    return change


PRESENT = "id, file, dx, tone, patient"
BAD = [
    Bad("no rows", lambda f: f.iloc[:0], checks.NO_ROWS.format(name="made up")),
    Bad(
        "label column renamed",
        lambda f: f,
        checks.MISSING_COLUMN.format(
            name="made up", role="label", wanted="'diagnosis'", present=PRESENT
        ),
        {"label_column": "diagnosis"},
    ),
    Bad(
        "group column absent",
        lambda f: f,
        checks.MISSING_COLUMN.format(
            name="made up", role="group", wanted="'skin'", present=PRESENT
        ),
        {"group_columns": {"skin": "nobody"}},
    ),
    Bad(
        "patient column absent",
        lambda f: f,
        checks.MISSING_COLUMN.format(
            name="made up",
            role="patient, lesion or duplicate group",
            wanted="'person'",
            present=PRESENT,
        ),
        {"cluster_columns": ("person",)},
    ),
    Bad(
        "no group column",
        lambda f: f,
        checks.NO_GROUPS.format(name="made up", present=PRESENT),
        {"group_columns": {}},
    ),
    Bad(
        "label missing",
        _set(3, "dx", None),
        checks.MISSING_LABEL.format(name="made up", count=1, rows="4"),
    ),
    Bad(
        "id missing",
        _set(3, "id", " "),
        checks.EMPTY_ID.format(name="made up", count=1, rows="4"),
    ),
    Bad(
        "id twice",
        _set(3, "id", "i07"),
        checks.DUPLICATE_ID.format(name="made up", count=1, ids="'i07'"),
    ),
    Bad(
        "file outside",
        _set(3, "file", "../secret.jpg"),
        checks.OUTSIDE_FILE.format(name="made up", row=4, file="../secret.jpg"),
    ),
    Bad(
        "absolute file",
        _set(3, "file", "/etc/hosts"),
        checks.OUTSIDE_FILE.format(name="made up", row=4, file="/etc/hosts"),
    ),
    Bad(
        "five images",
        lambda f: f.head(5),
        checks.TOO_FEW.format(name="made up", count=5, minimum=module.MINIMUM_IMAGES),
    ),
    Bad(
        "one class",
        lambda f: f.assign(dx="nevus"),
        checks.ONE_CLASS.format(name="made up", label="nevus"),
    ),
    Bad(
        "one patient",
        lambda f: f.assign(patient="p"),
        checks.EMPTY_SPLIT.format(name="made up", split="validation", count=40, clusters=1),
        {"cluster_columns": ("patient",)},
    ),
    Bad(
        "strange split",
        lambda f: f.assign(part=["train"] * 39 + ["extra"]),
        checks.BAD_SPLIT.format(name="made up", row=40, value="extra"),
        {"split_column": "part"},
    ),
    Bad(
        "own split without validation",
        lambda f: f.assign(part=["train"] * 20 + ["audit"] * 20),
        checks.EMPTY_SPLIT.format(name="made up", split="validation", count=40, clusters=40),
        {"split_column": "part"},
    ),
    Bad(
        "own split that leaks",
        lambda f: f.assign(part=["train"] * 21 + ["val"] * 9 + ["test"] * 10),
        checks.LEAKING_SPLIT.format(name="made up", count=1, ids="i20, i21"),
        {"split_column": "part", "cluster_columns": ("patient",)},
    ),
    Bad(
        "reserved name",
        lambda f: f.assign(cluster="x"),
        checks.RESERVED_COLUMN.format(name="made up", column="cluster"),
        {"group_columns": {"cluster": "nobody"}},
    ),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_bad_table_is_refused_with_the_place(
    build: Build, table: pd.DataFrame, case: Bad
) -> None:
    with pytest.raises(CohortError) as caught:
        build(case.change(table), **case.arguments)
    assert str(caught.value) == case.message


def test_missing_files_are_counted_and_the_first_five_named(
    build: Build, table: pd.DataFrame, tmp_path: Path
) -> None:
    for number in range(7):
        (tmp_path / f"images/{number:02d}.jpg").unlink()
    with pytest.raises(CohortError) as caught:
        build(table)
    assert str(caught.value) == checks.MISSING_FILES.format(
        name="made up",
        count=7,
        root=tmp_path,
        files=", ".join(f"images/{number:02d}.jpg" for number in range(5)),
        column="file",
    )


def test_own_split_accepts_the_usual_words(build: Build, table: pd.DataFrame) -> None:
    words = ["Train"] * 20 + ["val"] * 10 + ["TEST"] * 10
    cohort = build(table.assign(part=words), split_column="part")
    assert cohort.table["split"].tolist() == ["train"] * 20 + ["validation"] * 10 + ["audit"] * 10


def test_five_images_can_still_be_scored(build: Build, table: pd.DataFrame) -> None:
    cohort = build(table.head(5), evaluation_only=True)
    assert set(cohort.table["split"]) == {"audit"}


def test_unknown_tones_are_kept(build: Build, table: pd.DataFrame) -> None:
    table.loc[:3, "tone"] = ["-1", None, "", "unknown"]
    cohort = build(table)
    assert len(cohort) == 40
    assert cohort.groups("tone").tolist()[:4] == ["unknown"] * 4
    sentence = texts.UNKNOWN_SHARE.format(column="tone (the test)", count=4, total=40, share=0.1)
    assert sentence in cohort.warnings


def test_warnings_name_absent_classes_and_groups(build: Build, table: pd.DataFrame) -> None:
    table.loc[0, "dx"] = "rare"
    table["tone"] = ["6"] + ["1"] * 39
    cohort = build(table)
    home = cohort.table["split"][0]
    others = [split for split in ("train", "validation", "audit") if split != home]
    for split in others:
        assert texts.CLASS_ABSENT.format(split=split, classes="rare (1)") in cohort.warnings
        assert (
            texts.GROUP_EMPTY.format(column="tone (the test)", split=split, groups="FST V-VI (1)")
            in cohort.warnings
        )


def test_one_group_only_is_a_warning(build: Build, table: pd.DataFrame) -> None:
    cohort = build(table.assign(tone="2"))
    assert cohort.warnings == (texts.ONE_GROUP.format(column="tone (the test)", group="FST I-II"),)


def test_no_known_group_is_a_warning(build: Build, table: pd.DataFrame) -> None:
    cohort = build(table.assign(tone="-1"))
    assert cohort.warnings == (texts.NO_GROUP_KNOWN.format(column="tone (the test)"),)


def test_disputed_annotations_are_a_warning(build: Build, table: pd.DataFrame) -> None:
    second = table["tone"].to_list()
    second[:10] = ["3" if tone != "3" else "4" for tone in second[:10]]
    second[39] = "-1"
    both = {"tone": "first people", "second_tone": "second people"}
    cohort = build(table.assign(second_tone=second), group_columns=both)
    assert (
        texts.DISPUTED.format(first="first people", second="second people", share=29 / 39, total=39)
        in cohort.warnings
    )


def test_float_columns_keep_their_whole_numbers(build: Build, table: pd.DataFrame) -> None:
    tones = pd.Series([1.0, None] + [3.0] * 38)
    cohort = build(table.assign(tone=tones))
    assert cohort.table["tone"].tolist()[:3] == ["1", "", "3"]


def test_fingerprint_is_stable(build: Build, table: pd.DataFrame) -> None:
    assert build(table).fingerprint == build(table).fingerprint


@pytest.mark.parametrize("column", ["dx", "tone", "id"])
def test_fingerprint_follows_the_table(build: Build, table: pd.DataFrame, column: str) -> None:
    before = build(table).fingerprint
    table.loc[0, column] = "4" if column == "tone" else "new"
    assert build(table).fingerprint != before


def test_fingerprint_follows_one_byte_of_one_image(
    build: Build, table: pd.DataFrame, tmp_path: Path
) -> None:
    before = build(table).fingerprint
    path = tmp_path / "images/17.jpg"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    assert build(table).fingerprint != before


def test_fingerprint_is_computed_once(build: Build, table: pd.DataFrame, tmp_path: Path) -> None:
    cohort = build(table)
    first = cohort.fingerprint
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    assert cohort.fingerprint == first


def test_saved_cohort_comes_back(build: Build, table: pd.DataFrame, tmp_path: Path) -> None:
    cohort = build(table, licence="CC0", synthetic=True, warnings=("look out",))
    save_cohort(cohort, tmp_path / "saved")
    back = load_cohort(tmp_path / "saved")
    assert back.table.equals(cohort.table)
    assert back.fingerprint == cohort.fingerprint
    for field in ("name", "group_columns", "classes", "synthetic", "licence", "warnings"):
        assert getattr(back, field) == getattr(cohort, field)
    assert back.root.is_absolute()


def test_unchanged_images_are_not_hashed_again(
    build: Build, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = build(table)
    save_cohort(cohort, tmp_path / "saved")
    monkeypatch.setattr(Path, "open", _refuse)
    back = load_cohort(tmp_path / "saved")
    assert back.fingerprint == cohort.fingerprint


def _refuse(self: Path, *args: object, **kwargs: object) -> None:
    if self.suffix == ".jpg":
        raise AssertionError(f"{self} was opened")
    return io_open(self, *args, **kwargs)


io_open = Path.open


def test_touched_images_are_hashed_again_and_accepted(
    build: Build, table: pd.DataFrame, tmp_path: Path
) -> None:
    cohort = build(table)
    save_cohort(cohort, tmp_path / "saved")
    os.utime(tmp_path / "images/03.jpg", (1, 1))
    assert load_cohort(tmp_path / "saved").fingerprint == cohort.fingerprint


def test_changed_images_are_refused(
    build: Build, table: pd.DataFrame, tmp_path: Path, picture: Callable[..., None]
) -> None:
    save_cohort(build(table), tmp_path / "saved")
    picture(tmp_path / "images/03.jpg", 99)
    with pytest.raises(CohortError) as caught:
        load_cohort(tmp_path / "saved")
    assert str(caught.value) == module.CHANGED_IMAGES.format(
        folder=tmp_path / "saved", root=tmp_path
    )
    assert len(load_cohort(tmp_path / "saved", check_images=False)) == 40


def test_changed_table_is_refused(build: Build, table: pd.DataFrame, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    save_cohort(build(table), folder)
    frame = pd.read_parquet(folder / "table.parquet")
    frame.loc[0, "split"] = "audit" if frame.loc[0, "split"] == "train" else "train"
    frame.to_parquet(folder / "table.parquet", index=False)
    with pytest.raises(CohortError) as caught:
        load_cohort(folder)
    assert str(caught.value) == module.CHANGED_TABLE.format(folder=folder)


def test_damaged_folder_is_refused(build: Build, table: pd.DataFrame, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    with pytest.raises(CohortError, match="holds no saved cohort"):
        load_cohort(folder)
    save_cohort(build(table), folder)
    (folder / "table.parquet").write_bytes(b"PAR1")
    with pytest.raises(CohortError, match="holds no saved cohort"):
        load_cohort(folder)
    save_cohort(build(table), folder)
    (folder / "cohort.json").write_text(json.dumps({"name": "x"}), encoding="utf-8")
    with pytest.raises(CohortError, match="holds no saved cohort"):
        load_cohort(folder)


def test_nothing_here_imports_torch() -> None:
    code = (
        "import sys\n"
        "import fairquant_core.data.adapters, fairquant_core.data.images\n"
        "import fairquant_core.data.cohort, fairquant_core.data.skin_tone\n"
        "assert not {'torch', 'timm', 'torchvision', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
