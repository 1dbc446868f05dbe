"""What an ONNX file costs on this machine: time per picture beside another file, time and memory to open it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binom

from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import Cancelled
from fairquant_core.export.fresh_process import run_fresh
from fairquant_core.export.onnx.file import describe_onnx
from fairquant_core.export.onnx.session import network_input, open_session
from fairquant_core.progress import Stop

ROUNDS = 30
WARM_UP = 3
LONG_ENOUGH, MOST_ROUNDS = 3.0, 400
"""Quick files are timed more often than asked, until this many seconds have passed: a few milliseconds are easily
disturbed."""

LIMIT = 1.05
"""Most time that an exact file is to take beside the float32 file."""

LEVEL = 0.95
OPENING_SECONDS = 300

NOT_OPENED = "{path} could not be opened in a fresh process ({reason})"

# Memory is only comparable between fresh processes; the heap is trimmed so that what opening needed for a while
# does not count, as far as the C library gives it back.
_OPEN = """
import ctypes, json, sys, time
import psutil
from pathlib import Path
from fairquant_core.export.onnx.session import open_session, sums_saturate
sums_saturate()  # what it loads is not the file's
process = psutil.Process()
before = process.memory_info().rss
started = time.perf_counter()
session = open_session(Path(sys.argv[1]), threads=int(sys.argv[2]) or None)
seconds = time.perf_counter() - started
if sys.platform.startswith("linux"):
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass
print(json.dumps({"seconds": seconds, "bytes_after": process.memory_info().rss - before}))
"""


@dataclass(frozen=True)
class Latency:
    """One file beside a baseline, both run in turn.

    Attributes
    ----------
    milliseconds, baseline_milliseconds : median time of one picture.
    ratio : median over the rounds of time divided by the baseline's in the same round.
    low, high : 95 % interval of that median.
    threads : None means as many as the processor has.

    Units: milliseconds; ratios have none.
    """

    milliseconds: float
    baseline_milliseconds: float
    ratio: float
    low: float
    high: float
    rounds: int
    threads: int | None

    @property
    def faster(self) -> bool:
        """Whether the file is faster than its baseline beyond what chance explains."""
        return self.high < 1


@dataclass(frozen=True)
class Opening:
    """What opening a file costs in a fresh process. Units: seconds; bytes of resident memory that stay in use."""

    seconds: float
    bytes_after: int


def compare_latency(
    path: Path,
    baseline: Path,
    *,
    rounds: int = ROUNDS,
    threads: int | None = None,
    cancel: Stop | None = None,
) -> Latency:
    """Time single pictures with both files in turn, at least ``rounds`` times; who goes first changes every round.

    On a busy machine the times are those of a busy machine, but the ratio within a round hardly changes.

    Raises
    ------
    ExportError
        A file is absent or damaged, or the runtime refuses it.
    """
    preprocessing = Preprocessing.from_json(describe_onnx(path)["preprocessing"])
    size = preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    picture = {"images": network_input(pixels, preprocessing)}
    sessions = [open_session(each, threads=threads) for each in (path, baseline)]
    timed: list[tuple[float, float]] = []
    while len(timed) < WARM_UP + rounds or (
        sum(map(sum, timed)) < LONG_ENOUGH and len(timed) < WARM_UP + MOST_ROUNDS
    ):
        if cancel and cancel():
            raise Cancelled("Cancelled while measuring the latency.")
        both = [0.0, 0.0]
        for which in (0, 1) if len(timed) % 2 else (1, 0):
            started = time.perf_counter()
            sessions[which].run(["logits"], picture)
            both[which] = time.perf_counter() - started
        timed.append((both[0], both[1]))
    seconds = np.array(timed[WARM_UP:])
    ratios = np.sort(seconds[:, 0] / seconds[:, 1])
    low, high = median_interval(len(seconds))
    own, other = np.median(seconds, axis=0) * 1e3
    return Latency(
        round(float(own), 3),
        round(float(other), 3),
        round(float(np.median(ratios)), 4),
        round(float(ratios[low]), 4),
        round(float(ratios[high]), 4),
        len(seconds),
        threads,
    )


def median_interval(count: int) -> tuple[int, int]:
    """Positions in a sorted sample between which the median lies with 95 % confidence, whatever the distribution.

    >>> median_interval(30)
    (9, 20)

    Source: the sign test; Conover, Practical Nonparametric Statistics, section 3.2.
    """
    below = int(binom.ppf((1 - LEVEL) / 2, count, 0.5))
    return max(0, below - 1), min(count - 1, count - below)


def opening_cost(path: Path, *, threads: int | None = None) -> Opening:
    """Open a file in a fresh process and say what that cost.

    Raises
    ------
    ExportError
        The file cannot be opened there.
    """
    figures = run_fresh(_OPEN, path, str(threads or 0), seconds=OPENING_SECONDS, refusal=NOT_OPENED)
    return Opening(round(figures["seconds"], 3), int(figures["bytes_after"]))
