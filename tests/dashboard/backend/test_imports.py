"""The worker without what it does not need; what else the backend may import is in tests/core/test_import_rules.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("module", ["worker", "queue.execution"])
def test_the_worker_stays_light(module: str) -> None:
    """It waits for hours; what it does not need must not sit in memory."""
    code = f"import dashboard.backend.{module}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & {"torch", "pandas", "numpy", "scipy", "PIL"}
