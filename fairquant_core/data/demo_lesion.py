"""The five lesion classes of the synthetic demo cohort: what they look like and how they are drawn.

A class is a spread of *traits* (how round, how ragged, how much pigment, how scaly ...). A single
lesion also borrows from another class by a random amount, so classes overlap continuously: an
atypical naevus and an early melanoma can look the same, and then no classifier can tell them apart.
Traits describe the lesion, never the patient's skin; what a skin tone does to their visibility is
left to the optics in `demo_skin`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from fairquant_core.data.demo_skin import Field, bank, look_up
from fairquant_core.data.demo_strokes import dots, strokes

NAEVUS = "benign naevus"
MELANOMA = "melanoma"
KERATOSIS = "seborrhoeic keratosis"
CARCINOMA = "basal cell carcinoma"
PSORIASIS = "psoriasis plaque"
CLASSES = (CARCINOMA, NAEVUS, MELANOMA, PSORIASIS, KERATOSIS)
MALIGNANT = frozenset({MELANOMA, CARCINOMA})


@dataclass(frozen=True)
class Traits:
    """What one lesion looks like. All between 0 and 1 unless a unit is given.

    Units: `radius` is a fraction of the picture's side at normal distance; `pigment` and `blue`
    are melanosome volume fractions (epidermis, dermis); `redness` is a blood volume fraction.
    """

    radius: float
    elongation: float = 0.2
    asymmetry: float = 0.1
    ragged: float = 0.1
    soft: float = 0.3
    pigment: float = 0.2
    variegation: float = 0.15
    blue: float = 0.0
    regression: float = 0.0
    redness: float = 0.0
    halo: float = 0.0
    network: float = 0.0
    dome: float = 0.2
    rim: float = 0.0
    gloss: float = 0.1
    warts: float = 0.0
    plugs: float = 0.0
    milia: float = 0.0
    vessels: float = 0.0
    crust: float = 0.0
    scale: float = 0.0


# Trait spreads per class: (mean, standard deviation), clipped at 0.
_SPREADS: dict[str, dict[str, tuple[float, float]]] = {
    NAEVUS: {
        "radius": (0.155, 0.04), "elongation": (0.22, 0.14), "asymmetry": (0.12, 0.10),
        "ragged": (0.12, 0.09), "soft": (0.42, 0.20), "pigment": (0.13, 0.07),
        "variegation": (0.20, 0.10), "redness": (0.015, 0.015), "network": (0.35, 0.30),
        "dome": (0.28, 0.25), "gloss": (0.11, 0.09), "warts": (0.05, 0.10),
    },
    MELANOMA: {
        "radius": (0.215, 0.05), "elongation": (0.38, 0.20), "asymmetry": (0.72, 0.20),
        "ragged": (0.68, 0.20), "soft": (0.28, 0.14), "pigment": (0.27, 0.12),
        "variegation": (0.72, 0.20), "blue": (0.045, 0.04), "regression": (0.32, 0.30),
        "redness": (0.02, 0.03), "halo": (0.15, 0.15), "network": (0.30, 0.28),
        "dome": (0.32, 0.28), "gloss": (0.18, 0.14), "warts": (0.10, 0.12),
        "crust": (0.06, 0.12),
    },
    KERATOSIS: {
        "radius": (0.20, 0.05), "elongation": (0.30, 0.18), "asymmetry": (0.22, 0.15),
        "ragged": (0.26, 0.14), "pigment": (0.12, 0.08),
        "variegation": (0.34, 0.14), "redness": (0.008, 0.01), "dome": (0.50, 0.20),
        "gloss": (0.20, 0.14), "warts": (0.72, 0.20), "plugs": (0.50, 0.30),
        "milia": (0.40, 0.30), "scale": (0.10, 0.10), "soft": (0.10, 0.07),
    },
    CARCINOMA: {
        "radius": (0.175, 0.045), "elongation": (0.24, 0.15), "asymmetry": (0.28, 0.16),
        "ragged": (0.24, 0.14), "soft": (0.36, 0.16), "pigment": (0.022, 0.02),
        "variegation": (0.35, 0.18), "blue": (0.012, 0.016), "redness": (0.060, 0.025),
        "halo": (0.35, 0.22), "dome": (0.62, 0.22), "rim": (0.62, 0.28), "gloss": (0.46, 0.16),
        "vessels": (0.62, 0.28), "crust": (0.38, 0.30), "warts": (0.06, 0.10),
        "scale": (0.06, 0.08),
    },
    PSORIASIS: {
        "radius": (0.285, 0.065), "elongation": (0.34, 0.20), "asymmetry": (0.40, 0.20),
        "ragged": (0.36, 0.16), "soft": (0.18, 0.10), "pigment": (0.018, 0.015),
        "variegation": (0.25, 0.12), "redness": (0.130, 0.040), "halo": (0.30, 0.20),
        "dome": (0.22, 0.12), "gloss": (0.08, 0.06), "warts": (0.06, 0.08),
        "scale": (0.62, 0.24),
    },
}  # fmt: skip

# Which class a lesion may borrow traits from, and how often: the clinician's differential list.
_MIMICS: dict[str, tuple[tuple[str, float], ...]] = {
    NAEVUS: ((MELANOMA, 0.50), (KERATOSIS, 0.30), (CARCINOMA, 0.20)),
    MELANOMA: ((NAEVUS, 0.55), (KERATOSIS, 0.35), (CARCINOMA, 0.10)),
    KERATOSIS: ((NAEVUS, 0.35), (MELANOMA, 0.35), (PSORIASIS, 0.20), (CARCINOMA, 0.10)),
    CARCINOMA: ((PSORIASIS, 0.40), (NAEVUS, 0.35), (KERATOSIS, 0.25)),
    PSORIASIS: ((CARCINOMA, 0.55), (KERATOSIS, 0.45)),
}
_BORROWED = (1.1, 2.6)  # Beta distribution of the borrowed share
_MOST_BORROWED = 0.62  # a lesion with a share above one half looks more like its mimic
# How often a carcinoma is pigmented: slope * sqrt(skin melanin), about one in six on type II skin.
PIGMENTED_CARCINOMA_SLOPE, PIGMENTED_CARCINOMA_MOST = 1.1, 0.6


def _typical(label: str, rng: np.random.Generator) -> Traits:
    """One draw from a class's spreads."""
    drawn = {name: max(0.0, rng.normal(*spread)) for name, spread in _SPREADS[label].items()}
    return Traits(**{**drawn, "radius": float(np.clip(drawn["radius"], 0.09, 0.42))})


