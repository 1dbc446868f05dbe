"""Remarks that people leave on a case, a run or an image of a run. They decide nothing and are not in the audit log."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from dashboard.backend.records.schema import Note
from dashboard.backend.records.store import Store, digest, now
from dashboard.backend.views import NoteView
from fairquant_core.errors import FairQuantError

LONGEST = 10_000


def image_subject(run_id: str, image_id: str) -> str:
    """What a remark on an image of a run is filed under; ids of images can be of any length."""
    return f"{run_id}/{digest(image_id)[:20]}"


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

    def on_images(self, run_id: str, image_ids: Sequence[str]) -> dict[str, list[NoteView]]:
        """Remarks on images of a run, oldest first, by image; images without one are left out."""
        names = {image_subject(run_id, one): one for one in image_ids}
        query = select(Note).where(Note.subject.startswith(f"{run_id}/", autoescape=True))
        found: dict[str, list[NoteView]] = {}
        with self._store.read() as session:
            for note in session.scalars(query.order_by(Note.id)):
                if note.subject in names:
                    view = NoteView(note.time, note.person, note.text)
                    found.setdefault(names[note.subject], []).append(view)
        return found
