from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fairquant_core.data import adapters as module
from fairquant_core.data import cohort_checks as checks
from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.table_columns import find_groups
from fairquant_core.errors import CohortError

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
real_data = [
    pytest.mark.data,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no real data beside the checkout"),
]

FITZPATRICK17K = (
    "md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,nine_partition_label,"
    "three_partition_label,qc,url,url_alphanum"
)
PADUFES20 = (
    "patient_id,lesion_id,smoke,drink,background_father,background_mother,age,pesticide,gender,"
    "skin_cancer_history,cancer_history,has_piped_water,has_sewage_system,fitspatrick,region,"
    "diameter_1,diameter_2,diagnostic,itch,grew,hurt,changed,bleed,elevation,img_id,biopsed"
)
HAM10000 = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
HIBA = (
    "isic_id,attribution,copyright_license,age_approx,anatom_site_general,diagnosis_1,diagnosis_2,"
    "diagnosis_3,fitzpatrick_skin_type,image_type,lesion_id,patient_id,sex"
)
DDI = "Unnamed: 0,DDI_ID,DDI_file,skin_tone,malignant,disease"


class Folder:
    """A data set with the header of a real one and made-up rows."""

    def __init__(self, root: Path, picture: Callable[..., None]) -> None:
        self.root = root
        self._picture = picture

    def write(
        self,
        header: str,
        row: Callable[[int], dict[str, object]],
        file: Callable[[int], str],
        *,
        count: int = 60,
        name: str = "table.csv",
    ) -> Path:
        frame = pd.DataFrame([row(n) for n in range(count)], columns=header.split(","))
        frame.to_csv(self.root / name, index=False)
        for n in range(count):
            self._picture(self.root / file(n), n, (8, 8))
        return self.root


@pytest.fixture
def folder(tmp_path: Path, picture: Callable[..., None]) -> Folder:
    return Folder(tmp_path, picture)


def fitzpatrick_row(n: int) -> dict[str, object]:
    return {
        "md5hash": f"{n:032x}",
        "fitzpatrick_scale": [-1, 1, 2, 3, 4, 5, 6][n % 7],
        "fitzpatrick_centaur": [-1, 1, 2, 3, 4, 5, 6][n % 5],
        "label": ["acne", "melanoma", "psoriasis"][n % 3],
        "three_partition_label": ["benign", "malignant", "benign"][n % 3],
    }


def fitzpatrick_file(n: int) -> str:
    return f"images/{n:032x}.jpg"


def padufes_row(n: int) -> dict[str, object]:
    return {
        "patient_id": f"PAT_{n // 4}",
        "lesion_id": n // 2,
        "gender": ["FEMALE", "MALE", ""][n % 3],
        "fitspatrick": [None, 1.0, 2.0, 3.0, 5.0][n % 5],
        "region": "ARM",
        "diagnostic": ["NEV", "BCC"][n % 2],
        "img_id": f"PAT_{n // 4}_{n // 2}_{n}.png",
    }


def padufes_file(n: int) -> str:
    return f"imgs_part_{1 + n % 3}/PAT_{n // 4}_{n // 2}_{n}.png"


def test_official_fitzpatrick17k_keeps_both_annotators(folder: Folder) -> None:
    root = folder.write(FITZPATRICK17K, fitzpatrick_row, fitzpatrick_file)
    cohort = read_cohort(root)
    assert cohort.name == "Fitzpatrick17k"
    assert cohort.group_columns == {
        "fitzpatrick_scale": "Scale AI annotators",
        "fitzpatrick_centaur": "Centaur Labs annotators",
    }
    assert cohort.classes == ("acne", "melanoma", "psoriasis")
    assert cohort.table["file"][1] == fitzpatrick_file(1)
    assert cohort.groups("fitzpatrick_scale")[0] == "unknown"
    assert any("agree exactly on" in sentence for sentence in cohort.warnings)