def draw_traits(label: str, skin_melanin: float, rng: np.random.Generator) -> Traits:
    """Draw what one lesion of a class looks like.

    Parameters
    ----------
    skin_melanin
        Melanosome fraction of the surrounding skin. Melanocytes make more pigment in darker skin:
        basal cell carcinoma is pigmented in most patients with dark skin and in few with light
        skin, and naevi are darker. Source: Gloster and Neal, J Am Acad Dermatol 55 (2006) 741.
    """
    own = _typical(label, rng)
    names, weights = zip(*_MIMICS[label], strict=True)
    other = _typical(names[rng.choice(len(names), p=weights)], rng)
    share = _MOST_BORROWED * rng.beta(*_BORROWED)
    mixed = Traits(
        **{
            field.name: (1 - share) * getattr(own, field.name) + share * getattr(other, field.name)
            for field in fields(Traits)
        }
    )
    darker = (skin_melanin / 0.04) ** 0.22
    pigment, blue = mixed.pigment * darker, mixed.blue
    pigmented = min(PIGMENTED_CARCINOMA_MOST, PIGMENTED_CARCINOMA_SLOPE * skin_melanin**0.5)
    if label == CARCINOMA and rng.random() < pigmented:
        pigment, blue = pigment + rng.uniform(0.05, 0.25), blue + rng.uniform(0.01, 0.05)
    return replace(mixed, pigment=pigment, blue=blue)


@dataclass(frozen=True)
class Layers:
    """What a lesion adds to the skin at every pixel.

    Shapes: each (H, W). Units: melanin, blood and deep are volume fractions; keratin is the
    reflectance of loose white scale; height is in pixels; gloss 0..1; cover is 0 outside the
    lesion and 1 inside.
    """

    cover: Field
    melanin: Field
    blood: Field
    deep: Field
    keratin: Field
    height: Field
    gloss: Field


def _rise(value: Field, width: float) -> Field:
    """A smooth step from 0 to 1 around 0."""
    return 1 / (1 + np.exp(-np.clip(value / max(width, 1e-3), -30, 30)))


def _shape(traits: Traits, u: Field, v: Field, rng: np.random.Generator) -> Field:
    """How far inside the border a place is: 1 at the centre, 0 on the border, below 0 outside."""
    tiles = bank()
    bend = 0.04 + 0.38 * traits.ragged
    du = bend * 0.5 * look_up(tiles.coarse, (v, u), rng, 0.020)
    dv = bend * 0.5 * look_up(tiles.coarse, (v, u), rng, 0.020)
    u, v = u + du, v + dv
    inside = 1 - np.sqrt(u * u + v * v)
    for _ in range(int(rng.integers(1, 4))):
        reach, turn = rng.uniform(0.45, 0.85), rng.uniform(0, 2 * np.pi)
        width = rng.uniform(0.35, 0.62)
        away = np.hypot(u - reach * np.cos(turn), v - reach * np.sin(turn))
        lobe = width - away - 0.45 * (1 - min(1.0, 1.2 * traits.asymmetry))
        inside = np.logaddexp(inside * 9, lobe * 9) / 9
    jag = look_up(tiles.soft, (v, u), rng, 0.013)
    fringe = look_up(tiles.middle, (v, u), rng, 0.016)
    return inside + 0.13 * traits.ragged * jag + (0.008 + 0.035 * traits.ragged) * fringe


