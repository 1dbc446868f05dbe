"""Averaging the weights after training with those before it."""

from __future__ import annotations

import torch
from torch.nn.utils import parametrize

from fairquant_core.models.zoo import Classifier


@torch.no_grad()
def average_weights(before: Classifier, after: Classifier, share: float) -> Classifier:
    """A full-precision classifier between two of the same network, on the straight line that joins their weights.

    Training on with few photographs fits them ever more closely; part of the way back lies what was learned and
    not yet lost. Buffers are those of ``before``: re-estimate the norms afterwards.

    Parameters
    ----------
    after
        May have quantisers attached; then the weights that are rounded count, not the rounded ones.
    share
        0 is ``before``, 1 is ``after``.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models (arXiv 2109.01903), which averages weights
    after fine-tuning with those before it.
    """
    average = before.copy()
    for name, parameter in average.model.named_parameters():
        parameter.lerp_(_trained(after, name), share)
    return average


def _trained(classifier: Classifier, name: str) -> torch.Tensor:
    """A parameter by the name that it has without quantisers."""
    path, _, leaf = name.rpartition(".")
    module = classifier.model.get_submodule(path)
    if parametrize.is_parametrized(module, leaf):
        return module.parametrizations[leaf].original  # type: ignore[union-attr, index]
    return module.get_parameter(leaf)
