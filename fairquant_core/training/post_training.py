"""The post-training mode: from planned widths to a finished, compressed classifier without any training."""

from __future__ import annotations

from collections.abc import Mapping

from fairquant_core.data.training_data import TrainingData
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Report, StageClock, Stop, say
from fairquant_core.quantization.quantizer import quantizers
from fairquant_core.training.compensation import (
    calibration_images,
    compensate,
    image_shares,
)
from fairquant_core.training.norms import reestimate_norms

UNREACHED = (
    "No image reaches some layers ({count}, first '{layer}'): they are rounded to the nearest code"
)
NO_IMAGES = (
    "Fewer than two training images: all weights are rounded to the nearest code, norms stay"
)


def fit_rounding(
    student: Classifier,
    full: Classifier,
    data: TrainingData,
    *,
    seed: int,
    group_weights: Mapping[str, float] | None = None,
    codes: bool = True,
    biases: bool = True,
    report: Report | None = None,
    cancel: Stop | None = None,
) -> list[str]:
    """Round a classifier with attached quantisers, in place, as well as it goes without training.

    Three things, all on training images: error-compensating rounding of every layer, correction of the biases, and
    batch-norm statistics that follow what rounding moved. Deterministic for a seed.

    Parameters
    ----------
    full
        The full-precision classifier.
    group_weights
        How much an image of a group counts in what the rounding is fitted to; 1 where not named.
    codes, biases
        As in :func:`~fairquant_core.training.compensation.compensate`.

    Returns
    -------
    Layers that no image reached; they are rounded to the nearest code, and the progress says so.

    Raises
    ------
    Cancelled
        When ``cancel()`` says so.
    """
    train = data.positions("train")
    if len(train) < 2:
        say(report, "rounding", 1, 1, NO_IMAGES)
        return list(quantizers(student.model))
    chosen = calibration_images(train, student.preprocessing.size, seed)
    shares = image_shares(data.groups.to_numpy()[chosen], group_weights)
    clock = StageClock(report, "rounding", "Layer {step} of {steps}")
    unreached = compensate(
        student,
        full,
        data.images[chosen],
        shares,
        codes=codes,
        biases=biases,
        progress=clock,
        cancel=cancel,
    )
    if unreached:
        count = len(quantizers(student.model))
        message = UNREACHED.format(count=len(unreached), layer=unreached[0])
        say(report, "rounding", count, count, message)
    fit_norms(student, data, full=full, seed=seed, report=report, cancel=cancel)
    return unreached


def fit_norms(
    student: Classifier,
    data: TrainingData,
    *,
    full: Classifier | None = None,
    seed: int,
    report: Report | None = None,
    cancel: Stop | None = None,
) -> None:
    """:func:`~fairquant_core.training.norms.reestimate_norms` over the training images, with progress."""
    reestimate_norms(
        student,
        data.images,
        data.positions("train"),
        full=full,
        seed=seed,
        progress=StageClock(report, "norms", "Batch {step} of {steps}"),
        cancel=cancel,
    )
