"""Remarks that people leave on a case or run. They decide nothing and are not in the audit log."""

from __future__ import annotations

from sqlalchemy import select

from dashboard.backend.schema import Note
from dashboard.backend.store import Store, now
from dashboard.backend.views import NoteView
from fairquant_core.errors import FairQuantError

LONGEST = 10_000


class Notes:
    """Adding and listing remarks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, subject: str, person: str, text: str) -> None:
        """Leave a remark."""
        if not text.strip():
            raise FairQuantError("Note: there is no text to keep.")
        if len(text) > LONGEST:
            raise FairQuantError(f"Note: {len(text)} characters are too many; at most {LONGEST}.")
        with self._store.write() as session:
            session.add(Note(subject=subject, time=now(), person=person.strip(), text=text.strip()))

    def about(self, subject: str) -> list[NoteView]:
        """Remarks on one case or run, oldest first."""
        query = select(Note).where(Note.subject == subject).order_by(Note.id)
        with self._store.read() as session:
            return [NoteView(note.time, note.person, note.text) for note in session.scalars(query)]
