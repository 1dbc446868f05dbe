"""The model card and the program in a bundle, as the application puts them there."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from dashboard.backend.services import Services
from dashboard.backend.settings import REPOSITORY
from fairquant_core.export.bundle_check import Result
from fairquant_core.export.signing import local_key
from fairquant_core.export.verification import verify
from tests.dashboard.backend.made_results import approve, finish_export, finish_report


@pytest.fixture
def bundle(finished_run: str, services: Services, tmp_path: Path) -> Path:
    finish_export(services, finished_run, tmp_path)
    approve(services, finished_run, comment="Looks | safe.")
    finish_report(services, finished_run, tmp_path)
    return services.export(finished_run, "Kwame")


def test_the_card_says_what_the_audit_and_the_approval_say(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as opened:
        card = opened.read("MODEL_CARD.md").decode()
        audit = json.loads(opened.read("audit.json"))
        plan = json.loads(opened.read("plan.json"))
    (index,) = YAML(typ="safe").load(card.split("\n---\n")[0])["model-index"]
    rows = {
        (row["group"], row["measure"]): row for row in audit["metrics"]["candidate"]["by_group"]
    }
    compared = 0
    for result in index["results"]:
        for metric in result["metrics"]:
            row = rows[result["dataset"]["config"], metric["name"]]
            assert metric["value"] == ("not estimable" if row["value"] is None else row["value"])
            assert metric["args"].get("low") == row["low"]
            compared += 1
    assert compared >= 4 * (1 + len(audit["groups"]))
    assert "Approved by Kwame (clinician)" in card
    assert "Comment: Looks \\| safe." in card
    assert "scale its shorter side to 8 pixels (bicubic)" in card
    assert "fast.onnx computes with whole numbers" in card
    assert plan and "| 4 | 100.0 % |" in card


def test_the_program_that_classifies_a_photograph_comes_along(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as opened:
        assert opened.read("classify.py") == (REPOSITORY / "examples/classify.py").read_bytes()
        assert "`python classify.py model.onnx photo.jpg`" in opened.read("MODEL_CARD.md").decode()


def test_what_the_application_exports_verifies(bundle: Path, services: Services) -> None:
    found = verify(bundle, key=local_key(services.settings.keys).public_path)
    results = {check.name: check.result for check in found.checks}
    assert results.pop("Predictions") == Result.NOT_CHECKED
    assert set(results.values()) == {Result.PASSED}, [check.sentence for check in found.failed]
    assert found.about["verdict"] == "WITHIN"
