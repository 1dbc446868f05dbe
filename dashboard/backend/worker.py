"""The worker: a process of its own that executes queued jobs, one at a time, each in a child
process.

    python -m dashboard.backend.worker

The application starts it when none is alive, and it outlives a closed browser. It never imports
torch: the child does, and takes its memory with it when it ends. The worker's death ends the child;
the store then shows the job as interrupted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from dashboard.backend.queue.jobs import Jobs
from dashboard.backend.queue.lease import Lease
from dashboard.backend.queue.processes import Identity, end_tree
from dashboard.backend.queue.supervision import reconcile
from dashboard.backend.records.schema import Job
from dashboard.backend.records.store import Store, now
from dashboard.backend.settings import ATTEMPT_VARIABLE, REPOSITORY, WORKER_VARIABLE, Settings
from dashboard.backend.views import JobState
from fairquant_core.threads import wait_asleep

POLL_SECONDS = 0.25
HEARTBEAT_SECONDS = 1.0
STORE_PATIENCE_SECONDS = 60.0
"""How long the worker keeps trying when the database does not answer (busy, disk full)."""

LOG_TAIL_LINES = 15

ENDED = (
    "The process ended unexpectedly (exit code {code}), for example because memory ran out. "
    "Resume goes on from the last checkpoint.\n{tail}"
)
STOPPED = (
    "The worker was stopped while this job was running. Resume goes on from its last checkpoint."
)


class Worker:
    """The loop: heartbeat, claim a job, watch its child, obey a cancel request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store(settings)
        self._jobs = Jobs(self._store, settings)
        self._lease = Lease(self._store)
        self._identity = Identity.own()
        self._token = uuid.uuid4().hex
        self._job: Job | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._stop = False
        self._beat_at = 0.0
        self._idle_since = time.monotonic()

    def stop(self, *_: Any) -> None:
        """Ask the loop to end; the handler of SIGTERM and SIGINT."""
        self._stop = True

    def run(self) -> int:
        """Work until idle, stopped or replaced; returns the exit code."""
        if not self._lease.take(self._token, self._identity):
            say("another worker is alive; this one is not needed")
            return 0
        say(f"worker {self._identity.pid} started for {self._settings.data_folder}")
        for job_id in reconcile(self._store, self._token):
            say(f"{job_id} was left behind by an earlier worker: interrupted")
        trouble_since: float | None = None
        while not self._stop:
            try:
                if not self._turn():
                    break
                trouble_since = None
            except OperationalError as error:
                # Busy or full: the child goes on meanwhile, so wait, but not for ever.
                trouble_since = trouble_since or time.monotonic()
                say(f"the store does not answer: {error.orig}")
                if time.monotonic() - trouble_since > STORE_PATIENCE_SECONDS:
                    self._end_child()
                    return 1
            time.sleep(POLL_SECONDS)
        self._leave()
        return 0

    def _turn(self) -> bool:
        """One round of the loop; False to end it."""
        if time.monotonic() - self._beat_at >= HEARTBEAT_SECONDS:
            if not self._settings.data_folder.is_dir() or not self._lease.beat(self._token):
                say("the data folder is gone or another worker took over")
                self._end_child()
                return False
            self._beat_at = time.monotonic()
        if self._child is not None:
            self._watch()
            return True
        job = self._jobs.claim(self._token)
        if job is not None:
            self._start(job)
            return True
        return not self._idle_long_enough()

    def _start(self, job: Job) -> None:
        say(f"{job.id} starts (attempt {job.attempt})")
        log = self._settings.job_log(job.id)
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            **self._settings.to_environment(),
            WORKER_VARIABLE: str(self._identity),
            ATTEMPT_VARIABLE: str(job.attempt),
            "PYTHONUNBUFFERED": "1",
        }
        wait_asleep(environment)
        # Windows would open a console window for the child of a process that has none.
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        with log.open("ab") as output:
            output.write(f"--- {now()} attempt {job.attempt}\n".encode())
            output.flush()
            self._child = subprocess.Popen(
                [sys.executable, "-m", self._settings.job_module, job.id],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                creationflags=flags,
            )
        self._job = job
        identity = Identity.of(self._child.pid)
        self._jobs.record_child(job.id, job.attempt, identity.pid, identity.started)

    def _watch(self) -> None:
        assert self._child is not None and self._job is not None
        job = self._job
        code = self._child.poll()
        if code is None:
            if self._jobs.row(job.id).cancel_requested:
                self._end_child()
                self._jobs.end(job.id, job.attempt, JobState.CANCELLED)
                say(f"{job.id} cancelled")
            return
        # The child records its own end; a job still running here means that it could not.
        if self._jobs.row(job.id).cancel_requested:
            self._jobs.end(job.id, job.attempt, JobState.CANCELLED)
        else:
            tail = log_tail(self._settings.job_log(job.id))
            error = ENDED.format(code=code, tail=tail).rstrip()
            self._jobs.end(job.id, job.attempt, JobState.FAILED, error)
        say(f"{job.id} ended: {self._jobs.get(job.id).state.value}")
        self._child = self._job = None
        self._idle_since = time.monotonic()

    def _end_child(self) -> None:
        if self._child is not None:
            if self._child.poll() is None:
                end_tree(Identity.of(self._child.pid))
            self._child.wait()
        self._child = self._job = None
        self._idle_since = time.monotonic()

    def _idle_long_enough(self) -> bool:
        limit = self._settings.worker_idle_seconds
        if time.monotonic() - self._idle_since < limit:
            return False
        holder = self._lease.holder()
        return holder is None or time.time() - holder.app_seen > limit

    def _leave(self) -> None:
        job = self._job
        self._end_child()
        if job is not None:
            self._jobs.end(job.id, job.attempt, JobState.INTERRUPTED, STOPPED)
        self._lease.leave(self._token)
        say("worker ends")


def log_tail(path: Path) -> str:
    """The last lines that a job printed."""
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-LOG_TAIL_LINES:])


def say(text: str) -> None:
    """One line for the worker's log."""
    print(f"{now()} {text}", flush=True)


def main() -> int:
    """Entry point of `python -m dashboard.backend.worker`."""
    worker = Worker(Settings.from_environment())
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
