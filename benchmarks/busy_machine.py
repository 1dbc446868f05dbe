"""How does a job fare on a computer that is busy with something else? Threads that spin beside threads that sleep.

    python benchmarks/busy_machine.py [--busy 0 1 2] [--rounds 2]

Measures the layers of the demo classifier in a process of its own, beside so many processes that never pause, with
both ways of waiting in turn. Every time is also given as a ratio to spinning alone.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import DEMO, script_parser, write_figures
from fairquant_core.threads import wait_asleep

AS_IT_IS = "import sys; from fairquant_core.command_line import main; sys.exit(main(sys.argv[1:]))"
"""`python -m fairquant_core` without its own choice of waiting."""

SPIN, SLEEP = "spinning", "asleep"


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that never pause."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def seconds(waiting: str, limit: float) -> float:
    """Time of one measurement of all layers, or the limit."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if waiting == SLEEP:
        wait_asleep(environment)
    with tempfile.TemporaryDirectory() as folder:
        command = ["sensitivity", "--quiet", "--bits", "4", "--images-per-group", "48"]
        command += ["--cohort", str(DEMO), "--classifier", str(DEMO / "classifier.safetensors")]
        command += ["--cache", f"{folder}/cache", "--out", f"{folder}/map"]
        started = time.perf_counter()
        try:
            subprocess.run(
                [sys.executable, "-c", AS_IT_IS, *command],
                cwd=Path(__file__).resolve().parents[1],
                env=environment,
                check=True,
                timeout=limit,
                stdout=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return limit
        return time.perf_counter() - started


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds after which to give up")
    options = parser.parse_args()
    found: dict[str, dict[int, float]] = {SPIN: {}, SLEEP: {}}
    seconds(SPIN, options.limit)  # reads everything from the disk once
    for count in sorted({0, *options.busy}):
        times: dict[str, list[float]] = {SPIN: [], SLEEP: []}
        with busy(count):
            for _ in range(options.rounds):
                for waiting, taken in times.items():
                    taken.append(seconds(waiting, options.limit))
        for waiting, taken in times.items():
            found[waiting][count] = statistics.median(taken)
            at_least = "at least " if max(taken) >= options.limit else ""
            print(
                f"{count} busy processes, {waiting:8s} {at_least}{found[waiting][count]:6.1f} s   "
                f"{at_least}{found[waiting][count] / found[SPIN][0]:.2f} x spinning alone",
                flush=True,
            )
    write_figures(options, found)


if __name__ == "__main__":
    main()
