"""Is the exported file as small as its bits, as fast as float32, and the same classifier?

    python benchmarks/export.py
    python benchmarks/export.py --architectures resnet18 --rounds 30 --no-fast

Every network has random weights, batch norms as after a training (some gains negative), noise on every parameter and
statistic, so that no two tensors are equal and shared, and a random width out of 0 and 2 to 8 bits for every channel,
3.8 bits on average. The ideal size is that of the tensors that are really in the file. Predictions are compared on
random pictures, time is measured in turn with the ordinary float32 file of the same network. The fast file has
activations in 8 bits, so its predictions are its own; it is offered where it is faster here.

Ends with 1 if an exact file is larger than its limit, names another class, or gives other logits. A busy machine
disturbs times, so a ratio of times above its limit is marked and does not decide.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import script_parser, write_figures
from fairquant_core.errors import ExportError
from fairquant_core.export.onnx.check import ExportCheck, check_export
from fairquant_core.export.onnx.exact import EXACT, export_onnx
from fairquant_core.export.onnx.int8 import export_int8
from fairquant_core.export.onnx.latency import LIMIT as LATENCY_LIMIT
from fairquant_core.export.onnx.network import catch_network
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.compressed import Compressed, compress_with
from fairquant_core.quantization.layers import quantisable_layers

ARCHITECTURES = (
    "resnet18",
    "resnet50",
    "deit_tiny_patch16_224",
    "tiny_vit_5m_224",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
)
CLASSES = ("a", "b", "c", "d", "e", "f", "g")
WIDTHS = (0, 2, 3, 4, 5, 6, 7, 8)
SHARES = (0.06, 0.2, 0.22, 0.22, 0.12, 0.08, 0.05, 0.05)
NOISE = 0.01
HEADINGS = (
    "file",
    "bytes",
    "size / ideal (limit)",
    "float32 / size",
    "logits (limit)",
    "same class",
    f"latency / float32 (limit {LATENCY_LIMIT})",
    "opens in",
)
BROKEN, SLOW = "BROKEN", "slower than aimed at"


def settle_norms(classifier: Classifier) -> None:
    """Statistics and gains as after a training."""
    generator = torch.Generator().manual_seed(0)
    for module in classifier.model.modules():
        if isinstance(module, _BatchNorm):
            with torch.no_grad():
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.weight[::8] *= -1
                module.bias.normal_(0, 0.1, generator=generator)


def make_noise(classifier: Classifier) -> None:
    """Noise on all numbers: tensors of zeros or ones would be held once, and the file would look small."""
    generator = torch.Generator().manual_seed(1)
    for tensor in classifier.model.state_dict().values():
        if tensor.is_floating_point():
            tensor += NOISE * torch.randn(tensor.shape, generator=generator)


def compressed(architecture: str, size: int) -> Compressed:
    """A classifier with a random width per channel; the same one every time."""
    torch.manual_seed(0)
    classifier = create(architecture, CLASSES, size=size)
    settle_norms(classifier)
    make_noise(classifier)
    generator = np.random.default_rng(0)
    layers = quantisable_layers(classifier.model)
    widths = {
        layer.name: generator.choice(WIDTHS, layer.channels, p=SHARES).astype(np.uint8)
        for layer in layers
    }
    return compress_with(classifier, widths)


def broken_limits(check: ExportCheck) -> list[str]:
    """What an exact file does not keep; the others have no such limits."""
    size, parity = check.size, check.parity.overall
    if check.kind != EXACT or size.limit is None:
        return []
    kept = {
        "size": size.on_disk <= size.limit * size.ideal,
        "class": parity.same_class == parity.images,
        "logits": parity.largest_difference <= check.parity.limit,
    }
    return [name for name, is_kept in kept.items() if not is_kept]


def line(name: str, check: ExportCheck) -> str:
    """One row of the table."""
    size, parity, latency = check.size, check.parity.overall, check.latency
    exact = check.kind == EXACT
    limit = f" ({size.limit:.2f})" if size.limit else ""
    cells = (
        name,
        str(size.on_disk),
        f"{size.on_disk / size.ideal:.4f}{limit}",
        f"{size.float32 / size.on_disk:.1f}",
        f"{parity.largest_difference:.1e}" + (f" ({check.parity.limit:.0e})" if exact else ""),
        f"{parity.same_class}/{parity.images}",
        f"{latency.ratio:.2f} ({latency.low:.2f}-{latency.high:.2f})"
        + (f" {SLOW}" if exact and latency.ratio > LATENCY_LIMIT else ""),
        f"{check.opening.seconds:.2f} s, {check.opening.bytes_after / 1e6:.0f} MB "
        f"(float32: {check.opening_float32.bytes_after / 1e6:.0f})",
    )
    refused = f" | not offered: {'; '.join(check.objections)}" if check.objections else ""
    broken = broken_limits(check)
    marked = f" | {BROKEN}: {', '.join(broken)}" if broken else ""
    return " | ".join(cells) + marked + refused


def measure(architecture: str, options: argparse.Namespace, folder: Path) -> dict[str, ExportCheck]:
    """Write both files of one network and check them."""
    subject = compressed(architecture, options.size)
    shape = (options.images, options.size, options.size, 3)
    pictures = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    groups = [f"g{number % 3}" for number in range(options.images)]
    started = time.perf_counter()
    network = catch_network(subject.classifier)
    caught = time.perf_counter() - started
    files = {"exact": folder / "exact.onnx"}
    export_onnx(subject, files["exact"], network=network)
    wrote = time.perf_counter() - started - caught
    print(f"\n{architecture}: {subject.plan.average_bits:.2f} bits; ", end="")
    print(f"network caught in {caught:.1f} s, file written in {wrote:.2f} s")
    if options.fast:
        files["fast"] = folder / "fast.onnx"
        try:
            export_int8(subject, files["fast"], pictures[: options.calibration], network=network)
        except ExportError as error:
            print(error)
            del files["fast"]
    found: dict[str, ExportCheck] = {}
    for kind, path in files.items():
        check = check_export(
            path,
            subject,
            pictures,
            groups,
            network=network,
            rounds=options.rounds,
            threads=options.threads,
        )
        print(line(kind, check), flush=True)
        found[kind] = check
    return found


def main() -> int:
    """Measure, print, and return 1 if a limit is broken."""
    parser = script_parser(__doc__)
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--calibration", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-fast", dest="fast", action="store_false", help="exact files only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(" | ".join(HEADINGS))
    figures: dict[str, dict[str, Any]] = {}
    broken = []
    with tempfile.TemporaryDirectory() as folder:
        for architecture in options.architectures:
            found = measure(architecture, options, Path(folder))
            figures[architecture] = {kind: check.to_json() for kind, check in found.items()}
            names = [name for check in found.values() for name in broken_limits(check)]
            broken += [f"{architecture} ({', '.join(names)})"] if names else []
    write_figures(options, figures)
    print(f"\n{BROKEN}: {'; '.join(broken)}" if broken else "\nEvery exact file keeps its limits.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
