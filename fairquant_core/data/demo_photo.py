"""How a synthetic demo photograph is taken: the skin around the lesion, the light and the camera.

Everything here is drawn without looking at the label, so that nothing but the lesion tells the
class. Light is added in linear units; only the last step makes 8-bit sRGB.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fairquant_core.data import demo_strokes
from fairquant_core.data.demo_lesion import Layers, Traits, draw_layers
from fairquant_core.data.demo_skin import Field, bank, colour, look_up, luminance

MOST_MELANIN = 0.80


@dataclass(frozen=True)
class Skin:
    """One person's skin at the site of the lesion.

    Units: `melanin` and `blood` are volume fractions; `sun` (freckles and spots), `relief` (depth
    of the furrows) and `hairiness` run from 0 to about 1; `hair_colour` is linear sRGB.
    """

    melanin: float
    blood: float
    sun: float
    relief: float
    hairiness: float
    hair_colour: tuple[float, float, float]


@dataclass(frozen=True)
class Photograph:
    """A rendered picture and what is known about it.

    Shapes: pixels (S, S, 3) uint8 sRGB; cover (S, S), 1 inside the lesion; reflectance (S, S, 3)
    linear, before light and camera.
    """

    pixels: NDArray[np.uint8]
    cover: Field
    reflectance: Field

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where the lesion is: inside its border, whatever hair or ruler lies on it. Shapes: (S, S)."""
        return self.cover >= 0.5


def _frame(
    side: int, traits: Traits, rng: np.random.Generator
) -> tuple[Field, Field, float, float]:
    """Lesion coordinates of every pixel, pixels per radius, and the distance's magnification."""
    nearness = float(np.exp(rng.normal(0, 0.16)))
    radius = float(np.clip(traits.radius * nearness, 0.085, 0.44)) * side
    centre = side * (0.5 + np.clip(rng.normal(0, 0.045, 2), -0.11, 0.11))
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    y, x = (y - centre[0]) / radius, (x - centre[1]) / radius
    u = (np.cos(turn) * x + np.sin(turn) * y).astype(np.float32)
    v = (np.cos(turn) * y - np.sin(turn) * x).astype(np.float32)
    return u, v, radius, nearness


def _skin_layers(
    skin: Skin, side: int, nearness: float, rng: np.random.Generator
) -> tuple[Field, Field, Field]:
    """Melanin, blood and relief of the skin without a lesion. Shapes: each (S, S)."""
    tiles = bank()
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    scale = side / 128.0
    slow = look_up(tiles.coarse, (y, x), rng, 0.9 * scale)
    middle = look_up(tiles.middle, (y, x), rng, 0.7 * scale)
    fine = look_up(tiles.fine, (y, x), rng, 0.8 * scale)
    bend = 3.0 * scale
    comb, pull = rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 1.35)
    furrows = look_up(
        tiles.furrows,
        (y + bend * slow, x + bend * middle * 0.4),
        rng,
        scale * nearness * rng.uniform(0.55, 1.05),
        stretch=pull,
        angle=comb,
    )
    furrows = furrows * np.clip(0.8 + 0.35 * slow, 0.2, 1.5)
    # Optical density is proportional to melanin, so equal mottling means less relative change.
    mottling = (0.04 / (0.04 + skin.melanin)) ** 0.6
    melanin = skin.melanin * np.exp(mottling * (0.11 * slow + 0.08 * middle + 0.06 * fine))
    melanin *= 1 + 0.35 * mottling * skin.relief * (furrows - 0.4)
    blood = skin.blood * np.exp(0.15 * slow + 0.14 * middle)
    if skin.sun > 0.15:
        patches = look_up(tiles.middle, (y, x), rng, 0.45 * scale)
        melanin += skin.sun * 0.030 * np.clip(patches - 1.1, 0, 1.5)
    spots = rng.poisson(26 * scale * scale)
    seeds = np.zeros((side, side), dtype=np.float32)
    seeds[rng.integers(0, side, spots), rng.integers(0, side, spots)] = rng.uniform(0.3, 1, spots)
    pores = ndimage.gaussian_filter(seeds, 0.85 * scale) * 5
    melanin *= 1 + 0.7 * mottling * skin.relief * pores
    height = skin.relief * (-1.15 * furrows - 0.6 * pores + 0.22 * middle + 0.12 * fine)
    return melanin, blood, height * scale


def _light(height: Field, gloss: Field, side: int, rng: np.random.Generator) -> tuple[Field, Field]:
    """Matt shading and mirror-like glints of a relief under one lamp. Shapes: (S, S) each."""
    slope_y, slope_x = np.gradient(height)
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.cos(turn), np.sin(turn)
    slant = rng.uniform(0.18, 0.42)
    shading = np.clip(1 - slant * (slope_y * y + slope_x * x), 0.35, 1.6)
    rows, columns = (np.mgrid[0:side, 0:side].astype(np.float32) / side) - 0.5
    along = rows * y + columns * x
    round_limb = rng.gamma(1.2, 0.16)
    across = rows * np.cos(turn + 0.6) + columns * np.sin(turn + 0.6)
    shading *= 1 - rng.uniform(0.05, 0.45) * along - round_limb * (across + 0.25) ** 2
    corner = rng.gamma(1.3, 0.12)
    shading *= 1 - np.clip(corner * (rows**2 + columns**2) * 2, 0, 0.7)
    tilt = rng.uniform(0.18, 0.40)
    off = (slope_y + tilt * y + 0.25 * rows) ** 2 + (slope_x + tilt * x + 0.25 * columns) ** 2
    tight, wide = rng.uniform(0.10, 0.16), rng.uniform(0.32, 0.50)
    glints = gloss * (np.exp(-off / (2 * tight**2)) + 0.12 * np.exp(-off / (2 * wide**2)))
    return shading.astype(np.float32), glints.astype(np.float32)


