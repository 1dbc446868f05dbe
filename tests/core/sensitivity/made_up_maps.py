"""Sensitivity maps made up for the tests of the allocation."""

from __future__ import annotations

import numpy as np

from fairquant_core.sensitivity.maps import SensitivityMap


def made_up_map(
    units: int,
    groups: int,
    *,
    layers: int = 8,
    menu: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8),
    seed: int = 0,
    noise: float = 0.1,
) -> SensitivityMap:
    """Damage falls by about 4 per bit; layers, channels and groups differ widely."""
    rng = np.random.default_rng(seed)
    layer_index = np.sort(np.append(np.arange(layers), rng.integers(0, layers, units - layers)))
    weights = rng.integers(9, 600, layers)[layer_index]
    level = np.exp(rng.normal(-6, 1.5, layers))[layer_index] * np.exp(rng.normal(0, 1, units))
    taste = np.exp(rng.normal(0, 0.6, (groups, layers)))[:, layer_index]
    damage = (level * taste)[:, :, None] * 4.0 ** (2 - np.array(menu)) / units
    damage = damage * np.exp(rng.normal(0, noise, damage.shape))
    names = tuple(f"group {number}" for number in range(groups))
    return SensitivityMap(
        measure="made up",
        groups=names,
        images={name: 50 + 100 * number for number, name in enumerate(names)},
        menu=menu,
        layers=tuple(f"layer{number}" for number in range(layers)),
        weights=weights,
        layer_index=layer_index,
        damage=damage,
    )
