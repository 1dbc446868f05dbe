"""How fast and how good the allocation is, on synthetic sensitivity maps of realistic size.

    python -m benchmarks.allocation [--json FILE]

The maps are made up (damage falls by about 4 per bit, layers and groups differ widely); sizes are
those of real networks: 4,800 channels is about ResNet18, 17,000 MobileNetV2, 26,000 ResNet50.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from fairquant_core.quantization.allocation import ALLOCATORS, curve, minimax
from fairquant_core.quantization.sensitivity_map import SensitivityMap

MENU = (2, 3, 4, 5, 6, 7, 8)
BUDGETS = (2.5, 4.0, 6.0)
CURVE = tuple(np.round(np.arange(2.0, 8.01, 0.1), 1).tolist())


def synthetic_map(units: int, groups: int, *, layers: int = 52, seed: int = 0) -> SensitivityMap:
    """A made-up map: log-normal spread over layers, channels and groups, 10 % noise per width."""
    rng = np.random.default_rng(seed)
    layer_index = np.sort(np.append(np.arange(layers), rng.integers(0, layers, units - layers)))
    per_channel = np.exp(rng.normal(5, 1.2, layers)).astype(np.int64) + 9
    weights = per_channel[layer_index]
    level = np.exp(rng.normal(0, 1.5, layers))[layer_index] * np.exp(rng.normal(0, 1, units))
    taste = np.exp(rng.normal(0, 0.5, (groups, layers)))[:, layer_index]
    taste *= np.exp(rng.normal(0, 0.3, (groups, units)))
    damage = (level * taste * weights / weights.sum())[:, :, None] * 4.0 ** (2 - np.array(MENU))
    damage *= np.exp(rng.normal(0, 0.1, damage.shape))
    names = tuple(f"group {number}" for number in range(groups))
    return SensitivityMap(
        measure="synthetic",
        groups=names,
        images=dict.fromkeys(names, 100),
        menu=MENU,
        layers=tuple(f"layer{number}" for number in range(layers)),
        weights=weights,
        layer_index=layer_index,
        damage=damage,
    )


def one_row(units: int, groups: int, granularity: str, bits: float) -> dict[str, object]:
    """Time one allocation."""
    sensitivity = synthetic_map(units, groups, layers=min(units, 60))
    start = time.perf_counter()
    found = minimax(sensitivity, bits, granularity=granularity)
    seconds = time.perf_counter() - start
    return {
        "units": units,
        "groups": groups,
        "granularity": granularity,
        "bits": bits,
        "seconds": seconds,
        "certificate_gap": found.certificate_gap,
        "bits_left": bits - found.achieved_bits,
    }


def against_others(units: int, groups: int, bits: float) -> dict[str, float]:
    """Predicted worst-group loss rise of every allocator, as a multiple of minimax."""
    sensitivity = synthetic_map(units, groups)
    worst = {
        name: max(allocate(sensitivity, bits).predicted.values())
        for name, allocate in ALLOCATORS.items()
    }
    return {name: value / worst["minimax"] for name, value in worst.items()}


def main() -> None:
    """Print the table; write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()

    cases = [(size, "channel") for size in (4_800, 17_000, 26_000)] + [(60, "layer")]
    rows = [
        one_row(units, groups, granularity, bits)
        for units, granularity in cases
        for groups in (3, 6)
        for bits in BUDGETS
    ]
    print("  units groups granularity  bits  seconds  gap %   bits left")
    for row in rows:
        print(
            f"{row['units']:7} {row['groups']:6} {row['granularity']:>11} {row['bits']:5.1f} "
            f"{row['seconds']:8.3f} {100 * row['certificate_gap']:6.3f} {row['bits_left']:11.6f}"
        )
    curves = []
    for units, granularity in ((17_000, "channel"), (60, "layer")):
        sensitivity = synthetic_map(units, 3, layers=min(units, 52))
        start = time.perf_counter()
        frame = curve(sensitivity, CURVE, granularity=granularity)
        seconds = time.perf_counter() - start
        gap = float(((frame["worst"] - frame["bound"]) / frame["bound"]).max())
        curves.append({"units": units, "budgets": len(CURVE), "seconds": seconds, "worst_gap": gap})
        print(
            f"curve of {len(CURVE)} budgets, {units} units, 3 groups: "
            f"{seconds:.2f} s, largest gap {100 * gap:.3f} %"
        )
    ratios = {bits: against_others(4_800, 3, bits) for bits in BUDGETS}
    for bits, ratio in ratios.items():
        text = ", ".join(f"{name} {value:.2f}" for name, value in ratio.items())
        print(f"worst-group loss rise at {bits} bits, minimax = 1: {text}")
    if options.json:
        options.json.write_text(
            json.dumps({"allocation": rows, "curves": curves, "ratios": ratios}, indent=2)
        )


if __name__ == "__main__":
    main()
