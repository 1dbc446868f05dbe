"""What the tests of several folders share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    from fairquant_core.quantization.compressed import Compressed

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo"
WIDTHS, SHARES = (4, 5, 6, 8), (0.1, 0.2, 0.3, 0.4)
LEFT_OUT = 50
"""One channel of so many is left out, those with the smallest weights: enough is left to tell classes apart."""


@dataclass(frozen=True)
class MixedDemo:
    """The demo classifier with mixed widths and channels left out, and its exact-bit file.

    Attributes
    ----------
    compressed : what an audit would judge.
    onnx : the file that would leave.
    """

    compressed: Compressed
    onnx: Path

    def pictures(self, count: int) -> list[Path]:
        """Pictures of the audit split, spread over it."""
        files = self._audit()["file"]
        return [DEMO / name for name in files.iloc[:: len(files) // count].iloc[:count]]

    def one_of_each_class(self) -> list[Path]:
        """A picture of the audit split for every label."""
        return [DEMO / name for name in self._audit().drop_duplicates("label")["file"]]

    @staticmethod
    def _audit() -> pd.DataFrame:
        table = pd.read_csv(DEMO / "cohort.csv")
        return table[table["split"] == "audit"]


@pytest.fixture(scope="session")
def mixed_demo(tmp_path_factory: pytest.TempPathFactory) -> MixedDemo:
    """Exported once for all tests; that takes seconds."""
    from fairquant_core.export.onnx.exact import export_onnx
    from fairquant_core.models.checkpoint import load_classifier
    from fairquant_core.quantization.compressed import compress_with
    from fairquant_core.quantization.layers import quantisable_layers

    classifier = load_classifier(DEMO / "classifier.safetensors")
    generator = np.random.default_rng(0)
    widths = {}
    for layer in quantisable_layers(classifier.model):
        own = generator.choice(WIDTHS, layer.channels, p=SHARES).astype(np.uint8)
        own[layer.weight().norm(dim=1).argsort()[: layer.channels // LEFT_OUT].numpy()] = 0
        widths[layer.name] = own
    onnx = tmp_path_factory.mktemp("mixed_demo") / "model.onnx"
    compressed = compress_with(classifier, widths)
    export_onnx(compressed, onnx)
    return MixedDemo(compressed, onnx)
