"""Re-estimated norms: the true statistics of what the layer sees, and nothing else is touched."""

from __future__ import annotations

import copy

import numpy as np
import torch

from fairquant_core.data.batches import normalise
from fairquant_core.quantization.norms import reestimate_norms


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
