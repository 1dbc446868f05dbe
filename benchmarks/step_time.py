"""What does learning the bits cost? One BAQ training step beside one full-precision step, in one run.

    python benchmarks/step_time.py --architecture mobilenetv2_100 --sizes 64 224 --batch-size 16

The kinds of step alternate, so that a change in the machine's speed meets both. "BAQ" is the step with
learnable, mixed widths; "settled" the step after the widths are whole. Both hold the fairness and the rate
term. Distillation is switched off: its price is one more forward pass of the teacher, shown on a line of
its own.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import script_parser, write_figures
from fairquant_core.data.training_data import TrainingData
from fairquant_core.models.zoo import create
from fairquant_core.quantization.compressed import attach
from fairquant_core.training.loop import Schedule, TrainingLoop
from fairquant_core.training.methods import uniform_widths

CLASSES = ("a", "b", "c", "d", "e", "f")
LEARNING = {"budget": 4.0, "bit_learning_rate": 0.03, "fairness": "worst", "fairness_weight": 0.5}


def loops(architecture: str, size: int, batch_size: int) -> dict[str, TrainingLoop]:
    """One training loop per kind of step, on the same made-up images."""
    generator = np.random.default_rng(0)
    count = 4 * batch_size
    data = TrainingData(
        generator.integers(0, 255, (count, size, size, 3), dtype=np.uint8),
        generator.integers(0, len(CLASSES), count),
        pd.Series(np.array(["light", "middle", "dark"], dtype=object)[np.arange(count) % 3]),
        np.full(count, "train", dtype=object),
    )
    base = create(architecture, CLASSES, size=size)
    plain = Schedule(epochs=10_000, batch_size=batch_size, learning_rate=1e-4, seed=0)
    learning = Schedule(**{**plain.__dict__, **LEARNING})
    settled = Schedule(**{**plain.__dict__, **LEARNING, "budget": None, "bit_learning_rate": 0.0})
    result = {"full precision": TrainingLoop(base.copy(), data, plain, None)}
    for name, schedule, teacher in (
        ("BAQ", learning, None),
        ("settled", settled, None),
        ("BAQ with distillation", learning, base.copy()),
    ):
        student = base.copy()
        attach(student.model, uniform_widths(student, 4))
        result[name] = TrainingLoop(student, data, schedule, teacher)
    return result


def measure(architecture: str, size: int, batch_size: int, rounds: int) -> dict[str, float]:
    """Median seconds per step of each kind."""
    kinds = loops(architecture, size, batch_size)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    batch = np.arange(batch_size)
    names = list(kinds)
    for number in range(rounds + 2):
        # Another one goes first every time: what a step leaves in the caches helps none more than the others.
        first = number % len(names)
        for name in names[first:] + names[:first]:
            loop = kinds[name]
            started = time.perf_counter()
            loop.step(batch, 0, number)
            if number >= 2:
                times[name].append(time.perf_counter() - started)
    pairs = zip(*times.values(), strict=True)
    ratios = np.array([[t / row[0] for t in row] for row in pairs])
    medians = {name: statistics.median(values) for name, values in times.items()}
    return medians | {
        f"ratio {name}": float(np.median(ratios[:, k])) for k, name in enumerate(times)
    }


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--architecture", default="mobilenetv2_100")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = {}
    print(f"{options.architecture}, batch {options.batch_size}, {options.threads} threads")
    for size in options.sizes:
        rows[size] = found = measure(options.architecture, size, options.batch_size, options.rounds)
        for name in ("full precision", "BAQ", "settled", "BAQ with distillation"):
            print(
                f"{size:4d} px  {name:22s} {1000 * found[name]:8.1f} ms per step"
                f"   {found[f'ratio {name}']:.3f} x full precision"
            )
    write_figures(options, rows)


if __name__ == "__main__":
    main()
