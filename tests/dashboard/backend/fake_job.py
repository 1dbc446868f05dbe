"""A job process without torch: takes what the real one takes, computes almost nothing.

`config["behaviour"]` says what to do: "count" (steps with a checkpoint), "crash" (die without a
word),
"refuse" (a FairQuantError), "defect" (an unexpected error).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from dashboard.backend.queue.execution import Outcome, Task, main
from dashboard.backend.views import JobKind
from fairquant_core.errors import CohortError
from fairquant_core.progress import Progress


def count(task: Task) -> Outcome:
    """Count to `steps`, remembering the place, so that a resumed job goes on from there."""
    config = task.job.config
    behaviour = config.get("behaviour", "count")
    if behaviour == "crash":
        print("about to die; threads wait", os.environ.get("OMP_WAIT_POLICY"), flush=True)
        os._exit(9)
    if behaviour == "refuse":
        raise CohortError("row 3 of cohort.csv: no label; fill it in")
    if behaviour == "defect":
        raise ZeroDivisionError("division by zero")
    checkpoint = task.work / "checkpoint.txt"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    steps = int(config.get("steps", 3))
    for step in range(first, steps):
        time.sleep(float(config.get("seconds", 0.0)))
        checkpoint.write_text(str(step + 1))
        figures = {
            "epoch": step + 1,
            "epochs": steps,
            "loss": 1.0 / (step + 1),
            "validation_loss": 1.5 / (step + 1),
            "average_bits": 4.0,
            "accuracy": 0.5,
            "worst_group_accuracy": 0.4,
            "group_accuracy": {"FST I-II": 0.6, "FST V-VI": 0.4},
            "bits_by_layer": {"stem": 4.0, "head": 5.0},
        }
        task.progress(
            Progress("training", step + 1, steps, f"Epoch {step + 1} of {steps}", 1.0, figures)
        )
    result = Path(task.work / "result.txt")
    result.write_text(f"counted from {first} to {steps} for {task.job.id}")
    return Outcome({"result.txt": result}, {"first": first})


if __name__ == "__main__":
    sys.exit(main(dict.fromkeys(JobKind, count)))
