"""Between the weights before and after training: exact at both ends, within the budget, the same for a seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from fairquant_core.models.inference import predict
from fairquant_core.progress import Progress
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.quantization.compressed import attach
from fairquant_core.sensitivity.registry import centred_map, sample_per_group
from fairquant_core.training.averaging import average_weights
from fairquant_core.training.methods import Job, Outcome, run_method, uniform_widths


@pytest.fixture
def job(classifier, data) -> Job:
    train = data.positions("train")
    own = sample_per_group(data.groups.iloc[train], 64, seed=0)
    found = centred_map(
        classifier,
        data.images,
        data.labels,
        {group: train[chosen] for group, chosen in own.items()},
    )
    config = RunConfig(bits=4.0, epochs=2, batch_size=16, learning_rate=2e-2)
    return Job(config, classifier, data, found)


def run(job: Job, **changes: object) -> Outcome:
    return run_method(replace(job, config=replace(job.config, **changes)))


def test_the_ends_are_the_two_classifiers(classifier) -> None:
    other = classifier.copy()
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.add_(1.0)
    for share in (0.0, 0.25, 1.0):
        found = average_weights(classifier, other, share).model.state_dict()
        for name, parameter in classifier.model.named_parameters():
            torch.testing.assert_close(found[name], parameter + share)
    assert classifier.fingerprint != other.fingerprint


def test_quantisers_are_looked_through(classifier) -> None:
    """The weights behind the rounding count, and the average is plain again."""
    student = classifier.copy()
    attach(student.model, uniform_widths(student, 2))
    average = average_weights(classifier, student, 0.5)
    assert average.fingerprint == classifier.fingerprint


def test_the_average_keeps_widths_budget_and_history_of_the_training(job: Job) -> None:
    averaged, trained = run(job, trained_share=0.4), run(job, trained_share=1.0)
    assert averaged.compressed is not None and trained.compressed is not None
    assert averaged.history[:-1] == trained.history
    for name, widths in trained.compressed.plan.widths.items():
        assert np.array_equal(averaged.compressed.plan.widths[name], widths)
    assert averaged.compressed.plan.average_bits <= 4.0
    assert averaged.classifier.fingerprint != trained.classifier.fingerprint
    assert run(job, trained_share=0.4).classifier.fingerprint == averaged.classifier.fingerprint


@pytest.mark.parametrize("method", ["baq", "full_precision"])
def test_the_last_row_is_what_came_out(job: Job, method: str) -> None:
    """The curves end with the classifier that is audited, and a person who watches is told so."""
    told: list[Progress] = []
    outcome = run_method(
        replace(
            job, config=replace(job.config, method=method, trained_share=0.4), report=told.append
        )
    )
    row, before = outcome.history[-1], outcome.history[-2]
    assert row["averaged"] and (row["epoch"], before["epoch"], row["epochs"]) == (3, 2, 2)
    assert row in [progress.figures for progress in told]
    chosen = job.data.positions("validation")
    probabilities = predict(outcome.classifier, job.data.images[chosen])
    labels = job.data.labels[chosen]
    assert row["accuracy"] == accuracy_score(labels, probabilities.argmax(1))
    expected = log_loss(labels, probabilities, labels=range(len(job.classifier.classes)))
    assert row["validation_loss"] == pytest.approx(expected, rel=1e-5)
    assert row["validation_loss"] != before["validation_loss"]


def test_a_smaller_share_stays_nearer_to_the_original(job: Job) -> None:
    original = dict(job.classifier.model.named_parameters())

    def distance(share: float) -> float:
        model = run(job, method="full_precision", trained_share=share).classifier.model
        return sum(
            float((p - original[n]).detach().square().sum()) for n, p in model.named_parameters()
        )

    near, middle, far = map(distance, (0.2, 0.5, 1.0))
    assert near == pytest.approx(far * 0.2**2, rel=1e-4)
    assert middle == pytest.approx(far * 0.5**2, rel=1e-4)


def test_activations_are_rounded_after_averaging_too(job: Job) -> None:
    compressed = run(job, trained_share=0.4, activation_bits=8).compressed
    assert compressed is not None
    assert set(compressed.activations) == set(compressed.codes)
