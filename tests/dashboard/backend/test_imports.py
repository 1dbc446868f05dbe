"""The backend without its screen and without torch, and the worker without what it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
MODULES = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in (REPOSITORY / "dashboard" / "backend").rglob("*.py")
    if path.stem not in ("__init__", "job") and path.parts[-2:] != ("export", "task.py")
)


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that are in memory after a statement in a new process."""
    code = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_no_module_of_the_web_process_imports_torch() -> None:
    assert len(MODULES) > 40
    loaded = loaded_after("import " + ", ".join(MODULES))
    assert not loaded & {"torch", "torchvision", "timm", "captum", "streamlit", "plotly"}


@pytest.mark.parametrize("module", ["worker", "queue.execution"])
def test_the_worker_stays_light(module: str) -> None:
    """It waits for hours; what it does not need must not sit in memory."""
    loaded = loaded_after(f"import dashboard.backend.{module}")
    assert not loaded & {"torch", "pandas", "numpy", "scipy", "PIL"}
