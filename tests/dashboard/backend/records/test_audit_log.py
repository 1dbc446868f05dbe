"""The log: every way of rewriting history is found."""

from __future__ import annotations

import errno
import json
import multiprocessing
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from dashboard.backend.records.audit_log import AuditLog
from dashboard.backend.records.store import Store
from dashboard.backend.settings import Settings
from fairquant_core.errors import FairQuantError
from fairquant_core.export.decision_chain import entry_hash


@pytest.fixture
def log(store: Store, settings: Settings) -> AuditLog:
    log = AuditLog(store, settings.data_folder)
    for number in range(5):
        log.record("propose", f"run-{number}", person="Rosa", role="auditor", details={"n": number})
    return log


def rewrite(settings: Settings, *statements: str) -> None:
    """Change the database behind the application's back."""
    connection = sqlite3.connect(settings.data_folder / "store.sqlite3")
    with connection:
        for name in ("update", "delete"):
            connection.execute(f"DROP TRIGGER audit_log_no_{name}")
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_an_honest_log_verifies(log: AuditLog) -> None:
    assert log.problems() == []
    frame = log.frame()
    assert frame["sequence"].tolist() == [1, 2, 3, 4, 5]
    assert frame["hash"].is_unique


def test_an_empty_log_verifies(store: Store, settings: Settings) -> None:
    assert AuditLog(store, settings.data_folder).problems() == []


@pytest.mark.parametrize("column", ["time", "action", "person", "role", "subject", "details"])
def test_an_edit_is_found(log: AuditLog, settings: Settings, column: str) -> None:
    rewrite(settings, f"UPDATE audit_log SET {column} = 'other' WHERE sequence = 3")
    assert log.problems() == ["Entry 3 was edited: its content does not fit its hash."]


def test_a_removal_in_the_middle_is_found(log: AuditLog, settings: Settings) -> None:
    rewrite(settings, "DELETE FROM audit_log WHERE sequence = 3")
    assert any("Entry 3 is missing" in problem for problem in log.problems())


def test_a_removal_that_renumbers_is_found(log: AuditLog, settings: Settings) -> None:
    rewrite(
        settings,
        "DELETE FROM audit_log WHERE sequence = 3",
        "UPDATE audit_log SET sequence = 3 WHERE sequence = 4",
        "UPDATE audit_log SET sequence = 4 WHERE sequence = 5",
    )
    assert log.problems()


def test_a_cut_off_end_is_found(log: AuditLog, settings: Settings) -> None:
    rewrite(settings, "DELETE FROM audit_log WHERE sequence > 3")
    assert log.problems() == ["The last entries were removed: 5 were written, 3 are there."]


def test_an_emptied_log_is_found(log: AuditLog, settings: Settings) -> None:
    rewrite(settings, "DELETE FROM audit_log")
    assert log.problems()


def test_a_new_order_is_found(log: AuditLog, settings: Settings) -> None:
    rewrite(
        settings,
        "UPDATE audit_log SET sequence = 90 WHERE sequence = 2",
        "UPDATE audit_log SET sequence = 2 WHERE sequence = 3",
        "UPDATE audit_log SET sequence = 3 WHERE sequence = 90",
    )
    assert log.problems()


def test_an_edit_with_a_matching_hash_breaks_the_chain(log: AuditLog, settings: Settings) -> None:
    """Somebody who knows the recipe recomputes one hash; the next entry gives it away."""
    entry = log.export()[2] | {"person": "Mallory"}
    rewrite(
        settings,
        f"UPDATE audit_log SET person = 'Mallory', hash = '{entry_hash(entry)}' WHERE sequence = 3",
    )
    assert log.problems() == [
        "Entry 4 does not follow the entry before it: one was removed, added or moved."
    ]


def test_the_database_itself_refuses_edits(log: AuditLog, settings: Settings) -> None:
    connection = sqlite3.connect(settings.data_folder / "store.sqlite3")
    for statement in ("UPDATE audit_log SET person = 'x'", "DELETE FROM audit_log"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), connection:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_a_missing_or_damaged_anchor_is_said(
    log: AuditLog, settings: Settings, content: str | None
) -> None:
    head: Path = settings.data_folder / "audit_log.head"
    if content is None:
        head.unlink()
    else:
        head.write_text(content)
    assert any("audit_log.head" in problem for problem in log.problems())


