"""Seconds for the saliency maps of one image by a classifier and by its fake-quantised copy.

    python benchmarks/saliency.py [--threads 1] [--repeats 3] [--json FILE]

Networks are untrained: the time does not depend on the weights. The limits hold against CPU seconds,
which are the seconds of one idle core and hardly depend on what else runs; ``wall_s`` does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import script_parser, write_figures
from fairquant_core.data.batches import normalise
from fairquant_core.explain.catalogue import METHODS
from fairquant_core.explain.saliency import SaliencySettings, attribute
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.compressed import attach
from fairquant_core.quantization.layers import quantisable_layers

NETWORKS = (("resnet18", 224), ("mobilenetv2_100", 128), ("deit_tiny_patch16_224", 224))
BITS = 4
#: Seconds allowed for a pair of one resnet18 image at 224 px on 2 cores.
LIMITS = {"integrated_gradients": 6.0, "grad_cam": 1.5}


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [row for network in NETWORKS for row in measure(*network, options.repeats)]
    table = pd.DataFrame(rows)
    print(
        f"{options.threads} threads, best of {options.repeats}, one image, full precision + candidate"
    )
    print(table.round(3).to_string(index=False, na_rep="-"))
    write_figures(options, {"threads": options.threads, "rows": rows})
    slow = [
        row for row in rows if row["limit_s"] is not None and row["pair_cpu_s"] > row["limit_s"]
    ]
    sys.exit(f"slower than the limit: {slow}" if slow else 0)


def measure(architecture: str, size: int, repeats: int) -> list[dict]:
    """One row per method; `passes`: CPU time in units of forward + backward passes of one image."""
    classifier = create(architecture, ("a", "b", "c"), size=size)
    candidate = classifier.copy()
    layers = quantisable_layers(candidate.model)
    attach(candidate.model, {layer.name: np.full(layer.channels, BITS) for layer in layers})
    pair = (classifier, candidate)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    unit, _ = best(lambda: forward_backward(classifier, images), repeats)
    rows = []
    for method in METHODS:
        settings = SaliencySettings(steps=32)

        def maps(method: str = method, settings: SaliencySettings = settings) -> None:
            for one in pair:
                attribute(one, images, np.array([1]), method, settings=settings)

        seconds, wall = best(maps, repeats)
        rows.append(
            {
                "network": architecture,
                "size": size,
                "method": method,
                "pair_cpu_s": seconds,
                "limit_s": LIMITS.get(method) if architecture == "resnet18" else None,
                "wall_s": wall,
                "passes": seconds / unit,
            }
        )
    return rows


def forward_backward(classifier: Classifier, images: np.ndarray) -> None:
    classifier.model.eval()
    inputs = normalise(images, classifier.preprocessing).requires_grad_()
    torch.autograd.grad(classifier.model(inputs)[:, 1].sum(), inputs)


def best(work: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Shortest CPU time and shortest wall time; other processes only ever add to them."""
    times = []
    for _ in range(repeats):
        start, wall = time.process_time(), time.perf_counter()
        work()
        times.append((time.process_time() - start, time.perf_counter() - wall))
    return min(cpu for cpu, _ in times), min(wall for _, wall in times)


if __name__ == "__main__":
    main()
