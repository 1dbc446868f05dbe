"""The synthetic demo cohort: repeatable, split by patient, and optically sane."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fairquant_core.data import demo
from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.demo_lesion import CLASSES, MALIGNANT, MELANOMA, NAEVUS, draw_traits
from fairquant_core.data.demo_photo import Photograph, photograph
from fairquant_core.data.demo_skin import colour, luminance
from fairquant_core.data.masks import mask_files
from fairquant_core.errors import CohortError

SHIPPED = Path(__file__).parents[3] / "assets" / "demo"
SMALL = {"train": 60, "validation": 30, "audit": 30}


def generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(list(seed))


def table_of(pictures: list[demo.Picture]) -> pd.DataFrame:
    return pd.DataFrame([picture.row for picture in pictures])


def same_lesion_on(fitzpatrick: int, label: str, number: int) -> Photograph:
    """One lesion, drawn with the same traits and light on skin of another type."""
    skin = demo.draw_skin(fitzpatrick, 50, generator(number))
    traits = draw_traits(label, 0.05, generator(1, number))
    return photograph(traits, skin, generator(2, number), generator(3, number), 64)


@pytest.fixture(scope="module")
def planned() -> pd.DataFrame:
    return table_of(demo.plan_cohort(0))


def test_the_same_seed_gives_the_same_pixels() -> None:
    first, second = (
        demo.render_cohort(demo.plan_cohort(3, SMALL)[::12], side=64) for _ in range(2)
    )
    assert first.tobytes() == second.tobytes()


def test_another_seed_gives_other_pixels() -> None:
    one, other = (demo.render_cohort(demo.plan_cohort(seed, SMALL)[:2], side=64) for seed in (3, 4))
    assert (one != other).mean() > 0.5


def test_a_picture_does_not_depend_on_which_others_were_drawn_before() -> None:
    pictures = demo.plan_cohort(3, SMALL)
    alone = demo.render_row(pictures[40], 64).pixels
    demo.render_row(pictures[7], 64)
    assert np.array_equal(alone, demo.render_row(pictures[40], 64).pixels)


def test_sizes_and_type_shares_are_the_stated_ones(planned: pd.DataFrame) -> None:
    for split, total in demo.SIZES.items():
        part = planned[planned["split"] == split]
        shares = part["fitzpatrick"].value_counts(normalize=True).sort_index()
        assert len(part) == total
        assert np.abs(shares.to_numpy() - demo.TYPE_SHARES[split]).max() < 0.003


def test_dark_skin_is_rare_in_training_but_not_in_the_audit(planned: pd.DataFrame) -> None:
    dark = planned["fitzpatrick"] >= 5
    train, audit = planned["split"] == "train", planned["split"] == "audit"
    assert dark[train].mean() < 0.15
    assert (dark & audit).sum() >= 90


def test_class_does_not_depend_on_skin_type(planned: pd.DataFrame) -> None:
    shares = pd.crosstab(planned["fitzpatrick"], planned["label"], normalize="index")
    assert (shares.max() - shares.min()).max() < 0.03


def test_no_patient_and_no_lesion_is_in_two_splits(planned: pd.DataFrame) -> None:
    for column in ("patient", "lesion"):
        assert (planned.groupby(column)["split"].nunique() == 1).all()
        assert planned[column].value_counts().max() == 2


def test_ids_are_unique_and_malignancy_follows_the_class(planned: pd.DataFrame) -> None:
    assert planned["id"].is_unique
    assert set(planned["label"]) == set(CLASSES)
    assert (planned["malignant"].astype(bool) == planned["label"].isin(MALIGNANT)).all()


def test_every_patient_has_own_seeds() -> None:
    pictures = demo.plan_cohort(0)
    people = {picture.row["patient"]: picture.patient_seed for picture in pictures}
    assert len(set(people.values())) == len(people)
    assert len({picture.photo_seed for picture in pictures}) == len(pictures)


def test_two_photographs_of_a_lesion_are_alike_but_not_the_same() -> None:
    pictures = demo.plan_cohort(0)
    second = next(p for p in pictures if str(p.row["id"]).endswith("b"))
    first = next(p for p in pictures if p.row["lesion"] == second.row["lesion"])
    assert first.patient_seed == second.patient_seed
    one, other = demo.render_row(first, 64).pixels, demo.render_row(second, 64).pixels
    assert (one != other).mean() > 0.5


def test_more_melanin_is_darker_everywhere_in_the_table() -> None:
    melanin = np.tile(np.linspace(0, 0.8, 40), (6, 1)).astype(np.float32)
    blood = np.repeat(np.linspace(0, 0.2, 6)[:, None], 40, axis=1).astype(np.float32)
    light = luminance(colour(melanin, blood, np.zeros_like(blood)))
    assert (np.diff(light, axis=1) < 0).all()
    assert (np.diff(light, axis=0)[:, :20] < 0).all()


def test_blood_reddens_and_deep_pigment_turns_blue_grey() -> None:
    def rgb(melanin: float, blood: float, deep: float) -> np.ndarray:
        amounts = (np.full((1, 1), value, dtype=np.float32) for value in (melanin, blood, deep))
        return colour(*amounts)[0, 0]

    plain, flushed, blue = rgb(0.02, 0.02, 0), rgb(0.02, 0.12, 0), rgb(0.02, 0.02, 0.1)
    assert flushed[0] / flushed[1] > 1.3 * plain[0] / plain[1]
    assert blue[2] / blue[0] > 1.2 * plain[2] / plain[0]


def test_skin_gets_darker_from_type_one_to_six() -> None:
    means = []
    for fitzpatrick in range(1, 7):
        shots = [same_lesion_on(fitzpatrick, NAEVUS, number) for number in range(6)]
        means.append(np.mean([luminance(s.pixels[s.cover < 0.02]).mean() for s in shots]))
    assert (np.diff(means) < 0).all()


@pytest.mark.parametrize("label", [NAEVUS, MELANOMA])
def test_the_same_pigmented_lesion_stands_out_less_on_dark_skin(label: str) -> None:
    def lightness(linear: np.ndarray) -> float:
        return float(116 * np.cbrt(luminance(linear).mean()) - 16)

    contrasts = []
    for fitzpatrick in (1, 3, 5, 6):
        shots = [same_lesion_on(fitzpatrick, label, number) for number in range(8)]
        differences = [
            lightness(s.reflectance[s.cover < 0.02]) - lightness(s.reflectance[s.cover > 0.8])
            for s in shots
            if (s.cover > 0.8).sum() > 20
        ]
        contrasts.append(np.mean(differences))
    assert (np.diff(contrasts) < 0).all()
    assert contrasts[-1] < 0.5 * contrasts[0]


@pytest.mark.parametrize("label", CLASSES)
def test_every_class_shows_a_lesion_and_leaves_skin_around_it(label: str) -> None:
    for number in range(5):
        cover = same_lesion_on(2, label, number).cover
        assert 0.004 < cover.mean() < 0.85


def test_the_mask_is_where_the_lesion_changes_the_skin() -> None:
    """Independent of how the lesion is drawn: the colour changes inside the mask and hardly outside."""
    for number in range(4):
        shot = same_lesion_on(2, MELANOMA, number)
        far = shot.cover < 1e-3
        skin = luminance(shot.reflectance[far])
        assert luminance(shot.reflectance[shot.mask]).mean() < 0.8 * skin.mean()
        assert not (shot.mask & far).any()


def test_written_masks_are_of_the_wanted_splits_with_one_bit_per_pixel(tmp_path: Path) -> None:
    sizes = {"train": 6, "validation": 6, "audit": 6}
    written = demo.write_masks(tmp_path, seed=5, sizes=sizes)
    audit = [p for p in demo.plan_cohort(5, sizes) if p.row["split"] == "audit"]
    assert [path.stem for path in written] == [picture.row["id"] for picture in audit]
    with Image.open(written[0]) as image:
        assert image.mode == "1"
        assert np.array_equal(np.asarray(image), demo.render_row(audit[0]).mask)


def test_an_unknown_skin_type_is_refused() -> None:
    with pytest.raises(CohortError, match="type 7 does not exist: use 1 to 6"):
        demo.draw_skin(7, 50, generator(0))


def test_a_picture_takes_milliseconds() -> None:
    pictures = demo.plan_cohort(0)[:400:40]
    demo.render_row(pictures[0])
    started = time.process_time()
    for picture in pictures:
        demo.render_row(picture)
    # 13 ms on one idle core; five times that on a machine that does other things too.
    assert (time.process_time() - started) / len(pictures) < 0.065


def test_a_written_cohort_is_read_back_with_its_split(tmp_path: Path) -> None:
    table = demo.write_cohort(tmp_path, seed=5, sizes=SMALL, command="make")
    about = json.loads((tmp_path / "cohort.json").read_text(encoding="utf-8"))
    cohort = read_cohort(tmp_path)
    assert cohort.synthetic and cohort.name == demo.NAME and about["seed"] == 5
    assert cohort.classes == tuple(sorted(CLASSES))
    assert cohort.table["split"].value_counts().to_dict() == SMALL
    assert cohort.table["id"].tolist() == table["id"].tolist()
    assert next(iter(cohort.group_columns)) == "fitzpatrick"
    with Image.open(tmp_path / str(table["file"][0])) as image:
        assert image.size == (demo.SIDE, demo.SIDE) and image.format == "JPEG"


def test_old_and_new_pictures_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "old.jpg").write_bytes(b"")
    with pytest.raises(CohortError, match="already holds images"):
        demo.write_cohort(tmp_path, sizes=SMALL)


@pytest.mark.skipif(
    not (SHIPPED / "provenance.json").is_file(), reason="assets/demo has not been made"
)
class TestShipped:
    def test_the_shipped_table_is_the_planned_one(self) -> None:
        about = json.loads((SHIPPED / "cohort.json").read_text(encoding="utf-8"))
        assert about["generator_version"] == demo.GENERATOR_VERSION
        shipped = pd.read_csv(SHIPPED / "cohort.csv")
        pd.testing.assert_frame_equal(
            shipped,
            table_of(demo.plan_cohort(about["seed"]))[list(demo.COLUMNS)],
            check_dtype=False,
        )

    def test_the_shipped_pictures_are_those_the_generator_draws(self) -> None:
        about = json.loads((SHIPPED / "cohort.json").read_text(encoding="utf-8"))
        for picture in demo.plan_cohort(about["seed"])[::450]:
            with Image.open(SHIPPED / str(picture.row["file"])) as image:
                shipped = np.asarray(image.convert("RGB"), dtype=float)
            drawn = demo.render_row(picture).pixels.astype(float)
            # JPEG moves single pixels; the picture as a whole must be the same.
            assert np.abs(shipped - drawn).mean() < 6

    def test_the_shipped_masks_are_those_of_the_audit_pictures(self) -> None:
        about = json.loads((SHIPPED / "cohort.json").read_text(encoding="utf-8"))
        audit = [p for p in demo.plan_cohort(about["seed"]) if p.row["split"] == "audit"]
        cohort = read_cohort(SHIPPED)
        known = mask_files(cohort)
        assert list(known) == [picture.row["id"] for picture in audit]
        for picture in audit[::150]:
            with Image.open(SHIPPED / known[str(picture.row["id"])]) as image:
                shipped = np.asarray(image)
            # Another processor may round a pixel of the border the other way.
            assert (shipped != demo.render_row(picture).mask).mean() < 0.001

    def test_fingerprints_and_files_are_those_of_the_provenance(self) -> None:
        told = json.loads((SHIPPED / "provenance.json").read_text(encoding="utf-8"))
        cohort = read_cohort(SHIPPED)
        assert cohort.fingerprint == told["cohort_fingerprint"]
        size = sum(path.stat().st_size for path in (SHIPPED / "images").iterdir())
        assert size <= 9_000_000
