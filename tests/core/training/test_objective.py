"""The terms of the objective, each against the obvious formula."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fairquant_core.training.objective import FairnessTerm, group_means, image_losses


def test_without_teacher_it_is_cross_entropy() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    expected = functional.cross_entropy(logits, labels, reduction="none")
    assert torch.equal(image_losses(logits, labels), expected)


def test_a_perfect_student_pays_only_for_the_labels() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    both = image_losses(logits, labels, logits.clone())
    torch.testing.assert_close(both, 0.5 * image_losses(logits, labels))


def test_unknown_images_belong_to_no_group() -> None:
    means, present = group_means(torch.tensor([1.0, 3.0, 100.0]), torch.tensor([0, 0, -1]), count=2)
    assert means.tolist() == [2.0, 0.0]
    assert present.tolist() == [True, False]


def test_gap_is_largest_minus_smallest() -> None:
    term = FairnessTerm("gap", 3)
    losses = torch.tensor([1.0, 2.0, 6.0, 4.0])
    assert float(term(losses, torch.tensor([0, 1, 2, 2]))) == pytest.approx(4.0)


def test_worst_lies_between_mean_and_maximum_and_leans_to_the_maximum() -> None:
    term = FairnessTerm("worst", 2)
    value = float(term(torch.tensor([1.0, 2.0]), torch.tensor([0, 1])))
    assert 1.5 < value < 2.0


def test_a_group_missing_from_the_batch_does_no_harm() -> None:
    for kind in ("gap", "worst"):
        term = FairnessTerm(kind, 3)
        assert torch.isfinite(term(torch.tensor([1.0, 2.0]), torch.tensor([0, -1])))
        assert float(term(torch.tensor([1.0]), torch.tensor([-1]))) == 0.0
