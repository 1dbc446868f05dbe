"""Small cohorts with real picture files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fairquant_core.data.cohort import Cohort, build_cohort


def write_picture(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> None:
    """A random JPEG or PNG, by the ending of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Forty rows with two classes, all six types, and their pictures under `tmp_path`."""
    rows = []
    for number in range(40):
        file = f"images/{number:02d}.jpg"
        write_picture(tmp_path / file, number)
        rows.append(
            {
                "id": f"i{number:02d}",
                "file": file,
                "dx": "nevus" if number % 2 else "melanoma",
                "tone": str(1 + number % 6),
                "patient": f"p{number // 2}",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Cohort]:
    """`build_cohort` with the columns of `table` filled in."""

    def make(frame: pd.DataFrame, **changes: object) -> Cohort:
        arguments: dict[str, object] = {
            "name": "made up",
            "label_column": "dx",
            "file_column": "file",
            "id_column": "id",
            "group_columns": {"tone": "the test"},
        }
        return build_cohort(frame, tmp_path, **(arguments | changes))

    return make


@pytest.fixture
def picture() -> Callable[..., None]:
    """`write_picture`."""
    return write_picture