def _camera(light: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure, white balance, focus, sensor noise and tone curve of an ordinary camera."""
    level = float(np.mean(luminance(light)))
    # Automatic exposure goes part of the way to a mid grey, so dark skin stays dark.
    light = light * (0.23 / level) ** 0.30 * np.exp(rng.normal(0, 0.11))
    warmth, tint = rng.normal(0, 0.055), rng.normal(0, 0.022)
    light = light * np.exp(np.array([warmth, tint, -1.1 * warmth], dtype=np.float32))
    blur = float(np.clip(rng.gamma(2.0, 0.20), 0.22, 1.5))
    light = ndimage.gaussian_filter(light, (blur, blur, 0))
    grain = rng.normal(0, 1, (*light.shape[:2], 1)) + 0.5 * rng.normal(0, 1, light.shape)
    noise = rng.uniform(0.003, 0.010) * np.sqrt(np.clip(light, 0.01, 1))
    light = np.clip(light + noise * grain, 0, None)
    light = np.where(light > 0.7, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.3), light)
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    contrast = rng.uniform(0.0, 0.22)
    srgb = srgb + contrast * (srgb * srgb * (3 - 2 * srgb) - srgb)
    grey = srgb.mean(axis=2, keepdims=True)
    # Noise reduction takes colour out of the shadows.
    chroma = rng.uniform(0.80, 1.02) * (0.72 + 0.28 * np.clip(grey / 0.45, 0, 1))
    srgb = grey + chroma * (srgb - grey)
    return np.clip(srgb * 255 + 0.5, 0, 255).astype(np.uint8)


def _lesion_in_frame(
    traits: Traits, u: Field, v: Field, radius: float, rng: np.random.Generator
) -> Layers:
    """Draw the lesion in the part of the frame that it can reach; the rest stays untouched skin."""
    near = np.hypot(u, v) < 1.9
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    drawn = draw_layers(traits, u[part], v[part], radius, rng)
    whole = {}
    for field in fields(Layers):
        canvas = np.zeros(u.shape, dtype=np.float32)
        canvas[part] = getattr(drawn, field.name)
        whole[field.name] = canvas
    return Layers(**whole)


def _reflectance(melanin: Field, blood: Field, layers: Layers) -> Field:
    """Skin, lesion and the loose keratin that lies on both, as linear sRGB. Shapes: (S, S, 3)."""
    # An epidermis cannot be more than about four fifths melanosomes.
    crowded = melanin + layers.melanin
    crowded = crowded / np.sqrt(1 + (crowded / MOST_MELANIN) ** 2)
    below = colour(crowded, blood + layers.blood, layers.deep)
    white = layers.keratin[..., None] * np.array([0.95, 0.90, 0.82], dtype=np.float32)
    return white + (1 - layers.keratin[..., None]) ** 2 * below / (1 - white * below)


def photograph(
    traits: Traits,
    skin: Skin,
    lesion_rng: np.random.Generator,
    photo_rng: np.random.Generator,
    side: int = 128,
) -> Photograph:
    """Take one picture of a lesion.

    Parameters
    ----------
    lesion_rng, photo_rng
        Two pictures with the same lesion generator state and different photo generators show the
        same lesion, taken twice.
    side
        Units: pixels.
    """
    rng = photo_rng
    u, v, radius, nearness = _frame(side, traits, rng)
    melanin, blood, relief = _skin_layers(skin, side, nearness, rng)
    layers = _lesion_in_frame(traits, u, v, radius, lesion_rng)
    smooth = 1 - layers.cover * min(0.8, 0.35 + traits.dome)
    reflectance = _reflectance(melanin, blood, layers)
    height = relief * smooth + layers.height
    oil = rng.gamma(2.0, 0.020)
    shading, glints = _light(height, layers.gloss * 0.20 + oil, side, rng)
    light: Field = reflectance * shading[..., None] + glints[..., None]
    light = _things_on_skin(light, skin, nearness, side, rng)
    return Photograph(_camera(light, rng), layers.cover, reflectance)


def _things_on_skin(
    light: Field, skin: Skin, nearness: float, side: int, rng: np.random.Generator
) -> Field:
    """Hair and its shadow, now and then marker ink, a paper ruler or a bubble of gel."""
    count = int(rng.poisson(34 * skin.hairiness**1.5))
    if count:
        cover = demo_strokes.hair(side, count, 0.55 * nearness * side / 128, rng)
        shadow = ndimage.shift(ndimage.gaussian_filter(cover, 0.8), rng.uniform(-2, 2, 2), order=1)
        light = light * (1 - 0.30 * shadow[..., None])
        tone = np.array(skin.hair_colour, dtype=np.float32) * rng.uniform(0.8, 1.3)
        light = light + (0.85 * cover[..., None]) * (tone - light)
    extra = rng.random()
    if extra < 0.045:
        mark = demo_strokes.ink(side, rng) * rng.uniform(0.45, 0.85)
        light = light * (1 - mark[..., None] * np.array([0.78, 0.82, 0.42], dtype=np.float32))
    elif extra < 0.085:
        paper, print_ = demo_strokes.ruler(side, rng)
        white = rng.uniform(0.62, 0.80) * (1 - 0.8 * print_)
        shadow = np.clip(ndimage.gaussian_filter(paper, 2.0) - paper, 0, 1)
        light = light * (1 - 0.5 * shadow[..., None])
        light = light + paper[..., None] * (white[..., None] - light)
    elif extra < 0.105:
        light = light + demo_strokes.bubble(side, rng)[..., None]
    return light
