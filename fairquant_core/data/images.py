"""Safe decoding of image files and the cache of decoded images.

Pillow and numpy only: the web process uses this module too.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fairquant_core.errors import ImageError
from fairquant_core.files import atomic_path

if TYPE_CHECKING:
    from fairquant_core.data.cohort import Cohort

#: Largest picture that is opened, in pixels: 64 million are 192 MB as RGB, more than any clinical
#: camera writes.
MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")

NOT_FOUND = "image file {path} not found: put the file there or correct the table"
NOT_AN_IMAGE = (
    "{path} is not an image that can be read (allowed: {formats}): replace or remove the file"
)
DAMAGED = "{path} is damaged ({reason}): replace the file with an intact copy or remove its row"
TOO_LARGE = (
    "{path} has {width} x {height} pixels, more than the {limit:,} allowed: save a smaller copy"
)
FLOATING = (
    "{path} holds floating-point pixels, whose brightness has no fixed meaning: save it as 8-bit "
    "RGB"
)
UNREADABLE = "{count} of {total} images cannot be used:\n{lines}"
DISK_FULL = (
    "the decoded images need {need:.0f} MB in {folder} and could not be written ({reason}): free "
    "some space"
)
BAD_PREPROCESSING = "preprocessing: {field} is {value!r}, but must be {wanted}"

#: How many unreadable files the message spells out; the error's `problems` always holds all of
#: them.
SHOWN_PROBLEMS = 100
_CHUNK = 64
_STALE_SECONDS = 3600.0
FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}
# What Pillow's decoders raise on damaged files (found by damaging files at random, see the tests).
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    struct.error,
    zlib.error,
)

Progress = Callable[[int, int], None]


class UnreadableImagesError(ImageError):
    """Images of a cohort that cannot be used; `problems` has one (id, file, reason) for each."""

    def __init__(self, problems: tuple[tuple[str, str, str], ...], total: int) -> None:
        lines = [f"- {image_id}: {reason}" for image_id, _, reason in problems[:SHOWN_PROBLEMS]]
        if len(problems) > SHOWN_PROBLEMS:
            lines.append(f"- and {len(problems) - SHOWN_PROBLEMS} more")
        super().__init__(
            UNREADABLE.format(count=len(problems), total=total, lines="\n".join(lines))
        )
        self.problems = problems


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the input of one classifier; it travels with the classifier.

    Attributes
    ----------
    size : side of the square input, in pixels.
    mean, std : per colour channel (R, G, B), for values in 0..1.
    crop_fraction : share of the shorter side that the centre crop keeps. 1.0 keeps as much of the
        picture as a square can: the lesion is not always in the middle, and an ImageNet crop of
        0.875 cuts its border away.
    interpolation : "bicubic", "bilinear", "nearest" or "lanczos".
    """

    size: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    crop_fraction: float = 1.0
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        self._require(isinstance(self.size, int) and 8 <= self.size <= 4096, "size", "8 to 4096")
        self._require(len(self.mean) == 3, "mean", "three numbers")
        self._require(
            len(self.std) == 3 and all(s > 0 for s in self.std), "std", "three numbers above 0"
        )
        self._require(0 < self.crop_fraction <= 1, "crop_fraction", "above 0 and at most 1")
        self._require(self.interpolation in FILTERS, "interpolation", f"one of {list(FILTERS)}")

    def _require(self, holds: bool, field: str, wanted: str) -> None:
        if not holds:
            value = getattr(self, field)
            raise ImageError(BAD_PREPROCESSING.format(field=field, value=value, wanted=wanted))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Preprocessing:
        """Inverse of :meth:`to_json`; missing entries take the defaults."""
        fields = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        if "size" not in fields:
            raise ImageError(BAD_PREPROCESSING.format(field="size", value=None, wanted="8 to 4096"))
        return cls(**fields)

    @property
    def pixel_key(self) -> str:
        """Names the pixels that come out; mean and std act later, so classifiers share a cache."""
        return f"{self.size}-{self.crop_fraction:g}-{self.interpolation}"


def open_image(
    path: Path | str, max_pixels: int = MAX_PIXELS, *, shrink_to: int | None = None
) -> Image.Image:
    """Open one picture safely, as upright 8-bit RGB without metadata.

    Parameters
    ----------
    path : a JPEG, PNG, WEBP, BMP or TIFF file.
    max_pixels : larger pictures are refused before a single pixel is decoded.
    shrink_to : when given, a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as its
        shorter side stays at least twice this many pixels, which resizing to `shrink_to` cannot
        tell from the full picture.

    Raises
    ------
    ImageError
        The file is absent, not an allowed format, too large, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(NOT_FOUND.format(path=path))
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(
                    TOO_LARGE.format(path=path, width=width, height=height, limit=max_pixels)
                )
            if shrink_to is not None and image.format == "JPEG":
                image.draft(None, (2 * shrink_to, 2 * shrink_to))
            image.load()
            upright = ImageOps.exif_transpose(image)
            rgb = _to_rgb(upright, path)
    except UnidentifiedImageError as error:
        raise ImageError(NOT_AN_IMAGE.format(path=path, formats=", ".join(FORMATS))) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            TOO_LARGE.format(path=path, width="too many", height="too many", limit=max_pixels)
        ) from error
    except _DECODER_ERRORS as error:
        raise ImageError(DAMAGED.format(path=path, reason=error)) from error
    # EXIF holds places, dates and sometimes names: nothing of it goes on.
    rgb.info.clear()
    return rgb


def to_array(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Resize and crop a picture to the classifier's input.

    Shapes
    ------
    returns (S, S, 3) uint8
    """
    size = preprocessing.size
    shorter = max(size, round(size / preprocessing.crop_fraction))
    width, height = image.size
    scale = shorter / min(width, height)
    resized = (max(size, round(width * scale)), max(size, round(height * scale)))
    if image.size != resized:
        image = image.resize(resized, FILTERS[preprocessing.interpolation])
    left, top = (resized[0] - size) // 2, (resized[1] - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.uint8)


