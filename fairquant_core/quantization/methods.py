"""The methods behind the names of :mod:`fairquant_core.quantization.catalogue`, in one registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fairquant_core.errors import TrainingError
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Report, Stop
from fairquant_core.quantization.allocation import ALLOCATORS, Allocation
from fairquant_core.quantization.catalogue import METHODS, RunConfig
from fairquant_core.quantization.compressed import Compressed, attach, compress
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.quantization.norms import reestimate_norms
from fairquant_core.quantization.sensitivity_map import SensitivityMap
from fairquant_core.quantization.training import Schedule, TrainingData, train

SENSITIVITY_MISSING = "'{title}' plans its bits from a sensitivity map ({measure}), and none was given."


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
        One row of figures per epoch; empty for methods without training.
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
        config.bits,
        granularity=config.granularity,
        menu=config.menu,
        floors=config.floors,
        pins=config.pins,
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
    """Round every layer to the same width, as it is done in the field; no training."""
    return _rounded(job, uniform_widths(job.classifier, int(job.config.bits)), None)


@method("minimax_ptq")
def minimax_ptq(job: Job) -> Outcome:
    """Round to the minimax plan with the best ranges and fitting norms; no training."""
    allocation, widths = plan_widths(job)
    return _rounded(job, widths, allocation)


@method("uniform_qat")
def uniform_qat(job: Job) -> Outcome:
    """The same width everywhere, weights and ranges trained."""
    return _trained(job, uniform_widths(job.classifier, int(job.config.bits)), None)


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
    history = _train(job, student)
    return Outcome(student, None, None, history)


def _rounded(job: Job, widths: dict[str, np.ndarray], allocation: Allocation | None) -> Outcome:
    student = job.classifier.copy()
    attach(student.model, widths, menu=job.config.menu, ranges=job.config.card.rounding)
    if allocation is not None:
        train_split = job.data.positions("train")
        reestimate_norms(student, job.data.images, train_split, seed=job.config.seed)
    compressed = compress(student)
    return Outcome(compressed.classifier, compressed, allocation, [])


def _trained(job: Job, widths: dict[str, np.ndarray], allocation: Allocation | None) -> Outcome:
    student = job.classifier.copy()
    attach(student.model, widths, granularity=job.config.granularity, menu=job.config.menu)
    history = _train(job, student)
    compressed = compress(student)
    return Outcome(compressed.classifier, compressed, allocation, history)


def _train(job: Job, student: Classifier) -> list[dict[str, Any]]:
    config = job.config
    schedule = Schedule(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seed=config.seed,
        fitting_norms=True,
        fairness=config.fairness,
        fairness_weight=config.fairness_weight if config.fairness != "none" else 0.0,
    )
    if config.card.learns_bits:
        schedule = replace(schedule, budget=config.bits, bit_learning_rate=config.bit_learning_rate)
    return train(
        student,
        job.data,
        schedule,
        teacher=job.classifier.copy() if config.distillation else None,
        checkpoint=job.checkpoint,
        report=job.report,
        cancel=job.cancel,
    )
