"""The application's side of the worker: start it, look at it, clean up after its death."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

from sqlalchemy import select, update

from dashboard.backend.queue.lease import Lease
from dashboard.backend.queue.processes import Identity, end_tree, start_detached
from dashboard.backend.records.schema import Job
from dashboard.backend.records.store import Store, changed, now
from dashboard.backend.settings import REPOSITORY, Settings
from dashboard.backend.views import JobState, WorkerView

START_SECONDS = 15.0
"""How long a worker that was just started may take to hold the lease before another is tried."""

APP_NOTE_SECONDS = 10.0
INTERRUPTED = (
    "The worker ended while this job was running. Resume goes on from its last checkpoint."
)


def reconcile(store: Store, own_token: str | None = None) -> list[str]:
    """Mark running jobs without a living worker as interrupted (or cancelled, if asked for).

    A process that still works on such a job is ended first, so that a resumed job is alone in its
    folder.

    Parameters
    ----------
    own_token
        Token of the calling worker, whose jobs are left alone.

    Returns
    -------
    list of str
        Ids of the jobs that were changed.
    """
    holder = Lease(store).holder()
    living = {own_token} if own_token else set()
    if holder is not None and holder.alive:
        living.add(holder.token)
    with store.read() as session:
        running = list(session.scalars(select(Job).where(Job.state == JobState.RUNNING.value)))
    ended = []
    for job in running:
        if job.worker_token in living:
            continue
        if job.child_pid is not None and job.child_started is not None:
            end_tree(Identity(job.child_pid, job.child_started))
        state = JobState.CANCELLED if job.cancel_requested else JobState.INTERRUPTED
        with store.write() as session:
            done = changed(
                session,
                update(Job)
                .where(
                    Job.id == job.id,
                    Job.state == JobState.RUNNING.value,
                    Job.attempt == job.attempt,
                )
                .values(
                    state=state.value,
                    ended=now(),
                    seconds_left=None,
                    error="" if state == JobState.CANCELLED else INTERRUPTED,
                ),
            )
            if done:
                ended.append(job.id)
    return ended


class Supervisor:
    """Keeps one worker alive for a data folder, from any number of application processes."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._lease = Lease(store)
        self._lock = threading.Lock()
        self._spawned: subprocess.Popen[bytes] | None = None
        self._spawned_at = 0.0
        self._noted_at = 0.0

    def look(self) -> WorkerView:
        """The worker as it is."""
        holder = self._lease.holder()
        starting = self._is_starting()
        if holder is None:
            return WorkerView(False, None, None, None, starting)
        age = max(0.0, time.time() - holder.heartbeat)
        alive = holder.alive
        return WorkerView(alive, holder.identity.pid, holder.started, age, starting and not alive)

    def ensure(self) -> WorkerView:
        """Start a worker if none is alive, after putting right what the last one left behind."""
        view = self.look()
        with self._lock:
            if view.alive:
                if time.monotonic() - self._noted_at > APP_NOTE_SECONDS:
                    self._noted_at = time.monotonic()
                    self._lease.note_app()
                return view
            if self._is_starting():
                return view
            reconcile(self._store)
            self._spawned_at = time.monotonic()
            self._spawned = start_detached(
                [sys.executable, "-m", "dashboard.backend.worker"],
                folder=REPOSITORY,
                environment={**os.environ, **self._settings.to_environment()},
                log=self._settings.worker_log,
            )
        return self.look()

    def stop(self) -> None:
        """End the worker and what it runs; its job becomes interrupted."""
        with self._lock:
            holder = self._lease.holder()
            if self._spawned is not None and self._spawned.poll() is None:
                end_tree(Identity.of(self._spawned.pid), grace_seconds=5.0)
                self._spawned.wait()
            if holder is not None and holder.local:
                end_tree(holder.identity, grace_seconds=5.0)
            self._spawned = None
        reconcile(self._store)

    def _is_starting(self) -> bool:
        """Whether a worker started here may still be on its way to the lease.

        `poll` also collects it when it has ended, so that no zombie stays behind.
        """
        return (
            self._spawned is not None
            and self._spawned.poll() is None
            and time.monotonic() - self._spawned_at < START_SECONDS
        )
