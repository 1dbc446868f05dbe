"""Skin optics and skin texture of the synthetic demo cohort.

The colour of every pixel comes from one small optical model: light passes an epidermis that holds
melanin, is scattered back by a dermis that holds blood (and, in some lesions, melanin of its own),
and passes the epidermis again. A lesion changes the *amounts* of these substances, never the
colour itself. That is why a brown spot stands out less on dark skin here: its pigment is added to
pigment that already takes most of the light, as in life.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Field = NDArray[np.floating[Any]]

WAVELENGTHS = np.arange(400, 701, 10, dtype=np.float64)

# Molar extinction of haemoglobin, cm^-1 / (mol/l), every 10 nm from 400 to 700 nm.
# Source: W. B. Gratzer and N. Kollias, tabulated by S. Prahl (Oregon Medical Laser Center, 1998).
_OXYHAEMOGLOBIN = np.array(
    [266232, 466840, 480360, 246072, 102580, 62816, 44480, 33209, 26629, 23684, 20933, 20035, 24202,
     39957, 53236, 43016, 32613, 44496, 50104, 14401, 3200, 1506, 942, 610, 442, 368, 320, 294, 278,
     276, 290], dtype=np.float64)  # fmt: skip
_DEOXYHAEMOGLOBIN = np.array(
    [223296, 303956, 407560, 528600, 413280, 103292, 23389, 16156, 14550, 16684, 20862, 25774,
     31590, 39036, 46592, 53412, 53788, 45072, 37020, 28324, 14677, 9444, 6510, 5149, 4345, 3750,
     3227, 2795, 2408, 2052, 1794], dtype=np.float64)  # fmt: skip

EPIDERMIS_PATH_CM = 0.021  # way in and out of 60 um of epidermis, oblique on average
OXYGEN_SATURATION = 0.72
SURFACE_REFLECTION = 0.015  # what the horny layer returns before light meets melanin

# The axes of the colour table. Square-root spacing: colour changes fastest at small amounts.
MAXIMUM_MELANIN, MAXIMUM_BLOOD, MAXIMUM_DEEP = 1.6, 0.30, 0.20
_MELANIN_STEPS, _BLOOD_STEPS, _DEEP_STEPS = 56, 28, 14

#: Melanosome volume fraction of the epidermis per Fitzpatrick type: (low, high), log-uniform.
#: Source: S. Jacques, "Skin optics" (1998): light 1.3-6.3 %, moderate 11-16 %, dark 18-43 %.
#: The Fitzpatrick scale asks about sunburn, not about pigment, so neighbouring types overlap.
MELANIN_BY_TYPE: dict[int, tuple[float, float]] = {
    1: (0.010, 0.026),
    2: (0.022, 0.052),
    3: (0.045, 0.095),
    4: (0.085, 0.160),
    5: (0.150, 0.270),
    6: (0.260, 0.430),
}


def _melanin_absorption() -> NDArray[np.float64]:
    """Absorption of a melanosome's interior, 1/cm (Jacques 1998)."""
    return 6.6e11 * WAVELENGTHS**-3.33


def _blood_absorption() -> NDArray[np.float64]:
    """Absorption of whole blood with 150 g haemoglobin per litre, 1/cm (Prahl)."""
    mixed = OXYGEN_SATURATION * _OXYHAEMOGLOBIN + (1 - OXYGEN_SATURATION) * _DEOXYHAEMOGLOBIN
    return np.log(10) * mixed * 150.0 / 64500.0


