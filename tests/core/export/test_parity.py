"""Parity: the comparison of logits agrees with a slow one, and what is not the same is not called the same."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fairquant_core.errors import EvaluationError
from fairquant_core.export.parity import LIMIT, compare_logits


def slow_part(
    reference: np.ndarray, found: np.ndarray, groups: list[str], wanted: str
) -> tuple[int, int, float]:
    """Image by image, from the words."""
    largest = max(abs(float(value)) for row in reference for value in row)
    images, same, difference = 0, 0, 0.0
    for left, right, group in zip(reference, found, groups, strict=True):
        if wanted not in ("all", group):
            continue
        images += 1
        same += list(left).index(max(left)) == list(right).index(max(right))
        for one, other in zip(left, right, strict=True):
            difference = max(difference, abs(float(one) - float(other)) / largest)
    return images, same, difference


def test_figures_agree_with_a_slow_comparison() -> None:
    generator = np.random.default_rng(0)
    reference = generator.normal(size=(40, 3)).astype(np.float32)
    found = (reference + generator.normal(scale=0.3, size=(40, 3))).astype(np.float32)
    groups = [("FST V-VI", "FST I-II", "unknown")[number % 3] for number in range(40)]
    parity = compare_logits(reference, found, groups)
    assert [part.group for part in parity.by_group] == ["FST I-II", "FST V-VI", "unknown"]
    for part in (parity.overall, *parity.by_group):
        images, same, difference = slow_part(reference, found, groups, part.group)
        assert (part.images, part.same_class) == (images, same)
        assert part.largest_difference == pytest.approx(difference, rel=1e-6)
    other = np.flatnonzero(reference.argmax(1) != found.argmax(1))
    assert parity.other_class == tuple(str(number) for number in other[:20])
    assert len(other) > 0 and not parity.same_everywhere


def test_equal_logits_are_the_same_everywhere() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 2))
    assert compare_logits(logits, logits.copy(), ["a"] * 5).same_everywhere


@pytest.mark.parametrize(("step", "same"), [(0.9, True), (1.1, False)])
def test_the_limit_is_a_share_of_the_largest_logit(step: float, same: bool) -> None:
    reference = np.array([[50.0, -2.0], [1.0, 3.0]])
    found = reference.copy()
    found[1, 0] += step * LIMIT * 50
    assert compare_logits(reference, found, ["a", "b"]).same_everywhere is same


def test_another_class_is_never_the_same_however_small_the_difference() -> None:
    reference = np.array([[1.0, 1.0 + 1e-6], [100.0, 0.0]])
    found = np.array([[1.0 + 2e-6, 1.0 + 1e-6], [100.0, 0.0]])
    parity = compare_logits(reference, found, ["a", "b"], ["first", "second"])
    assert parity.overall.largest_difference < LIMIT
    assert parity.other_class == ("first",) and not parity.same_everywhere


def test_it_can_be_written_as_json() -> None:
    logits = np.eye(2)
    content = compare_logits(logits, logits, ["a", "b"]).to_json()
    assert json.loads(json.dumps(content)) == content
    assert content["same_everywhere"] is True
    assert content["by_group"][1]["group"] == "b"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_an_error(bad: float) -> None:
    found = np.eye(3)
    found[1, 2] = bad
    with pytest.raises(EvaluationError, match="1 images are not numbers, first 'y'"):
        compare_logits(np.eye(3), found, ["a"] * 3, ["x", "y", "z"])


@pytest.mark.parametrize("count", [1, 3])
def test_what_does_not_belong_together_is_an_error(count: int) -> None:
    with pytest.raises(EvaluationError, match="do not belong together"):
        compare_logits(np.eye(2), np.eye(2), ["a"] * count)
    with pytest.raises(EvaluationError, match="do not belong together"):
        compare_logits(np.eye(2), np.eye(3), ["a"] * 2)


def test_no_image_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="no image"):
        compare_logits(np.zeros((0, 2)), np.zeros((0, 2)), [])
