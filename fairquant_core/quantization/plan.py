"""The bit plan: how many bits each output channel of each layer gets, and what that weighs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fairquant_core.errors import BudgetError

PRUNED = 0
LEGAL_WIDTHS = (PRUNED, 2, 3, 4, 5, 6, 7, 8)
SCALE_BYTES = 4
WIDTH_BYTES = 1
KEPT_BYTES = 4

# How a code of b bits is cut into planes that divide a byte evenly, most significant plane first.
PLANES: dict[int, tuple[int, ...]] = {
    8: (4, 4),
    7: (4, 2, 1),
    6: (4, 2),
    5: (4, 1),
    4: (4,),
    3: (2, 1),
    2: (2,),
}


def stream_bytes(widths: np.ndarray, weights_per_channel: int) -> int:
    """Return the bytes of one layer's packed stream: every plane of every width padded to a byte.

    Shapes: ``widths`` is (C,).

    Examples
    --------
    >>> stream_bytes(np.array([4, 4, 3]), 3)  # 6 codes of 4 bits; 3 codes of 2 + 1 bits
    5
    """
    counts = np.bincount(widths, minlength=max(LEGAL_WIDTHS) + 1)
    return sum(
        -(-int(counts[width]) * weights_per_channel * plane // 8)
        for width, planes in PLANES.items()
        for plane in planes
    )


@dataclass(frozen=True, eq=False)
class BitPlan:
    """Bits per output channel of every quantised layer.

    Parameters
    ----------
    widths : per layer, (channels,) uint8; each 0 (pruned) or 2 to 8.
    weights_per_channel : per layer, number of weights that one output channel holds.
    kept_parameters : numbers that stay float32 (biases, norm statistics, unquantised tensors).

    Raises
    ------
    BudgetError
        A width is not 0 or 2 to 8, or the two tables do not name the same layers.

    Units
    -----
    bits per weight
    """

    widths: dict[str, np.ndarray]
    weights_per_channel: dict[str, int]
    kept_parameters: int = 0

    def __post_init__(self) -> None:
        if not self.widths:
            raise BudgetError("The bit plan holds no layer; give it at least one.")
        if set(self.widths) != set(self.weights_per_channel):
            odd = sorted(set(self.widths) ^ set(self.weights_per_channel))
            raise BudgetError(
                f"The bit plan's tables do not name the same layers; differing: {', '.join(odd)}."
            )
        if self.kept_parameters < 0:
            raise BudgetError("The number of kept parameters cannot be negative.")
        clean = {layer: _clean_widths(layer, values) for layer, values in self.widths.items()}
        for layer, count in self.weights_per_channel.items():
            if count < 1:
                raise BudgetError(f"Layer '{layer}' has {count} weights per channel; at least 1.")
        object.__setattr__(self, "widths", clean)
        object.__setattr__(
            self,
            "weights_per_channel",
            {layer: int(self.weights_per_channel[layer]) for layer in clean},
        )

    @classmethod
    def uniform(
        cls,
        weights_per_channel: Mapping[str, int],
        channels: Mapping[str, int],
        bits: int,
        kept_parameters: int = 0,
    ) -> BitPlan:
        """Return the plan that gives every channel the same width.

        Examples
        --------
        >>> BitPlan.uniform({"head": 10}, {"head": 3}, 4).average_bits
        4.0
        """
        if set(weights_per_channel) != set(channels):
            odd = sorted(set(weights_per_channel) ^ set(channels))
            raise BudgetError(
                f"Channels and weights do not name the same layers; differing: {', '.join(odd)}."
            )
        widths = {layer: np.full(channels[layer], bits) for layer in weights_per_channel}
        return cls(widths, dict(weights_per_channel), kept_parameters)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the quantised layers, in the classifier's order."""
        return tuple(self.widths)

    @property
    def weight_count(self) -> int:
        """Number of weights that the plan covers."""
        return sum(len(self.widths[name]) * self.weights_per_channel[name] for name in self.widths)

    @property
    def weight_bits(self) -> int:
        """Sum of the widths over all weights."""
        return sum(
            int(values.sum(dtype=np.int64)) * self.weights_per_channel[layer]
            for layer, values in self.widths.items()
        )

    @property
    def average_bits(self) -> float:
        """Average width over all weights (not over channels or layers)."""
        return self.weight_bits / self.weight_count

    def packed_bytes(self) -> int:
        """Return the ideal size: packed codes, a scale and a width per channel, kept numbers."""
        channels = sum(len(values) for values in self.widths.values())
        codes = sum(
            stream_bytes(values, self.weights_per_channel[layer])
            for layer, values in self.widths.items()
        )
        return codes + channels * (SCALE_BYTES + WIDTH_BYTES) + KEPT_BYTES * self.kept_parameters

    def layer_table(self) -> pd.DataFrame:
        """Return one row per layer: layer, channels, weights, bits (average), lowest, highest."""
        rows = [
            {
                "layer": layer,
                "channels": len(values),
                "weights": len(values) * self.weights_per_channel[layer],
                "bits": float(values.mean()),
                "lowest": int(values.min()),
                "highest": int(values.max()),
            }
            for layer, values in self.widths.items()
        ]
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """Return a compact JSON object: one digit per channel, so a plan reads at a glance."""
        return {
            "version": 1,
            "kept_parameters": int(self.kept_parameters),
            "layers": {
                layer: {
                    "weights_per_channel": self.weights_per_channel[layer],
                    "widths": "".join(map(str, values.tolist())),
                }
                for layer, values in self.widths.items()
            },
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> BitPlan:
        """Read what :meth:`to_json` wrote; raises BudgetError when it is something else."""
        try:
            if content["version"] != 1:
                raise BudgetError(
                    f"The bit plan has version {content['version']}; this program reads version 1."
                )
            layers = content["layers"]
            widths = {
                name: np.array([int(digit) for digit in entry["widths"]], dtype=np.int64)
                for name, entry in layers.items()
            }
            counts = {name: int(entry["weights_per_channel"]) for name, entry in layers.items()}
            kept = int(content["kept_parameters"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BudgetError(
                f"This is not a bit plan: {error!r}. Use the file that a run wrote."
            ) from error
        return cls(widths, counts, kept)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BitPlan) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((tuple(self.widths), self.weight_bits, self.kept_parameters))


def _clean_widths(layer: str, values: Any) -> np.ndarray:
    """Return a read-only uint8 copy of one layer's widths."""
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise BudgetError(
            f"Layer '{layer}': widths must be one number per channel, got shape {array.shape}."
        )
    illegal = ~np.isin(array, LEGAL_WIDTHS)
    if illegal.any():
        channel = int(np.argmax(illegal))
        raise BudgetError(
            f"Layer '{layer}', channel {channel}: {array[channel]} bits is not a legal width; "
            "use 0 (pruned) or 2 to 8."
        )
    clean = array.astype(np.uint8)
    clean.setflags(write=False)
    return clean