def _spectrum_to_rgb() -> NDArray[np.float64]:
    """Matrix from reflectance at WAVELENGTHS to linear sRGB under daylight; white gives (1, 1, 1).

    Source: analytic CIE 1931 colour matching functions of Wyman, Sloan and Shirley (2013).
    """

    def lobe(centre: float, below: float, above: float) -> NDArray[np.float64]:
        distance = WAVELENGTHS - centre
        return np.exp(-0.5 * (distance * np.where(distance < 0, below, above)) ** 2)

    x = (
        0.362 * lobe(442.0, 0.0624, 0.0374)
        + 1.056 * lobe(599.8, 0.0264, 0.0323)
        - 0.065 * lobe(501.1, 0.0490, 0.0382)
    )
    y = 0.821 * lobe(568.8, 0.0213, 0.0247) + 0.286 * lobe(530.9, 0.0613, 0.0322)
    z = 1.217 * lobe(437.0, 0.0845, 0.0278) + 0.681 * lobe(459.0, 0.0385, 0.0725)
    metres = WAVELENGTHS * 1e-9
    daylight = metres**-5 / (np.exp(0.014388 / (metres * 6200.0)) - 1)
    to_srgb = np.array(
        [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    )
    matrix = to_srgb @ (np.stack([x, y, z]) * daylight)
    return matrix / matrix.sum(axis=1, keepdims=True)


@lru_cache(maxsize=1)
def _colour_table() -> Field:
    """Linear sRGB for every (melanin, blood, deep melanin) on the grid.

    Shapes: (3, melanin, blood, deep).
    Source: Kubelka and Munk (1931) for the dermis, Beer-Lambert for the epidermis, scattering
    of skin 46 (nm / 500)^-1.421 per cm and baseline absorption from Jacques (1998, 2013).
    """
    melanin = MAXIMUM_MELANIN * np.linspace(0, 1, _MELANIN_STEPS)[:, None, None, None] ** 2
    blood = MAXIMUM_BLOOD * np.linspace(0, 1, _BLOOD_STEPS)[None, :, None, None] ** 2
    deep = MAXIMUM_DEEP * np.linspace(0, 1, _DEEP_STEPS)[None, None, :, None] ** 2
    baseline = 0.244 + 85.3 * np.exp(-(WAVELENGTHS - 154) / 66.2)
    scattering = 0.75 * 46.0 * (WAVELENGTHS / 500.0) ** -1.421

    def endless(absorption: NDArray[np.float64]) -> NDArray[np.float64]:
        ratio = 2 * absorption / scattering
        return 1 + ratio - np.sqrt(ratio * ratio + 2 * ratio)

    # A clear upper dermis over a deeper one with pigment: scattering above pigment looks blue-grey.
    upper_absorption = baseline + blood * _blood_absorption()
    a = 1 + 2 * upper_absorption / scattering
    b = np.sqrt(a * a - 1)
    depth = b * scattering * 0.022
    upper_back = 1 / (a + b / np.tanh(depth))
    upper_through = b / (a * np.sinh(depth) + b * np.cosh(depth))
    lower_back = endless(upper_absorption + deep * _melanin_absorption())
    dermis = upper_back + upper_through**2 * lower_back / (1 - upper_back * lower_back)
    epidermis = np.exp(-EPIDERMIS_PATH_CM * (0.4 * baseline + melanin * _melanin_absorption()))
    surface = SURFACE_REFLECTION * WAVELENGTHS / 550.0  # slightly yellow, as keratin is
    reflectance = surface + (1 - surface) * dermis * epidermis
    table = np.clip(reflectance @ _spectrum_to_rgb().T, 0.004, 1.0)
    return np.ascontiguousarray(np.moveaxis(table, -1, 0).astype(np.float32))


def colour(melanin: Field, blood: Field, deep: Field) -> Field:
    """Linear sRGB of skin that holds these amounts.

    Parameters
    ----------
    melanin, blood, deep
        Volume fractions: melanosomes in the epidermis, blood in the dermis, melanosomes in the
        dermis. Values outside the table are clipped to its edge.

    Shapes
    ------
    Inputs (H, W); result (H, W, 3), linear, 0..1.
    """
    axes = (
        (melanin, MAXIMUM_MELANIN, _MELANIN_STEPS),
        (blood, MAXIMUM_BLOOD, _BLOOD_STEPS),
        (deep, MAXIMUM_DEEP, _DEEP_STEPS),
    )
    place = np.stack([np.sqrt(np.clip(v / top, 0, 1)) * (n - 1) for v, top, n in axes])
    channels = [
        ndimage.map_coordinates(plane, place, order=1, mode="nearest") for plane in _colour_table()
    ]
    return np.stack(channels, axis=-1)


def luminance(linear: Field) -> Field:
    """Relative luminance (CIE Y) of linear sRGB. Shapes: (..., 3) to (...)."""
    return linear @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)


# ---------------------------------------------------------------------------- texture

_BANK = 512  # side of the endless texture tiles, pixels


@dataclass(frozen=True)
class Bank:
    """Endless texture tiles, made once per process and looked up at random places and angles.

    Shapes: each (512, 512). Units: noise tiles have mean 0 and deviation 1; line tiles are 0..1.
    """

    coarse: Field
    middle: Field
    fine: Field
    soft: Field
    furrows: Field
    network: Field
    warts: Field


