"""The methods behind the names of :mod:`fairquant_core.quantization.catalogue`, in one registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fairquant_core.allocation.allocators import ALLOCATORS, Allocation
from fairquant_core.data.training_data import TrainingData
from fairquant_core.errors import TrainingError
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Progress, Report, Stop
from fairquant_core.quantization.activations import attach_activations, calibrate
from fairquant_core.quantization.budget import budget_bits
from fairquant_core.quantization.catalogue import METHODS, RunConfig
from fairquant_core.quantization.compressed import Compressed, attach, compress
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.sensitivity.maps import SensitivityMap
from fairquant_core.training.averaging import average_weights
from fairquant_core.training.loop import Schedule, train
from fairquant_core.training.norms import reestimate_norms
from fairquant_core.training.post_training import fit_rounding
from fairquant_core.training.validation import validation_figures

CLIP_RATE = 10.0
"""Ranges are learned as logarithms, faster than the weights by this factor."""

AVERAGED = "Trained weights averaged with those before the training"
SENSITIVITY_MISSING = (
    "'{title}' plans its bits from a sensitivity map ({measure}), and none was given."
)


@dataclass(frozen=True)
class Job:
    """Everything a method may use."""

    config: RunConfig
    classifier: Classifier
    data: TrainingData
    sensitivity: SensitivityMap | None = None
    checkpoint: Path | None = None
    report: Report | None = None
    cancel: Stop | None = None


@dataclass(frozen=True)
class Outcome:
    """What a method returns.

    Parameters
    ----------
    compressed
        The compressed classifier; None for the full-precision control.
    classifier
        The classifier to score.
    allocation
        The plan it started from, for methods that plan.
    history
        One row of figures per epoch; empty for methods without training. Where the weights are averaged after
        the last epoch, a row for what came out follows, marked ``averaged``.
    """

    classifier: Classifier
    compressed: Compressed | None
    allocation: Allocation | None
    history: list[dict[str, Any]]


Method = Callable[[Job], Outcome]
REGISTRY: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Register the code of one method of the catalogue."""

    def keep(function: Method) -> Method:
        if name not in METHODS:
            raise TrainingError(f"'{name}' is not in the catalogue of methods.")
        REGISTRY[name] = function
        return function

    return keep


def run_method(job: Job) -> Outcome:
    """Run the method that the job's configuration names; the job's classifier is not changed."""
    return REGISTRY[job.config.method](job)


def plan_widths(job: Job) -> tuple[Allocation, dict[str, np.ndarray]]:
    """Widths per output channel of every layer, as the method's card says, from the job's sensitivity map."""
    config, card = job.config, job.config.card
    if job.sensitivity is None or job.sensitivity.measure != card.measure:
        raise TrainingError(SENSITIVITY_MISSING.format(title=card.title, measure=card.measure))
    sensitivity = job.sensitivity
    if card.reduce:
        sensitivity = sensitivity.reduced(card.reduce)
    allocation = ALLOCATORS[card.allocate](
        sensitivity,
        budget_bits(config, job.classifier),
        **config.plan_wishes,
    )
    per_unit = allocation.widths_by_layer()
    widths = {
        layer.name: np.broadcast_to(per_unit[layer.name], layer.channels).astype(np.uint8)
        for layer in quantisable_layers(job.classifier.model)
    }
    return allocation, widths


def uniform_widths(classifier: Classifier, bits: int) -> dict[str, np.ndarray]:
    """The same width for every channel of every layer."""
    return {
        layer.name: np.full(layer.channels, bits, np.uint8)
        for layer in quantisable_layers(classifier.model)
    }


@method("uniform_ptq")
@method("absmax_ptq")
def uniform_ptq(job: Job) -> Outcome:
    """Round every layer to the same width, as it is done in the field; no training, and norms stay as they are."""
    student = _attached(job, _one_width(job))
    _round_activations(job, student, student)
    return _packed(job, student, None, [])


@method("minimax_ptq")
def minimax_ptq(job: Job) -> Outcome:
    """Round to the minimax plan so that later weights make up for earlier errors; no training."""
    allocation, widths = plan_widths(job)
    student = _attached(job, widths)
    compensate_rounding(job, student)
    _round_activations(job, student, student)
    return _packed(job, student, allocation, [])


@method("uniform_qat")
def uniform_qat(job: Job) -> Outcome:
    """The same width everywhere, weights and ranges trained."""
    return _trained(job, _one_width(job), None)


@method("baq")
@method("static_qat")
@method("blind_qat")
@method("fairquant_qat")
@method("fairgrape_qat")
@method("fairquantize_qat")
@method("hawq_qat")
def planned_qat(job: Job) -> Outcome:
    """Start from the plan of the method's card and train; with BAQ the widths are trained too."""
    allocation, widths = plan_widths(job)
    return _trained(job, widths, allocation)


@method("full_precision")
def full_precision(job: Job) -> Outcome:
    """The control: as many epochs on the same images, nothing rounded."""
    student = job.classifier.copy()
    history = _train(job, student, None)
    if job.config.trained_share < 1:
        student = _average(job, student)
        history.append(_after_averaging(job, student, history[-1]))
    return Outcome(student, None, None, history)


