"""A small cohort on disk, and a network small enough to check by hand with images whose brightness tells the class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from fairquant_core.data.images import Preprocessing
from fairquant_core.data.training_data import TrainingData
from fairquant_core.models.zoo import Classifier

SIZE = 16


@pytest.fixture(scope="session")
def small_cohort_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 pictures of 40 px: two classes that differ in colour, four skin types and some unknown."""
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for number in range(120):
        label = ("benign", "malignant")[number % 2]
        tone = (1, 2, 5, 6, -1)[number % 5]
        colour = np.array([200, 150, 120]) - 20 * max(tone, 0) - (40 if label == "malignant" else 0)
        pixels = generator.normal(colour, 12, (40, 40, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number:03d}.png")
        rows.append(
            {
                "id": f"image-{number:03d}",
                "file": f"images/{number:03d}.png",
                "label": label,
                "fitzpatrick": tone,
                "patient": f"p{number // 2}",
                "sex": "female" if number % 3 else "male",
            }
        )
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder


class TinyNetwork(nn.Module):
    """Convolution, batch norm, depthwise convolution, head: every kind of layer that is quantised."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pointwise = nn.Conv2d(8, 16, 1)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.pointwise(torch.relu(self.depthwise(x))))
        return self.head(x.mean((2, 3)))


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    preprocessing = Preprocessing(SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return Classifier(TinyNetwork(), "tiny", ("dark", "middle", "light"), preprocessing)


@pytest.fixture
def data() -> TrainingData:
    """96 images, two known groups (one small) and some unknown."""
    generator = np.random.default_rng(0)
    labels = np.arange(96) % 3
    images = generator.normal(60 + 65 * labels, 25, (SIZE, SIZE, 3, 96)).transpose(3, 0, 1, 2)
    groups = np.where(np.arange(96) % 8 == 0, "small", "large").astype(object)
    groups[[5, 50]] = "unknown"
    split = np.array(["train"] * 60 + ["validation"] * 18 + ["audit"] * 18, dtype=object)
    return TrainingData(images.clip(0, 255).astype(np.uint8), labels, pd.Series(groups), split)