def draw_layers(
    traits: Traits, u: Field, v: Field, radius: float, rng: np.random.Generator
) -> Layers:
    """Draw a lesion.

    Parameters
    ----------
    u, v
        Places in the lesion's own frame, in radii; the same generator state gives the same lesion
        from any distance and angle.
    radius
        Pixels per lesion radius, for the height of the relief.
    """
    tiles = bank()
    u = u * (1 + 0.5 * traits.elongation)
    v = v / (1 + 0.25 * traits.elongation)
    inside = _shape(traits, u, v, rng)
    cover = _rise(inside, 0.012 + 0.11 * traits.soft)
    body = np.clip(inside, 0, 1)
    slow = look_up(tiles.coarse, (v, u), rng, 0.014)
    patch = look_up(tiles.coarse, (v, u), rng, 0.022)
    grain = look_up(tiles.middle, (v, u), rng, 0.020)
    lean = rng.uniform(0, 2 * np.pi)
    one_sided = np.clip(np.cos(lean) * u + np.sin(lean) * v, -1.3, 1.3)

    uneven = traits.variegation * (0.75 * slow + 0.40 * grain + 0.7 * traits.asymmetry * one_sided)
    melanin = traits.pigment * cover * np.exp(np.clip(uneven, -2.0, 1.3))
    melanin *= 0.75 + 0.45 * np.sqrt(body)
    mesh = look_up(tiles.network, (v, u), rng, 0.021)
    fade = np.exp(-((body / 0.55) ** 2))
    melanin *= 1 + traits.network * (0.35 + 0.65 * fade) * (1.7 * mesh - 0.7)
    paler = traits.regression * _rise(patch - 0.7, 0.22) * cover
    melanin *= 1 - 0.85 * np.clip(paler, 0, 1)
    deep = traits.blue * cover * _rise(0.6 * patch - slow - 0.2, 0.35) * (1 + 0.3 * grain)
    fuzz = 0.03 + 0.22 * traits.halo + 0.08 * traits.soft
    flush = _rise(inside + 0.05 + 0.30 * traits.halo, fuzz)
    inner = np.where(inside > 0, 1.0, 0.25 + 0.5 * traits.halo)
    blood = traits.redness * np.maximum(cover, flush * inner) * np.exp(0.28 * grain + 0.15 * slow)
    blood *= 1 - 0.6 * np.clip(paler, 0, 1)

    ridge = np.exp(-(((inside - 0.17) / 0.12) ** 2)) * (1 + 0.25 * slow)
    folds = look_up(tiles.warts, (v, u), rng, 0.019, stretch=1.15)
    profile = body * (2 - body) * (1 - 0.55 * traits.rim * body)
    height = traits.dome * 0.26 * profile + 0.07 * traits.rim * ridge
    height += 0.055 * traits.warts * cover * (folds + 0.25 * grain)
    melanin *= 1 + 0.45 * traits.warts * (0.55 - folds)
    blood *= 1 - 0.45 * np.clip(traits.rim * ridge, 0, 1)
    keratin = (0.03 * np.clip(traits.rim * ridge, 0, 1.2) + 0.018 * traits.warts * folds) * cover

    if traits.plugs > 0.12:
        spots = dots(u, v, int(26 * traits.plugs), (0.030, 0.065), rng) * cover
        melanin, height = melanin + 0.45 * spots, height - 0.05 * spots
    if traits.milia > 0.12:
        spots = dots(u, v, int(20 * traits.milia), (0.030, 0.060), rng) * cover
        keratin = keratin + 0.22 * spots
    if traits.vessels > 0.10:
        lines = strokes(u, v, radius, int(2 + 7 * traits.vessels), rng) * cover
        blood = blood + 0.20 * min(1.0, traits.vessels) * lines
    if traits.crust > 0.10:
        sore = traits.crust * _rise(inside + 0.20 * patch - 0.62, 0.07) * cover
        rough = np.exp(0.5 * grain)
        blood, melanin = blood + 0.22 * sore * rough, melanin + 0.16 * sore * rough
        height = height - 0.12 * sore + 0.05 * sore * grain
    if traits.scale > 0.04:
        plates = look_up(tiles.warts, (v, u), rng, 0.011, stretch=1.2)
        heap = _rise(0.55 * patch + 0.9 * grain + 1.6 * traits.scale - 1.15 + 0.6 * body, 0.33)
        flakes = traits.scale * cover * heap * np.clip(0.25 + 0.85 * plates + 0.2 * grain, 0, 1.4)
        keratin, height = keratin + 0.38 * flakes, height + 0.07 * flakes * plates

    gloss = traits.gloss * cover * (1 - np.clip(0.8 * keratin, 0, 0.8))
    return Layers(
        cover,
        np.clip(melanin, 0, None),
        np.clip(blood, 0, None),
        np.clip(deep, 0, None),
        np.clip(keratin, 0, 0.85),
        height * radius,
        gloss,
    )
