"""The model card: its header read by another YAML library, its tables by a Markdown parser."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from ruamel.yaml import YAML

from fairquant_core.audit.criteria import Limits
from fairquant_core.export.model_card import model_card
from fairquant_core.report.content import content, without_pictures
from fairquant_core.report.facts import Facts
from tests.core.report.conftest import base_facts, decision, made_audit, made_predictions, old_audit

GROUPS = ["overall", "FST I-II", "FST III-IV", "FST V-VI"]


def facts_of(facts: Facts, **more: Any) -> dict[str, Any]:
    """As the application puts them together."""
    known = {
        "name": "Lesions of the north clinic",
        "classifier": facts.classifier,
        "cohort": facts.cohort,
        "method": "Planned widths",
        "size": facts.audit.get("size"),
        "report": without_pictures(content(facts)),
        "approval": decision("approve", 3, override="Looked at | every one\n# of them <b>"),
        "hashes": facts.hashes,
        "preprocessing": {
            "size": 224,
            "crop_fraction": 0.9,
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.25],
        },
    }
    return {**known, **more}


@pytest.fixture(scope="module")
def audit() -> dict[str, Any]:
    return dict(base_facts().audit)


@pytest.fixture(scope="module")
def card(audit: dict[str, Any]) -> str:
    plan = base_facts().plan
    assert plan is not None
    return model_card(audit, plan.to_json(), facts_of(base_facts()))


def header_of(card: str) -> dict[str, Any]:
    """What a YAML 1.2 library that we do not use elsewhere reads."""
    assert card.startswith("---\n")
    return YAML(typ="safe").load(card.split("\n---\n")[0])


def tables_of(card: str) -> dict[str, list[list[str]]]:
    """Heading -> cells of the last table under it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split("\n---\n", 1)[1])
    found, heading = {}, ""
    for node in SyntaxTreeNode(tokens).children:
        if node.type == "heading":
            heading = _words(node)
        elif node.type == "table":
            found[heading] = [
                [_words(cell) for cell in row.children]
                for part in node.children
                for row in part.children
            ]
    return found


def _words(node: SyntaxTreeNode) -> str:
    return "".join(leaf.content for leaf in node.walk() if leaf.type in ("text", "code_inline"))


def test_the_header_holds_the_figures_of_the_audit_for_every_group(
    card: str, audit: dict[str, Any]
) -> None:
    (index,) = header_of(card)["model-index"]
    assert [result["dataset"]["config"] for result in index["results"]] == GROUPS
    expected = {
        (row["group"], row["measure"]): row for row in audit["metrics"]["candidate"]["by_group"]
    }
    compared = 0
    for result in index["results"]:
        assert result["dataset"]["split"] == "audit"
        assert result["dataset"]["revision"] == "ef" * 32
        for metric in result["metrics"]:
            row = expected[result["dataset"]["config"], metric["name"]]
            args = metric["args"]
            assert metric["value"] == row["value"]
            assert (args["low"], args["high"], args["n"]) == (row["low"], row["high"], row["n"])
            assert args["level"] == 0.95
            compared += 1
    assert compared == 4 * 8


def test_a_model_hub_reads_it(card: str) -> None:
    data = ModelCard(card, ignore_metadata_errors=False).data
    assert (data.library_name, data.pipeline_tag) == ("onnx", "image-classification")
    assert {"onnx", "resnet18", "verdict:insufficient-evidence"} <= set(data.tags)
    assert data.license is None and "license" not in header_of(card)
    accuracy = [one for one in data.eval_results if one.metric_type == "accuracy"]
    assert [one.dataset_config for one in accuracy] == GROUPS


def test_a_licence_is_named_where_it_is_known(audit: dict[str, Any]) -> None:
    card = model_card(audit, None, facts_of(base_facts(), license="apache-2.0"))
    assert header_of(card)["license"] == "apache-2.0"
    assert "Licence of this classifier: apache-2.0." in card


def test_the_table_of_verdicts_says_what_the_audit_says(card: str, audit: dict[str, Any]) -> None:
    rows = tables_of(card)["Results for each group"]
    assert rows[0] == ["Group", "Images", "Before", "After", "Change", "Verdict"]
    judged = audit["comparisons"]["candidate"]
    verdicts = {row["group"]: row["verdict"] for row in judged["verdicts"]}
    accuracy = audit["accuracy"]["candidate"]
    after = {row["group"]: row for row in [accuracy["overall"], *accuracy["by_group"]]}
    for cells, row in zip(rows[1:], judged["differences"], strict=True):
        own = after[row["group"]]
        assert cells[0] == ("All images" if row["group"] == "overall" else row["group"])
        assert cells[1] == str(row["n"])
        assert cells[3] == (
            f"{100 * own['accuracy']:.1f} % ({100 * own['low']:.1f} to {100 * own['high']:.1f})"
        )
        assert cells[4] == (
            f"{100 * row['difference']:+.1f} points "
            f"({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
        )
        assert cells[5] == verdicts[row["group"]]
    for row in judged["verdicts"]:
        assert row["sentence"] in card


