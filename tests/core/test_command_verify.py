"""What ``verify`` prints for people, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairquant_core.command_line import main
from fairquant_core.command_verify import QUESTIONS
from fairquant_core.export.bundle import write_bundle
from fairquant_core.export.signing import local_key
from fairquant_core.export.verification import verify
from tests.core.export.made_bundle import members_of, without_signature

MADE = {"run": "run-1", "case": "case-1", "verdict": "OUTSIDE"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Whole and signed; nobody has approved it."""
    path = tmp_path / "bundle.zip"
    write_bundle(path, {"model.safetensors": b"x"}, MADE, key=local_key(tmp_path / "keys"))
    return path


def test_every_check_has_its_question(bundle: Path) -> None:
    assert [check.name for check in verify(bundle).checks] == list(QUESTIONS)


def test_a_bundle_that_nobody_approved(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle), "--quiet"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["Case         case-1", "Run          run-1", "Verdict      OUTSIDE"]
    assert "PASSED       Signature: is everything as it was signed?" in lines
    assert "NOT CHECKED  Signing key: did somebody sign whom you trust?" in lines
    assert "FAILED       Approval: did somebody approve exactly this?" in lines
    assert lines[-1].endswith(
        "does NOT verify: Decision log, Approval, Audit figures. Do not use it; ask for it again."
    )


def test_damage_is_told_once(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle.write_bytes(bundle.read_bytes()[:-1])
    assert main(["verify", str(bundle), "--quiet"]) == 1
    out = capsys.readouterr().out
    assert out.count("the bytes of the bundle are not whole") == 1
    assert out.count("NOT CHECKED") == 10


def test_answers_for_programs(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["about"] == MADE and found["passed"] is False
    assert {check["result"] for check in found["checks"]} == {"PASSED", "FAILED", "NOT CHECKED"}


def test_a_bundle_cannot_write_on_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Texts in a bundle are a stranger's: they must not look like answers of this program."""
    path = tmp_path / "bundle.zip"
    write_bundle(
        path, {"a": b"x"}, {"run": "x\nPASSED       Approval\x1b[1A\u202e"}, key=local_key(tmp_path)
    )
    main(["verify", str(path), "--quiet"])
    out = capsys.readouterr().out
    assert "Run          x PASSED Approval?[1A?" in out.splitlines()
    assert "\x1b" not in out and "\u202e" not in out


def test_a_bundle_without_a_signature_does_not_verify(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_signature(bundle, members_of(bundle))
    assert main(["verify", str(bundle), "--quiet"]) == 1
    assert "The bundle is not signed (format 1)" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["{}/none.zip"], ["{}/bundle.zip", "--key", "{}/none.pub"]])
def test_what_is_not_there(
    arguments: list[str], bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *(each.format(bundle.parent) for each in arguments)]) == 2
    assert "none." in capsys.readouterr().err
