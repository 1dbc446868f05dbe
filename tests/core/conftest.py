"""A small cohort on disk, for tests that walk the whole pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


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
