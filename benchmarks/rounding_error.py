"""How much rounding error does each use of the codes leave, at equal bytes?

    python benchmarks/rounding_error.py [--classifier model.safetensors] [--bits 2 3 4]

Signal to noise of every output channel in dB, averaged over the channels, with the best range of each: codes
symmetric about zero (the lowest is left out), all codes with the lowest below zero, and all codes with the lowest on
the side that suits the channel, which is what is used. The first two are searched here by trying many ranges.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import DEMO, script_parser, write_figures
from fairquant_core.models.checkpoint import load_classifier
from fairquant_core.quantization.codes import quantise
from fairquant_core.quantization.layers import quantisable_layers
from fairquant_core.quantization.ranges import best_clip_at

SHARES = torch.linspace(0.2, 1.1, 91)
Error = Callable[[Tensor, int], Tensor]


def searched(weight: Tensor, bits: int, lowest: int) -> Tensor:
    """Least squared error of each channel with codes from ``lowest``, over many steps. Shapes: (C, K) -> (C,)."""
    highest = 2 ** (bits - 1) - 1
    largest = weight.abs().amax(1, keepdim=True)
    errors = []
    for share in SHARES:
        step = largest * share / highest
        codes = (weight / step).round().clamp(lowest, highest)
        errors.append((codes * step - weight).square().sum(1))
    return torch.stack(errors).amin(0)


def used(weight: Tensor, bits: int) -> Tensor:
    """Squared error of each channel as it is rounded here. Shapes: (C, K) -> (C,)."""
    widths = torch.full((len(weight), 1), float(bits))
    codes, scale = quantise(weight, best_clip_at(weight, bits), widths)
    return (codes * scale - weight).square().sum(1)


WAYS: dict[str, Error] = {
    "symmetric": lambda weight, bits: searched(weight, bits, 1 - 2 ** (bits - 1)),
    "lowest code below zero": lambda weight, bits: searched(weight, bits, -(2 ** (bits - 1))),
    "on the side that suits": used,
}


def main() -> None:
    """Print one line per width."""
    parser = script_parser(__doc__)
    parser.add_argument("--classifier", type=Path, default=DEMO / "classifier.safetensors")
    parser.add_argument("--bits", type=int, nargs="+", default=[2, 3, 4])
    options = parser.parse_args()
    layers = quantisable_layers(load_classifier(options.classifier).model)
    weights = [layer.weight().detach() for layer in layers]
    weights = [weight[weight.abs().amax(1) > 0] for weight in weights]
    energy = torch.cat([weight.square().sum(1) for weight in weights])
    found = {}
    print("bits  " + "  ".join(WAYS))
    for bits in options.bits:
        found[bits] = {
            name: float(
                (energy / torch.cat([error(w, bits) for w in weights]).clamp(min=1e-12))
                .log10()
                .mean()
                * 10
            )
            for name, error in WAYS.items()
        }
        print(f"{bits:4d}  " + "  ".join(f"{found[bits][n]:{len(n) - 3}.2f} dB" for n in WAYS))
    write_figures(options, found)


if __name__ == "__main__":
    main()
