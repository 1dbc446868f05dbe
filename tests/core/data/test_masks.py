"""Masks of the lesion: which file belongs to which photograph, and its pixels as the classifier sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fairquant_core.data import masks
from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.cohort import Cohort, load_cohort, save_cohort
from fairquant_core.data.images import Preprocessing, load_array
from fairquant_core.errors import ImageError

Build = Callable[..., Cohort]
WIDE = (60, 40)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def disc(width: int, height: int, radius: float = 0.3) -> np.ndarray:
    """A white disc a little left of the middle; radius and place in shares of the height."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    away = np.hypot(x - width / 2 + 0.1 * height, y - height / 2)
    return np.where(away < radius * height, 255, 0).astype(np.uint8)


def test_a_column_names_the_masks_and_changes_no_fingerprint(
    build: Build, table: pd.DataFrame
) -> None:
    files = ["masks\\one.png", " ", *[""] * (len(table) - 2)]
    plain, marked = build(table), build(table.assign(mask=files), mask_column="mask")
    assert masks.mask_files(marked) == {"i00": "masks/one.png"}
    assert marked.fingerprint == plain.fingerprint
    assert list(marked.table.columns) == list(plain.table.columns)


def test_saved_cohorts_keep_the_masks_and_older_ones_have_none(
    build: Build, table: pd.DataFrame, tmp_path: Path
) -> None:
    marked = build(table.assign(mask="m.png"), mask_column="mask")
    save_cohort(marked, tmp_path / "saved")
    assert load_cohort(tmp_path / "saved").masks == marked.masks
    about = tmp_path / "saved" / "cohort.json"
    about.write_text(about.read_text().replace('"masks"', '"older"'))
    assert load_cohort(tmp_path / "saved").masks == {}


def test_without_a_column_masks_lie_in_their_folder(
    build: Build, table: pd.DataFrame, tmp_path: Path
) -> None:
    assert masks.mask_files(build(table)) == {}
    write(tmp_path / "masks/03.png", disc(8, 8))
    (tmp_path / "masks/notes.txt").write_text("not a mask")
    assert masks.mask_files(build(table)) == {"i03": "masks/03.png"}


def test_a_name_that_two_photographs_share_is_not_guessed(
    build: Build, table: pd.DataFrame, tmp_path: Path, picture: Callable[..., None]
) -> None:
    picture(tmp_path / "other/03.jpg", 1)
    table.loc[0, "file"] = "other/03.jpg"
    write(tmp_path / "masks/03.png", disc(8, 8))
    assert masks.mask_files(build(table)) == {}


def test_adapters_read_the_column_of_masks(
    tmp_path: Path, table: pd.DataFrame, picture: Callable[..., None]
) -> None:
    table.assign(Mask="marks/one.png").to_csv(tmp_path / "table.csv", index=False)
    assert set(read_cohort(tmp_path, groups="tone").masks.values()) == {"marks/one.png"}


def test_masks_with_the_names_of_photographs_do_not_hide_them(
    tmp_path: Path, table: pd.DataFrame
) -> None:
    table["file"] = [Path(file).stem for file in table["file"]]
    for name in table["file"]:
        write(tmp_path / f"masks/{name}.png", disc(8, 8))
    table.to_csv(tmp_path / "table.csv", index=False)
    cohort = read_cohort(tmp_path, groups="tone")
    assert cohort.table["file"].str.startswith("images/").all()
    assert len(masks.mask_files(cohort)) == len(table)


def test_the_state_changes_with_the_files(
    build: Build, table: pd.DataFrame, tmp_path: Path
) -> None:
    cohort = build(table.assign(mask="m.png"), mask_column="mask")
    assert masks.mask_state(cohort, ["i01"]) == [["i01", "m.png", -1]]
    write(tmp_path / "m.png", disc(8, 8))
    size = (tmp_path / "m.png").stat().st_size
    assert masks.mask_state(cohort, ["i01", "nobody"]) == [["i01", "m.png", size]]
    assert masks.mask_state(build(table), ["i01"]) == []


@pytest.mark.parametrize("crop", [1.0, 0.8])
@pytest.mark.parametrize("size", [(60, 40), (40, 60), (50, 50), (600, 400)], ids=str)
def test_the_mask_is_cropped_as_the_photograph(
    size: tuple[int, int], crop: float, tmp_path: Path
) -> None:
    """A photograph that is its own mask must come out the same way by both roads."""
    preprocessing = Preprocessing(24, crop_fraction=crop)
    write(tmp_path / "m.png", disc(*size))
    photograph = load_array(tmp_path / "m.png", preprocessing)[..., 0] / 255
    cover = masks.load_cover(tmp_path, "m.png", size, preprocessing)
    assert cover.shape == (24, 24)
    assert cover == pytest.approx(photograph, abs=1e-6)


def test_the_covered_area_is_that_of_the_disc(tmp_path: Path) -> None:
    write(tmp_path / "m.png", disc(300, 200))
    cover = masks.load_cover(tmp_path, "m.png", (300, 200), Preprocessing(32))
    assert cover.mean() == pytest.approx(np.pi * 0.3**2, abs=0.01)


def test_a_smaller_mask_of_the_same_shape_covers_the_same(tmp_path: Path) -> None:
    write(tmp_path / "large.png", disc(901, 600))
    write(tmp_path / "small.png", disc(150, 100))
    large, small = (
        masks.load_cover(tmp_path, name, (901, 600), Preprocessing(32))
        for name in ("large.png", "small.png")
    )
    assert np.abs(large - small).mean() < 0.01


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_every_way_to_save_black_and_white(mode: str, tmp_path: Path) -> None:
    pixels = disc(*WIDE)
    if mode == "I;16":
        Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "m.png")
    else:
        Image.fromarray(pixels).convert(mode).save(tmp_path / "m.png")
    cover = masks.load_cover(tmp_path, "m.png", WIDE, Preprocessing(16))
    assert cover.mean() == pytest.approx(np.pi * 0.3**2, abs=0.02)


@dataclass(frozen=True)
class Bad:
    """A file that is no usable mask, and the words that say so."""

    name: str
    content: np.ndarray | bytes | None
    words: str


BAD = [
    Bad("missing", None, "not found"),
    Bad("unreadable", b"no picture", "not an image"),
    Bad("cut", b"\x89PNG\r\n\x1a\n\x00\x00", "not an image|damaged"),
    Bad("empty", np.zeros(WIDE[::-1], np.uint8), "shows no lesion"),
    Bad("labels 0 and 1", np.ones(WIDE[::-1], np.uint8), "paint the lesion white"),
    Bad(
        "outside the crop", np.pad(np.full((40, 4), 255, np.uint8), ((0, 0), (0, 56))), "no lesion"
    ),
    Bad("white everywhere", np.full(WIDE[::-1], 255, np.uint8), "every map would lie"),
    Bad("another shape", disc(50, 40), "ratio of 1.25.*ratio of 1.50"),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_mask_that_cannot_be_used_says_why(bad: Bad, tmp_path: Path) -> None:
    if isinstance(bad.content, bytes):
        (tmp_path / "m.png").write_bytes(bad.content)
    elif bad.content is not None:
        write(tmp_path / "m.png", bad.content)
    with pytest.raises(ImageError, match=bad.words):
        masks.load_cover(tmp_path, "m.png", WIDE, Preprocessing(16))


@pytest.mark.parametrize("file", ["../m.png", "/etc/m.png", "C:/m.png"])
def test_a_mask_outside_the_folder_is_refused(file: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="outside the cohort's folder"):
        masks.load_cover(tmp_path, file, WIDE, Preprocessing(16))