def test_fitzpatrick17k_without_its_images_names_the_files(folder: Folder) -> None:
    root = folder.write(FITZPATRICK17K, fitzpatrick_row, fitzpatrick_file)
    for n in (3, 4):
        (root / fitzpatrick_file(n)).unlink()
    with pytest.raises(CohortError) as caught:
        read_cohort(root)
    assert str(caught.value) == checks.MISSING_FILES.format(
        name="Fitzpatrick17k",
        count=2,
        root=root,
        files=f"{fitzpatrick_file(3)}, {fitzpatrick_file(4)}",
        column=module.FILE,
    )


def test_missing_files_can_be_dropped_and_are_counted(folder: Folder) -> None:
    root = folder.write(FITZPATRICK17K, fitzpatrick_row, fitzpatrick_file)
    for n in (3, 4):
        (root / fitzpatrick_file(n)).unlink()
    cohort = read_cohort(root, missing="drop")
    assert len(cohort) == 58
    files = f"{fitzpatrick_file(3)}, {fitzpatrick_file(4)}"
    assert cohort.warnings[0] == module.DROPPED.format(count=2, total=60, files=files)
    with pytest.raises(CohortError, match="'error' or 'drop'"):
        read_cohort(root, missing="ignore")


def test_labels_and_groups_override_the_adapter(folder: Folder) -> None:
    root = folder.write(FITZPATRICK17K, fitzpatrick_row, fitzpatrick_file)
    cohort = read_cohort(root, labels="three_partition_label", groups="fitzpatrick_centaur")
    assert cohort.classes == ("benign", "malignant")
    assert list(cohort.group_columns) == ["fitzpatrick_centaur", "fitzpatrick_scale"]
    assert cohort.group_columns["fitzpatrick_centaur"] == "Centaur Labs annotators"


@pytest.mark.parametrize(("option", "role"), [("labels", "label"), ("groups", "groups")])
def test_a_column_that_does_not_exist_is_named(folder: Folder, option: str, role: str) -> None:
    root = folder.write(FITZPATRICK17K, fitzpatrick_row, fitzpatrick_file)
    with pytest.raises(CohortError) as caught:
        read_cohort(root, **{option: "fitzpatrick"})
    message = str(caught.value)
    assert f"no column for the {role}: looked for 'fitzpatrick'" in message
    assert "the table has md5hash, fitzpatrick_scale, fitzpatrick_centaur, label" in message


def test_official_padufes20_splits_by_patient(folder: Folder) -> None:
    cohort = read_cohort(folder.write(PADUFES20, padufes_row, padufes_file))
    assert cohort.name == "PAD-UFES-20"
    assert list(cohort.group_columns) == ["fitspatrick", "gender"]
    assert cohort.table["file"][4] == padufes_file(4)
    assert cohort.table["cluster"].nunique() == 15
    patient = cohort.table["id"].str.extract(r"(PAT_\d+)_")[0]
    assert cohort.table.groupby(patient)["split"].nunique().max() == 1
    assert cohort.groups("fitspatrick")[[0, 1, 3, 4]].tolist() == [
        "unknown",
        "FST I-II",
        "FST III-IV",
        "FST V-VI",
    ]