def test_an_anchor_that_lags_behind_is_no_problem(log: AuditLog, settings: Settings) -> None:
    """A crash between the commit and the anchor leaves the anchor one entry behind."""
    head = settings.data_folder / "audit_log.head"
    earlier = head.read_text()
    log.record("export", "run-9")
    head.write_text(earlier)
    assert log.problems() == []


def head_of(settings: Settings) -> int:
    return int(json.loads((settings.data_folder / "audit_log.head").read_text())["sequence"])


def test_a_late_writer_does_not_take_the_anchor_back(log: AuditLog, settings: Settings) -> None:
    """Two people decide; whoever committed first comes last to the anchor."""
    third, fifth = log.entries()[2], log.entries()[4]
    log.note_head(third)
    assert head_of(settings) == 5
    log.note_head(fifth)
    assert head_of(settings) == 5


def write_entries(settings: Settings, name: str, count: int) -> None:
    """What one process of the application does."""
    store = Store(settings)
    log = AuditLog(store, settings.data_folder)
    for number in range(count):
        log.record("propose", f"{name}-{number}")
    store.close()


def test_processes_that_write_at_once_leave_the_newest_anchor(
    log: AuditLog, settings: Settings
) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=write_entries, args=(settings, f"process-{number}", 15))
        for number in range(2)
    ]
    for writer in writers:
        writer.start()
    threads = [
        threading.Thread(target=write_entries, args=(settings, f"thread-{number}", 15))
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for task in (*writers, *threads):
        task.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(log.entries()) == head_of(settings) == 65
    assert log.problems() == []


@pytest.mark.parametrize("removed", ["sequence > 3", "sequence = 5"])
def test_a_new_entry_does_not_wipe_out_that_others_were_removed(
    log: AuditLog, settings: Settings, removed: str
) -> None:
    rewrite(settings, f"DELETE FROM audit_log WHERE {removed}")
    for _ in range(4):
        log.record("propose", "run-9")
        assert log.problems()


@pytest.mark.parametrize("content", [None, "not json"])
def test_a_new_entry_does_not_mend_a_missing_or_damaged_anchor(
    log: AuditLog, settings: Settings, content: str | None
) -> None:
    head = settings.data_folder / "audit_log.head"
    if content is None:
        head.unlink()
    else:
        head.write_text(content)
    before = log.problems()
    assert any("audit_log.head" in problem for problem in before)
    for _ in range(3):
        log.record("propose", "run-9")
        assert log.problems() == before


def test_a_crash_before_the_first_anchor_leaves_a_log_that_verifies(
    store: Store, settings: Settings
) -> None:
    log = AuditLog(store, settings.data_folder)
    with store.write() as session:
        first = log.append(session, "propose", "run-1")
    assert log.problems() == [], "committed, and then the process was killed"
    log.record("propose", "run-2")
    assert (log.problems(), head_of(settings), first.sequence) == ([], 2, 1)


def test_an_entry_that_was_not_committed_leaves_no_anchor_of_it(
    store: Store, settings: Settings
) -> None:
    log = AuditLog(store, settings.data_folder)
    with pytest.raises(KeyError), log.writing() as session:
        log.append(session, "propose", "run-1")
        raise KeyError
    assert (log.entries(), log.problems()) == ([], [])


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_says_what_was_recorded(
    log: AuditLog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(log, "_write_head", full)
        with pytest.raises(FairQuantError, match="was recorded.*No space left"):
            log.record("propose", "run-9")
    assert (len(log.entries()), log.problems(), head_of(settings)) == (6, [], 5)
    log.record("propose", "run-9")
    assert (log.problems(), head_of(settings)) == ([], 7)


def test_a_full_disk_at_the_first_entry_records_nothing(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(store, settings.data_folder)
    monkeypatch.setattr(log, "_write_head", full)
    with pytest.raises(FairQuantError, match="Nothing was recorded.*No space left"):
        log.record("propose", "run-1")
    assert log.entries() == []


def test_a_database_on_a_full_disk_records_nothing(
    log: AuditLog, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        raise OperationalError("INSERT", {}, error)

    monkeypatch.setattr(log, "append", no_room)
    with pytest.raises(FairQuantError, match="Nothing was recorded.*disk is full"):
        log.record("propose", "run-9")
    assert len(log.entries()) == 5
