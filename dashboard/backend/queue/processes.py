"""Processes, on every platform alike: who is alive, start detached, end a whole tree.

A process id alone is no identity, because the system uses ids again; with its start time it is one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

START_TOLERANCE = 2.0
"""Seconds two readings of one process's start time may differ (the clock may be corrected)."""

WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Identity:
    """A process: its id and when it started (seconds since the epoch)."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of a living process; raises psutil.NoSuchProcess."""
        return cls(pid, psutil.Process(pid).create_time())

    @classmethod
    def own(cls) -> Identity:
        """This process."""
        return cls.of(os.getpid())

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read what `str` gave."""
        pid, started = text.split(":")
        return cls(int(pid), float(started))

    def __str__(self) -> str:
        return f"{self.pid}:{self.started!r}"

    def process(self) -> psutil.Process | None:
        """The living process, or None. A zombie is dead: it only waits to be collected."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) > START_TOLERANCE:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.NoSuchProcess:
            return None

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return self.process() is not None


def end_tree(identity: Identity, grace_seconds: float = 0.5) -> None:
    """End a process and everything it started: ask first, force after the grace time."""
    process = identity.process()
    if process is None:
        return
    try:
        tree = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for member in tree:
        _ignore_gone(member.terminate)
    _, stubborn = psutil.wait_procs(tree, timeout=grace_seconds)
    for member in stubborn:
        _ignore_gone(member.kill)
    psutil.wait_procs(stubborn, timeout=5.0)


def start_detached(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one, with its output appended to a log file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        apart = {"creationflags": flags}
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            close_fds=True,
            **apart,
        )


def end_with(identity: Identity, exit_code: int = 3) -> None:
    """Make this process end itself, with its children, as soon as `identity` is gone."""

    def watch() -> None:
        while identity.alive:
            time.sleep(WATCH_SECONDS)
        for child in psutil.Process().children(recursive=True):
            _ignore_gone(child.kill)
        # Not sys.exit: that would end this thread only.
        os._exit(exit_code)

    threading.Thread(target=watch, name="watch-worker", daemon=True).start()


def _ignore_gone(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        return
