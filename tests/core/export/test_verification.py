"""Verifying a bundle: every question gets its answer, and no forgery passes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import CohortError, ExportError
from fairquant_core.export.bundle import MANIFEST, write_bundle
from fairquant_core.export.bundle_check import Result
from fairquant_core.export.onnx.file import read_onnx, write_onnx
from fairquant_core.export.signing import SIGNATURE_FILE, SigningKey
from fairquant_core.export.verification import tampering, verify
from tests.core.export.made_bundle import (
    IMAGES,
    RUN,
    Files,
    Make,
    approval,
    chained,
    edit_json,
    failed,
    members_of,
    put_back,
    usual_log,
    with_decisions,
    without_signature,
)

PASSED, FAILED, OPEN = Result.PASSED, Result.FAILED, Result.NOT_CHECKED


def test_an_honest_bundle_passes_every_check(
    whole_bundle: Path, signing_key: SigningKey, audited_cohort: Path
) -> None:
    found = verify(whole_bundle, key=signing_key.public_path, cohort=audited_cohort)
    assert [check.sentence for check in found.checks if check.result != PASSED] == []
    assert len(found.checks) == 11
    rows = {row["group"]: row for row in found.check("Predictions").rows}
    assert rows["FST I-II"]["same_class"] == rows["FST I-II"]["images"] == IMAGES / 3
    approved = found.check("Approval").sentence
    assert "Kwame (clinician) approved exactly these files" in approved
    assert "Every image is looked at by a dermatologist" in approved
    assert "proposed by Ada" in approved
    assert json.loads(json.dumps(found.to_json()))["passed"] is True


def test_what_was_not_asked_is_not_passed(whole_bundle: Path) -> None:
    found = verify(whole_bundle)
    assert found.passed
    assert [check.name for check in found.not_checked] == ["Signing key", "Predictions"]


# Forgeries by somebody without the key.


def test_a_changed_file_with_a_corrected_manifest_breaks_the_signature(
    whole_bundle: Path, tmp_path: Path
) -> None:
    for name, content in members_of(whole_bundle).items():
        if name in (MANIFEST, SIGNATURE_FILE):
            continue
        path = tmp_path / "forged.zip"
        changed = content[:-1] + bytes([content[-1] ^ 1])
        put_back(path, members_of(whole_bundle) | {name: changed})
        found = verify(path)
        assert "Signature" in failed(found), name
        assert found.check("Every byte").result == PASSED, name


def test_a_bundle_signed_by_a_stranger_is_whole_but_not_trusted(
    run_files: Files, stranger: SigningKey, signing_key: SigningKey, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.zip"
    write_bundle(path, with_decisions(run_files), {"run": RUN}, key=stranger)
    assert failed(verify(path, key=signing_key.public_path)) == ["Signing key"]
    assert verify(path, key=stranger.public_path).passed
    keys = tmp_path / "trusted"
    keys.mkdir()
    for number, key in enumerate((signing_key, stranger)):
        (keys / f"{number}.pub").write_bytes(key.public_pem)
    assert verify(path, key=keys).check("Signing key").result == PASSED


def test_a_stranger_s_public_key_beside_the_old_signature(
    whole_bundle: Path, stranger: SigningKey, tmp_path: Path
) -> None:
    path = tmp_path / "forged.zip"
    put_back(path, members_of(whole_bundle) | {"signing_key.pub": stranger.public_pem})
    assert failed(verify(path)) == ["Signature"]


@pytest.mark.parametrize("manifest", [True, False])
def test_a_missing_signature(whole_bundle: Path, tmp_path: Path, manifest: bool) -> None:
    path = tmp_path / "forged.zip"
    members = members_of(whole_bundle)
    del members[SIGNATURE_FILE]
    put_back(path, members, manifest=manifest)
    found = verify(path)
    assert failed(found) == ["Contents"]
    assert "'model.sig' is missing" in found.check("Contents").sentence


@pytest.mark.parametrize("given", [True, False])
def test_a_bundle_that_claims_to_be_of_the_unsigned_format(
    whole_bundle: Path, signing_key: SigningKey, tmp_path: Path, given: bool
) -> None:
    """Without a key too: it must not be accepted because it lacks what could be checked."""
    path = tmp_path / "unsigned.zip"
    without_signature(path, members_of(whole_bundle))
    found = verify(path, key=signing_key.public_path if given else None)
    assert failed(found) == ["Contents"]
    assert "not signed" in found.check("Contents").sentence
    assert any("not signed" in text for text in tampering(path))


def test_an_expired_key(whole_bundle: Path, signing_key: SigningKey, tmp_path: Path) -> None:
    known = tmp_path / "known.pub"
    old = signing_key.public_pem.decode().split("\n")
    for last, result in (("2001-01-01", FAILED), ("2999-01-01", PASSED)):
        lines = [f"Expires: {last}" if line.startswith("Expires:") else line for line in old]
        known.write_text("\n".join(lines))
        check = verify(whole_bundle, key=known).check("Signing key")
        assert (check.result, last in check.sentence) == (result, True)


def test_keys_and_cohorts_that_cannot_be_used(
    whole_bundle: Path, signing_key: SigningKey, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pub").write_text("hello")
    for path, words in (
        (tmp_path / "absent", "cannot be read"),
        (tmp_path / "empty", "holds no public key"),
        (tmp_path / "text.pub", "no public key in PEM format"),
        (signing_key.private_path, "is a private key"),
    ):
        with pytest.raises(ExportError, match=words):
            verify(whole_bundle, key=path)
    with pytest.raises(CohortError):
        verify(whole_bundle, cohort=tmp_path / "empty")


# Contents that the holder of the key signed although they do not fit each other.


def test_no_decisions(run_files: Files, signed: Make) -> None:
    found = signed(run_files)
    assert failed(found) == ["Decision log", "Approval"]
    assert "nobody has approved this" in found.check("Approval").sentence


@pytest.mark.parametrize("name", ["model.safetensors", "predictions.parquet", "audit.json"])
def test_a_file_that_changed_after_the_approval(name: str, run_files: Files, signed: Make) -> None:
    log = usual_log(run_files)
    content = Path(str(run_files[name])).read_bytes()
    found = signed(with_decisions({**run_files, name: content + b" "}, log))
    assert "Approval" in failed(found)
    assert f"{name} differ from the approved files" in found.check("Approval").sentence


def test_another_onnx_file_than_the_approved_one(run_files: Files, signed: Make) -> None:
    log = usual_log(run_files)
    files = {name: source for name, source in run_files.items() if name != "model.onnx"}
    found = signed(with_decisions({**files, "model.onnx": b"other"}, log))
    assert failed(found) == ["Approval", "ONNX files"]


def test_a_file_that_was_exported_after_the_approval(run_files: Files, signed: Make) -> None:
    hashes = approval(run_files)["details"]["hashes"]
    del hashes["onnx"]
    found = signed(with_decisions(run_files, usual_log(run_files, hashes=hashes)))
    assert failed(found) == ["Approval"]
    assert "names no hash of model.onnx" in found.check("Approval").sentence


def test_a_fast_file_that_nobody_approved(run_files: Files, signed: Make) -> None:
    files = {**run_files, "fast.onnx": Path(str(run_files["model.onnx"])).read_bytes()}
    found = signed(with_decisions(files))
    assert "names no hash of fast.onnx" in found.check("Approval").sentence


def test_another_file_on_the_tablet(run_files: Files, signed: Make) -> None:
    found = signed(with_decisions({**run_files, "tablet/model.onnx": b"other"}))
    assert failed(found) == ["ONNX files"]
    assert "tablet/model.onnx is another file" in found.check("ONNX files").sentence


def test_an_onnx_file_in_which_one_layer_has_other_weights(
    run_files: Files, signed: Make, tmp_path: Path
) -> None:
    """The forger puts plain numbers in the place of one layer's codes and corrects the file's own sum."""
    model, about = read_onnx(Path(str(run_files["model.onnx"])))
    renamed = {f"head.weight.{name}": f"head.other.{name}" for name in ("packed", "bits")}
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    kept = {key: value for key, value in about.items() if key not in ("graph_bytes", "sha256")}
    write_onnx(model, tmp_path / "model.onnx", kept)
    found = signed(with_decisions({**run_files, "model.onnx": tmp_path / "model.onnx"}))
    assert failed(found) == ["ONNX files"]
    assert "no packed weights of the layer 'head'" in found.check("ONNX files").sentence


@pytest.mark.parametrize("last", ["withdraw", "reject", "request changes", "propose"])
def test_the_last_word_counts(last: str, run_files: Files, signed: Make) -> None:
    found = signed(with_decisions(run_files, usual_log(run_files, {"action": last})))
    assert failed(found) == ["Approval"]
    assert f"'{last}', not 'approve'" in found.check("Approval").sentence


def test_an_approval_of_another_run_is_none(run_files: Files, signed: Make) -> None:
    log = chained([{**approval(run_files), "subject": "run-0"}])
    assert failed(signed(with_decisions(run_files, log))) == ["Approval"]
    files = edit_json(with_decisions(run_files), "decisions.json", lambda d: d.update(run="run-0"))
    found = signed(files)
    assert "is about 'run-0', the bundle about 'run-1'" in found.check("Approval").sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"override": " "}, "without writing down why"),
        ({"verdict_seen": "WITHIN"}, "approved the verdict 'WITHIN', but the audit says"),
        ({"hashes": {}}, "names no hash of model.safetensors"),
    ],
)
def test_an_approval_that_does_not_hold(
    changes: dict[str, Any], words: str, run_files: Files, signed: Make
) -> None:
    found = signed(with_decisions(run_files, usual_log(run_files, **changes)))
    assert failed(found) == ["Approval"]
    assert words in found.check("Approval").sentence


def test_other_limits_than_the_approved_ones(run_files: Files, signed: Make) -> None:
    hashes = approval(run_files)["details"]["hashes"] | {"limits": "0" * 64}
    found = signed(with_decisions(run_files, usual_log(run_files, hashes=hashes)))
    assert "judged by other limits" in found.check("Approval").sentence


def one_more(row: dict[str, Any]) -> None:
    row["correct"] += 1


@pytest.mark.parametrize(
    "change",
    [
        lambda audit: one_more(audit["accuracy"]["candidate"]["overall"]),
        lambda audit: one_more(audit["accuracy"]["candidate"]["by_group"][2]),
        lambda audit: audit["accuracy"]["candidate"]["by_group"].pop(),
        lambda audit: audit["accuracy"]["candidate"]["by_group"][0].update(accuracy=0.99),
        lambda audit: audit["accuracy"].pop("candidate"),
        lambda audit: audit.update(accuracy=[]),
        lambda audit: audit["size"].update(sha256="0" * 64),
    ],
)
def test_an_audit_that_its_predictions_do_not_give(
    change: Callable[[Any], object], run_files: Files, signed: Make
) -> None:
    """Even where somebody approved the embellished figures."""
    found = signed(with_decisions(edit_json(run_files, "audit.json", change)))
    assert failed(found) == ["Audit figures"]


@pytest.mark.parametrize("name", ["decisions.json", "audit.json"])
@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", b'{"entries": 3}', b"[" * 200_000, b'{"a":' * 200_000]
)
def test_nonsense_is_an_answer_not_a_crash(
    name: str, content: bytes, run_files: Files, signed: Make
) -> None:
    found = signed({**with_decisions(run_files), name: content})
    assert "Approval" in failed(found)


@pytest.mark.parametrize(
    "content", [b"", b"no parquet", b"PAR1" + bytes(40) + b"PAR1", b"PAR1\xff\xff\xff\x7fPAR1"]
)
def test_damaged_predictions_fail_their_check(
    content: bytes, run_files: Files, signed: Make
) -> None:
    found = signed({**with_decisions(run_files), "predictions.parquet": content})
    assert {"Approval", "Audit figures"} <= set(failed(found))


# The cohort.


def test_a_cohort_with_other_labels_or_without_an_image(
    whole_bundle: Path, audited_cohort: Path, tmp_path: Path
) -> None:
    other = tmp_path / "cohort"
    shutil.copytree(audited_cohort, other)
    table = pd.read_csv(other / "cohort.csv")
    table.loc[4, "label"] = "benign" if table.loc[4, "label"] != "benign" else "other"
    table.to_csv(other / "cohort.csv", index=False)
    check = verify(whole_bundle, cohort=other).check("Predictions")
    assert (check.result, "1 of the audited images" in check.sentence) == (FAILED, True)
    table.drop(index=7).to_csv(other / "cohort.csv", index=False)
    check = verify(whole_bundle, cohort=other).check("Predictions")
    assert (check.result, "(first 'i7')" in check.sentence) == (FAILED, True)


def test_predictions_that_the_file_does_not_make(
    run_files: Files, audited_cohort: Path, signing_key: SigningKey, tmp_path: Path
) -> None:
    """A classifier whose audit was made with other probabilities than it gives."""
    table = Predictions.load(Path(str(run_files["predictions.parquet"])))
    flat = table.probabilities("candidate") * 0.99 + 0.01 / 3
    Predictions.build(
        table.frame[["id", "label", "cluster", "split", "fitzpatrick"]],
        table.classes,
        {"full precision": table.probabilities("full precision"), "candidate": flat},
    ).save(tmp_path / "predictions.parquet")
    files = with_decisions({**run_files, "predictions.parquet": tmp_path / "predictions.parquet"})
    path = tmp_path / "b.zip"
    write_bundle(path, files, {"run": RUN}, key=signing_key)
    found = verify(path, cohort=audited_cohort)
    assert failed(found) == ["Predictions"]
    assert "must not be used" in found.check("Predictions").sentence
