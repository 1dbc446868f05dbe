"""Batch-norm statistics that fit the rounded weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from fairquant_core.data.batches import normalise
from fairquant_core.models.zoo import Classifier

IMAGES = 1024
"""Training images that the statistics are averaged over; more changed nothing that could be measured."""

BATCH = 64


@torch.no_grad()
def reestimate_norms(
    classifier: Classifier, images: np.ndarray, positions: np.ndarray, *, seed: int = 0
) -> None:
    """Average every batch norm's mean and variance anew, in place, over training images as they are.

    Rounded weights shift what a layer sees, and the running averages of a short training lag behind and are
    taken over augmented images. Networks without batch norm are left alone.

    Parameters
    ----------
    images, positions
        Decoded images, and which of them belong to the train split.
    seed
        Of the choice, where there are more than 1,024.

    Shapes: ``images`` uint8 (N, S, S, 3), ``positions`` (P,).

    Source: METHOD 3 of the post-training mode; averaging without momentum as in PyTorch's
    ``update_bn`` (Izmailov et al., arXiv 1803.05407).
    """
    norms = [m for m in classifier.model.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms or len(positions) < 2:
        return
    chosen = np.random.default_rng(seed).permutation(positions)[:IMAGES]
    momenta = [norm.momentum for norm in norms]
    classifier.model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
        norm.train()
    for batch in np.array_split(chosen, max(1, round(len(chosen) / BATCH))):
        classifier.model(normalise(images[np.sort(batch)], classifier.preprocessing))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