def open_for(path: Path | str, preprocessing: Preprocessing) -> Image.Image:
    """One file, upright, and no larger than :func:`to_array` needs it."""
    wanted = max(preprocessing.size, round(preprocessing.size / preprocessing.crop_fraction))
    return open_image(path, shrink_to=wanted)


def load_array(path: Path | str, preprocessing: Preprocessing) -> np.ndarray:
    """One file as the (S, S, 3) uint8 input; the pixels equal those of :func:`decoded_images`."""
    return to_array(open_for(path, preprocessing), preprocessing)


def decoded_images(
    cohort: Cohort, preprocessing: Preprocessing, cache: Path, progress: Progress | None = None
) -> np.ndarray:
    """All pictures of a cohort in table order, decoded once and then read from a file.

    Parameters
    ----------
    cohort : its table gives the order, its image bytes the name of the cache file.
    preprocessing : size, crop and interpolation.
    cache : folder for the cache; made when absent.
    progress : called as ``progress(done, total)``; an exception it raises stops the work and
        leaves no file.

    Returns
    -------
    Read-only memory map.

    Shapes
    ------
    returns (N, S, S, 3) uint8

    Raises
    ------
    UnreadableImagesError
        An ImageError that names every image that cannot be read.
    ImageError
        The cache cannot be written.
    """
    shape = (len(cohort), preprocessing.size, preprocessing.size, 3)
    cache = Path(cache)
    path = cache / f"{cohort.images_fingerprint[:32]}-{preprocessing.pixel_key}.npy"
    if (images := _open_cache(path, shape)) is None:
        need = int(np.prod(shape)) / 1e6
        try:
            cache.mkdir(parents=True, exist_ok=True)
            _remove_stale_parts(path)
            with atomic_path(path) as part:
                _write_cache(part, shape, cohort, preprocessing, progress)
        except OSError as error:
            raise ImageError(
                DISK_FULL.format(need=need, folder=cache, reason=error.strerror or error)
            ) from error
        images = _open_cache(path, shape)
        if images is None:
            raise ImageError(DISK_FULL.format(need=need, folder=cache, reason="file is incomplete"))
    elif progress is not None:
        progress(len(cohort), len(cohort))
    return images


def _write_cache(
    part: Path,
    shape: tuple[int, ...],
    cohort: Cohort,
    preprocessing: Preprocessing,
    progress: Progress | None,
) -> None:
    """Write the rows through a plain file: a full disk is an error there, a crash in a map."""
    ids, files = cohort.table["id"].tolist(), cohort.table["file"].tolist()
    problems: list[tuple[str, str, str]] = []
    with (
        part.open("wb") as out,
        ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        done = 0
        for chunk in _chunks(list(zip(ids, files, strict=True))):
            paths = [cohort.root / file for _, file in chunk]
            decoded = pool.map(lambda path: _try_load(path, preprocessing), paths)
            for (image_id, file), result in zip(chunk, decoded, strict=True):
                if isinstance(result, ImageError):
                    problems.append((image_id, file, str(result)))
                elif not problems:
                    out.write(result.tobytes())
            done += len(chunk)
            if progress is not None:
                progress(done, shape[0])
    if problems:
        raise UnreadableImagesError(tuple(problems), shape[0])


def _try_load(path: Path, preprocessing: Preprocessing) -> np.ndarray | ImageError:
    try:
        return load_array(path, preprocessing)
    except ImageError as error:
        return error


def _chunks(items: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _open_cache(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The cached array, or None when there is none or the file is not what its name says."""
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError, ValueError, EOFError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def _remove_stale_parts(path: Path) -> None:
    """Remove what a killed process left; a living writer touches its file all the time."""
    for part in path.parent.glob(f"{path.name}.*.part"):
        # Another writer may have finished meanwhile.
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink()


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode == "F":
        raise ImageError(FLOATING.format(path=path))
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion clips at 255 and would turn the picture white.
        grey = np.asarray(image).astype(np.float64)
        if grey.max(initial=0) > 255:
            grey = grey / 257.0
        image = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    if "A" in image.mode or "transparency" in image.info:
        # Transparent pixels can hide any colour; white is what a viewer would show.
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def preprocessing_hash(preprocessing: Preprocessing) -> str:
    """SHA-256 of the preprocessing, for cache keys and manifests."""
    return hashlib.sha256(json.dumps(preprocessing.to_json(), sort_keys=True).encode()).hexdigest()
