"""What does a sensitivity map for every group cost? The group pass beside one plain forward + backward pass.

    python benchmarks/sensitivity_cost.py --architecture mobilenetv2_100 --size 128 --groups 3 6

Plain pass: the same images in batches of the same size, mean loss, one backward pass per batch for the
gradients of all weights. The group pass holds one group per batch and adds what is squared and summed up. The
last line is what turning the curvature into damage per width costs on top; it does not depend on the
number of images.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fairquant_core.data.batches import normalise
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.quantization.sensitivity import fisher_map, group_fisher

CLASSES = ("a", "b", "c", "d", "e", "f")


def plain_pass(classifier: Classifier, images: np.ndarray, labels: np.ndarray, size: int) -> None:
    """Forward and backward over all images, gradients of the quantisable weights."""
    classifier.model.eval()
    weights = [layer.module.weight for layer in quantisable_layers(classifier.model)]
    for start in range(0, len(images), size):
        inputs = normalise(images[start : start + size], classifier.preprocessing)
        target = torch.as_tensor(labels[start : start + size])
        loss = functional.cross_entropy(classifier.model(inputs), target)
        torch.autograd.grad(loss, weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--groups", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = np.random.default_rng(0)
    shape = (options.images, options.size, options.size, 3)
    images = generator.integers(0, 255, shape, dtype=np.uint8)
    labels = generator.integers(0, len(CLASSES), options.images)
    classifier = create(options.architecture, CLASSES, size=options.size)
    parts = {
        count: {f"g{k}": np.arange(k, options.images, count) for k in range(count)}
        for count in options.groups
    }
    plain_pass(classifier, images[: options.batch_size], labels, options.batch_size)
    ratios: dict[int, list[float]] = {count: [] for count in parts}
    print(f"{options.architecture}, {options.images} images of {options.size} px")
    for _ in range(options.rounds):
        started = time.perf_counter()
        plain_pass(classifier, images, labels, options.batch_size)
        plain = time.perf_counter() - started
        for count, chosen in parts.items():
            started = time.perf_counter()
            group_fisher(classifier, images, labels, chosen, batch_size=options.batch_size)
            ratios[count].append((time.perf_counter() - started) / plain)
    figures = {str(count): float(np.median(values)) for count, values in ratios.items()}
    print(f"plain forward + backward: {plain:.2f} s")
    for count, ratio in figures.items():
        print(f"{count} groups: {ratio:.3f} x the plain pass")
    few = {"g0": np.arange(options.batch_size)}
    started = time.perf_counter()
    fisher_map(classifier, images, labels, few, batch_size=options.batch_size)
    print(f"damage for seven widths on top: {time.perf_counter() - started:.2f} s")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
