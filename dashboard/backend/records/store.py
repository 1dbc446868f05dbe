"""The database: one engine, short read and write transactions, safe for several processes.

SQLite runs in WAL mode: pages read while the worker writes. Write transactions take the write lock
at once (BEGIN IMMEDIATE); a transaction that begins by reading and then wants to write would
otherwise fail under SQLite instead of waiting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import CursorResult, Engine, Update, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from dashboard.backend.records.schema import SCHEMA_VERSION, SQLITE_TRIGGERS, Base, Meta
from dashboard.backend.settings import Settings
from fairquant_core.errors import FairQuantError
from fairquant_core.files import canonical

BUSY_MILLISECONDS = 15_000
_WRITES = "fairquant_writes"


def now() -> str:
    """The present moment as the store writes it: UTC, milliseconds, "Z"."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value).encode("utf-8")).hexdigest()


def changed(session: Session, statement: Update) -> int:
    """Execute an UPDATE; returns how many rows it changed."""
    return cast("CursorResult[Any]", session.execute(statement)).rowcount


class Store:
    """Sessions on the database of an installation; tables are made on first use.

    Raises
    ------
    FairQuantError
        If the database cannot be opened or was written by a newer version.
    """

    def __init__(self, settings: Settings) -> None:
        self._engine = _engine(settings)
        self._read = sessionmaker(self._engine, expire_on_commit=False)
        writing = self._engine.execution_options(**{_WRITES: True})
        self._write = sessionmaker(writing, expire_on_commit=False)
        self._make_tables(settings.url)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state; nothing is written."""
        with self._read() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that holds the write lock from the start and commits on leaving, or rolls back on an error."""
        with self._write() as session, session.begin():
            session.connection()  # without it the lock would be taken by the first statement only
            yield session

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _make_tables(self, url: str) -> None:
        try:
            with self.write() as session:
                connection = session.connection()
                Base.metadata.create_all(connection)
                if connection.dialect.name == "sqlite":
                    for statement in SQLITE_TRIGGERS:
                        connection.exec_driver_sql(statement)
                version = session.get(Meta, "schema_version")
                if version is None:
                    session.add(Meta(key="schema_version", value=str(SCHEMA_VERSION)))
                elif int(version.value) != SCHEMA_VERSION:
                    raise FairQuantError(
                        f"The store has version {version.value}, this program needs version "
                        f"{SCHEMA_VERSION}. Use the program version that wrote it, or set "
                        "FAIRQUANT_DATA to a new folder."
                    )
        except OperationalError as error:
            shown = make_url(url).render_as_string(hide_password=True)
            raise FairQuantError(
                f"The store {shown} cannot be opened: {error.orig}. Check that the folder exists, "
                "is writable and has free space."
            ) from error


def _engine(settings: Settings) -> Engine:
    url = make_url(settings.url)
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    settings.data_folder.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # We say BEGIN ourselves (below); the driver's own habit starts transactions too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
