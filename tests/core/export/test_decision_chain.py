"""The decision log in a bundle: whatever somebody does to it afterwards is found."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import unicodedata
from typing import Any

import pytest

from fairquant_core.export.decision_chain import (
    CONTENT,
    FIRST,
    chain_problems,
    entry_hash,
    excerpt,
    problems,
    same_person,
)
from tests.core.export.made_bundle import CASE, RUN, chained

ACTIONS = (
    (CASE, "case created"),
    ("run-0", "propose"),
    (RUN, "propose"),
    ("run-0", "approve"),
    (RUN, "reject"),
    (RUN, "propose"),
    (RUN, "approve"),
)


@pytest.fixture
def entries() -> list[dict[str, Any]]:
    return chained(
        [
            {"action": action, "subject": subject, "details": {"n": number, "text": "ü"}}
            for number, (subject, action) in enumerate(ACTIONS)
        ]
    )


@pytest.fixture
def shown(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return excerpt(entries, (RUN, CASE))


def test_an_excerpt_shows_its_own_run_and_only_hashes_of_others(shown: dict[str, Any]) -> None:
    assert problems(shown) == []
    assert [len(entry) for entry in shown["entries"]] == [9, 2, 9, 2, 9, 9, 9]
    assert "run-0" not in json.dumps(shown)
    assert shown["log_entries"] == 7


def test_the_hash_is_that_of_the_text_that_the_recipe_names(entries: list[dict[str, Any]]) -> None:
    """Sorted JSON without spaces in UTF-8, behind the hash before; written down once more here."""
    previous = "0" * 64
    for entry in entries:
        content = {name: entry[name] for name in sorted(CONTENT)}
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        previous = hashlib.sha256(f"{previous}{text}".encode()).hexdigest()
        assert entry["hash"] == previous


def test_every_edit_of_every_field_is_found(shown: dict[str, Any]) -> None:
    edits = 0
    for place, entry in enumerate(shown["entries"]):
        for name, value in entry.items():
            changed = copy.deepcopy(shown)
            changed["entries"][place][name] = value + 1 if name == "sequence" else f"{value}x"
            assert problems(changed), (place, name)
            edits += 1
    assert edits == 5 * 9 + 2 * 2


def test_every_removal_is_found(shown: dict[str, Any]) -> None:
    for count in (1, 2):
        for gone in itertools.combinations(range(7), count):
            kept = [entry for place, entry in enumerate(shown["entries"]) if place not in gone]
            assert problems({**shown, "entries": kept}), gone


def test_every_exchange_and_repetition_is_found(shown: dict[str, Any]) -> None:
    for one, other in itertools.permutations(range(7), 2):
        swapped = list(shown["entries"])
        swapped[one], swapped[other] = swapped[other], swapped[one]
        assert problems({**shown, "entries": swapped}), (one, other)
        twice = list(shown["entries"])
        twice.insert(one, twice[other])
        assert problems({**shown, "entries": twice}), (one, other)


def test_renumbering_does_not_hide_a_removal(entries: list[dict[str, Any]]) -> None:
    """Somebody who also recomputes the hash of every later entry needs another head."""
    cut = [entry for entry in entries if entry["sequence"] != 5]
    forged, previous = [], FIRST
    for number, entry in enumerate(cut, 1):
        content = {**entry, "sequence": number, "previous": previous}
        previous = entry_hash(content)
        forged.append({**content, "hash": previous})
    assert chain_problems(forged) == []
    head = {"log_entries": 7, "log_head": entries[-1]["hash"]}
    assert problems({**head, "entries": forged})
    assert problems({**head, "log_entries": 6, "entries": forged})


def test_a_log_with_another_length_or_head_is_found(shown: dict[str, Any]) -> None:
    for changes in ({"log_entries": 6}, {"log_entries": 8}, {"log_head": "0" * 64}):
        assert problems({**shown, **changes})


def test_an_entry_made_from_nothing_is_found(shown: dict[str, Any]) -> None:
    last = shown["entries"][-1]
    made = {**last, "sequence": 8, "previous": last["hash"], "person": "Mallory"}
    made["hash"] = entry_hash(made)
    assert problems({**shown, "entries": [*shown["entries"], made]})


def test_an_empty_log_has_no_problem(entries: list[dict[str, Any]]) -> None:
    assert problems(excerpt([], (RUN,))) == []
    assert problems({**excerpt([], (RUN,)), "log_entries": 1})


def test_a_log_that_shows_nothing_about_others_has_gaps(entries: list[dict[str, Any]]) -> None:
    own = [entry for entry in entries if entry["subject"] != "run-0"]
    assert problems({"log_entries": 7, "log_head": entries[-1]["hash"], "entries": own})


@pytest.mark.parametrize(
    "other",
    [
        "Jose\u0301 \u00c1lvarez",
        "  JOS\u00c9   \u00c1LVAREZ ",
        "Jos\u00e9\u00a0\u00c1lvarez",
        "Jos\u00e9\u200b \u00c1lvarez",
        "\uff2aos\u00e9 \u00c1lvarez",
    ],
)
def test_one_name_however_it_is_typed(other: str) -> None:
    assert same_person("Jos\u00e9 \u00c1lvarez", other)


@pytest.mark.parametrize("other", ["Jose Alvarez", "Jos\u00e9 Alv\u00e1rez", "Jos\u00e9", ""])
def test_other_names_are_other_people(other: str) -> None:
    assert not same_person("Jos\u00e9 \u00c1lvarez", other)


def test_letters_that_fold_in_several_steps() -> None:
    """Composed after decomposed: folding the one must not leave it apart from the other."""
    assert same_person("\u210bans", "hans"), "a letter that is a capital only once it is composed"
    for one in ("\u1fb7", "\u0345\u03b1", "\u1e9e", "\ufb03", "\u0130"):
        assert same_person(one, unicodedata.normalize("NFD", one))
        assert same_person(one, unicodedata.normalize("NFKD", one).upper())


@pytest.mark.parametrize(
    "damage",
    [
        {},
        {"entries": None},
        {"entries": {"sequence": 1}},
        {"entries": [3]},
        {"entries": [{"sequence": "one", "hash": ""}]},
        {"entries": [{"sequence": 1, "hash": FIRST, "details": 1}]},
        {"log_entries": "many"},
    ],
)
def test_nonsense_is_a_problem_not_a_crash(damage: dict[str, Any], shown: dict[str, Any]) -> None:
    assert problems({**shown, **damage} if damage else {})
