"""The audit document: complete, plain JSON, and readable as a table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary import (
    audit_summary,
    compare,
    print_table,
    summary_table,
    table_text,
)
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
    assert "macro AUROC" in text and "3 of 3 classes estimable" in text
    assert "demographic parity not estimable: no class is marked" in text


def test_wrong_names(random_predictions: Predictions) -> None:
    with pytest.raises(EvaluationError, match="no model 'other'"):
        audit_summary(random_predictions, candidate="other", **ASKED)
    with pytest.raises(EvaluationError, match="no group column"):
        audit_summary(random_predictions, **{**ASKED, "group_column": "sex"})


def test_keys_that_pages_read(random_predictions: Predictions) -> None:
    summary = audit_summary(random_predictions, must_not_miss=["melanoma", "nevus"], **ASKED)
    metrics = summary["metrics"]["candidate"]
    assert set(metrics) == {
        "by_group",
        "between_groups",
        "fairness",
        "fairness_by_class",
        "calibration",
        "confusion",
    }
    measures = [row["measure"] for row in summary["measures"]]
    groups = ["overall", *summary["groups"], "unknown"]
    rows = pd.DataFrame(metrics["by_group"])
    assert list(rows.columns) == [
        "measure",
        "group",
        "n",
        "n_positive",
        "n_negative",
        "classes_estimable",
        "value",
        "low",
        "high",
        "estimable",
        "reason",
    ]
    assert rows["measure"].unique().tolist() == measures
    assert len(rows) == len(measures) * len(groups)
    assert [row["measure"] for row in metrics["between_groups"]] == measures
    changes = summary["comparisons"]["candidate"]["metric_differences"]
    assert len(changes) == len(rows)
    assert summary["comparisons"]["candidate"]["before"] == "full precision"
    assert set(summary["questions"]) == {
        "schemes",
        "intersections",
        "annotators",
        "unknown",
        "left_out",
    }
    assert list(metrics["confusion"]) == groups


def test_the_same_figure_is_the_same_everywhere(random_predictions: Predictions) -> None:
    summary = audit_summary(random_predictions, must_not_miss=["melanoma"], **ASKED)
    for model in summary["models"]:
        rows = pd.DataFrame(summary["metrics"][model]["by_group"]).set_index(["measure", "group"])
        accuracy = summary["accuracy"][model]
        for row in (accuracy["overall"], *accuracy["by_group"]):
            found = rows.loc[("accuracy", row["group"])]
            assert (found["value"], found["low"], found["high"]) == pytest.approx(
                (row["accuracy"], row["low"], row["high"]), abs=1e-12
            )
        between = {row["measure"]: row for row in summary["metrics"][model]["between_groups"]}
        gap = accuracy["gap"]
        assert between["accuracy"]["worst_group"] == accuracy["worst_group"]
        assert [between["accuracy"][key] for key in ("gap", "gap_low", "gap_high")] == (
            pytest.approx([gap["value"], gap["low"], gap["high"]], abs=0.01)
        )
        for row in summary["balanced_accuracy"][model]:
            found = rows.loc[("balanced accuracy", row["group"])]
            assert found["value"] == row["balanced_accuracy"] and found["low"] == row["low"]
        for row in summary["must_not_miss_rates"][model]:
            found = rows.loc[("sensitivity (melanoma)", row["group"])]
            assert found["value"] == pytest.approx(row["sensitivity"], abs=1e-12)
    comparison = summary["comparisons"]["candidate"]
    changes = {
        row["group"]: row
        for row in comparison["metric_differences"]
        if row["measure"] == "accuracy"
    }
    for row in comparison["differences"]:
        assert changes[row["group"]]["low"] == pytest.approx(row["low"], abs=1e-12)
    (answer,) = (a for a in summary["questions"]["schemes"] if a["scheme"] == "fst3")
    assert answer["verdict"] == summary["verdict"]
    assert answer["differences"] == comparison["differences"]


def test_any_two_models(random_predictions: Predictions) -> None:
    rng = np.random.default_rng(0)
    values = rng.dirichlet(np.ones(3), 300)
    table = random_predictions.with_model("uniform 4-bit", values)
    summary = audit_summary(table, must_not_miss=["melanoma"], **ASKED)
    (other,) = summary["other_comparisons"]
    assert (other["before"], other["after"]) == ("uniform 4-bit", "candidate")
    again = compare(table, "uniform 4-bit", "candidate", must_not_miss=["melanoma"], **ASKED)
    assert again == other
    back = compare(table, "candidate", "uniform 4-bit", **ASKED)
    assert back["flips"]["lost"] == other["flips"]["gained"]


def test_limits_on_a_missed_class_reach_the_verdict(make_predictions: MakePredictions) -> None:
    labels = ["melanoma"] * 60 + ["nevus"] * 60
    worse = ["nevus"] * 40 + labels[40:]
    table = make_predictions(labels, ["1", "6"] * 60, full_precision=labels, candidate=worse)
    asked = ASKED | {"limits": Limits("sensitivity", positive=("melanoma",))}
    summary = audit_summary(table, must_not_miss=["melanoma"], **asked)
    assert summary["verdict"] == "OUTSIDE"
    assert summary["sentence"].startswith("More than 2 points of sensitivity (melanoma) are lost")
    spared = audit_summary(
        table, **(ASKED | {"limits": Limits("specificity", 0.2, positive=("melanoma",))})
    )
    assert spared["verdict"] == "INSUFFICIENT EVIDENCE"  # FST III-IV holds no image at all
    assert spared["comparisons"]["candidate"]["verdicts"][0]["verdict"] == "WITHIN"


def test_ties_are_noted(make_predictions: MakePredictions) -> None:
    labels = ["nevus"] * 30
    table = make_predictions(labels, ["1"] * 30, full_precision=labels, candidate=labels)
    tied = np.tile(np.float32([0.5, 0.5, 0.0]), (30, 1))
    summary = audit_summary(table.with_model("candidate", tied), **ASKED)
    assert any("candidate: 30 images have two most probable" in note for note in summary["notes"])
    assert not any("full precision: " in note for note in summary["notes"])


def test_one_class_and_no_known_group_still_make_a_document(
    make_predictions: MakePredictions,
) -> None:
    table = make_predictions(
        ["nevus"] * 5,
        ["-1"] * 5,
        classes=["nevus"],
        full_precision=["nevus"] * 5,
        candidate=["nevus"] * 5,
    )
    summary = audit_summary(table, must_not_miss=["nevus"], **ASKED)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["verdict"] == "INSUFFICIENT EVIDENCE"
    rows = {
        (row["measure"], row["group"]): row for row in summary["metrics"]["candidate"]["by_group"]
    }
    macro = rows["macro AUROC", "overall"]
    assert macro["value"] is None and macro["reason"]
    fairness = summary["metrics"]["candidate"]["fairness"]
    assert not any(row["estimable"] for row in fairness)


def test_unknown_classes_are_refused(random_predictions: Predictions) -> None:
    with pytest.raises(EvaluationError, match="'wart' cannot be scored"):
        audit_summary(random_predictions, must_not_miss=["wart"], **ASKED)
    limits = Limits("sensitivity", positive=("wart",))
    with pytest.raises(EvaluationError, match="'wart' cannot be scored"):
        audit_summary(random_predictions, **(ASKED | {"limits": limits}))


def test_audit_does_not_import_torch() -> None:
    code = (
        "import sys, fairquant_core.audit.summary, fairquant_core.explain.drift; "
        "import fairquant_core.explain.catalogue; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'captum', 'torchvision')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
