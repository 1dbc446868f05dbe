"""The chain of decisions, checked without the database that it was written in.

Every entry of the log is bound to the one before by its hash. A bundle holds an excerpt: the entries about its own run
in full, of all others only number and hash, so that nobody reads about other runs and yet none can be
missing. What an excerpt alone cannot show is that an entry about the run was made to look like one
of the others; that is why the bundle is signed.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fairquant_core.files import canonical

FIRST = "0" * 64
"""What the first entry gives as the hash of the one before it."""

CONTENT = ("sequence", "time", "action", "person", "role", "subject", "details")

EDITED = "Entry {sequence} was edited: its content does not fit its hash."
UNCHAINED = "Entry {sequence} does not follow the entry before it: one was removed, added or moved."
MISSING = "Entry {sequence} is missing: the log jumps from {before} to {after}."
CUT_OFF = "The last entries were removed: {written} were written, {found} are there."
HEAD_DIFFERS = "Entry {sequence} is not the one that was written: the log was replaced."
DAMAGED = "The decision log is damaged ({reason!r})."


def entry_hash(entry: Mapping[str, Any]) -> str:
    """SHA-256 over the previous hash and the canonical JSON of the entry."""
    content = {name: entry[name] for name in CONTENT}
    return hashlib.sha256((entry["previous"] + canonical(content)).encode("utf-8")).hexdigest()


def excerpt(entries: Sequence[Mapping[str, Any]], keep: Collection[str]) -> dict[str, Any]:
    """Show some entries of the whole log in full, and of the others what the chain needs.

    Parameters
    ----------
    entries : all of them, oldest first, up to the one that shall be the last.
    keep : subjects (of runs, cases) whose entries are shown.
    """
    if not entries:
        return {"log_entries": 0, "log_head": FIRST, "entries": []}
    shown = [
        dict(entry)
        if entry["subject"] in keep
        else {"sequence": entry["sequence"], "hash": entry["hash"]}
        for entry in entries
    ]
    last = entries[-1]
    return {"log_entries": last["sequence"], "log_head": last["hash"], "entries": shown}


def is_shown(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of an excerpt stands there in full."""
    return "details" in entry


def problems(excerpt: Mapping[str, Any]) -> list[str]:
    """What is wrong with an excerpt; [] if nothing is."""
    try:
        entries = excerpt["entries"]
        found = chain_problems(entries)
        written, head = int(excerpt["log_entries"]), excerpt["log_head"]
        last: Mapping[str, Any] = entries[-1] if entries else {"sequence": 0, "hash": FIRST}
        if last["sequence"] < written:
            found.append(CUT_OFF.format(written=written, found=last["sequence"]))
        elif (last["sequence"], last["hash"]) != (written, head):
            found.append(HEAD_DIFFERS.format(sequence=last["sequence"]))
        return found
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [DAMAGED.format(reason=error)]


def chain_problems(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Entries that were edited, removed, added or moved; [] if none was."""
    found = []
    previous, expected = FIRST, 1
    for entry in entries:
        sequence = entry["sequence"]
        if sequence != expected:
            found.append(MISSING.format(sequence=expected, before=expected - 1, after=sequence))
        if is_shown(entry) and entry_hash(entry) != entry["hash"]:
            found.append(EDITED.format(sequence=sequence))
        elif is_shown(entry) and entry["previous"] != previous:
            found.append(UNCHAINED.format(sequence=sequence))
        previous, expected = entry["hash"], sequence + 1
    return found


def same_person(one: str, other: str) -> bool:
    """Whether two typed names mean one person.

    How letters are composed, their case, spaces and invisible characters do not count.

    >>> same_person("Jos\u00e9  Silva ", "JOSE\u0301 silva")
    True
    >>> same_person("Ada", "Adam")
    False
    """
    return _folded(one) == _folded(other)


def _folded(name: str) -> str:
    visible = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    for _ in range(2):  # folding can undo the composing, and composing the folding
        visible = unicodedata.normalize("NFKC", visible).casefold()
    return " ".join(unicodedata.normalize("NFKC", visible).split())
