"""That threads sleep while they wait, in what the command line starts and in the library that decides it."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys

import pytest

from fairquant_core import command_line
from fairquant_core.threads import wait_asleep


def test_the_library_takes_it_up_and_a_user_may_overrule_it() -> None:
    assert said_by_the_library({}) != said_by_the_library({"OMP_WAIT_POLICY": "ACTIVE"})
    asleep: dict[str, str] = {}
    wait_asleep(asleep)
    assert "GOMP_SPINCOUNT = '0'" in said_by_the_library(asleep)
    chosen = {"OMP_WAIT_POLICY": "ACTIVE"}
    wait_asleep(chosen)
    assert chosen == {"OMP_WAIT_POLICY": "ACTIVE"}


def test_the_command_line_chooses_before_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")  # so that what the command sets is undone
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(
        command_line, "main", lambda: 0 if os.environ["OMP_WAIT_POLICY"] == "PASSIVE" else 1
    )
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("fairquant_core", run_name="__main__")
    assert ended.value.code == 0


def said_by_the_library(environment: dict[str, str]) -> str:
    """What libgomp says of itself once torch has loaded it."""
    cleared = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", "import torch"],
        env=cleared | environment | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("torch computes with another library of threads here")
    return done.stderr
