"""One layer of the plan as whole numbers with scales, the batch norm behind it included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fairquant_core.quantization.compressed import Compressed


@dataclass(frozen=True)
class WholeLayer:
    """Codes times scales are the layer's weights.

    Shapes: ``codes`` (C, K) int8, ``scales`` (C,) float64, none 0, ``widths`` (C,), ``shape`` that of the weight.
    """

    name: str
    codes: np.ndarray
    scales: np.ndarray
    widths: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def of(
        cls,
        compressed: Compressed,
        layer: str,
        shape: tuple[int, ...],
        factors: Mapping[str, np.ndarray],
    ) -> WholeLayer:
        """A layer with the factors of the batch norm behind it.

        A scale may be negative, where the layer's step or the norm's gain is: the lowest code has no counterpart above
        zero, so the codes cannot take over the sign. A channel that the norm multiplies by zero gets codes of zero.
        """
        codes = compressed.codes[layer]
        scales = compressed.scales[layer] * factors.get(layer, np.ones(len(codes)))
        gone = scales == 0
        kept = np.where(gone[:, None], np.int8(0), codes)
        return cls(layer, kept, np.where(gone, 1.0, scales), compressed.plan.widths[layer], shape)

    def coarser(self, doublings: np.ndarray) -> WholeLayer:
        """The same weights, rounded to scales that are twice as large as often as is said per channel."""
        divided = np.rint(np.ldexp(self.codes.astype(np.float64), -doublings[:, None]))
        scales = np.ldexp(self.scales, doublings)
        return WholeLayer(self.name, divided.astype(np.int8), scales, self.widths, self.shape)
