"""Batch-norm statistics that fit the rounded weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fairquant_core.data.batches import normalise
from fairquant_core.errors import Cancelled
from fairquant_core.models.batch_norms import batch_norms
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
    norms = batch_norms(model)
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
    full: Classifier | None = None,
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
    full
        The classifier before rounding, whose own statistics are to be kept but for what rounding moved: both are
        averaged over the same images, and what differs is carried over. A classifier that was not rounded at all
        stays as it is, whichever images are drawn; averaged anew, 4 % of its answers would change.
    seed
        Of the choice, where there are more than 1,024.

    Shapes: ``images`` uint8 (N, S, S, 3), ``positions`` (P,).

    Raises
    ------
    Cancelled
        When ``cancel()`` says so; the norms are then those of the batches so far.

    Source: METHOD 3 of the post-training mode. **Deviation**: with ``full`` the statistics are not replaced but
    moved.
    """
    if len(positions) < 2 or not batch_norms(classifier.model):
        return
    chosen = np.random.default_rng(seed).permutation(positions)[:IMAGES]
    batches = np.array_split(chosen, max(1, round(len(chosen) / BATCH)))
    beside = None if full is None else full.copy()
    both = [classifier.model] if beside is None else [classifier.model, beside.model]
    with ExitStack() as stack:
        norms = [stack.enter_context(averaging_norms(model)) for model in both]
        for done, batch in enumerate(batches, start=1):
            if cancel and cancel():
                raise Cancelled("Cancelled while fitting the norms.")
            inputs = normalise(images[np.sort(batch)], classifier.preprocessing)
            for model in both:
                model(inputs)
            if progress:
                progress(done, len(batches))
    if full is not None:
        for own, same, kept in zip(*norms, batch_norms(full.model), strict=True):
            _carry_over(own, same, kept)


def _carry_over(own: _BatchNorm, same: _BatchNorm, kept: _BatchNorm) -> None:
    """Set ``own`` to the statistics ``kept``, moved by what ``own`` and ``same`` saw differently.

    Variances move by their ratio, each with what the norm adds before it divides. Means move by their difference, but
    what ``kept`` and ``same`` disagree about shrinks with the channel: one that was left out is constant, and
    divided by next to nothing, any such rest would drown the others.
    """
    (mean, variance), (same_mean, same_variance), (kept_mean, kept_variance) = (
        _statistics(norm) for norm in (own, same, kept)
    )
    ratio = (variance + own.eps) / (same_variance + own.eps)
    variance.copy_(((kept_variance + own.eps) * ratio - own.eps).clamp_(min=0))
    mean.add_((kept_mean - same_mean) * ratio.sqrt())


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Mean and variance of every channel. Shapes: (C,), (C,)."""
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean, norm.running_var