def test_every_section_is_there(card: str) -> None:
    headings = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        "What it is",
        "What it is for",
        "When not to use it",
        "How it was made smaller",
        "Results for each group",
        "What this cannot tell",
        "Where it changed its mind",
        "Who answers for it",
        "How to use it",
        "How to check it",
    ]
    for words in (
        "Fitzpatrick types as seen by two dermatologists",
        "Commercially: the licence of the images is CC BY-NC-SA 3.0.",
        "1.5 MB instead of 9 MB, 6.0 times smaller",
        "scale its shorter side to 249 pixels (bicubic)",
        "python -m fairquant_core verify BUNDLE.zip",
    ):
        assert words in card
    assert tables_of(card)["How it was made smaller"][1:] == [
        [bits, "33.3 %"] for bits in ("2", "4", "6")
    ]


def test_the_size_is_that_of_the_file_that_leaves(audit: dict[str, Any]) -> None:
    size = {"on_disk": 900_000, "ideal": 890_000, "float32": 9_000_000}
    exported = {"size": size, "latency": {}}
    card = model_card(audit, None, facts_of(base_facts(), check=exported))
    assert "0.9 MB instead of 9 MB, 10.0 times smaller" in card and "1.5 MB" not in card


def test_what_people_typed_cannot_draw_a_heading_or_a_cell(card: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split("\n---\n", 1)[1])
    root = SyntaxTreeNode(tokens)
    texts = [_words(node) for node in root.walk() if node.type == "paragraph"]
    assert any(text.endswith("Looked at | every one # of them <b>") for text in texts)
    assert not [node for node in root.walk() if node.type in ("html_block", "html_inline")]


@pytest.mark.parametrize(
    "name", ["a: b # c", "---\nverdict: [", "yes", "'\"\\", "null", "1e5", "0o7", "é\u2028"]
)
def test_names_cannot_break_the_header(audit: dict[str, Any], name: str) -> None:
    facts = facts_of(base_facts(), name=name, cohort={"name": name, "fingerprint": "1e5"})
    (index,) = header_of(model_card(audit, None, facts))["model-index"]
    assert index["name"] == name
    assert index["results"][0]["dataset"]["name"] == name
    assert index["results"][0]["dataset"]["revision"] == "1e5"


def test_what_cannot_be_estimated_stays_words() -> None:
    predictions = made_predictions(tones=("1", "4"))
    audit = made_audit(predictions, Limits(margin=0.05, minimum_images=100))
    card = model_card(audit, None, {})
    (index,) = header_of(card)["model-index"]
    last = index["results"][-1]
    assert last["dataset"]["config"] == "FST V-VI"
    for metric in last["metrics"]:
        assert metric["value"] == "not estimable"
        assert metric["args"]["reason"]
        assert "low" not in metric["args"]
    rows = tables_of(card)["Results for each group"]
    assert rows[-1] == ["FST V-VI", "0", *["not estimable"] * 3, "INSUFFICIENT EVIDENCE"]
    assert "0.0 %" not in "".join(rows[-1])


def test_without_an_approval_it_says_so_first_hand(audit: dict[str, Any]) -> None:
    card = model_card(audit, None, {})
    assert "Nobody has approved this classifier" in card
    assert "Nobody has written down what it is for" in card
    assert "it is a proxy" in card


def test_pictures_that_were_drawn_are_called_so(audit: dict[str, Any]) -> None:
    card = model_card(audit, None, {"cohort": {"name": "Demo", "synthetic": True}})
    assert "Nothing here says anything about real people" in card
    (index,) = header_of(card)["model-index"]
    assert index["results"][0]["dataset"]["args"]["synthetic"] is True


def test_an_audit_of_before_the_other_figures_still_has_a_card(audit: dict[str, Any]) -> None:
    card = model_card(old_audit(audit), None, {})
    (index,) = header_of(card)["model-index"]
    values = [result["metrics"][0]["value"] for result in index["results"]]
    accuracy = audit["accuracy"]["candidate"]
    assert values == [row["accuracy"] for row in [accuracy["overall"], *accuracy["by_group"]]]
    assert "audited before the other figures existed" in card


def test_other_limits_put_their_measure_first() -> None:
    limits = Limits("sensitivity", margin=0.1, positive=("melanoma",), minimum_images=5)
    audit = made_audit(made_predictions(), limits)
    card = model_card(audit, None, {})
    assert "the sensitivity (melanoma) of no group may fall by more than 10.0 points" in card
    rows = tables_of(card)["Results for each group"]
    expected = audit["comparisons"]["candidate"]["differences"][0]
    assert rows[1][1] == str(expected["n"])
    assert rows[1][3].startswith(f"{100 * expected['after']:.1f} % (")


def test_the_same_facts_give_the_same_card(card: str, audit: dict[str, Any]) -> None:
    plan = base_facts().plan
    assert plan is not None
    assert model_card(audit, plan.to_json(), facts_of(base_facts())) == card
