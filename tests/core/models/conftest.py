"""A tiny classifier; making one takes milliseconds."""

from __future__ import annotations

import pytest
import torch

from fairquant_core.models.zoo import Classifier, create


@pytest.fixture
def classifier() -> Classifier:
    """MobileNetV3 small for three classes at 32 pixels, with the same weights every time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return create("mobilenetv3_small_050", ("mole", "scar", "wart"), size=32, name="tiny")
