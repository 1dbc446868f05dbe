"""What does a change cost that has no direction at all? The least that a loss of accuracy can be told from.

    python benchmarks/smallest_change.py [--difference 0.003] [--draws 10]
    python benchmarks/smallest_change.py --cohort FOLDER --classifiers seed0.safetensors seed1.safetensors ...

Random numbers are added to all weights, as many times larger or smaller as makes the class probabilities diverge from
full precision by a given mean divergence (in nats), about that of rounding without training at 6 bits. Such noise knows
neither classes nor groups; on endless photographs it would lose about as many right answers as it gains.

Printed per split: photographs lost and gained on average, and the change of accuracy, of all and of the worst group,
mean and standard deviation over the draws. A loss within these figures says how near to a tie these photographs happen
to be, and nothing about the rounding.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.classifiers import add_classifiers, each_classifier
from benchmarks.figures import divergence, script_parser, write_figures
from fairquant_core.data.training_data import TrainingData
from fairquant_core.models.inference import predict
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.layers import quantisable_layers

SPLITS = ("audit", "validation")
FIRST = 1e-3
"""Noise of the first attempt, in standard deviations of a channel's weights."""
ATTEMPTS = 4
NEAR = 1.25
"""A divergence so many times larger or smaller than asked for is near enough."""


def noise_of(classifier: Classifier, generator: torch.Generator) -> list[Tensor]:
    """Normal numbers for each weight, in standard deviations of its channel."""
    found = []
    for layer in quantisable_layers(classifier.model):
        spread = layer.weight().detach().std(1, keepdim=True)
        found.append(torch.randn(layer.weight().shape, generator=generator) * spread)
    return found


@torch.no_grad()
def moved(classifier: Classifier, noise: list[Tensor], size: float) -> Classifier:
    """A copy with the noise on its weights."""
    copy = classifier.copy()
    for layer, drawn in zip(quantisable_layers(copy.model), noise, strict=True):
        layer.module.weight.add_(drawn.view_as(layer.module.weight), alpha=size)
    return copy


def noisy(
    classifier: Classifier,
    images: np.ndarray,
    full: np.ndarray,
    wanted: float,
    generator: torch.Generator,
) -> Classifier:
    """The classifier with noise that makes it diverge by about so much on these images."""
    noise, size = noise_of(classifier, generator), FIRST
    for _ in range(ATTEMPTS):
        other = moved(classifier, noise, size)
        found = divergence(full, predict(other, images))
        if wanted / NEAR <= found <= wanted * NEAR:
            break
        # The divergence grows with the square of the noise.
        size *= (wanted / found) ** 0.5
    return other


def change(data: TrainingData, split: str, full: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """What one draw costs on one split. Units: points of accuracy, photographs, nats."""
    positions = data.positions(split)
    labels, groups = data.labels[positions], data.groups.to_numpy()[positions]
    before, after = (chances.argmax(1) == labels for chances in (full, other))

    def worst(right: np.ndarray) -> float:
        return min(float(right[groups == name].mean()) for name in data.group_names)

    return {
        "lost": float((before & ~after).sum()),
        "gained": float((~before & after).sum()),
        "accuracy": 100 * float(after.mean() - before.mean()),
        "worst": 100 * (worst(after) - worst(before)),
        "divergence": divergence(full, other),
    }


def show(name: str, split: str, rows: list[dict[str, Any]]) -> None:
    """One line of the table: means, and spread of what is a change."""
    mean = {
        key: np.mean([row[key] for row in rows]) for key in rows[0] if key not in ("seed", "split")
    }
    spread = {key: np.std([row[key] for row in rows], ddof=1) for key in ("accuracy", "worst")}
    print(
        f"{name:>5} {split:10} {len(rows):5} {mean['divergence']:10.4f} {mean['lost']:6.1f} {mean['gained']:6.1f} "
        f"{mean['accuracy']:+9.2f} +-{spread['accuracy']:.2f} {mean['worst']:+7.2f} +-{spread['worst']:.2f}",
        flush=True,
    )


def main() -> None:
    """Print the table; write it where asked."""
    parser = script_parser(__doc__)
    add_classifiers(parser)
    parser.add_argument("--difference", type=float, default=0.003, help="mean divergence, in nats")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    if options.draws < 2:
        parser.error("a spread needs at least two draws")
    torch.set_num_threads(options.threads)
    print(" seed split      draws divergence   lost gained  accuracy            worst group")
    rows: list[dict[str, Any]] = []
    for seed, classifier, data in each_classifier(options):
        generator = torch.Generator().manual_seed(seed)
        images = {split: data.images[data.positions(split)] for split in SPLITS}
        full = {split: predict(classifier, images[split]) for split in SPLITS}
        for _ in range(options.draws):
            other = noisy(
                classifier,
                images["validation"],
                full["validation"],
                options.difference,
                generator,
            )
            for split in SPLITS:
                found = change(data, split, full[split], predict(other, images[split]))
                rows.append({"seed": seed, "split": split, **found})
        for split in SPLITS:
            own = [row for row in rows if (row["seed"], row["split"]) == (seed, split)]
            show(str(seed), split, own)
    for split in SPLITS:
        show("all", split, [row for row in rows if row["split"] == split])
    write_figures(options, rows)


if __name__ == "__main__":
    main()
