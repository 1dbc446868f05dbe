"""What does the cache of decoded images save? First and second reading of a cohort, in one run.

    python benchmarks/decoding.py --cohort assets/demo --size 96

The first call decodes every file, the second maps the cache into memory; both are then read in full, as an epoch of
training reads them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import script_parser, write_figures
from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.images import Preprocessing, decoded_images


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--cohort", type=Path, default=Path("assets/demo"))
    parser.add_argument("--size", type=int, default=96)
    options = parser.parse_args()
    cohort = read_cohort(options.cohort)
    preprocessing = Preprocessing(options.size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        cohort.fingerprint  # noqa: B018  hashing is not decoding; it is computed once per object
        for _ in range(2):
            started = time.perf_counter()
            images = decoded_images(cohort, preprocessing, Path(folder))
            np.asarray(images).sum()
            seconds.append(time.perf_counter() - started)
        del images
    first, second = seconds
    print(f"{len(cohort)} images at {options.size} px: first {first:.2f} s, second {second:.3f} s")
    print(f"second reading: {second / first:.4f} x the first")
    write_figures(options, {"images": len(cohort), "first": first, "second": second})


if __name__ == "__main__":
    main()
