"""What the report says, against the audit it was made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fairquant_core.audit.comparison import flips
from fairquant_core.audit.criteria import Limits
from fairquant_core.explain.lesion import group_shares
from fairquant_core.report.content import content
from fairquant_core.report.facts import Facts
from fairquant_core.report.render import report_html
from fairquant_core.report.results import main_measures, other_measures
from fairquant_core.sensitivity.maps import MeasuredMap
from tests.core.report.conftest import MakeFacts, made_audit, made_predictions


def test_values_per_group_are_those_of_the_audit(make_facts: MakeFacts) -> None:
    facts = make_facts()
    found = content(facts)["results"]

    for table in found["measures"]:
        for row in table["rows"]:
            for side, model in (("before", "full precision"), ("after", "candidate")):
                one = next(
                    each
                    for each in facts.audit["metrics"][model]["by_group"]
                    if (each["measure"], each["group"]) == (table["measure"], row["group"])
                )
                assert row[side] == {name: one[name] for name in ("value", "low", "high")}


def test_every_measure_is_shown_once(make_facts: MakeFacts) -> None:
    facts = make_facts()
    found = content(facts)["results"]
    shown = [table["measure"] for table in (*main_measures(found), *other_measures(found))]

    assert sorted(shown) == sorted(kind["measure"] for kind in facts.audit["measures"])
    assert shown[0] == "accuracy"


def test_the_judged_measure_comes_first(make_facts: MakeFacts) -> None:
    limits = Limits("sensitivity", margin=0.05, positive=("melanoma",))
    facts = make_facts(audit=made_audit(made_predictions(), limits))
    found = content(facts)

    assert main_measures(found["results"])[0]["measure"] == "sensitivity (melanoma)"
    assert found["verdicts"]["measure"] == "sensitivity (melanoma)"


def test_shares_of_the_widths_add_up(make_facts: MakeFacts) -> None:
    found = content(make_facts())["compression"]

    assert sum(row["share"] for row in found["widths"]) == pytest.approx(1)
    mean = sum(row["bits"] * row["share"] for row in found["widths"])
    assert mean == pytest.approx(make_facts().plan.average_bits)  # type: ignore[union-attr]


def test_cells_of_the_heatmap_are_those_of_the_map(make_facts: MakeFacts) -> None:
    facts = make_facts()
    assert facts.sensitivity is not None
    frame = facts.sensitivity.layer_frame(4)
    found = content(facts)["layers"]

    assert found["bits"] == 4
    for row in found["rows"]:
        expected = frame[frame["layer"] == row["layer"]]["value"].tolist()
        assert [cell["value"] for cell in row["cells"]] == pytest.approx(expected)


def test_a_measured_map_comes_before_a_prediction_and_turns_losses_round(
    make_facts: MakeFacts,
) -> None:
    row = {"layer": "stem", "bits": 4, "group": "FST I-II", "n": 30, "loss_change": 0.1}
    row |= {"loss_low": 0.0, "loss_high": 0.2}
    row |= {"accuracy_change": -0.03, "accuracy_low": -0.05, "accuracy_high": 0.01}
    found = content(make_facts(measured=MeasuredMap(pd.DataFrame([row]))))["layers"]

    cell = found["rows"][0]["cells"][0]
    assert found["is_measured"]
    assert (cell["value"], cell["low"], cell["high"]) == pytest.approx((0.03, -0.01, 0.05))
    assert not found["top_is_certain"]


def test_changed_decisions_are_those_of_the_audit(make_facts: MakeFacts) -> None:
    facts = make_facts()
    assert facts.predictions is not None
    groups = facts.predictions.groups("tone", "fst3")
    rows = flips(facts.predictions, "full precision", "candidate", groups)
    found = content(facts)["failures"]

    assert {row["id"] for row in found["listed"]} == set(rows["id"])
    assert found["lost"] == (rows["kind"] == "lost").sum()
    missed = rows[(rows["kind"] == "lost") & (rows["label"] == "melanoma")]
    assert found["critical_lost"] == len(missed)
    kinds = [(row["kind"] != "lost", not row["critical"]) for row in found["listed"]]
    assert kinds == sorted(kinds)


def test_no_image_without_being_asked(make_facts: MakeFacts, approved: Facts) -> None:
    silent, shown = content(make_facts()), content(approved)

    assert silent["saliency"]["pictures"] == silent["failures"]["pictures"] == []
    assert not silent["about"]["with_images"]
    assert len(shown["saliency"]["pictures"]) == 6
    assert shown["failures"]["pictures"]
    assert shown["saliency"]["pictures"][0]["before"] != shown["saliency"]["pictures"][0]["after"]


def test_uses_that_the_evidence_does_not_support(make_facts: MakeFacts) -> None:
    facts = make_facts()
    found = content(facts)
    texts = " ".join(found["use"]["do_not_use"])

    for row in found["verdicts"]["rows"]:
        if row["group"] != "overall":
            assert (row["group"] in texts) == (row["verdict"] != "WITHIN")
    assert "Commercially: the licence of the images is CC BY-NC-SA 3.0." in texts
    free = replace(facts, cohort={**facts.cohort, "licence": "CC0", "synthetic": True})
    assert "Commercially" not in " ".join(content(free)["use"]["do_not_use"])
    assert "On any person" in content(free)["use"]["do_not_use"][0]


def test_a_draft_says_why(make_facts: MakeFacts) -> None:
    for state, words in (("none", "Nobody has decided"), ("void", "no longer holds")):
        about = content(make_facts(review={"state": state}))["about"]
        assert about["draft"] == "DRAFT: NOT APPROVED"
        assert words in about["draft_reason"]


def test_an_override_of_a_withdrawn_approval_is_no_headline(approved: Facts) -> None:
    withdrawn = replace(approved, review={"state": "withdrawn"})

    assert content(approved)["about"]["override"]
    assert not content(withdrawn)["about"]["override"]
    assert content(withdrawn)["about"]["draft"]


def test_agreement_of_two_annotators_is_a_limit_and_an_answer(make_facts: MakeFacts) -> None:
    table = made_predictions()
    second = np.where(np.arange(150) % 3 == 0, "1", table.frame["tone"])
    frame = table.frame.assign(tone_clinic=second)
    both = type(table)(frame, table.classes, table.models)
    found = content(make_facts(audit=made_audit(both)))

    titles = [row["title"] for row in found["limits"]]
    assert "Annotators disagree" in titles
    assert "One annotator" not in titles
    rows = {f"{row['guideline']} {row['item']}": row for row in found["checklist"]}
    assert rows["CLAIM 18"]["state"] == "MET"
    assert rows["CLAIM 30"]["state"] == "MET"


def test_the_gaze_on_the_lesion_is_told_where_there_are_masks(make_facts: MakeFacts) -> None:
    facts = make_facts()
    assert facts.saliency is not None
    plain = report_html(content(facts))
    groups = facts.saliency.by_group["group"]
    rng = np.random.default_rng(2)
    area, before, after = rng.uniform(0.1, 0.9, (3, len(facts.saliency.images)))
    shares = group_shares(
        *(area, before, after),
        facts.saliency.images["group"],
        order=list(groups),
        resamples=20,
    )
    by_group = facts.saliency.by_group.merge(shares, on="group")
    masked = report_html(
        content(replace(facts, saliency=replace(facts.saliency, by_group=by_group)))
    )

    assert "How much of the gaze lies on the lesion" not in plain
    part = masked.split("How much of the gaze lies on the lesion")[1].split("</table>")[0]
    part = part.replace("\N{NO-BREAK SPACE}", " ")
    for row in shares.to_dict("records"):
        assert f"{100 * row['lesion_after']:.1f} %" in part
        assert f"{100 * row['lesion_area']:.0f} %" in part
