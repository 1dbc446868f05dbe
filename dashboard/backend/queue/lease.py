"""Who is the worker of this data folder: one row, held by one living process at a time."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from dashboard.backend.queue.processes import Identity
from dashboard.backend.records.schema import Worker
from dashboard.backend.records.store import Store, changed, now

ROW = 1
FOREIGN_HOST_SECONDS = 30.0
"""On another machine we cannot look at the process, so an old heartbeat is all we have."""


@dataclass(frozen=True)
class Holder:
    """The process that holds the lease."""

    token: str
    host: str
    identity: Identity
    started: str
    heartbeat: float
    app_seen: float

    @property
    def local(self) -> bool:
        """Whether it runs on this machine."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it still runs.

        On this machine only the process itself counts: after a night asleep every heartbeat is old.
        """
        if self.local:
            return self.identity.alive
        return time.time() - self.heartbeat < FOREIGN_HOST_SECONDS


class Lease:
    """Taking, keeping and leaving the one row."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def holder(self) -> Holder | None:
        """Who holds the lease, dead or alive; None if nobody does."""
        with self._store.read() as session:
            row = session.get(Worker, ROW)
        if row is None or not row.token:
            return None
        return Holder(
            row.token,
            row.host,
            Identity(row.pid, row.process_started),
            row.started,
            row.heartbeat,
            row.app_seen,
        )

    def take(self, token: str, identity: Identity) -> bool:
        """Become the worker, unless a living one holds the lease."""
        holder = self.holder()
        if holder is not None and holder.alive:
            return False
        moment = time.time()
        values = {
            "token": token,
            "host": socket.gethostname(),
            "pid": identity.pid,
            "process_started": identity.started,
            "started": now(),
            "heartbeat": moment,
            "app_seen": moment,
        }
        try:
            with self._store.write() as session:
                if session.get(Worker, ROW) is None:
                    session.add(Worker(id=ROW, **values))
                    return True
                # Only if the row is still the one that was found dead.
                found = holder.token if holder is not None else ""
                taken = changed(
                    session,
                    update(Worker).where(Worker.id == ROW, Worker.token == found).values(**values),
                )
                return bool(taken)
        except IntegrityError:
            return False

    def beat(self, token: str) -> bool:
        """Renew the heartbeat; False if another process has taken over."""
        with self._store.write() as session:
            renewed = changed(
                session,
                update(Worker)
                .where(Worker.id == ROW, Worker.token == token)
                .values(heartbeat=time.time()),
            )
            return bool(renewed)

    def leave(self, token: str) -> None:
        """Give the lease back."""
        with self._store.write() as session:
            session.execute(
                update(Worker).where(Worker.id == ROW, Worker.token == token).values(token="")
            )

    def note_app(self) -> None:
        """A page was drawn: the worker stays for a while."""
        with self._store.write() as session:
            session.execute(update(Worker).where(Worker.id == ROW).values(app_seen=time.time()))
