"""One layer of the plan as whole numbers with positive scales, the batch norm behind it included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fairquant_core.quantization.compressed import Compressed


@dataclass(frozen=True)
class WholeLayer:
    """Codes times scales are the layer's weights.

    Shapes: ``codes`` (C, K) int8, ``scales`` (C,) float64, all above 0, ``widths`` (C,), ``shape`` that of the weight.
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

        The codes take over the sign, which their symmetric range allows; a channel that the norm multiplies by
        zero gets codes of zero.
        """
        codes = compressed.codes[layer]
        scales = compressed.scales[layer] * factors.get(layer, np.ones(len(codes)))
        signed = codes * np.sign(scales).astype(np.int8)[:, None]
        positive = np.where(scales == 0, 1.0, np.abs(scales))
        return cls(layer, signed, positive, compressed.plan.widths[layer], shape)

    def coarser(self, doublings: np.ndarray) -> WholeLayer:
        """The same weights, rounded to scales that are twice as large as often as is said per channel."""
        divided = np.rint(np.ldexp(self.codes.astype(np.float64), -doublings[:, None]))
        scales = np.ldexp(self.scales, doublings)
        return WholeLayer(self.name, divided.astype(np.int8), scales, self.widths, self.shape)
