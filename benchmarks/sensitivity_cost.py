"""What does a sensitivity map for every group cost? Each measure beside one plain forward + backward pass.

    python benchmarks/sensitivity_cost.py --architecture mobilenetv2_100 --size 128 --groups 3 6

A group has as many images whatever their number, as in the product (which takes up to 256 of each). Below 128 a group
is cut into smaller batches than 16, so that its interval rests on eight of them; then the same images cost more.

Plain pass: the same images in batches of the same size, mean loss, one backward pass per batch for the
gradients of all weights, once before and once after each measure. A measure holds one group per batch and adds up
damage for every width, pruning included, with intervals. What does not depend on the number of images, the rounding
error of every weight at every width, is measured by itself; it is part of the ratios.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import script_parser, write_figures
from fairquant_core.data.batches import normalise
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.catalogue import LEGAL_MENU
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.sensitivity.registry import sensitivity_map
from fairquant_core.sensitivity.rounding_errors import half_squared_errors

CLASSES = ("a", "b", "c", "d", "e", "f")
MEASURES = ("centred", "fisher", "grape", "gradient", "hessian")


def plain_pass(classifier: Classifier, images: np.ndarray, labels: np.ndarray, size: int) -> None:
    """Forward and backward over all images, gradients of the quantisable weights."""
    classifier.model.eval()
    weights = [layer.module.weight for layer in quantisable_layers(classifier.model)]
    for start in range(0, len(images), size):
        inputs = normalise(images[start : start + size], classifier.preprocessing)
        target = torch.as_tensor(labels[start : start + size])
        loss = functional.cross_entropy(classifier.model(inputs), target)
        torch.autograd.grad(loss, weights)


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of a piece of work, which other programs disturb less than the clock."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--architecture", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images-per-group", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--groups", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--measures", nargs="+", default=list(MEASURES), choices=MEASURES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = np.random.default_rng(0)
    most = options.images_per_group * max(options.groups)
    images = generator.integers(0, 255, (most, options.size, options.size, 3), dtype=np.uint8)
    labels = generator.integers(0, len(CLASSES), most)
    classifier = create(options.architecture, CLASSES, size=options.size)
    size = options.batch_size

    def run(measure: str, chosen: dict[str, np.ndarray]) -> None:
        sensitivity_map(measure, classifier, images, labels, chosen, batch_size=size)

    one_batch = {"g0": np.arange(size)}
    plain_pass(classifier, images[:size], labels, size)
    run("centred", one_batch)
    print(
        f"{options.architecture}, {options.images_per_group} images of {options.size} px per group"
    )
    ratios: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for count in options.groups:
            used = options.images_per_group * count
            chosen = {f"g{k}": np.arange(k, used, count) for k in range(count)}

            def plainly(n: int = used) -> float:
                return seconds(lambda: plain_pass(classifier, images[:n], labels[:n], size))

            plain = plainly()
            for measure in options.measures:
                # The number of groups changes nothing about the dear measure; one number of them is enough.
                if measure == "hessian" and count != options.groups[0]:
                    continue
                taken = seconds(lambda m=measure, c=chosen: run(m, c))  # type: ignore[misc]
                before, plain = plain, plainly()
                ratio = 2 * taken / (before + plain)
                ratios.setdefault(f"{measure}, {count} groups", []).append(ratio)
    figures = {key: float(np.median(values)) for key, values in ratios.items()}
    for key, ratio in figures.items():
        print(f"{key}: {ratio:.3f} x the plain pass")
    layers = quantisable_layers(classifier.model)
    fixed = seconds(lambda: [half_squared_errors(layer, LEGAL_MENU) for layer in layers])
    print(
        f"of which rounding every weight to every width: {fixed:.2f} s of processor time, "
        f"{fixed / plain:.3f} x the last plain pass"
    )
    write_figures(options, figures)


if __name__ == "__main__":
    main()