def _noise(rng: np.random.Generator, slope: float, lowest: float) -> Field:
    """Endless noise whose amplitude falls with frequency^slope, nothing below `lowest` cycles."""
    frequency = np.hypot(np.fft.fftfreq(_BANK)[:, None], np.fft.rfftfreq(_BANK)[None]) * _BANK
    amplitude = np.where(frequency < lowest, 0, np.maximum(frequency, 1.0) ** -slope)
    spectrum = np.fft.rfft2(rng.standard_normal((_BANK, _BANK))) * amplitude
    tile = np.fft.irfft2(spectrum, (_BANK, _BANK))
    return ((tile - tile.mean()) / tile.std()).astype(np.float32)


def _cells(rng: np.random.Generator, spacing: float, jitter: float) -> tuple[Field, Field]:
    """Distance to the nearest border of irregular cells and cell number noise, endless.

    Units: the border distance is in cell spacings. The cells stand on a jittered hexagonal grid,
    as skin plateaus and the meshes of a pigment network roughly do.
    """
    count = max(2, round(_BANK / spacing))
    rows, columns = np.mgrid[0:count, 0:count]
    x = (columns + 0.5 * (rows % 2)) / count
    y = rows / count
    points = np.stack([y, x], axis=-1).reshape(-1, 2)
    points = (points + rng.normal(0, jitter / count, points.shape)) % 1.0
    tree = cKDTree(points, boxsize=1.0)
    grid = (np.mgrid[0:_BANK, 0:_BANK].reshape(2, -1).T + 0.5) / _BANK
    distance, index = tree.query(grid % 1.0, k=2)
    border = (distance[:, 1] - distance[:, 0]) * count
    level = rng.standard_normal(len(points))[index[:, 0]]
    shape = (_BANK, _BANK)
    return border.reshape(shape).astype(np.float32), level.reshape(shape).astype(np.float32)


@lru_cache(maxsize=1)
def bank() -> Bank:
    """The texture tiles. They are the same in every process: their seed is part of the version."""
    rng = np.random.default_rng(20_240_601)
    coarse, middle, fine = _noise(rng, 2.1, 2), _noise(rng, 1.4, 5), _noise(rng, 0.7, 20)
    soft = _noise(rng, 2.3, 8)
    small, level = _cells(rng, 8.0, 0.30)
    large, _ = _cells(rng, 21.0, 0.34)
    depth = 0.72 + 0.28 * np.tanh(middle)
    furrows = np.maximum(np.exp(-((small / 0.20) ** 2)) * 0.75, np.exp(-((large / 0.13) ** 2)))
    furrows = ndimage.gaussian_filter(furrows * depth + 0.10 * level, 0.7, mode="wrap")
    mesh, _ = _cells(rng, 10.0, 0.22)
    network = ndimage.gaussian_filter(np.exp(-((mesh / 0.30) ** 2)), 0.6, mode="wrap")
    folds, bump = _cells(rng, 13.0, 0.40)
    warts = np.tanh(folds * 2.2) * (0.8 + 0.2 * np.tanh(bump))
    return Bank(coarse, middle, fine, soft, furrows, network, warts.astype(np.float32))


def look_up(
    tile: Field,
    place: tuple[Field, Field],
    rng: np.random.Generator,
    zoom: float,
    *,
    stretch: float = 1.0,
    angle: float | None = None,
) -> Field:
    """Look a texture tile up at these places, from a random origin and angle.

    Parameters
    ----------
    place
        Rows and columns, in any unit (picture pixels for skin, radii for a lesion).
    zoom
        Units of `place` per tile pixel: larger shows fewer, bigger features.
    stretch
        Length to width of the features, along `angle` (radians; drawn at random when None).

    Shapes
    ------
    Both places (H, W); result (H, W).
    """
    turn = rng.uniform(0, 2 * np.pi) if angle is None else angle
    origin = rng.uniform(0, _BANK, 2)
    y, x = place
    along = (np.cos(turn) * x + np.sin(turn) * y) / (zoom * stretch) + origin[1]
    across = (np.cos(turn) * y - np.sin(turn) * x) * (stretch / zoom) + origin[0]
    return ndimage.map_coordinates(tile, np.stack([across, along]), order=1, mode="grid-wrap")
