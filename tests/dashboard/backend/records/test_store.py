"""The database: durable, safe for several writers, and the log cannot be edited through it."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from dashboard.backend.records.schema import Case, Meta, Note
from dashboard.backend.records.store import Store, digest, now
from dashboard.backend.settings import Settings
from fairquant_core.errors import FairQuantError
from fairquant_core.files import canonical
from tests.dashboard.backend.conftest import bare_case


def test_sqlite_is_set_up_for_several_processes(store: Store) -> None:
    with store.read() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
        assert session.scalar(text("PRAGMA busy_timeout")) >= 5000


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as session:
        session.add(bare_case("case-2"))
        session.flush()
        raise RuntimeError("power cut")
    with store.read() as session:
        assert list(session.scalars(select(Case.id))) == ["case-1"]


def test_foreign_keys_hold(store: Store) -> None:
    with pytest.raises(IntegrityError), store.write() as session:
        session.execute(
            text("INSERT INTO epochs (job_id, epoch, time, figures) VALUES ('nobody', 1, '', '{}')")
        )


def test_a_write_transaction_holds_the_lock_before_its_first_statement(
    settings: Settings, store: Store
) -> None:
    """What is read from a file inside of it cannot be changed by another process meanwhile."""
    other = sqlite3.connect(settings.data_folder / "store.sqlite3", timeout=0)
    with store.write(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()


def test_writers_wait_for_each_other(settings: Settings, store: Store) -> None:
    """Read-then-write transactions of two stores at once: none fails, none overwrites the other."""
    with store.write() as session:
        session.add(Note(subject="counter", time=now(), person="", text="0"))

    def count_up() -> None:
        own = Store(settings)
        for _ in range(20):
            with own.write() as session:
                note = session.scalars(select(Note).where(Note.subject == "counter")).one()
                note.text = str(int(note.text) + 1)
        own.close()

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as session:
        assert session.scalars(select(Note.text)).one() == "80"


def test_several_processes_may_make_the_tables_at_once(settings: Settings) -> None:
    problems: list[Exception] = []

    def open_store() -> None:
        try:
            Store(settings).close()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=open_store) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_store_of_another_version_is_refused(settings: Settings, store: Store) -> None:
    with store.write() as session:
        session.get_one(Meta, "schema_version").value = "99"
    with pytest.raises(FairQuantError, match="version 99"):
        Store(settings)


def test_an_unusable_folder_is_a_clear_error(settings: Settings) -> None:
    settings.data_folder.mkdir()
    (settings.data_folder / "store.sqlite3").mkdir()
    with pytest.raises(FairQuantError, match="cannot be opened"):
        Store(settings)


def test_canonical_json_does_not_depend_on_order() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    with pytest.raises(ValueError):
        canonical({"a": float("nan")})
