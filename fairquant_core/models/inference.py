"""Class probabilities of a classifier, the same bits every time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from fairquant_core.data.batches import normalise
from fairquant_core.errors import Cancelled, EvaluationError
from fairquant_core.models.zoo import Classifier

WRONG_PIXELS = "images are {dtype} {shape}, but {name} needs uint8 (N, {size}, {size}, 3)"
NOT_FINITE = (
    "{name} gives NaN or infinite outputs for {count} of {total} images, first at position "
    "{position}: its weights are damaged or the bits are too few"
)
WRONG_OUTPUTS = "{name} gives {found} outputs per image for {expected} classes"


def predict(
    classifier: Classifier,
    images: np.ndarray,
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> np.ndarray:
    """Probabilities for every image.

    Nothing is random, and every batch has the same size: the last one is filled up with copies,
    because the last bits of a network's outputs depend on the size of the batch. So an image gets
    exactly the same probabilities whichever other images are scored with it. The mode of every
    module (train or eval) is afterwards as it was before.

    Parameters
    ----------
    images : as :func:`~fairquant_core.data.images.decoded_images` gives them.
    batch_size : images per batch; for a handful of images a smaller one saves time, at the price of
        other last bits.
    progress : called as ``progress(done, total)``.
    cancel : asked before every batch.

    Shapes
    ------
    images (N, S, S, 3) uint8; returns (N, C) float32

    Raises
    ------
    EvaluationError
        Images of another shape, or outputs that are not numbers.
    Cancelled
        `cancel` said so.
    """
    size, total = classifier.preprocessing.size, len(images)
    if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
        raise EvaluationError(
            WRONG_PIXELS.format(
                dtype=images.dtype, shape=images.shape, name=classifier.name, size=size
            )
        )
    model = classifier.model
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    result = np.empty((total, len(classifier.classes)), dtype=np.float32)
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, total, batch_size):
                if cancel is not None and cancel():
                    raise Cancelled("The prediction was cancelled.")
                count = min(batch_size, total - start)
                chunk = np.resize(images[start : start + count], (batch_size, size, size, 3))
                logits = model(normalise(chunk, classifier.preprocessing).to(device)).float()
                _check_logits(classifier, logits[:count], start, total)
                probabilities = logits.softmax(dim=1).cpu().numpy()
                result[start : start + count] = probabilities[:count]
                if progress is not None:
                    progress(start + count, total)
    finally:
        for module, training in modes:
            module.training = training
    return result


def _check_logits(classifier: Classifier, logits: torch.Tensor, start: int, total: int) -> None:
    if logits.shape[1:] != (len(classifier.classes),):
        raise EvaluationError(
            WRONG_OUTPUTS.format(
                name=classifier.name,
                found=tuple(logits.shape[1:]),
                expected=len(classifier.classes),
            )
        )
    bad = (~torch.isfinite(logits)).any(dim=1)
    if bad.any():
        raise EvaluationError(
            NOT_FINITE.format(
                name=classifier.name,
                count=int(bad.sum()),
                total=total,
                position=start + int(bad.nonzero()[0]),
            )
        )
