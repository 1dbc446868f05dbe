"""A picture file becomes the same pixels in the browser as in the audit."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from fairquant_core.data.images import Preprocessing, load_array
from fairquant_core.export.tablet import SOURCE
from tests.browser.tablet_site import served

pytestmark = pytest.mark.browser
PREPROCESSING = Preprocessing(96, crop_fraction=0.9)
READ = """async ({files, preprocessing}) => {
  const {pixelsOfFile} = await import("./picture.js");
  const {square} = await import("./preprocess.js");
  const answers = [];
  for (const text of files) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    try {
      const {data} = square(await pixelsOfFile(bytes, preprocessing), preprocessing);
      answers.push(Array.from(data));
    } catch (error) {
      answers.push(error.message);
    }
  }
  return answers;
}"""


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """A page that can import the modules; they need neither the runtime nor a classifier."""
    with served(SOURCE) as url:
        context = browser.new_context()
        opened = context.new_page()
        opened.goto(f"{url}icon.svg")
        yield opened
        context.close()


def read(
    page: Any, files: list[bytes], preprocessing: Preprocessing = PREPROCESSING
) -> list[np.ndarray | str]:
    """What the browser makes of files: pixels, or words about what is wrong."""
    coded = [base64.b64encode(content).decode() for content in files]
    answers = page.evaluate(READ, {"files": coded, "preprocessing": preprocessing.to_json()})
    shape = (preprocessing.size, preprocessing.size, 3)
    return [
        answer if isinstance(answer, str) else np.array(answer, dtype=np.uint8).reshape(shape)
        for answer in answers
    ]


def python_pixels(
    content: bytes, folder: Path, preprocessing: Preprocessing = PREPROCESSING
) -> Any:
    """What the audit makes of a file."""
    path = folder / "picture"
    path.write_bytes(content)
    return load_array(path, preprocessing).astype(int)


def scene(width: int, height: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth colours with edges and noise, different in every corner. Shapes: (height, width, channels) uint8."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(5 * x + 3 * y * channel + channel) for channel in range(1, channels + 1)]
    smooth = (
        128 + 70 * np.stack(waves, axis=-1) - 60 * (np.hypot(x - 0.3, y - 0.4) < 0.2)[..., None]
    )
    noisy = smooth + generator.normal(0, 6, smooth.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def swapping_profile() -> bytes:
    """A colour profile after which red would be shown as green."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"none").replace(b"gXYZ", b"rXYZ").replace(b"none", b"gXYZ")


def with_gamma() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (100_000).to_bytes(4, "big"))
    return info


@dataclass(frozen=True)
class Case:
    name: str
    content: bytes
    largest: int = 0
    """Levels of 255 by which a pixel may differ."""


def cases() -> list[Case]:
    picture = scene(230, 170)
    opaque = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    profile = swapping_profile()
    turned = [
        Case(
            f"JPEG orientation {value}",
            encoded(picture, "JPEG", quality=95, exif=orientation(value)),
        )
        for value in range(1, 9)
    ]
    return [
        Case("PNG", encoded(picture, "PNG")),
        Case("PNG tall", encoded(scene(120, 400), "PNG")),
        Case("PNG small", encoded(scene(40, 30), "PNG")),
        Case("PNG opaque alpha", encoded(opaque, "PNG")),
        Case("PNG translucent", encoded(scene(230, 170, 4), "PNG"), largest=1),
        Case("PNG grey", encoded(picture[:, :, 0], "PNG")),
        Case("PNG palette", encoded(Image.fromarray(picture).quantize(64), "PNG")),
        Case("PNG colour profile", encoded(picture, "PNG", icc_profile=profile)),
        Case("PNG gamma", encoded(picture, "PNG", pnginfo=with_gamma())),
        Case("PNG orientation 6", encoded(picture, "PNG", exif=orientation(6))),
        *turned,
        Case("JPEG colour profile", encoded(picture, "JPEG", icc_profile=profile)),
        Case("JPEG progressive", encoded(picture, "JPEG", progressive=True)),
        Case("JPEG grey", encoded(picture[:, :, 0], "JPEG")),
        Case("JPEG full colour", encoded(picture, "JPEG", subsampling=0)),
    ]


def test_pixels_are_those_of_the_audit(page: Any, tmp_path: Path) -> None:
    """Chromium's decoders are those of Pillow, so even JPEG agrees to the bit."""
    all_cases = cases()
    found = read(page, [case.content for case in all_cases])
    for case, pixels in zip(all_cases, found, strict=True):
        assert not isinstance(pixels, str), f"{case.name}: {pixels}"
        difference = np.abs(python_pixels(case.content, tmp_path) - pixels)
        print(case.name, "largest", difference.max(), "mean", round(float(difference.mean()), 4))
        assert difference.max() <= case.largest, case.name


@pytest.mark.parametrize(("width", "height"), [(800, 600), (1203, 905), (2400, 1800)], ids=str)
def test_a_large_photo_is_shrunk_as_the_decoder_of_the_audit_does(
    page: Any, tmp_path: Path, width: int, height: int
) -> None:
    """Python's decoder skips detail of a large JPEG; averaging comes within a few levels."""
    photo = encoded(scene(width, height), "JPEG", quality=90, exif=orientation(6))
    (pixels,) = read(page, [photo])
    difference = np.abs(python_pixels(photo, tmp_path) - pixels)
    print(width, height, "largest", difference.max(), "mean", round(float(difference.mean()), 4))
    assert difference.mean() < 0.5
    assert difference.max() <= 6


def test_files_that_cannot_be_used_say_what_to_do(page: Any) -> None:
    jpeg, png = encoded(scene(100, 80), "JPEG"), encoded(scene(100, 80), "PNG")
    printing = encoded(Image.fromarray(scene(100, 80)).convert("CMYK"), "JPEG")
    huge = bytearray(png)
    huge[16:24] = (30_000).to_bytes(4, "big") * 2
    bad = [
        b"",
        b"hello",
        encoded(scene(50, 50), "WEBP"),
        jpeg[:500],
        jpeg[:-2],
        png[:-40],
        printing,
        bytes(huge),
    ]
    words = read(page, bad)
    expected = [
        "not a JPEG",
        "not a JPEG",
        "not a JPEG",
        "cut off",
        "cut off",
        "cut off",
        "CMYK",
        "64 million",
    ]
    for found, part in zip(words, expected, strict=True):
        assert isinstance(found, str) and part in found, (found, part)
