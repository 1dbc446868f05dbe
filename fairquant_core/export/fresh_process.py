"""Running a few lines in a Python process of their own, where nothing is loaded yet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fairquant_core.errors import ExportError

ROOT = Path(__file__).resolve().parents[2]


def run_fresh(program: str, path: Path, *arguments: str, seconds: int, refusal: str) -> Any:
    """What a program prints as JSON when it is given a file.

    Parameters
    ----------
    program
        Finds this package wherever it is started; its arguments are the path and the others.
    refusal
        Message with ``{path}`` and ``{reason}``, for a program that fails or takes longer.

    Units: ``seconds`` it may take.

    Raises
    ------
    ExportError
        The program failed, or did not end in time.
    """
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(path), *arguments],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no reason given"]
        raise ExportError(refusal.format(path=path, reason=lines[-1])) from error
    except subprocess.TimeoutExpired as error:
        reason = f"not within {seconds} seconds"
        raise ExportError(refusal.format(path=path, reason=reason)) from error
    return json.loads(done.stdout)
