"""Lets the process keep memory that tensors have freed, instead of giving it back and asking again.

A training step on the processor allocates and frees the same large buffers again and again. The C library
returns such blocks to the operating system at once, and every new one is then filled with zeroes page by page:
a quarter of the time of a MobileNetV2 step (benchmarks/memory.py).
"""

from __future__ import annotations

import ctypes
import os
import sys

# From glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER_TRIM = 2**31 - 1
_TOP_PAD_BYTES = 1 << 28


def keep_freed_memory() -> bool:
    """Serve large blocks from the heap and keep the heap; True where the C library can do it (glibc).

    A process that the user has tuned by ``MALLOC_*`` variables stays as it is.
    """
    if not sys.platform.startswith("linux") or any(
        name.startswith("MALLOC_") for name in os.environ
    ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER_TRIM), (_TOP_PAD, _TOP_PAD_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