def test_ham10000_works_as_a_table_and_a_folder(folder: Folder) -> None:
    root = folder.write(
        HAM10000,
        lambda n: {
            "lesion_id": f"HAM_{n // 2}",
            "image_id": f"ISIC_{n:07d}",
            "dx": ["nv", "mel"][n // 2 % 2],
            "sex": ["male", "female", "unknown"][n % 3],
            "localization": ["back", "trunk"][n % 2],
        },
        lambda n: f"images/ISIC_{n:07d}.jpg",
    )
    cohort = read_cohort(root)
    assert cohort.classes == ("mel", "nv")
    assert list(cohort.group_columns) == ["sex", "localization"]
    assert cohort.table["id"][0] == "ISIC_0000000"
    assert cohort.table["cluster"].nunique() == 30


def test_hiba_and_ddi_headers_are_understood(folder: Folder, tmp_path: Path) -> None:
    root = folder.write(
        HIBA,
        lambda n: {
            "isic_id": f"ISIC_{n:07d}",
            "diagnosis_1": "Benign",
            "diagnosis_3": ["Nevus", "Melanoma"][n % 2],
            "fitzpatrick_skin_type": ["I", "III", "V", ""][n % 4],
            "lesion_id": f"IL_{n}",
            "patient_id": f"IP_{n // 3}",
            "sex": "male",
        },
        lambda n: f"ISIC_{n:07d}.jpg",
    )
    cohort = read_cohort(root)
    assert cohort.classes == ("Melanoma", "Nevus")
    assert cohort.groups("fitzpatrick_skin_type").tolist()[2] == "FST V-VI"
    (root / "table.csv").unlink()
    folder.write(
        DDI,
        lambda n: {
            "Unnamed: 0": n,
            "DDI_ID": n + 1,
            "DDI_file": f"{n + 1:06d}.png",
            "skin_tone": [12, 34, 56][n % 3],
            "malignant": n % 2 == 0,
            "disease": ["wart", "melanoma"][n % 2],
        },
        lambda n: f"{n + 1:06d}.png",
    )
    cohort = read_cohort(root)
    assert cohort.groups("skin_tone").tolist()[:3] == ["FST I-II", "FST III-IV", "FST V-VI"]
    assert cohort.table["id"][0] == "1"


def test_demo_folder_keeps_its_split(folder: Folder) -> None:
    header = "id,file,label,split,patient,lesion,fitzpatrick,sex,age,malignant"
    root = folder.write(
        header,
        lambda n: {
            "id": f"demo-{n:04d}",
            "file": f"images/demo-{n:04d}.jpg",
            "label": ["nevus", "melanoma"][n % 2],
            "split": ["train", "validation", "audit"][n // 20],
            "patient": f"p{n // 2}",
            "lesion": f"l{n}",
            "fitzpatrick": 1 + n % 6,
            "sex": ["female", "male"][n % 2],
            "age": 40,
            "malignant": n % 2,
        },
        lambda n: f"images/demo-{n:04d}.jpg",
        name="cohort.csv",
    )
    about = {"name": "Demo cohort", "synthetic": True, "licence": "CC0"}
    (root / "cohort.json").write_text(json.dumps(about), encoding="utf-8")
    cohort = read_cohort(root)
    assert (cohort.name, cohort.synthetic, cohort.licence) == ("Demo cohort", True, "CC0")
    assert cohort.table["split"].tolist() == ["train"] * 20 + ["validation"] * 20 + ["audit"] * 20
    assert cohort.group_columns == {"fitzpatrick": "demo generator", "sex": "demo generator"}
    assert cohort.table["cluster"].nunique() == 30
    (root / "cohort.json").write_text("{", encoding="utf-8")
    with pytest.raises(CohortError, match=r"cohort\.json cannot be read"):
        read_cohort(root)


def plain_row(n: int) -> dict[str, object]:
    return {"filename": f"{n}.png", "diagnosis": "ab"[n % 2], "tone": 1 + n % 6}


def test_groups_of_an_unusual_name_can_be_chosen(folder: Folder) -> None:
    root = folder.write("filename,diagnosis,tone", plain_row, lambda n: f"pictures/{n}.png")
    with pytest.raises(CohortError) as caught:
        read_cohort(root)
    assert str(caught.value) == module.NO_GROUPS.format(
        name=root.name, present="filename, diagnosis, tone, image file"
    )
    cohort = read_cohort(root, groups="tone")
    assert cohort.group_columns == {"tone": "column tone"}
    assert cohort.table["file"][0] == "pictures/0.png"


def test_the_table_itself_can_be_named(folder: Folder) -> None:
    root = folder.write("filename,diagnosis,tone", plain_row, lambda n: f"pictures/{n}.png")
    (root / "second.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(CohortError) as caught:
        read_cohort(root, groups="tone")
    assert str(caught.value) == module.MANY_TABLES.format(
        folder=root, count=2, names="second.csv, table.csv"
    )
    assert len(read_cohort(root / "table.csv", groups="tone")) == 60


def test_folders_without_a_readable_table(tmp_path: Path) -> None:
    with pytest.raises(CohortError) as caught:
        read_cohort(tmp_path / "nowhere")
    assert str(caught.value) == module.NO_FOLDER.format(folder=tmp_path / "nowhere")
    with pytest.raises(CohortError) as caught:
        read_cohort(tmp_path)
    assert str(caught.value) == module.NO_TABLE.format(folder=tmp_path)
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(CohortError, match="cannot be read as a table"):
        read_cohort(tmp_path)
    (tmp_path / "table.csv").write_bytes(b"")
    with pytest.raises(CohortError, match="cannot be read as a table"):
        read_cohort(tmp_path)


def test_renamed_columns_name_what_was_looked_for(folder: Folder) -> None:
    root = folder.write(
        "bild,befund",
        lambda n: {"bild": f"{n}.png", "befund": "ab"[n % 2]},
        lambda n: f"{n}.png",
    )
    with pytest.raises(CohortError) as caught:
        read_cohort(root)
    message = str(caught.value)
    assert "no column for the label: looked for 'label', 'diagnosis'" in message
    assert message.endswith("the table has bild, befund")


def test_a_path_outside_the_folder_is_refused(folder: Folder) -> None:
    root = folder.write(
        "filename,diagnosis,tone",
        lambda n: plain_row(n) | ({"filename": "../../private.png"} if n == 4 else {}),
        lambda n: f"{n}.png",
    )
    with pytest.raises(CohortError) as caught:
        read_cohort(root, groups="tone")
    assert str(caught.value) == checks.OUTSIDE_FILE.format(
        name=root.name, row=5, file="../../private.png"
    )


def test_a_name_in_two_folders_is_not_guessed(folder: Folder) -> None:
    root = folder.write("filename,diagnosis,tone", plain_row, lambda n: f"one/{n}.png")
    (root / "two").mkdir()
    (root / "two/7.png").write_bytes((root / "one/7.png").read_bytes())
    with pytest.raises(CohortError, match=r"1 image files not found .* first: 7\.png\."):
        read_cohort(root, groups="tone")


def test_quoted_text_and_a_byte_order_mark_are_read(folder: Folder) -> None:
    root = folder.write("filename,diagnosis,tone", plain_row, lambda n: f"{n}.png")
    text = (root / "table.csv").read_text(encoding="utf-8")
    (root / "table.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert len(read_cohort(root, groups="tone")) == 60


def test_a_column_that_says_the_same_everywhere_is_no_group_unless_it_is_skin_tone() -> None:
    frame = pd.DataFrame({"sex": ["male", "male", ""], "fst": ["2", "", "2"], "race": ["", "", ""]})
    assert list(find_groups(frame, ())) == ["fst"]


class TestRealData:
    """The data sets beside the checkout, read as they are."""

    pytestmark = real_data

    def test_fitzpatrick17k(self) -> None:
        cohort = read_cohort(SHARED / "fitzpatrick17k")
        assert (len(cohort), len(cohort.classes)) == (2832, 21)
        counts = cohort.table["fitzpatrick_scale"].value_counts()
        wanted = {"1": 523, "2": 957, "3": 555, "4": 388, "5": 214, "6": 89, "-1": 106}
        assert counts.to_dict() == wanted
        assert cohort.table["cluster"].nunique() < 2832

    def test_padufes20(self) -> None:
        cohort = read_cohort(SHARED / "padufes20")
        assert (len(cohort), len(cohort.classes)) == (822, 6)
        groups = cohort.groups("fitzpatrick", "fst6").value_counts()
        assert groups["unknown"] == 309
        assert groups["FST II"] == 285
        patient = cohort.table["id"].str.extract(r"(PAT_\d+)_")[0]
        assert cohort.table.groupby(patient)["split"].nunique().max() == 1

    def test_ham10000(self) -> None:
        cohort = read_cohort(SHARED / "ham10000")
        assert (len(cohort), len(cohort.classes)) == (5048, 7)

    @pytest.mark.parametrize(
        ("file", "adapter"),
        [
            ("fitzpatrick17k.csv", "fitzpatrick17k"),
            ("padufes20_metadata.csv", "padufes20"),
            ("isic_hiba_metadata.csv", "table"),
        ],
    )
    def test_official_headers_are_recognised(self, file: str, adapter: str) -> None:
        table = SHARED / "headers" / file
        names = frozenset(pd.read_csv(table, nrows=0).columns.str.lower())
        chosen = next(one for one in module.ADAPTERS if one.recognises(table, names))
        assert chosen.name == adapter
