"""Photographs and saliency maps as small pictures inside the report; Pillow and numpy only."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import binary_erosion, gaussian_filter

from fairquant_core.errors import FairQuantError

#: Colours of rising lightness (cividis): they stay in order when printed in black and white.
RAMP = np.array(
    [(0, 34, 78), (53, 69, 108), (102, 105, 112), (148, 142, 119), (200, 184, 102), (254, 232, 56)],
    dtype=float,
)
BLUR = 0.02
"""Width of the smoothing for the eye, as a share of the picture's side; figures use the map itself."""

TOP = 0.10
"""Share of the picture inside the outline: what counts as "most important" in the overlap."""

STRENGTH = 0.6
OUTLINE = 3
QUALITY = 82


def photograph(
    read: Callable[[str], Image.Image], image_id: str, side: int, crop: float
) -> Image.Image | None:
    """What the classifier sees of an image, a square in the middle; None if the file is gone."""
    try:
        picture = read(image_id).convert("RGB")
    except FairQuantError:
        return None
    edge = max(1, round(crop * min(picture.size)))
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    square = picture.crop((left, top, left + edge, top + edge))
    return square.resize((side, side), Image.Resampling.LANCZOS)


def overlay(
    picture: Image.Image, values: np.ndarray, together: Sequence[np.ndarray]
) -> Image.Image:
    """Lay a map over the grey photograph and outline its most important tenth.

    Parameters
    ----------
    values : the map. Shapes: (P, P).
    together : all maps of the image; they share one scale, so that a weaker map also looks weaker.
    """
    smooth = _smoothed(values)
    scale = max((float(np.percentile(_smoothed(each), 99.5)) for each in together), default=0.0)
    level = np.clip(smooth / scale, 0, 1) if scale > 0 else np.zeros_like(smooth)
    size = picture.size
    level = _resized(level, size)
    grey = np.asarray(picture.convert("L").convert("RGB"), dtype=float)
    place = level * (len(RAMP) - 1)
    colour = np.stack(
        [np.interp(place, np.arange(len(RAMP)), RAMP[:, channel]) for channel in range(3)], axis=-1
    )
    share = (STRENGTH * (0.15 + 0.85 * level))[..., None]
    mixed = (1 - share) * grey + share * colour
    # The larger threshold of the two keeps a flat map from being outlined as a whole.
    threshold = max(float(np.quantile(level, 1 - TOP)), float(level.min()) + 1e-9)
    inside = level > threshold
    edge = inside & ~binary_erosion(inside, iterations=OUTLINE)
    rim = inside & ~binary_erosion(inside, iterations=1)
    mixed[edge] = 255
    mixed[rim] = 0
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def picture_data(picture: Image.Image) -> str:
    """The picture as a data address, always the same bytes for the same pixels."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _smoothed(values: np.ndarray) -> np.ndarray:
    magnitude = np.nan_to_num(np.abs(np.asarray(values, dtype=float)))
    return gaussian_filter(magnitude, BLUR * len(magnitude))


def _resized(level: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    small = Image.fromarray((level * 255).astype(np.uint8))
    return np.asarray(small.resize(size, Image.Resampling.BICUBIC), dtype=float) / 255
