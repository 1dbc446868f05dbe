"""The log of what people decided: append-only, every entry chained to the one before by its hash.

Each hash covers the previous hash and the entry's content, so an edit, a removal in the middle or a
new order breaks the chain. What a chain alone cannot show is that its last entries were cut off;
for that a small file beside the database remembers the newest entry.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dashboard.backend.schema import AuditEntry
from dashboard.backend.store import Store, now
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

NO_HEAD = "The file {name} is missing: whether the last entries were removed cannot be told."
BAD_HEAD = "The file {name} was changed: whether the last entries were removed cannot be told."


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
        """Add an entry within a write transaction; call `note_head` after it was committed."""
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
        session.add(entry)
        session.flush()
        return entry

    def note_head(self, entry: AuditEntry) -> None:
        """Remember the newest entry outside the database.

        Of several writers the one with the newest entry wins. A file that names an entry which is not in the
        log, or which cannot be read, is left as it is: it tells that entries were removed, and a new one
        must not wipe that out.
        """
        # The lock of the store lets no other process come between reading and writing.
        with self._store.write() as session:
            head = self._read_head()
            if head is not None and not _follows(entry, head, session):
                return
            with atomic_path(self._head) as part:
                part.write_text(canonical({"sequence": entry.sequence, "hash": entry.hash}))

    def record(self, action: str, subject: str, **about: Any) -> None:
        """Add an entry in a transaction of its own."""
        with self._store.write() as session:
            entry = self.append(session, action, subject, **about)
        self.note_head(entry)

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
    known = session.get(AuditEntry, sequence)
    return sequence < entry.sequence and known is not None and known.hash == written


def _plain(entry: AuditEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in (*COLUMNS, "previous")}
