"""Masks of the lesion: which file belongs to which photograph, and its pixels as a classifier sees them.

White is lesion, everything else is not. A mask only judges saliency maps: it enters neither training nor
any figure of the audit, so it is no part of a cohort's fingerprint, and cohorts without masks lose
nothing. Pillow and numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fairquant_core.data.images import Preprocessing, open_image, to_array
from fairquant_core.errors import ImageError

if TYPE_CHECKING:
    from fairquant_core.data.cohort import Cohort

#: Where masks are looked for when the table has no column for them.
FOLDER, ENDING = "masks", ".png"
#: Grey values from here on are white: masks saved as JPEG or scaled have greys along the border.
WHITE = 128
#: By how much the ratio of the sides may differ: sides are whole pixels, so a small copy of a picture
#: does not keep it exactly.
RATIO_TOLERANCE = 0.02

OUTSIDE = "the mask {file!r} points outside the cohort's folder: use a path relative to the folder"
NO_LESION = (
    "the mask {path} has no white pixel where the classifier looks, so it shows no lesion: paint the "
    "lesion white on black"
)
NO_SKIN = (
    "the mask {path} is white wherever the classifier looks, so every map would lie on the lesion: "
    "paint all but the lesion black"
)
OTHER_RATIO = (
    "the mask {path} has {width} x {height} pixels, a ratio of {ratio:.2f}, but its photograph has a "
    "ratio of {wanted:.2f}: make the mask of the whole, uncropped photograph"
)


def mask_files(cohort: Cohort) -> dict[str, str]:
    """Id -> mask file, relative to the cohort's folder, of the images that have one.

    The files that the table names (whether they are there or not); without such a column the files
    ``masks/NAME.png``, where NAME is the photograph's file name without its ending. A name that
    several photographs share is not guessed.
    """
    if cohort.masks:
        return dict(cohort.masks)
    folder = cohort.root / FOLDER
    if not folder.is_dir():
        return {}
    there = {path.stem for path in folder.iterdir() if path.suffix.lower() == ENDING}
    names = [PurePosixPath(file).stem for file in cohort.table["file"]]
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return {
        one: f"{FOLDER}/{name}{ENDING}"
        for one, name in zip(cohort.table["id"], names, strict=True)
        if name in there and counts[name] == 1
    }


def mask_state(cohort: Cohort, ids: Sequence[str]) -> list[list[str | int]]:
    """What stands for the masks of these images: [id, file, size in bytes], -1 where it is absent.

    Sizes stand for contents: a page that reads every mask at every click would be slow.
    """
    known = mask_files(cohort)
    found: list[list[str | int]] = []
    for one in ids:
        if one in known:
            path = cohort.root / known[one]
            found.append([one, known[one], path.stat().st_size if path.is_file() else -1])
    return found


def load_cover(
    root: Path, file: str, photograph: tuple[int, int], preprocessing: Preprocessing
) -> np.ndarray:
    """How much of every pixel that the classifier sees lies on the lesion.

    The mask is resized and cropped exactly as its photograph is.

    Parameters
    ----------
    photograph
        Width and height of the upright photograph, or of a smaller copy.

    Shapes
    ------
    returns (S, S) float32

    Units
    -----
    Share of the pixel, 0 to 1.

    Raises
    ------
    ImageError
        The file is absent, unreadable, of another shape than its photograph, or does not tell lesion
        from skin.
    """
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        raise ImageError(OUTSIDE.format(file=file))
    mask = open_image(root / file).convert("L")
    ratio, wanted = mask.width / mask.height, photograph[0] / photograph[1]
    if abs(ratio / wanted - 1) > RATIO_TOLERANCE:
        raise ImageError(
            OTHER_RATIO.format(
                path=root / file, width=mask.width, height=mask.height, ratio=ratio, wanted=wanted
            )
        )
    white = Image.fromarray(np.where(np.asarray(mask) >= WHITE, 255, 0).astype(np.uint8))
    cover = to_array(white.convert("RGB"), preprocessing)[..., 0].astype(np.float32) / 255
    if not (cover >= 0.5).any():
        raise ImageError(NO_LESION.format(path=root / file))
    if (cover >= 0.5).all():
        raise ImageError(NO_SKIN.format(path=root / file))
    return cover