def compensate_rounding(job: Job, student: Classifier, full: Classifier | None = None) -> list[str]:
    """Fit the codes, biases and norms of a student with attached quantisers to training images, in place.

    What the post-training mode consists of after planning, and what BAQ starts from. Groups count as the
    run's group weights say; without any, every image counts alike.

    Parameters
    ----------
    full
        What the student is to stay close to; the job's classifier where not given.

    Returns
    -------
    Layers that no image reached, which are rounded to the nearest code.
    """
    return fit_rounding(
        student,
        full or job.classifier,
        job.data,
        seed=job.config.seed,
        group_weights=job.config.group_weights,
        report=job.report,
        cancel=job.cancel,
    )


def _one_width(job: Job) -> dict[str, np.ndarray]:
    return uniform_widths(job.classifier, int(budget_bits(job.config, job.classifier)))


def _round_activations(job: Job, student: Classifier, watched: Classifier) -> None:
    """Where the run asks for it, round the student's activations in the ranges that ``watched`` has."""
    if job.config.activation_bits is None:
        return
    data = job.data
    ranges = calibrate(
        watched, data.images, data.positions("train"), list(data.groups), seed=job.config.seed
    )
    attach_activations(student.model, ranges)


def _attached(
    job: Job, widths: dict[str, np.ndarray], full: Classifier | None = None
) -> Classifier:
    """A copy of a full-precision classifier, by default the job's, with quantisers of the given widths."""
    config = job.config
    student = (full or job.classifier).copy()
    attach(
        student.model,
        widths,
        granularity=config.granularity,
        menu=config.menu,
        floors=config.floors,
        pins=config.pins,
        ranges=config.card.rounding,
    )
    return student


def _packed(
    job: Job, student: Classifier, allocation: Allocation | None, history: list[dict[str, Any]]
) -> Outcome:
    compressed = compress(student)
    return Outcome(compressed.classifier, compressed, allocation, history)


def _trained(job: Job, widths: dict[str, np.ndarray], allocation: Allocation | None) -> Outcome:
    student = _attached(job, widths)
    resumed = job.checkpoint is not None and job.checkpoint.exists()
    if job.config.card.rounding == "compensated" and not resumed:
        compensate_rounding(job, student)
    # Ranges of full precision: those of the weights as they are rounded before training mean little.
    _round_activations(job, student, job.classifier)
    history = _train(job, student, allocation)
    if job.config.trained_share < 1:
        student = _averaged(job, student)
        history.append(_after_averaging(job, student, history[-1]))
    return _packed(job, student, allocation, history)


def _averaged(job: Job, trained: Classifier) -> Classifier:
    """Round the average of trained and original weights anew, to the widths that the training ended with."""
    full = _average(job, trained)
    student = _attached(job, compress(trained).plan.widths, full)
    compensate_rounding(job, student, full)
    _round_activations(job, student, full)
    return student


def _after_averaging(job: Job, student: Classifier, last: dict[str, Any]) -> dict[str, Any]:
    """The row of figures after the last epoch's, for what the run ends with; reported like an epoch."""
    kept = {name: last[name] for name in ("epochs", "average_bits", "widths_moved")}
    epochs = last["epochs"]
    row = {
        **kept,
        **validation_figures(student, job.data),
        "epoch": epochs + 1,
        "averaged": True,
        "loss": None,
    }
    if job.report:
        job.report(Progress("training", epochs, epochs, AVERAGED, None, row))
    return row


def _average(job: Job, trained: Classifier) -> Classifier:
    """Trained and original weights, as the run shares them, with norms that fit."""
    return _with_fitting_norms(
        job, average_weights(job.classifier, trained, job.config.trained_share)
    )


def _train(job: Job, student: Classifier, allocation: Allocation | None) -> list[dict[str, Any]]:
    config = job.config
    schedule = Schedule(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        clip_learning_rate=CLIP_RATE * config.learning_rate,
        seed=config.seed,
        fitting_norms=True,
        fairness=config.fairness,
        fairness_weight=config.fairness_weight if config.fairness != "none" else 0.0,
    )
    if config.card.learns_bits and allocation is not None:
        schedule = replace(
            schedule,
            budget=allocation.requested_bits,
            bit_learning_rate=config.bit_learning_rate,
        )
    return train(
        student,
        job.data,
        schedule,
        teacher=_with_fitting_norms(job, job.classifier.copy()) if config.distillation else None,
        checkpoint=job.checkpoint,
        report=job.report,
        cancel=job.cancel,
    )


def _with_fitting_norms(job: Job, classifier: Classifier) -> Classifier:
    """The classifier itself, its norms re-estimated for this cohort, as the student's are in the end."""
    reestimate_norms(
        classifier,
        job.data.images,
        job.data.positions("train"),
        seed=job.config.seed,
        cancel=job.cancel,
    )
    return classifier
