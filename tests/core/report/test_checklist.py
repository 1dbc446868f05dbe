"""The checklist follows the evidence: what is taken away is reported as missing, what is said as met."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairquant_core.report.checklist import SOURCES, counts
from fairquant_core.report.checklist_items import ITEMS
from fairquant_core.report.content import SECTIONS, content
from fairquant_core.report.facts import INTENDED_USE, Facts
from tests.core.report.conftest import MakeFacts, old_audit


def states(facts: Facts) -> dict[str, str]:
    """Guideline and item -> state."""
    return {
        f"{row['guideline']} {row['item']}": row["state"] for row in content(facts)["checklist"]
    }


def finding(facts: Facts, item: str) -> dict[str, Any]:
    return next(r for r in content(facts)["checklist"] if f"{r['guideline']} {r['item']}" == item)


def test_items_are_unique_and_point_to_sections() -> None:
    names = [(item.guideline, item.number) for item in ITEMS]

    assert len(names) == len(set(names))
    assert {item.guideline for item in ITEMS} == set(SOURCES)
    assert {item.section for item in ITEMS} <= {anchor for anchor, _, _ in SECTIONS}


def test_nothing_is_met_without_evidence_and_nothing_missing_without_a_reason(
    make_facts: MakeFacts,
) -> None:
    for row in content(make_facts())["checklist"]:
        assert bool(row["missing"]) == (row["state"] != "MET")
        assert bool(row["shown"]) == (row["state"] != "MISSING")


def test_counts_add_up(make_facts: MakeFacts) -> None:
    rows = content(make_facts())["checklist"]

    assert sum(sum(found.values()) for found in counts(rows).values()) == len(ITEMS)


def test_what_people_say_is_met_and_what_they_do_not_say_is_missing(make_facts: MakeFacts) -> None:
    silent = make_facts()
    spoken = make_facts(intended_use={key: "As agreed." for key in INTENDED_USE})

    for item in ("TRIPOD+AI 3b", "CLAIM 3", "DECIDE-AI 2b", "TRIPOD+AI 17", "CLAIM 42"):
        assert states(silent)[item] == "MISSING"
        assert states(spoken)[item] == "MET"


def test_part_of_the_intended_use_is_partial_and_names_the_rest(make_facts: MakeFacts) -> None:
    row = finding(make_facts(intended_use={"purpose": "Triage.", "users": "  "}), "TRIPOD+AI 3b")

    assert row["state"] == "PARTIAL"
    assert row["shown"] == "what it is for"
    assert "who uses it" in row["missing"]


def without_saliency(facts: Facts) -> Facts:
    return replace(facts, saliency=None)


def without_new_figures(facts: Facts) -> Facts:
    return replace(facts, audit=old_audit(dict(facts.audit)))


def without_predictions(facts: Facts) -> Facts:
    return replace(facts, predictions=None)


def without_counts(facts: Facts) -> Facts:
    return replace(facts, cells=None)


def without_programs(facts: Facts) -> Facts:
    return replace(facts, environment={})


def without_plan(facts: Facts) -> Facts:
    return replace(facts, plan=None)


def without_licence(facts: Facts) -> Facts:
    return replace(facts, cohort={**facts.cohort, "licence": ""})


def late_limits(facts: Facts) -> Facts:
    return replace(facts, case={**facts.case, "created": "2027-01-01T00:00:00Z"})


@pytest.mark.parametrize(
    ("item", "change", "before", "after"),
    [
        ("CLAIM 31", without_saliency, "PARTIAL", "MISSING"),
        ("TRIPOD+AI 12e", without_new_figures, "MET", "PARTIAL"),
        ("TRIPOD+AI 14", without_new_figures, "MET", "PARTIAL"),
        ("TRIPOD+AI 23a", without_new_figures, "MET", "PARTIAL"),
        ("CLAIM 37", without_predictions, "PARTIAL", "PARTIAL"),
        ("TRIPOD+AI 20b", without_counts, "PARTIAL", "PARTIAL"),
        ("CLAIM 20", without_counts, "MET", "PARTIAL"),
        ("CLAIM 23", without_programs, "MET", "MISSING"),
        ("TRIPOD+AI 22", without_plan, "MET", "PARTIAL"),
        ("TRIPOD+AI 5a", without_licence, "MET", "PARTIAL"),
        ("TRIPOD+AI 4", late_limits, "MET", "PARTIAL"),
    ],
)
def test_an_item_loses_its_state_with_its_evidence(
    item: str, change: Any, before: str, after: str, make_facts: MakeFacts
) -> None:
    whole = make_facts()

    assert states(whole)[item] == before
    assert states(change(whole))[item] == after


def test_a_lost_piece_of_evidence_is_named(make_facts: MakeFacts) -> None:
    whole, less = make_facts(), without_predictions(make_facts())

    assert "each changed decision" not in finding(whole, "CLAIM 37")["missing"]
    assert "each changed decision" in finding(less, "CLAIM 37")["missing"]


def test_a_cohort_that_nobody_trained_on_is_an_outside_test(make_facts: MakeFacts) -> None:
    facts = make_facts()
    outside = replace(facts, cohort={**facts.cohort, "n_by_split": {"audit": 150}})

    assert states(facts)["CLAIM 32"] == "MISSING"
    assert states(outside)["CLAIM 32"] == "MET"


def test_maps_with_photographs_meet_explainability(approved: Facts) -> None:
    assert states(approved)["CLAIM 31"] == "MET"
    assert states(approved)["CLAIM 37"] == "MET"


def test_other_groupings_of_the_audit_meet_the_sensitivity_analysis_in_part(
    make_facts: MakeFacts,
) -> None:
    assert states(make_facts())["CLAIM 30"] == "PARTIAL"
