from __future__ import annotations

import contextlib
import errno
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, TiffImagePlugin

from fairquant_core.data import images as module
from fairquant_core.data.cohort import Cohort
from fairquant_core.data.images import (
    Preprocessing,
    UnreadableImagesError,
    decoded_images,
    load_array,
    open_image,
    to_array,
)
from fairquant_core.errors import Cancelled, ImageError

Build = Callable[..., Cohort]
SMALL = Preprocessing(16)


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    """A picture in which every place has its own colour, without fine detail."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp", "jpg"])
def test_allowed_formats(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    gradient().save(path, **({"lossless": True} if ending == "webp" else {}))
    opened = open_image(path)
    assert opened.mode == "RGB"
    difference = np.asarray(opened).astype(int) - np.asarray(gradient())
    assert np.abs(difference).max() <= (12 if ending == "jpg" else 0)


def test_a_gif_and_a_text_are_refused(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.gif")
    (tmp_path / "b.jpg").write_text("hello", encoding="utf-8")
    for name in ("a.gif", "b.jpg"):
        with pytest.raises(ImageError) as caught:
            open_image(tmp_path / name)
        formats = "JPEG, PNG, WEBP, BMP, TIFF"
        assert str(caught.value) == module.NOT_AN_IMAGE.format(
            path=tmp_path / name, formats=formats
        )


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        open_image(tmp_path / "a.jpg")
    assert str(caught.value) == module.NOT_FOUND.format(path=tmp_path / "a.jpg")


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", "bmp"])
def test_a_cut_off_file_is_damaged(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match="damaged|not an image"):
        open_image(path)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", "bmp"])
@pytest.mark.filterwarnings("ignore")
def test_random_damage_gives_a_picture_or_an_image_error(tmp_path: Path, ending: str) -> None:
    whole = tmp_path / f"whole.{ending}"
    gradient(24, 24).save(whole)
    content = whole.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(0, len(damaged), rng.integers(1, 6)):
            damaged[place] = rng.integers(0, 256)
        path = tmp_path / f"damaged.{ending}"
        path.write_bytes(bytes(damaged[: rng.integers(len(damaged) // 2, len(damaged) + 1)]))
        with contextlib.suppress(ImageError):
            assert open_image(path).mode == "RGB"


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    gradient(40, 30).save(path)
    with pytest.raises(ImageError) as caught:
        open_image(path, max_pixels=1199)
    assert str(caught.value) == module.TOO_LARGE.format(path=path, width=40, height=30, limit=1199)
    assert open_image(path, max_pixels=1200).size == (40, 30)


@pytest.mark.parametrize("side", [9_000, 30_000, 400_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(b"\0" * 1000)),
        chunk(b"IEND", b""),
    ]
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(ImageError, match="more than the 64,000,000 allowed"):
        open_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_and_is_dropped(tmp_path: Path, orientation: int) -> None:
    upright = gradient()
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera that knows too much"
    stored.save(tmp_path / "a.png", exif=exif)
    opened = open_image(tmp_path / "a.png")
    assert np.array_equal(np.asarray(opened), np.asarray(upright))
    assert not opened.info
    assert not dict(opened.getexif())


def test_exif_is_respected_when_a_large_jpeg_is_shrunk(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    gradient(800, 600).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=exif)
    opened = open_image(tmp_path / "a.jpg", shrink_to=64)
    assert opened.size == (200, 150)
    pixels = np.asarray(opened).astype(int)
    assert pixels[75, 190, 0] > pixels[75, 10, 0]


def test_transparency_becomes_white(tmp_path: Path) -> None:
    layer = gradient().convert("RGBA")
    layer.putalpha(0)
    layer.save(tmp_path / "a.png")
    assert (np.asarray(open_image(tmp_path / "a.png")) == 255).all()
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30] * 256)
    palette.save(tmp_path / "b.png", transparency=0)
    assert (np.asarray(open_image(tmp_path / "b.png")) == 255).all()


def test_grey_pictures(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "b.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "c.tif")
    Image.fromarray(grey > 127).save(tmp_path / "d.png")
    for name in ("a.png", "b.png", "c.tif"):
        pixels = np.asarray(open_image(tmp_path / name))
        assert np.array_equal(pixels, np.repeat(grey[:, :, None], 3, axis=2)), name
    assert set(np.unique(np.asarray(open_image(tmp_path / "d.png")))) == {0, 255}


def test_four_printing_colours(tmp_path: Path) -> None:
    gradient().convert("CMYK").save(tmp_path / "a.jpg")
    assert open_image(tmp_path / "a.jpg").mode == "RGB"


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((8, 8), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError) as caught:
        open_image(tmp_path / "a.tif")
    assert str(caught.value) == module.FLOATING.format(path=tmp_path / "a.tif")


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (17, 300), (16, 16), (5, 7)])
@pytest.mark.parametrize("fraction", [1.0, 0.875])
def test_to_array_always_gives_the_square(size: tuple[int, int], fraction: float) -> None:
    pixels = to_array(gradient(*size), Preprocessing(16, crop_fraction=fraction))
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8


def test_to_array_keeps_the_middle() -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 255
    assert (to_array(Image.fromarray(wide), Preprocessing(20)) == 255).all()


def test_shrinking_while_decoding_hardly_changes_the_result(tmp_path: Path) -> None:
    gradient(1200, 900).save(tmp_path / "a.jpg", quality=92)
    quick = load_array(tmp_path / "a.jpg", Preprocessing(64)).astype(int)
    full = to_array(open_image(tmp_path / "a.jpg"), Preprocessing(64)).astype(int)
    assert np.abs(quick - full).mean() < 0.5
    assert np.abs(quick - full).max() <= 3


def test_preprocessing_round_trip() -> None:
    one = Preprocessing(96, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1), 0.9, "bilinear")
    assert Preprocessing.from_json(one.to_json()) == one
    assert isinstance(one.to_json()["mean"], list)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 0),
        ("size", 1.5),
        ("mean", (0.5, 0.5)),
        ("std", (0.0, 1.0, 1.0)),
        ("crop_fraction", 1.2),
        ("interpolation", "magic"),
    ],
)
def test_impossible_preprocessing_names_the_field(field: str, value: object) -> None:
    with pytest.raises(ImageError, match=f"preprocessing: {field} is"):
        Preprocessing(**({"size": 16} | {field: value}))


def test_preprocessing_without_size() -> None:
    with pytest.raises(ImageError, match="size is None"):
        Preprocessing.from_json({"mean": [0, 0, 0]})


def test_decoded_images_are_in_table_order(
    build: Build, table: pd.DataFrame, tmp_path: Path
) -> None:
    cohort = build(table.iloc[::-1])
    steps: list[tuple[int, int]] = []
    images = decoded_images(cohort, SMALL, tmp_path / "cache", lambda *step: steps.append(step))
    assert images.shape == (40, 16, 16, 3)
    assert images.dtype == np.uint8
    assert not images.flags.writeable
    for row in (0, 13, 39):
        expected = load_array(tmp_path / cohort.table["file"][row], SMALL)
        assert np.array_equal(images[row], expected)
    assert steps[-1] == (40, 40)


def test_the_second_call_opens_no_image(
    build: Build, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    real_open = Image.open

    def counting_open(path: object, *args: object, **kwargs: object) -> Image.Image:
        opened.append(path)
        return real_open(path, *args, **kwargs)

    monkeypatch.setattr(Image, "open", counting_open)
    cohort = build(table)
    first = decoded_images(cohort, SMALL, tmp_path / "cache")
    assert len(opened) == 40
    # Another object with other mean and std: what is cached are pixels.
    other = Preprocessing(16, mean=(0.1, 0.2, 0.3))
    second = decoded_images(build(table.assign(dx="a " + table["dx"])), other, tmp_path / "cache")
    assert len(opened) == 40
    assert np.array_equal(first, second)
    decoded_images(cohort, Preprocessing(20), tmp_path / "cache")
    assert len(opened) == 80


def test_all_unreadable_images_are_named(build: Build, table: pd.DataFrame, tmp_path: Path) -> None:
    for number in (5, 21, 39):
        (tmp_path / f"images/{number:02d}.jpg").write_bytes(b"no picture")
    cohort = build(table)
    with pytest.raises(UnreadableImagesError) as caught:
        decoded_images(cohort, SMALL, tmp_path / "cache")
    assert [problem[0] for problem in caught.value.problems] == ["i05", "i21", "i39"]
    assert str(caught.value).startswith("3 of 40 images cannot be used:\n- i05: ")
    assert not list((tmp_path / "cache").iterdir())


def test_a_full_disk_leaves_no_file(
    build: Build, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk:
        def __init__(self, file: object) -> None:
            self.file = file

        def __enter__(self) -> FullDisk:
            return self

        def __exit__(self, *args: object) -> None:
            self.file.close()

        def write(self, content: bytes) -> int:
            if self.file.tell() > 5000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(content)

    real_open = Path.open

    def open_part(self: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        file = real_open(self, mode, *args, **kwargs)
        return FullDisk(file) if self.suffix == ".part" else file

    cohort = build(table)
    with monkeypatch.context() as context:
        context.setattr(Path, "open", open_part)
        with pytest.raises(ImageError, match="No space left on device"):
            decoded_images(cohort, SMALL, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    assert len(decoded_images(cohort, SMALL, tmp_path / "cache")) == 40


def test_an_unusable_cache_folder_is_an_image_error(
    build: Build, table: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(ImageError, match="could not be written"):
        decoded_images(build(table), SMALL, tmp_path / "cache")


def test_cancelling_leaves_no_file(build: Build, table: pd.DataFrame, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        decoded_images(build(table), SMALL, tmp_path / "cache", stop)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"garbage" * 50, None])
def test_a_damaged_cache_is_made_again(
    build: Build, table: pd.DataFrame, tmp_path: Path, content: bytes | None
) -> None:
    cohort = build(table)
    images = np.array(decoded_images(cohort, SMALL, tmp_path / "cache"))
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:3000] if content is None else content)
    assert np.array_equal(decoded_images(cohort, SMALL, tmp_path / "cache"), images)


def test_leftovers_of_a_killed_process_are_removed(
    build: Build, table: pd.DataFrame, tmp_path: Path
) -> None:
    cohort = build(table)
    cache = tmp_path / "cache"
    decoded_images(cohort, SMALL, cache)
    (path,) = cache.iterdir()
    path.unlink()
    old, young = cache / f"{path.name}.1.part", cache / f"{path.name}.2.part"
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (1, 1))
    decoded_images(cohort, SMALL, cache)
    assert sorted(cache.iterdir()) == sorted([path, young])


def test_threads_that_decode_at_once_do_not_mix_their_files(
    build: Build, table: pd.DataFrame, tmp_path: Path
) -> None:
    """Every thread waits before its last images until all have begun to write."""
    cohort, start = build(table), threading.Barrier(3)
    expected = np.array(decoded_images(cohort, SMALL, tmp_path / "alone"))
    found: list[np.ndarray] = []

    def wait(done: int, total: int) -> None:
        assert total == 40
        start.wait()

    def decode() -> None:
        found.append(decoded_images(cohort, SMALL, tmp_path / "cache", wait))

    threads = [threading.Thread(target=decode) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(np.array_equal(images, expected) for images in found)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_tiff_with_many_pages_gives_the_first(tmp_path: Path) -> None:
    pages = [gradient(), Image.new("RGB", (40, 30))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert TiffImagePlugin.TiffImageFile(tmp_path / "a.tif").n_frames == 2
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.tif")), np.asarray(gradient()))
