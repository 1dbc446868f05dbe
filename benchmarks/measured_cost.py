"""What does the measured sensitivity cost, beside rounding every layer and running the whole network each time?

    python benchmarks/measured_cost.py [--architecture mobilenetv2_100] [--size 128] [--images 60] [--bits 4]

Both ways look at the same images, in turns; "whole passes" is the plain way: for every layer and width all
images through the whole network. The results are compared too: they must be the same numbers.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import script_parser, write_figures
from fairquant_core.models.replay import Replay
from fairquant_core.models.zoo import create
from fairquant_core.sensitivity.maps import MeasuredMap
from fairquant_core.sensitivity.measured import measured_map

CLASSES = ("a", "b", "c", "d", "e", "f")
GROUPS = ("light", "middle", "dark")


def whole_pass(replay: Replay, _: torch.nn.Parameter) -> torch.Tensor:
    """What a replay is measured against."""
    with torch.no_grad():
        return replay.model(replay.inputs)


def main() -> None:
    """Print seconds of both ways and their ratio."""
    parser = script_parser(__doc__)
    parser.add_argument("--architecture", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=60, help="per group")
    parser.add_argument("--bits", type=int, nargs="+", default=[4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    classifier = create(options.architecture, CLASSES, size=options.size)
    generator = np.random.default_rng(0)
    count = options.images * len(GROUPS)
    images = generator.integers(
        0, 255, (count, classifier.preprocessing.size, classifier.preprocessing.size, 3), np.uint8
    )
    labels = generator.integers(0, len(CLASSES), count)
    chosen = dict(zip(GROUPS, np.split(np.arange(count), len(GROUPS)), strict=True))

    def measure() -> tuple[float, MeasuredMap]:
        started = time.perf_counter()
        found = measured_map(classifier, images, labels, chosen, bits=options.bits)
        return time.perf_counter() - started, found

    times: dict[str, list[float]] = {"replay": [], "whole passes": []}
    for _ in range(options.rounds):
        seconds, ours = measure()
        times["replay"].append(seconds)
        with mock.patch.object(Replay, "with_changed", whole_pass):
            seconds, plain = measure()
        times["whole passes"].append(seconds)
        assert ours.frame.equals(plain.frame), "the two ways differ"
    ratio = statistics.median(
        own / other for own, other in zip(times["replay"], times["whole passes"], strict=True)
    )
    for name, found in times.items():
        print(f"{name:14s} {statistics.median(found):8.2f} s")
    print(f"{ratio:.2f} x whole passes, the same numbers")
    write_figures(options, {"seconds": times, "ratio": ratio})


if __name__ == "__main__":
    main()
