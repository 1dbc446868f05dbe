"""What does keeping freed memory bring? The same training steps with and without it, in processes by turns.

python benchmarks/memory.py --architecture mobilenetv2_100 --size 128
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import script_parser, write_figures

# Any MALLOC_ variable makes the product leave the C library alone; this one changes nothing.
LEFT_ALONE = {"MALLOC_PERTURB_": "0"}


def steps(architecture: str, size: int, batch_size: int, count: int) -> dict[str, float]:
    """Seconds and page faults per training step in this process."""
    import torch

    from fairquant_core.models.zoo import create

    model = create(architecture, ("a", "b", "c"), size=size).model.train()
    images = torch.randn(batch_size, 3, size, size).to(memory_format=torch.channels_last)

    def step() -> None:
        model(images).square().mean().backward()
        model.zero_grad()

    for _ in range(2):
        step()
    faults, started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    for _ in range(count):
        step()
    return {
        "seconds": (time.perf_counter() - started) / count,
        "page faults": (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) / count,
    }


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--architecture", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        print(
            json.dumps(steps(options.architecture, options.size, options.batch_size, options.steps))
        )
        return
    found: dict[str, list[dict[str, float]]] = {"given back": [], "kept": []}
    for _ in range(options.rounds):
        for name, extra in (("given back", LEFT_ALONE), ("kept", {})):
            command = [sys.executable, __file__, "--inner", *sys.argv[1:]]
            clean = {
                key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")
            }
            answer = subprocess.run(
                command, env={**clean, **extra}, capture_output=True, text=True, check=True
            )
            found[name].append(json.loads(answer.stdout))
    for name, rows in found.items():
        seconds = statistics.median(row["seconds"] for row in rows)
        faults = statistics.median(row["page faults"] for row in rows)
        print(f"memory {name:10s} {1000 * seconds:8.1f} ms per step {faults:10.0f} page faults")
    pairs = zip(found["kept"], found["given back"], strict=True)
    ratio = statistics.median(kept["seconds"] / back["seconds"] for kept, back in pairs)
    print(f"kept / given back: {ratio:.3f}")
    write_figures(options, {**found, "ratio": ratio})


if __name__ == "__main__":
    main()
