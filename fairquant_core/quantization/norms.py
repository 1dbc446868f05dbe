"""Batch-norm statistics that fit the rounded weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fairquant_core.data.batches import normalise
from fairquant_core.errors import Cancelled
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Stop

IMAGES = 1024
"""Training images that the statistics are averaged over; more changed nothing that could be measured."""

BATCH = 64


@contextmanager
def averaging_norms(model: nn.Module) -> Iterator[list[_BatchNorm]]:
    """Inside, every batch norm uses the statistics of its batch and averages them; all else is in evaluation mode.

    Afterwards the norms hold the plain average over the batches that were passed. Yields them; the list is
    empty for networks without batch norm.

    Source: averaging without momentum as in PyTorch's ``update_bn`` (Izmailov et al., arXiv 1803.05407).
    """
    model.eval()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
        norm.train()
    try:
        yield norms
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


@torch.no_grad()
def reestimate_norms(
    classifier: Classifier,
    images: np.ndarray,
    positions: np.ndarray,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    cancel: Stop | None = None,
) -> None:
    """Average every batch norm's mean and variance anew, in place, over training images as they are.

    Rounded weights shift what a layer sees, and the running averages of a short training lag behind and are
    taken over augmented images. Networks without batch norm are left alone, and so are all when there are
    fewer than two images.

    Parameters
    ----------
    images, positions
        Decoded images, and which of them belong to the train split.
    seed
        Of the choice, where there are more than 1,024.

    Shapes: ``images`` uint8 (N, S, S, 3), ``positions`` (P,).

    Raises
    ------
    Cancelled
        When ``cancel()`` says so; the norms are then those of the batches so far.

    Source: METHOD 3 of the post-training mode.
    """
    if len(positions) < 2 or not has_batch_norms(classifier.model):
        return
    chosen = np.random.default_rng(seed).permutation(positions)[:IMAGES]
    batches = np.array_split(chosen, max(1, round(len(chosen) / BATCH)))
    with averaging_norms(classifier.model):
        for done, batch in enumerate(batches, start=1):
            if cancel and cancel():
                raise Cancelled("Cancelled while fitting the norms.")
            classifier.model(normalise(images[np.sort(batch)], classifier.preprocessing))
            if progress:
                progress(done, len(batches))


def has_batch_norms(model: nn.Module) -> bool:
    """Whether there is anything to re-estimate."""
    return any(isinstance(m, _BatchNorm) and m.track_running_stats for m in model.modules())
