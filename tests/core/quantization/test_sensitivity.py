"""Sensitivity per group: unbiased, group-pure, and without moving the classifier."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from fairquant_core.data.batches import normalise
from fairquant_core.errors import Cancelled, EvaluationError
from fairquant_core.quantization.compressed import compress_with
from fairquant_core.quantization.methods import uniform_widths
from fairquant_core.quantization.sensitivity import (
    fisher_map,
    group_fisher,
    measured_map,
    sample_per_group,
)


@pytest.fixture
def chosen(data) -> dict[str, np.ndarray]:
    return sample_per_group(data.groups.iloc[:60], 40, 0)


def exact_fisher(classifier, data, positions) -> dict[str, torch.Tensor]:
    """Squared gradients one image at a time: slow and obvious."""
    model = classifier.model.eval()
    sums: dict[str, torch.Tensor] = {}
    for position in positions:
        model.zero_grad()
        logits = model(normalise(data.images[position : position + 1], classifier.preprocessing))
        target = torch.tensor([data.labels[position]])
        torch.nn.functional.cross_entropy(logits, target).backward()
        for name, module in model.named_modules():
            if hasattr(module, "weight") and module.weight.ndim > 1:
                squared = module.weight.grad.square().flatten(1) / len(positions)
                sums[name] = sums.get(name, 0) + squared
    model.zero_grad(set_to_none=True)
    return sums


def test_signed_batches_estimate_the_exact_fisher(classifier, data, chosen) -> None:
    estimates = [
        group_fisher(classifier, data.images, data.labels, chosen, batch_size=8, seed=seed)
        for seed in range(60)
    ]
    for group, positions in chosen.items():
        for name, exact in exact_fisher(classifier, data, positions).items():
            mean = torch.stack([e[group][name] for e in estimates]).mean(0)
            ratio = mean.sum(1) / exact.sum(1).clamp(min=1e-12)
            alive = exact.sum(1) > 1e-10
            assert (ratio[alive] - 1).abs().max() < 0.35, (group, name)
            assert (ratio[alive].mean() - 1).abs() < 0.12, (group, name)


def test_batches_of_one_image_give_the_exact_fisher(classifier, data, chosen) -> None:
    estimate = group_fisher(classifier, data.images, data.labels, chosen, batch_size=1)
    for group, positions in chosen.items():
        for name, exact in exact_fisher(classifier, data, positions).items():
            torch.testing.assert_close(estimate[group][name], exact, rtol=1e-3, atol=1e-8)


def test_a_group_is_not_changed_by_the_others(classifier, data, chosen) -> None:
    alone = {"large": chosen["large"]}
    together = fisher_map(classifier, data.images, data.labels, chosen, batch_size=1)
    single = fisher_map(classifier, data.images, data.labels, alone, batch_size=1)
    row = together.groups.index("large")
    np.testing.assert_allclose(together.damage[row], single.damage[0], rtol=1e-6)


def test_state_is_bit_identical_afterwards(classifier, data, chosen) -> None:
    classifier.model.train()
    classifier.model.head.weight.requires_grad_(False)
    before = copy.deepcopy(classifier.model.state_dict())
    fisher_map(classifier, data.images, data.labels, chosen)
    measured_map(classifier, data.images, data.labels, chosen, resamples=10)
    after = classifier.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert classifier.model.training and classifier.model.norm.training
    assert not classifier.model.head.weight.requires_grad
    assert classifier.model.stem.weight.requires_grad
    assert all(p.grad is None for p in classifier.model.parameters())


def test_damage_falls_with_every_bit(classifier, data, chosen) -> None:
    found = fisher_map(classifier, data.images, data.labels, chosen)
    assert (found.damage >= 0).all()
    totals = found.damage.sum(axis=1)
    assert (np.diff(totals, axis=1) < 0).all()


def test_measured_change_is_the_real_one(classifier, data, chosen) -> None:
    found = measured_map(
        classifier, data.images, data.labels, chosen, bits=(2,), resamples=50
    ).frame
    widths = {name: np.full_like(w, 8) for name, w in uniform_widths(classifier, 8).items()}
    rounded = classifier.copy()
    rounded.model.pointwise.weight.data = compress_with(
        classifier, {**widths, "pointwise": np.full(16, 2, np.uint8)}
    ).classifier.model.pointwise.weight.data
    for group, positions in chosen.items():
        losses = []
        for model in (classifier.model.eval(), rounded.model.eval()):
            with torch.no_grad():
                logits = model(normalise(data.images[positions], classifier.preprocessing))
            target = torch.as_tensor(data.labels[positions])
            losses.append(float(torch.nn.functional.cross_entropy(logits, target)))
        row = found[(found.layer == "pointwise") & (found.group == group)].iloc[0]
        assert row.loss_change == pytest.approx(losses[1] - losses[0], abs=1e-5)
        assert row.loss_low <= row.loss_change <= row.loss_high
        assert row.n == len(positions)


def test_unknown_tone_is_no_group(data) -> None:
    assert set(sample_per_group(data.groups, 100, 0)) == {"small", "large"}


def test_at_most_the_limit_per_group(data) -> None:
    assert max(len(p) for p in sample_per_group(data.groups, 7, 0).values()) == 7


def test_no_known_group_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="No image has a known group"):
        sample_per_group(pd.Series(["unknown", "unknown"]), 10, 0)


def test_broken_weights_name_the_group(classifier, data, chosen) -> None:
    with torch.no_grad():
        classifier.model.head.weight[0, 0] = float("nan")
    with pytest.raises(EvaluationError, match="group 'large' is not a number"):
        fisher_map(classifier, data.images, data.labels, chosen)
    with pytest.raises(EvaluationError, match="is not a number"):
        measured_map(classifier, data.images, data.labels, chosen)


def test_cancel_stops_the_pass(classifier, data, chosen) -> None:
    with pytest.raises(Cancelled):
        fisher_map(classifier, data.images, data.labels, chosen, cancel=lambda: True)
