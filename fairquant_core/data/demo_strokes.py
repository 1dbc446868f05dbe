"""Small drawn things of the synthetic demo cohort: dots, vessels, hair, ink and a paper ruler."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from fairquant_core.data.demo_skin import Field

_FINE = 3  # lines are drawn this many times larger and shrunk, so that their edges are soft


def _canvas(rows: int, columns: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (columns * _FINE, rows * _FINE), 0)
    return image, ImageDraw.Draw(image)


def _shrink(image: Image.Image) -> Field:
    """Back to picture size, 0..1."""
    return np.asarray(image.reduce(_FINE), dtype=np.float32) / 255.0


def _to_pixels(points: NDArray[np.float64], u: Field, v: Field) -> NDArray[np.float64]:
    """Lesion coordinates to (column, row). `u` and `v` are linear in rows and columns."""
    jacobian = np.array(
        [[u[0, 1] - u[0, 0], u[1, 0] - u[0, 0]], [v[0, 1] - v[0, 0], v[1, 0] - v[0, 0]]]
    )
    return (points - np.array([u[0, 0], v[0, 0]])) @ np.linalg.inv(jacobian).T


def dots(
    u: Field, v: Field, count: int, radii: tuple[float, float], rng: np.random.Generator
) -> Field:
    """Soft round dots scattered over a lesion. Units: radii in lesion radii. Result 0..1."""
    image, draw = _canvas(*u.shape)
    spread = np.sqrt(rng.uniform(0, 0.85, count))
    turn = rng.uniform(0, 2 * np.pi, count)
    places = _to_pixels(np.stack([spread * np.cos(turn), spread * np.sin(turn)], 1), u, v) * _FINE
    per_radius = _FINE / float(np.hypot(u[0, 1] - u[0, 0], v[0, 1] - v[0, 0]))
    sizes = rng.uniform(*radii, count) * per_radius
    shades = rng.integers(110, 256, count)
    for (x, y), size, shade in zip(places, sizes, shades, strict=True):
        draw.ellipse((x - size, y - size * 0.85, x + size, y + size * 0.85), fill=int(shade))
    return ndimage.gaussian_filter(_shrink(image), 0.55)


def strokes(u: Field, v: Field, radius: float, count: int, rng: np.random.Generator) -> Field:
    """Branching vessels that run in from the border of a lesion. Result 0..1."""
    image, draw = _canvas(*u.shape)
    open_ends = [(rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 1.0), 1.0) for _ in range(count)]
    for turn, reach, width in open_ends:  # grows while vessels branch
        place = np.array([reach * np.cos(turn), reach * np.sin(turn)])
        heading = turn + np.pi + rng.normal(0, 0.7)
        path = [place]
        for _ in range(int(rng.integers(5, 12))):
            heading += rng.normal(0, 0.42)
            place = place + 0.075 * np.array([np.cos(heading), np.sin(heading)])
            path.append(place)
            if width > 0.6 and rng.random() < 0.22 and len(open_ends) < 24:
                open_ends.append((np.arctan2(place[1], place[0]), float(np.hypot(*place)), 0.55))
        pixels = _to_pixels(np.array(path), u, v) * _FINE
        thick = max(1, round(width * (0.018 * radius + 0.35) * _FINE))
        shade = int(120 + 120 * width)
        draw.line([tuple(p) for p in pixels], fill=shade, width=thick, joint="curve")
    return ndimage.gaussian_filter(_shrink(image), 0.45)


def hair(side: int, count: int, coarse: float, rng: np.random.Generator) -> Field:
    """Hairs that lie roughly in one direction. Units: `coarse` is their width in pixels."""
    image, draw = _canvas(side, side)
    comb = rng.uniform(0, 2 * np.pi)
    spread = rng.uniform(0.25, 0.8)
    steps = np.linspace(-0.5, 0.5, 9)
    for _ in range(count):
        x, y = rng.uniform(-0.1, 1.1, 2) * side
        turn, curl = comb + rng.normal(0, spread), rng.normal(0, 0.9)
        length = side * rng.uniform(0.18, 0.75)
        angles = turn + curl * steps
        path = np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1) * length / 9, axis=0)
        points = [tuple(p) for p in (path + np.array([x, y])) * _FINE]
        shade = int(rng.integers(120, 245))
        width = max(1, round(coarse * rng.uniform(0.7, 1.25) * _FINE))
        draw.line(points, fill=shade, width=width, joint="curve")
        draw.line(points[6:], fill=int(shade * 0.8), width=max(1, width - 1))
    return _shrink(image)


def ink(side: int, rng: np.random.Generator) -> Field:
    """An arc of surgical marker, drawn by hand around the middle. Result 0..1."""
    image, draw = _canvas(side, side)
    start, sweep = rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 5.5)
    turn = start + np.linspace(0, sweep, 30)
    reach = side * rng.uniform(0.34, 0.46) * (1 + np.cumsum(rng.normal(0, 0.011, 30)))
    middle = side * (0.5 + rng.uniform(-0.04, 0.04, 2))
    points = np.stack([reach * np.cos(turn), reach * np.sin(turn)], 1) + middle
    width = max(2, round(rng.uniform(0.010, 0.020) * side * _FINE))
    draw.line([tuple(p) for p in points * _FINE], fill=255, width=width, joint="curve")
    return ndimage.gaussian_filter(_shrink(image), 0.8)


def ruler(side: int, rng: np.random.Generator) -> tuple[Field, Field]:
    """A paper scale along one edge. Returns how much it covers and its print, each 0..1."""
    paper, on_paper = _canvas(side, side)
    print_, on_print = _canvas(side, side)
    big = side * _FINE
    tall = big * rng.uniform(0.10, 0.16)
    step = big * rng.uniform(0.028, 0.045)
    on_paper.rectangle((-big, -big, 2 * big, tall), fill=255)
    for number, x in enumerate(np.arange(-0.2 * big, 1.2 * big, step)):
        mark = tall * (0.55 if number % 10 == 0 else 0.40 if number % 5 == 0 else 0.26)
        on_print.line((x, tall, x, tall - mark), fill=255, width=max(1, _FINE // 2))
    turn = float(90 * rng.integers(0, 4) + rng.uniform(-7, 7))
    covers = _shrink(paper.rotate(turn, resample=Image.Resampling.BILINEAR))
    return ndimage.gaussian_filter(covers, 0.5), _shrink(
        print_.rotate(turn, resample=Image.Resampling.BILINEAR)
    )


def bubble(side: int, rng: np.random.Generator) -> Field:
    """The bright and dark ring of an air bubble in contact gel. Units: added linear light."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    centre, radius = rng.uniform(0.1, 0.9, 2) * side, side * rng.uniform(0.03, 0.08)
    away = np.hypot(y - centre[0], x - centre[1]) / radius
    turn = np.arctan2(y - centre[0], x - centre[1]) - rng.uniform(0, 2 * np.pi)
    ring = np.exp(-(((away - 1) / 0.13) ** 2)) * (0.35 + 0.65 * np.cos(turn))
    spot = np.exp(-(((away - 0.55) / 0.22) ** 2) - (turn / 0.5) ** 2)
    return (0.10 * ring + 0.22 * spot).astype(np.float32)
