"""The audit document: complete, plain JSON, and readable as a table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary import audit_summary, print_table, summary_table, table_text
from fairquant_core.errors import EvaluationError

MakePredictions = Callable[..., Predictions]


ASKED = {"group_column": "tone", "scheme": "fst3", "limits": Limits(), "resamples": 100}


def test_document_is_json_and_agrees_with_the_table(random_predictions: Predictions) -> None:
    summary = audit_summary(random_predictions, must_not_miss=["melanoma"], **ASKED)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["groups"] == ["FST I-II", "FST III-IV", "FST V-VI"]
    table = summary_table(summary).set_index("group")
    correct = random_predictions.correct("candidate")
    assert table.loc["overall", "candidate"] == pytest.approx(correct.mean())
    known = table.drop(["overall", "unknown"])
    assert table.loc["overall", "lost"] == table.drop("overall")["lost"].sum()
    assert set(known["verdict"]) <= {"WITHIN", "OUTSIDE", "INSUFFICIENT EVIDENCE"}
    assert table.loc["unknown", "verdict"] == ""
    comparison = summary["comparisons"]["candidate"]
    flips = comparison["flips"]
    assert flips["lost"] == sum(row["lost"] for row in flips["by_group"].values())
    assert comparison["gap_change"]["low"] is not None
    rates = summary["must_not_miss_rates"]["candidate"]
    assert {row["class"] for row in rates} == {"melanoma"}


def test_empty_group_is_null_and_said(make_predictions: MakePredictions) -> None:
    labels = ["nevus"] * 30
    table = make_predictions(labels, ["1"] * 30, full_precision=labels, candidate=labels)
    summary = audit_summary(table, **ASKED)
    dark = summary["accuracy"]["candidate"]["by_group"][2]
    assert dark["group"] == "FST V-VI" and dark["accuracy"] is None and not dark["estimable"]
    assert summary["verdict"] == "INSUFFICIENT EVIDENCE"
    assert "FST V-VI: no image, not estimable." in summary["notes"]
    assert "not estimable" in table_text(summary)


def test_only_the_audit_split_counts(make_predictions: MakePredictions) -> None:
    labels, worse = ["nevus"] * 40, ["nevus"] * 20 + ["melanoma"] * 20
    split = ["audit"] * 20 + ["train"] * 20
    table = make_predictions(
        labels, ["1"] * 40, split=split, full_precision=labels, candidate=worse
    )
    assert audit_summary(table, **ASKED)["images"] == 20
    assert audit_summary(table, split=None, **ASKED)["comparisons"]["candidate"]["flips"] == {
        "lost": 20,
        "gained": 0,
        "by_group": {
            "FST I-II": {"lost": 20, "gained": 0},
            "FST III-IV": {"lost": 0, "gained": 0},
            "FST V-VI": {"lost": 0, "gained": 0},
        },
    }


def test_reference_alone_has_no_verdict(random_predictions: Predictions) -> None:
    alone = Predictions(
        random_predictions.frame.loc[:, lambda frame: ~frame.columns.str.startswith("candidate:")],
        random_predictions.classes,
        ("full precision",),
    )
    summary = audit_summary(alone, candidate=None, **ASKED)
    assert summary["verdict"] is None and summary["comparisons"] == {}
    assert "verdict" not in summary_table(summary)


def test_print(random_predictions: Predictions, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(audit_summary(random_predictions, **ASKED))
    text = capsys.readouterr().out
    assert "FST V-VI" in text and "Verdict: " in text and "nan" not in text


def test_wrong_names(random_predictions: Predictions) -> None:
    with pytest.raises(EvaluationError, match="no model 'other'"):
        audit_summary(random_predictions, candidate="other", **ASKED)
    with pytest.raises(EvaluationError, match="no group column"):
        audit_summary(random_predictions, **{**ASKED, "group_column": "sex"})


def test_audit_does_not_import_torch() -> None:
    code = (
        "import sys, fairquant_core.audit.summary, fairquant_core.explain.drift; "
        "import fairquant_core.explain.catalogue; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'captum', 'torchvision')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
