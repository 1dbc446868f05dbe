"""How large the packed file of a plan will be, and which plan a file of a given size may hold.

The file (see :mod:`fairquant_core.export.checkpoint`) is safetensors: a header that names every tensor and carries
the description, then the tensors. Its layout is known before the widths are, so that a size can be promised
before anything is trained. Needs no torch: the web process asks too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fairquant_core.errors import BudgetError
from fairquant_core.quantization.bounds import Bounds, allowed_widths, lifted_layers, width_bounds
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.quantization.plan import PLANES, SCALE_BYTES, WIDTH_BYTES, BitPlan

TensorKind = tuple[str, tuple[int, ...]]
"""Data type as safetensors names it, and shape."""

DTYPE_BYTES = {
    **{"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4},
    **{"F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1},
}
DESCRIBED = ("name", "architecture", "classes", "preprocessing", "model_arguments", "fingerprint")

PROVENANCE_BYTES = 1024
"""Kept free for what the file says about its origin (hashes, columns of the cohort), which is not known yet."""

FINEST = 1e-6
"""A budget derived from a size is rounded down to this. Units: bits per weight."""

TOO_SMALL = (
    "A file of {asked} cannot be made: the smallest reachable size is {smallest}{reason}. Ask for at least "
    "{smallest}{remedy}."
)
NOT_READABLE = "{path} cannot be read as safetensors ({reason}). Copy the original file again."


def size_words(size: int) -> str:
    """A size rounded up, in the unit in which people name it.

    Examples
    --------
    >>> size_words(1_500_000), size_words(12_345)
    ('1.5 MB', '12.4 kB')
    """
    unit, name = (1e6, "MB") if size >= 1e5 else (1e3, "kB")
    digits = 3 if unit == 1e6 else 1
    return f"{math.ceil(size / unit * 10**digits) / 10**digits:g} {name}"


@dataclass(frozen=True)
class PackedFile:
    """What a packed file holds, whatever the widths are.

    Parameters
    ----------
    layers : shape of the weight of every quantised layer.
    kept : the tensors that stay as they are, by name.
    about : how the classifier describes itself.
    """

    layers: dict[str, tuple[int, ...]]
    kept: dict[str, TensorKind]
    about: dict[str, Any]

    @classmethod
    def of(
        cls, tensors: Mapping[str, TensorKind], layers: Iterable[str], about: Mapping[str, Any]
    ) -> PackedFile:
        """From the tensors of the full-precision classifier and the names of its quantised layers.

        Raises
        ------
        BudgetError
            A layer has no weight among the tensors.
        """
        shapes = {}
        for layer in layers:
            if f"{layer}.weight" not in tensors:
                raise BudgetError(
                    f"The classifier has no layer '{layer}'; measure the sensitivity of this classifier."
                )
            shapes[layer] = tensors[f"{layer}.weight"][1]
        packed = {f"{layer}.weight" for layer in shapes}
        kept = {name: kind for name, kind in tensors.items() if name not in packed}
        return cls(shapes, kept, {name: about.get(name) for name in DESCRIBED})

    @classmethod
    def read(cls, path: Path, layers: Iterable[str], about: Mapping[str, Any]) -> PackedFile:
        """From the file of the full-precision classifier; only its header is read."""
        try:
            with safe_open(path, framework="numpy") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                tensors = {
                    name: (one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()
                }
        except (SafetensorError, OSError) as error:
            raise BudgetError(NOT_READABLE.format(path=path, reason=error)) from error
        return cls.of(tensors, layers, about)

    @cached_property
    def weights(self) -> dict[str, int]:
        """Number of weights per quantised layer."""
        return {layer: math.prod(shape) for layer, shape in self.layers.items()}

    def bytes_of(self, plan: BitPlan, config: RunConfig) -> int:
        """Size of the file of a plan; the real one is at most that, and less by about a kilobyte at most.

        Units: bytes.
        """
        channels = sum(shape[0] for shape in self.layers.values())
        codes = plan.packed_bytes() - channels * (SCALE_BYTES + WIDTH_BYTES)
        codes -= 4 * plan.kept_parameters
        return codes + self._fixed_bytes(config, codes)

    def bits_for(self, size: int, config: RunConfig) -> float:
        """The average-bits budget with which the file has at most ``size`` bytes, whatever plan meets it.

        Never more than menu, floors and pins let a plan use, and whole where the method needs one width.

        Raises
        ------
        BudgetError
            Even the smallest widths make a larger file; names the floors and pins that are in the way.

        Units: bytes in, bits per weight out.
        """
        total = sum(self.weights.values())
        fixed = self._fixed_bytes(config, size) + self._padding(config)
        bits = 8 * (size - fixed) / total
        menu = config.menu
        if not config.card.mixed:
            fitting = [width for width in menu if width <= bits]
            if not fitting:
                raise self._too_small(
                    size, fixed, dict.fromkeys(self.layers, (menu[0], menu[0])), menu[0]
                )
            return float(max(fitting))
        bounds = width_bounds(self.layers, menu, config.floors, config.pins)
        lowest = sum(self.weights[layer] * low for layer, (low, _) in bounds.items()) / total
        highest = sum(self.weights[layer] * high for layer, (_, high) in bounds.items()) / total
        if bits < lowest:
            raise self._too_small(size, fixed, bounds, menu[0])
        return min(max(math.floor(bits / FINEST) * FINEST, lowest), highest)

    def _fixed_bytes(self, config: RunConfig, codes: int) -> int:
        """Everything but the codes: header, scales, widths and kept tensors.

        Parameters
        ----------
        codes : at least the bytes of all codes; decides how many digits the header needs for the offsets.
        """
        kept = dict(self.kept)
        if config.activation_bits:
            for layer in self.layers:
                kept[f"{layer}.input_scale"] = ("F32", ())
                kept[f"{layer}.input_zero_point"] = ("U8", ())
        channels = {layer: shape[0] for layer, shape in self.layers.items()}
        scales = {f"{layer}.weight.scale": ("F32", (n,)) for layer, n in channels.items()}
        widths = {f"{layer}.weight.bits": ("U8", (n,)) for layer, n in channels.items()}
        streams = {f"{layer}.weight.packed": ("U8", (codes,)) for layer in channels}
        whole = {**kept, **scales, **widths}
        data = sum(DTYPE_BYTES[kind] * math.prod(shape) for kind, shape in whole.values())
        # Wide types come first in the file, so that only one-byte tensors lie behind any codes.
        wide = sum(
            DTYPE_BYTES[kind] * math.prod(shape)
            for kind, shape in whole.values()
            if DTYPE_BYTES[kind] > 1
        )
        header = len('{"__metadata__":{"fairquant":}}') + self._description_bytes(config)
        for name, (kind, shape) in {**whole, **streams}.items():
            end = wide if DTYPE_BYTES[kind] > 1 else data + codes
            entry = {"dtype": kind, "shape": shape, "data_offsets": [end, end]}
            header += len(json.dumps({name: entry}, separators=(",", ":"))) - 1
        return 8 + 8 * math.ceil(header / 8) + data

    def _description_bytes(self, config: RunConfig) -> int:
        """Length of the description as the header holds it, quotes escaped."""
        number = 8 * max(self.weights.values(), default=1)
        about = {
            "format": "fairquant-packed",
            "version": 1,
            **self.about,
            "plan": {
                "average_bits": 1 / 3,
                "weights": number,
                "kept_parameters": number,
                "ideal_bytes": number,
            },
            "shapes": {layer: list(shape) for layer, shape in self.layers.items()},
            "extra": {"config": config.to_json()},
            "sha256": "0" * 64,
        }
        text = json.dumps(about, separators=(",", ":"))
        return len(json.dumps(text)) + PROVENANCE_BYTES

    def _padding(self, config: RunConfig) -> int:
        """Most bytes that can be lost where the codes of a layer do not end on a whole byte."""
        lost = 0.0
        for layer, shape in self.layers.items():
            pin = config.pins.get(layer)
            for width in allowed_widths(config.menu, config.floors.get(layer), pin):
                for plane in PLANES.get(width, ()):
                    lost += 1 - math.gcd(math.prod(shape[1:]) * plane, 8) / 8
        return math.ceil(lost)

    def _too_small(self, size: int, fixed: int, bounds: Bounds, smallest: int) -> BudgetError:
        codes = sum(self.weights[layer] * low for layer, (low, _) in bounds.items()) / 8
        held = lifted_layers(bounds, self.weights, smallest)
        return BudgetError(
            TOO_SMALL.format(
                asked=size_words(size),
                smallest=size_words(fixed + math.ceil(codes)),
                reason=f" because of floors and pins ({held})" if held else "",
                remedy=", or loosen these floors and pins" if held else ", or add a smaller width",
            )
        )
