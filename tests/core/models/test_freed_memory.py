"""Keeping freed memory: large blocks come from the heap again, and a tuned process is left alone."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from fairquant_core.models.freed_memory import keep_freed_memory
print(keep_freed_memory())
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.empty(4_000_000).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def _run(**extra: str) -> tuple[bool, int]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    answer = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env={**clean, **extra},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = answer.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_freed_memory_is_used_again() -> None:
    kept, faults = _run()
    assert kept
    # 20 x 16 MB in pages of 4 kB would be 78,000 faults.
    assert faults < 8_000


def test_a_tuned_process_stays_as_it_is() -> None:
    assert _run(MALLOC_PERTURB_="0")[0] is False
