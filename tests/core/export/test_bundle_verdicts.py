"""Verifying a bundle judges every verdict again, from its predictions and its limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fairquant_core.audit.limits import Limits
from fairquant_core.export import bundle_verdicts
from tests.core.export.made_bundle import IMAGES, Files, Make, edit_json, failed, with_decisions


def judged(audit: dict[str, Any], group: str) -> dict[str, Any]:
    """What the audit says about one group."""
    rows = audit["comparisons"]["candidate"]["verdicts"]
    return next(row for row in rows if row["group"] == group)


def other_verdict(audit: dict[str, Any]) -> None:
    audit["verdict"] = audit["comparisons"]["candidate"]["verdict"] = "WITHIN"


def other_margin(audit: dict[str, Any]) -> None:
    """Looser limits, with the fingerprint that belongs to them."""
    audit["limits"]["margin"] = 0.9
    audit["limits_fingerprint"] = Limits.from_json(audit["limits"]).fingerprint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_verdict, "for the whole run it says WITHIN"),
        (lambda audit: audit.update(verdict="WITHIN"), "for the whole run it says"),
        (
            lambda audit: judged(audit, "FST V-VI").update(verdict="WITHIN"),
            "for FST V-VI it says WITHIN, but its predictions give OUTSIDE",
        ),
        (
            lambda audit: audit["comparisons"]["candidate"]["verdicts"].pop(),
            "it says no verdict, but its predictions give OUTSIDE",
        ),
        (other_margin, "it says OUTSIDE, but its predictions give WITHIN"),
        (lambda audit: audit["limits"].update(margin=0.9), "not those that its fingerprint is of"),
        (lambda audit: audit["method"].update(resamples=10**9), "at most"),
        (lambda audit: audit["comparisons"].clear(), "damaged"),
    ],
)
def test_a_verdict_that_its_predictions_do_not_give(
    change: Callable[[Any], object], words: str, run_files: Files, signed: Make
) -> None:
    """The accuracy is told as it is; only what follows from it is not."""
    found = signed(with_decisions(edit_json(run_files, "audit.json", change)))
    assert "Audit figures" in failed(found)
    assert words in found.check("Audit figures").sentence


def test_limits_that_take_too_long_are_left_out_in_words(
    run_files: Files, signed: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_verdicts, "MOST_RANKED", IMAGES - 1)
    assert (
        "Every verdict was judged again"
        in signed(with_decisions(run_files)).check("Audit figures").sentence
    )

    def ranked(audit: dict[str, Any]) -> None:
        audit["limits"]["metric"] = "macro auroc"
        audit["limits_fingerprint"] = Limits.from_json(audit["limits"]).fingerprint

    found = signed(with_decisions(edit_json(run_files, "audit.json", ranked)))
    assert f"{IMAGES} images takes too long" in found.check("Audit figures").sentence


def test_an_audit_of_an_earlier_version_is_judged_as_it_was_then(
    run_files: Files, signed: Make
) -> None:
    """Every group by itself: what was OUTSIDE then stays true."""
    old = edit_json(run_files, "audit.json", lambda audit: audit["method"].pop("judging"))
    sentence = signed(with_decisions(old)).check("Audit figures").sentence
    assert "Every verdict was judged again" in sentence


def test_an_audit_of_a_later_version_is_not_guessed_at(run_files: Files, signed: Make) -> None:
    new = edit_json(run_files, "audit.json", lambda audit: audit["method"].update(judging=99))
    found = signed(with_decisions(new))
    assert "Audit figures" in failed(found)
    assert "check it with a later version" in found.check("Audit figures").sentence


def test_intervals_that_were_other_ones_then_are_told(run_files: Files, signed: Make) -> None:
    def earlier(audit: dict[str, Any]) -> None:
        audit["method"].pop("judging")
        audit["limits"]["metric"] = "balanced accuracy"
        audit["limits_fingerprint"] = Limits.from_json(audit["limits"]).fingerprint
        judged(audit, "FST V-VI").update(verdict="INSUFFICIENT EVIDENCE")

    found = signed(with_decisions(edit_json(run_files, "audit.json", earlier)))
    sentence = found.check("Audit figures").sentence
    assert "Audit figures" not in failed(found)
    assert "whose intervals for the balanced accuracy were other ones" in sentence
    assert "judged again from the predictions" not in sentence
