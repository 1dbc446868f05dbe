"""The log of what people decided: append-only, every entry chained to the one before by its hash.

Each hash covers the previous hash and the entry's content, so an edit, a removal in the middle or a
new order breaks the chain. What a chain alone cannot show is that its last entries were cut off;
for that a small file beside the database remembers the newest entry. It is made before the first
entry and never again: where it is missing beside a log, somebody took it away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from dashboard.backend.records.schema import AuditEntry
from dashboard.backend.records.store import Store, now
from fairquant_core.errors import FairQuantError
from fairquant_core.export.decision_chain import (
    CONTENT,
    CUT_OFF,
    FIRST,
    HEAD_DIFFERS,
    chain_problems,
    entry_hash,
)
from fairquant_core.files import atomic_path, canonical

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (*CONTENT, "hash")

NO_HEAD = (
    "The file {name} is missing: whether the last entries were removed cannot be told. Only a backup of that file "
    "and of the database, made together, can mend that."
)
BAD_HEAD = "The file {name} was changed: whether the last entries were removed cannot be told."
NOT_RECORDED = (
    "Nothing was recorded, because the decision log cannot be written ({reason}). Free some space on this machine "
    "and try again."
)
RECORDED_ONLY = (
    "This was recorded in the decision log, but the file {name}, which remembers the newest entry, cannot be written "
    "({reason}). Free some space on this machine; the next entry brings the file up to date."
)

_NEWEST = "newest entry"
"""Where a session keeps what was appended in it."""


class AuditLog:
    """Appending to the log and checking it."""

    def __init__(self, store: Store, data_folder: Path) -> None:
        self._store = store
        self._head = data_folder / "audit_log.head"

    def append(
        self,
        session: Session,
        action: str,
        subject: str,
        *,
        person: str = "",
        role: str = "",
        details: dict[str, Any] | None = None,
    ) -> AuditEntry:
        """Add an entry within a transaction of `writing`.

        Raises
        ------
        FairQuantError
            There is no room for the file that remembers the newest entry.
        """
        last = session.scalar(select(AuditEntry).order_by(AuditEntry.sequence.desc()).limit(1))
        entry = AuditEntry(
            sequence=last.sequence + 1 if last else 1,
            time=now(),
            action=action,
            person=person,
            role=role,
            subject=subject,
            details=canonical(details or {}),
            previous=last.hash if last else FIRST,
        )
        entry.hash = entry_hash(_plain(entry))
        if last is None:
            self._make_head()
        session.add(entry)
        session.flush()
        session.info[_NEWEST] = entry
        return entry

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A write transaction of the store; what was appended in it is remembered outside once it is committed.

        Raises
        ------
        FairQuantError
            The disk takes no more. The sentence says whether the entry was recorded.
        """
        try:
            with self._store.write() as session:
                yield session
        except OperationalError as error:
            raise FairQuantError(NOT_RECORDED.format(reason=error.orig)) from error
        if _NEWEST in session.info:
            self.note_head(session.info[_NEWEST])

    def note_head(self, entry: AuditEntry) -> None:
        """Remember the newest entry outside the database.

        Of several writers the one with the newest entry wins. A file that is missing, that names an entry which is
        not in the log, or which cannot be read, is left as it is: it tells that entries may have been removed, and
        a new one must not wipe that out.

        Raises
        ------
        FairQuantError
            There is no room for it; the entry itself is recorded.
        """
        try:
            # The lock of the store lets no other process come between reading and writing.
            with self._store.write() as session:
                head = self._read_head()
                if head is not None and _follows(entry, head, session):
                    self._write_head(entry.sequence, entry.hash)
        except (OSError, OperationalError) as error:
            raise FairQuantError(
                RECORDED_ONLY.format(name=self._head.name, reason=error)
            ) from error

    def record(self, action: str, subject: str, **about: Any) -> None:
        """Add an entry in a transaction of its own; raises as `writing`."""
        with self.writing() as session:
            self.append(session, action, subject, **about)

    def entries(self) -> list[AuditEntry]:
        """All entries, oldest first."""
        with self._store.read() as session:
            return list(session.scalars(select(AuditEntry).order_by(AuditEntry.sequence)))

    def frame(self) -> pd.DataFrame:
        """The log as a table."""
        import pandas as pd

        rows = [tuple(getattr(entry, name) for name in COLUMNS) for entry in self.entries()]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def export(self) -> list[dict[str, Any]]:
        """The log as plain values, with the hashes that let anybody check it."""
        return [_plain(entry) for entry in self.entries()]

    def problems(self) -> list[str]:
        """What is wrong with the log; [] if nothing is."""
        # The head first: an entry that is appended meanwhile must not look like one that is
        # missing.
        head = self._read_head()
        entries = self.entries()
        found = chain_problems([_plain(entry) for entry in entries])
        return found + self._head_problems(head, entries)

    def _make_head(self) -> None:
        """Before the first entry, so that a crash between that entry and its head cannot leave a log without one."""
        try:
            if self._read_head() is None:
                self._write_head(0, FIRST)
        except OSError as error:
            raise FairQuantError(NOT_RECORDED.format(reason=error)) from error

    def _write_head(self, sequence: int, written: str) -> None:
        with atomic_path(self._head) as part:
            part.write_text(canonical({"sequence": sequence, "hash": written}))

    def _read_head(self) -> str | None:
        try:
            return self._head.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _head_problems(self, head: str | None, entries: list[AuditEntry]) -> list[str]:
        if head is None:
            return [NO_HEAD.format(name=self._head.name)] if entries else []
        try:
            sequence, written = _parse_head(head)
        except (ValueError, KeyError, TypeError):
            return [BAD_HEAD.format(name=self._head.name)]
        by_sequence = {entry.sequence: entry for entry in entries}
        if sequence > max(by_sequence, default=0):
            return [CUT_OFF.format(written=sequence, found=len(entries))]
        if sequence in by_sequence and by_sequence[sequence].hash != written:
            return [HEAD_DIFFERS.format(sequence=sequence)]
        return []


def _parse_head(head: str) -> tuple[int, str]:
    """Sequence and hash of the entry that the file names."""
    known = json.loads(head)
    return int(known["sequence"]), str(known["hash"])


def _follows(entry: AuditEntry, head: str, session: Session) -> bool:
    """Whether an entry is newer than the one that the file names, and that one is still in the log."""
    try:
        sequence, written = _parse_head(head)
    except (ValueError, KeyError, TypeError):
        return False
    if (sequence, written) == (0, FIRST):
        return True
    known = session.get(AuditEntry, sequence)
    return sequence < entry.sequence and known is not None and known.hash == written


def _plain(entry: AuditEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in (*COLUMNS, "previous")}
