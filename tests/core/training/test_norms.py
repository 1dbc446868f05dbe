"""Re-estimated norms: the true statistics of what the layer sees, and nothing else is touched."""

from __future__ import annotations

import copy

import numpy as np
import torch

from fairquant_core.data.batches import normalise
from fairquant_core.training.norms import reestimate_norms


def test_statistics_are_those_of_the_training_images(classifier, data) -> None:
    model = classifier.model
    before = copy.deepcopy(model.state_dict())
    reestimate_norms(classifier, data.images, data.positions("train"))
    with torch.no_grad():
        train = data.positions("train")
        seen = model.stem(normalise(data.images[train], classifier.preprocessing))
    torch.testing.assert_close(model.norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    variance = seen.var((0, 2, 3), correction=1)
    torch.testing.assert_close(model.norm.running_var, variance, rtol=1e-3, atol=1e-5)
    assert model.norm.momentum == 0.1
    assert not any(module.training for module in model.modules())
    changed = {k for k, v in model.state_dict().items() if not torch.equal(before[k], v)}
    assert changed == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}


def test_same_seed_same_statistics(classifier, data) -> None:
    other = classifier.copy()
    some = np.arange(40)
    reestimate_norms(classifier, data.images, some, seed=3)
    reestimate_norms(other, data.images, some, seed=3)
    assert classifier.fingerprint == other.fingerprint


def test_what_was_not_rounded_keeps_its_statistics_whichever_images_are_drawn(
    classifier, data
) -> None:
    """The very reason for moving statistics instead of replacing them."""
    with torch.no_grad():
        classifier.model.norm.running_mean.add_(0.3)  # those of a training, not of these images
        classifier.model.norm.running_var.mul_(1.7)
    same, anew = classifier.copy(), classifier.copy()
    reestimate_norms(same, data.images, np.arange(40), full=classifier)
    reestimate_norms(anew, data.images, np.arange(40))
    for name in ("running_mean", "running_var"):
        given = getattr(classifier.model.norm, name)
        torch.testing.assert_close(getattr(same.model.norm, name), given)
        assert not torch.allclose(getattr(anew.model.norm, name), given, rtol=0.01)


def test_statistics_move_as_far_as_rounding_moved_them(classifier, data) -> None:
    """Where the classifier's own statistics are those of the same images, moved ones are those of the student."""
    images, some = data.images, np.arange(40)
    anew, moved = classifier.copy(), classifier.copy()
    reestimate_norms(classifier, images, some)
    for rounded in (anew, moved):
        with torch.no_grad():
            rounded.model.stem.weight.mul_(0.8)
    reestimate_norms(anew, images, some)
    reestimate_norms(moved, images, some, full=classifier)
    for name in ("running_mean", "running_var"):
        expected = getattr(anew.model.norm, name)
        torch.testing.assert_close(getattr(moved.model.norm, name), expected, rtol=1e-4, atol=1e-5)
    ratio = moved.model.norm.running_var / classifier.model.norm.running_var
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.64), rtol=0.01, atol=0)


def test_a_channel_that_was_dead_before_rounding_does_not_explode(classifier, data) -> None:
    full, student = classifier.copy(), classifier.copy()
    with torch.no_grad():
        full.model.stem.weight[0].zero_()
    reestimate_norms(full, data.images, np.arange(40))
    reestimate_norms(student, data.images, np.arange(40), full=full)
    alone = classifier.copy()
    reestimate_norms(alone, data.images, np.arange(40))
    torch.testing.assert_close(
        student.model.norm.running_var, alone.model.norm.running_var, rtol=1e-4, atol=1e-5
    )


def test_a_channel_that_was_left_out_does_not_drown_the_others(classifier, data) -> None:
    """It is constant; what the classifier's own mean is beside that of these images must not be blown up by that."""
    images, some = data.images, np.arange(40)
    anew = classifier.copy()
    reestimate_norms(anew, images, some)
    with torch.no_grad():
        classifier.model.norm.running_mean.add_(0.3)  # of a training, not of these images
        rounded = classifier.copy()
        rounded.model.stem.weight[2] = 0
    reestimate_norms(rounded, images, some, full=classifier)
    norm, full = rounded.model.norm, classifier.model.norm
    with torch.no_grad():
        out = norm(rounded.model.stem(normalise(images[some], classifier.preprocessing)))[:, 2]
    apart = full.running_mean[2] - anew.model.norm.running_mean[2]
    expected = norm.bias[2] - norm.weight[2] * apart / (full.running_var[2] + full.eps).sqrt()
    torch.testing.assert_close(out, expected.expand_as(out), rtol=1e-3, atol=1e-3)
