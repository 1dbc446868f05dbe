"""Old audits, groups without images, names that try to be HTML, and more than fits: a report all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from fairquant_core.audit.criteria import Limits
from fairquant_core.errors import ImageError
from fairquant_core.report.content import content
from fairquant_core.report.facts import INTENDED_USE, Facts
from fairquant_core.report.render import label_html, label_pdf, report_html
from fairquant_core.report.write import write_report
from tests.core.report.conftest import (
    MakeFacts,
    made_audit,
    made_cells,
    made_predictions,
    made_saliency,
    old_audit,
)

EVIL = '<script>alert("x")</script><img src=http://example.org/x onerror=y>'


def page(facts: Facts) -> str:
    return report_html(content(facts))


def test_an_audit_of_before_the_other_figures(make_facts: MakeFacts) -> None:
    facts = make_facts(audit=old_audit(made_audit(made_predictions())))
    found = content(facts)
    html = page(facts)

    assert [table["measure"] for table in found["results"]["measures"]] == ["accuracy"]
    assert "audited before the other figures existed" in html
    old = facts.audit["accuracy"]["candidate"]["overall"]["accuracy"]
    assert found["results"]["measures"][0]["rows"][0]["after"]["value"] == old
    assert "Calibration per group" not in html


def test_nothing_but_an_audit(make_facts: MakeFacts, tmp_path: Path) -> None:
    facts = make_facts()
    bare = Facts(
        case={"title": "A case"},
        classifier={"name": "A net"},
        cohort={"name": "A cohort", "n": 150},
        run={"id": "run-1"},
        audit=old_audit({k: v for k, v in facts.audit.items() if k not in ("config", "size")}),
        made=facts.made,
    )

    html = page(bare)

    assert "No saliency maps were drawn" in html
    assert "Nobody measured it" in html
    assert "nothing was compressed (control run)" in html
    assert "DRAFT: NOT APPROVED" in html


def test_a_group_without_images_is_not_estimable_and_never_zero(make_facts: MakeFacts) -> None:
    predictions = made_predictions(tones=("1", "4"))
    facts = make_facts(
        predictions=predictions,
        audit=made_audit(predictions),
        cells=made_cells(predictions),
        saliency=made_saliency(predictions),
    )
    found = content(facts)
    row = next(r for r in found["results"]["measures"][0]["rows"] if r["group"] == "FST V-VI")

    assert row["after"] == {"value": None, "low": None, "high": None}
    assert "For FST V-VI: there is no image of it" in " ".join(found["use"]["do_not_use"])
    assert "not estimable" in page(facts)
    verdict = next(r for r in found["verdicts"]["rows"] if r["group"] == "FST V-VI")
    assert verdict["verdict"] == "INSUFFICIENT EVIDENCE"


@pytest.mark.parametrize("metric", ["balanced accuracy", "macro auroc", "auroc"])
def test_limits_on_other_measures(metric: str, make_facts: MakeFacts) -> None:
    positive = ("melanoma",) if metric == "auroc" else ()
    audit = made_audit(made_predictions(), Limits(metric, margin=0.05, positive=positive))

    html = page(make_facts(audit=audit))

    assert f"points of {content(make_facts(audit=audit))['verdicts']['measure']}" in html


def test_names_that_are_html_stay_text(make_facts: MakeFacts) -> None:
    predictions = made_predictions(classes=(EVIL, "naevus", "psoriasis"))
    facts = make_facts()
    facts = replace(
        facts,
        case={**facts.case, "title": EVIL, "group_source": EVIL, "warnings": [EVIL]},
        run={**facts.run, "title": EVIL, "started_by": EVIL},
        cohort={**facts.cohort, "name": EVIL, "licence": EVIL},
        intended_use={key: EVIL for key in INTENDED_USE},
        predictions=predictions,
        audit=made_audit(predictions),
        cells=made_cells(predictions),
        saliency=made_saliency(predictions),
        decisions=[
            {
                **dict.fromkeys(("person", "role", "decision", "comment", "override"), EVIL),
                **{"sequence": 1, "time": EVIL, "verdict_seen": EVIL, "authenticated": False},
            }
        ],
        review={"state": "approved"},
    )
    found = content(facts)

    for html in (report_html(found), label_html(found, 9)):
        assert "<script" not in html
        assert "<img src=http" not in html
        assert "&lt;script&gt;" in html


def test_the_pdf_never_looks_outside(make_facts: MakeFacts, tmp_path: Path) -> None:
    """Even where a link got in: only addresses that hold their data are opened."""
    from fairquant_core.report.render import _document

    secret = tmp_path / "secret.txt"
    secret.write_text("secret words")
    document = _document(
        f'<html lang="en"><title>t</title><a rel=attachment href="{secret.as_uri()}">x</a>'
        f'<img alt="x" src="{secret.as_uri()}"><p>fine</p></html>'
    )

    assert b"secret words" not in document.write_pdf(uncompressed_pdf=True)


def many_classes() -> tuple[str, ...]:
    first = "a condition with a name that is far longer than any table was ever meant to hold, part"
    return tuple(f"{first} {number}" for number in range(21))


@pytest.fixture(scope="module")
def crowded(make_facts: MakeFacts) -> Facts:
    """21 long class names, six types, nine classes that must not be missed."""
    predictions = made_predictions(many_classes(), ("1", "2", "3", "4", "5", "6", ""), images=260)
    from fairquant_core.audit.summary import audit_summary

    audit: dict[str, Any] = audit_summary(
        predictions,
        group_column="tone",
        scheme="fst6",
        limits=Limits(),
        must_not_miss=predictions.classes[:9],
        resamples=12,
    )
    return make_facts(
        predictions=predictions,
        audit=audit,
        cells=made_cells(predictions),
        saliency=made_saliency(predictions),
        intended_use={key: "A long statement. " * 20 for key in INTENDED_USE},
        case={**make_facts().case, "title": "A title that goes on and on " * 8},
    )


def test_many_classes_and_long_names_fit(crowded: Facts, tmp_path: Path) -> None:
    found = content(crowded)
    path = tmp_path / "label.pdf"
    path.write_bytes(label_pdf(found))

    assert len(PdfReader(path).pages) == 1
    assert len(report_html(found)) > 100_000
    assert "and others" in " ".join(found["use"]["do_not_use"])
    unknown = [row for row in found["results"]["measures"][0]["rows"] if row["group"] == "unknown"]
    assert unknown[0]["n"] == crowded.audit["unknown"] > 0


def test_a_photograph_that_is_gone_leaves_a_gap(approved: Facts, tmp_path: Path) -> None:
    def gone(image_id: str) -> Any:
        raise ImageError(f"{image_id} not found")

    found = content(replace(approved, photograph=gone))

    assert found["saliency"]["pictures"] == []
    assert all(row["picture"] is None for row in found["failures"]["pictures"])
    assert "<img" not in report_html(found)


def test_a_run_that_changed_nothing(make_facts: MakeFacts) -> None:
    table = made_predictions()
    same = table.frame.copy()
    for name in table.classes:
        same[f"candidate:{name}"] = same[f"full precision:{name}"]
    predictions = type(table)(same, table.classes, table.models)
    facts = make_facts(predictions=predictions, audit=made_audit(predictions), plan=None)
    found = content(facts)

    assert found["failures"]["lost"] == found["failures"]["gained"] == 0
    assert "0 decisions right before and wrong now" in report_html(found)


def test_a_full_disk_leaves_no_half_file(
    make_facts: MakeFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairquant_core.report import write

    monkeypatch.setattr(write, "report_pdf", lambda *_: b"pdf")
    monkeypatch.setattr(write, "label_pdf", lambda *_: b"pdf")
    (tmp_path / "report.html").write_text("old")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(make_facts(), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"
