"""How well a classifier does on the validation split while it is made: what every epoch is judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils import parametrize

from fairquant_core.models.inference import predict
from fairquant_core.models.zoo import Classifier

if TYPE_CHECKING:
    from fairquant_core.data.training_data import TrainingData

LEAST_CHANCE = 1e-12
"""A smaller probability of the true class counts as this, so that the loss stays finite."""


def validation_figures(classifier: Classifier, data: TrainingData) -> dict[str, Any]:
    """Loss (nats) and accuracy on the validation split, overall and per known group.

    Returns
    -------
    validation_loss, accuracy, group_accuracy, worst_group_accuracy (None without a known group); empty
    without validation images.
    """
    positions = data.positions("validation")
    if not len(positions):
        return {}
    with parametrize.cached(), torch.no_grad():
        probabilities = predict(classifier, data.images[positions])
    labels, groups = data.labels[positions], data.groups.to_numpy()[positions]
    right = probabilities.argmax(1) == labels
    chance = probabilities[np.arange(len(labels)), labels].clip(LEAST_CHANCE)
    by_group = {
        name: float(right[groups == name].mean())
        for name in data.group_names
        if (groups == name).any()
    }
    return {
        "validation_loss": float(-np.log(chance).mean()),
        "accuracy": float(right.mean()),
        "group_accuracy": by_group,
        "worst_group_accuracy": min(by_group.values()) if by_group else None,
    }
