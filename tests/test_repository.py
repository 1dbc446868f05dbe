"""What a stranger relies on: the README's commands, the pins, and what must never be committed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEST_COMMAND = (
    "python3 -m venv .venv && .venv/bin/python -m pip install -q -r requirements-dev.txt"
    " && .venv/bin/python -m pytest"
)
START_COMMAND = (
    "python3 -m venv .venv && .venv/bin/python -m pip install -q -r requirements.txt"
    " && .venv/bin/python -m streamlit run dashboard/app.py"
)


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


@pytest.mark.parametrize("command", [TEST_COMMAND, START_COMMAND])
def test_readme_holds_the_command_on_one_line(command: str) -> None:
    assert command in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_ci_calls_the_readme_s_test_command() -> None:
    assert TEST_COMMAND in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_exactly(file: str) -> None:
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "-r ")):
            assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", line), line


def test_no_patient_image_is_committed() -> None:
    suspicious = re.compile(
        r"(^|/)(PAT_[0-9]+_|ISIC_[0-9]+)|(^|/)[0-9a-f]{32}\.jpg$", re.IGNORECASE
    )
    assert not [name for name in tracked() if suspicious.search(name)]
