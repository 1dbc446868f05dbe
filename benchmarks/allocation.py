"""How fast and how good the allocation is: on made-up sensitivity maps, and on those of real networks.

    python benchmarks/allocation.py [--cohort FOLDER] [--models NAME ...] [--json FILE]

The made-up maps have the sizes of real networks (damage falls by about 4 per bit, layers and groups differ widely):
4,800 channels is about ResNet18, 17,000 MobileNetV2, 26,000 ResNet50. The real networks are fitted on the cohort for
one epoch, enough for a curvature that differs between channels, layers and groups.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import DEMO, script_parser, write_figures
from fairquant_core.allocation.allocators import ALLOCATORS, curve, minimax
from fairquant_core.quantization.catalogue import LEGAL_MENU, MENU
from fairquant_core.sensitivity.maps import SensitivityMap

MODELS = ("mobilenetv2_100", "resnet18", "deit_tiny_patch16_224")
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


def one_row(
    name: str,
    sensitivity: SensitivityMap,
    bits: float,
    granularity: str = "channel",
    menu: tuple[int, ...] = MENU,
) -> dict[str, object]:
    """Time one allocation."""
    start = time.perf_counter()
    found = minimax(sensitivity, bits, granularity=granularity, menu=menu)
    seconds = time.perf_counter() - start
    return {
        "map": name,
        "units": len(sensitivity.layers) if granularity == "layer" else sensitivity.units,
        "groups": len(sensitivity.groups),
        "granularity": granularity,
        "pruning": 0 in menu,
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


def one_curve(name: str, sensitivity: SensitivityMap, granularity: str) -> dict[str, object]:
    """Time the whole Pareto curve."""
    start = time.perf_counter()
    frame = curve(sensitivity, CURVE, granularity=granularity, menu=sensitivity.menu)
    seconds = time.perf_counter() - start
    gap = float(((frame["worst"] - frame["bound"]) / frame["bound"]).max())
    return {
        "map": name,
        "granularity": granularity,
        "budgets": len(CURVE),
        "seconds": seconds,
        "largest_gap": gap,
    }


def real_map(
    architecture: str, cohort_folder: Path, size: int, images: int, cache: Path
) -> SensitivityMap:
    """The curvature map of a network after one epoch on the cohort."""
    from fairquant_core import scoring
    from fairquant_core.data.adapters import read_cohort
    from fairquant_core.data.skin_tone import default_scheme
    from fairquant_core.models.zoo import create
    from fairquant_core.sensitivity.cache import Subject, predicted
    from fairquant_core.training.fitting import FitConfig, fit

    cohort = read_cohort(cohort_folder)
    column = next(iter(cohort.group_columns))
    scheme = default_scheme(cohort.table[column])
    classifier = create(architecture, cohort.classes, size=size)
    data = scoring.training_data(
        cohort, classifier, group_column=column, scheme=scheme, cache=cache
    )
    fit(classifier, data, FitConfig(epochs=1))
    subject = Subject(cohort, classifier, data, column, scheme, cache)
    return predicted(subject, "centred", images_per_group=images, seed=0)


def print_rows(rows: list[dict[str, object]]) -> None:
    """One line per allocation."""
    print(f"{'map':24}   units groups granularity pruning  bits  seconds   gap %  bits left")
    for row in rows:
        pruning = "yes" if row["pruning"] else "no"
        print(
            f"{row['map']:24} {row['units']:7} {row['groups']:6} {row['granularity']:>11} {pruning:>7} "
            f"{row['bits']:5.1f} {row['seconds']:8.3f} {100 * row['certificate_gap']:7.3f} "
            f"{row['bits_left']:10.6f}",
            flush=True,
        )


def main() -> None:
    """Print the tables; write them where asked."""
    parser = script_parser(__doc__)
    parser.add_argument("--cohort", type=Path, default=DEMO, help="for the real networks")
    parser.add_argument(
        "--models", nargs="*", default=MODELS, help="timm's names; none: made-up only"
    )
    parser.add_argument("--size", type=int, default=64, help="side of the pictures in pixels")
    parser.add_argument("--images", type=int, default=128, help="per group, for the curvature")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        maps = {
            name: real_map(name, options.cohort, options.size, options.images, Path(folder))
            for name in options.models
        }
    made_up = {
        f"made up, {units:,} x {groups}": synthetic_map(units, groups)
        for units in (4_800, 17_000, 26_000)
        for groups in (3, 6)
    }
    rows = [one_row(name, one, bits) for name, one in made_up.items() for bits in BUDGETS]
    rows += [
        one_row(name, one, bits, granularity, menu)
        for name, one in maps.items()
        for granularity, menu in (("channel", MENU), ("channel", LEGAL_MENU), ("layer", MENU))
        for bits in ((1.5, *BUDGETS) if 0 in menu else BUDGETS)
    ]
    print_rows(rows)
    curves = [
        one_curve(name, one, granularity)
        for name, one in {"made up, 17,000 x 3": made_up["made up, 17,000 x 3"], **maps}.items()
        for granularity in ("channel", "layer")
    ]
    for one in curves:
        print(
            f"curve of {one['budgets']} budgets, {one['map']}, per {one['granularity']}: "
            f"{one['seconds']:.2f} s, largest gap {100 * one['largest_gap']:.3f} %"
        )
    ratios = {bits: against_others(4_800, 3, bits) for bits in BUDGETS}
    for bits, ratio in ratios.items():
        text = ", ".join(f"{name} {value:.2f}" for name, value in ratio.items())
        print(f"worst-group loss rise at {bits} bits, minimax = 1: {text}")
    write_figures(options, {"allocation": rows, "curves": curves, "ratios": ratios})


if __name__ == "__main__":
    main()
