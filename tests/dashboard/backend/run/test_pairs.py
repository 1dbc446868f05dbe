"""Any two classifiers: what is computed equals the core, and mistakes are named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from dashboard.backend.run.pairs import Pairs
from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.measures import Measure
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary import audit_summary, compare, measure_rows
from fairquant_core.errors import EvaluationError
from tests.dashboard.made_data import case_view, predictions

LIMITS = Limits("sensitivity", 0.05, 3, positive=("dermatofibroma",))
CASE = case_view(limits=LIMITS)


def judged(table: Predictions) -> dict[str, Any]:
    return audit_summary(
        table,
        group_column="skin_type",
        scheme="fst3",
        limits=LIMITS,
        must_not_miss=CASE.must_not_miss,
        resamples=50,
    )


TABLES = {"run-a": predictions(), "run-b": predictions(0.3, 2)}
AUDITS = {name: judged(table) for name, table in TABLES.items()}


def pairs(tables: dict[str, Predictions] | None = None, **cases: str) -> Pairs:
    """The real thing over two runs; `cases` puts a run into another case."""
    tables = tables or TABLES
    runs = {
        name: SimpleNamespace(
            id=name, title="BAQ, 4 bits", case_id=cases.get(name[-1], "demo"), result_hash=name
        )
        for name in tables
    }
    row = SimpleNamespace(**{**vars(CASE), "limits": LIMITS.to_json()})
    results = SimpleNamespace(
        finished=runs.__getitem__, audit=AUDITS.__getitem__, predictions=tables.__getitem__
    )
    jobs = SimpleNamespace(rows=lambda **wanted: list(runs.values()))
    return Pairs(jobs, SimpleNamespace(row=lambda one: row), results)  # type: ignore[arg-type]


def core(table: Predictions, before: str, after: str, scheme: str) -> dict[str, Any]:
    return compare(
        table.part("audit"),
        before,
        after,
        group_column="skin_type",
        scheme=scheme,
        limits=LIMITS,
        must_not_miss=CASE.must_not_miss,
    )


def test_runs_of_the_same_title_are_told_apart() -> None:
    assert pairs().choices("run-a") == {
        "full precision": "full precision",
        "uniform 4-bit": "uniform 4-bit",
        "candidate": "candidate",
        "run-b": "BAQ, 4 bits (un-b)",
    }


def test_stored_pairs_are_read_and_others_computed_alike() -> None:
    read = pairs().pair("run-a", "uniform 4-bit", "candidate")
    computed = pairs().pair("run-a", "uniform 4-bit", "candidate", "fst2")

    stored = AUDITS["run-a"]["other_comparisons"][0]
    assert len(read.differences) == len(stored["metric_differences"])
    wanted = core(TABLES["run-a"], "uniform 4-bit", "candidate", "fst2")
    assert computed.groups == ("FST I-III", "FST IV-VI")
    assert computed.differences["difference"].tolist() == pytest.approx(
        [row["difference"] for row in wanted["metric_differences"]], nan_ok=True
    )


def test_candidates_of_two_runs() -> None:
    own, other = (TABLES[name].part("audit") for name in TABLES)
    pair = pairs().pair("run-a", "candidate", "run-b")

    changed = own.correct("candidate") != other.correct("candidate")
    assert set(pair.flips["id"]) == set(own.frame["id"][changed])
    row = pair.differences.set_index(["measure", "group"]).loc["accuracy", "overall"]
    gain = other.correct("candidate").mean() - own.correct("candidate").mean()
    assert row["difference"] == pytest.approx(gain)


def test_the_measure_of_the_limits_is_there_though_no_class_is_marked_for_it() -> None:
    titles = [kind["measure"] for kind in pairs().measures("run-a")]

    assert titles.count("sensitivity (dermatofibroma)") == 1
    assert "sensitivity (dermatofibroma)" in {
        row["measure"] for row in AUDITS["run-a"]["metrics"]["candidate"]["by_group"]
    }


def test_rows_of_a_measure_with_other_groups_and_another_run() -> None:
    rows = pairs().measure_rows("run-a", "accuracy", "fst6", ("run-b",))

    table = TABLES["run-b"].part("audit")
    wanted = measure_rows(
        table, Measure("accuracy"), group_column="skin_type", scheme="fst6", limits=LIMITS
    )
    values = {row["group"]: row["value"] for row in wanted if row["model"] == "candidate"}
    shown = rows[rows["model"] == "BAQ, 4 bits (un-b)"].set_index("group")["value"]
    assert shown.to_dict() == pytest.approx(values)
    assert set(rows["model"]) == set(pairs().choices("run-a").values())


def test_stored_rows_equal_computed_ones() -> None:
    stored = pairs().measure_rows("run-a", "accuracy", "fst3")
    computed = pd.DataFrame(
        measure_rows(
            TABLES["run-a"].part("audit"),
            Measure("accuracy"),
            group_column="skin_type",
            scheme="fst3",
            limits=LIMITS,
        )
    )

    for figure in ("n", "value", "low", "high"):
        assert stored[figure].tolist() == pytest.approx(computed[figure].tolist(), nan_ok=True)


def test_mistakes_are_named() -> None:
    with pytest.raises(EvaluationError, match="two different classifiers"):
        pairs().pair("run-a", "candidate", "candidate")
    with pytest.raises(EvaluationError, match="no measure 'beauty'"):
        pairs().measure_rows("run-a", "beauty")
    with pytest.raises(EvaluationError, match="belongs to another case"):
        pairs(b="other").pair("run-a", "candidate", "run-b")
    other = TABLES["run-b"]
    audit = other.frame.index[other.frame["split"] == "audit"]
    fewer = Predictions(other.frame.drop(audit[:2]), other.classes, other.models)
    with pytest.raises(EvaluationError, match="do not hold the same images"):
        pairs({**TABLES, "run-b": fewer}).pair("run-a", "candidate", "run-b")
