"""Reviews: nothing leaves without an approval that still fits every byte."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.backend.reviews import same_person
from dashboard.backend.services import Services, open_services
from dashboard.backend.views import ReviewState
from fairquant_core.errors import FairQuantError, NotApproved
from tests.dashboard.backend.made_results import finish_export, finish_report, finish_run


@pytest.fixture
def approved(finished_run: str, services: Services, tmp_path: Path) -> str:
    """Files checked, proposed, approved, report written: everything that a download needs."""
    finish_export(services, finished_run, tmp_path)
    services.decide(finished_run, "Ada", "auditor", "propose")
    services.decide(finished_run, "Kwame", "clinician", "approve", "Looks safe.")
    finish_report(services, finished_run, tmp_path)
    return finished_run


def test_the_way_to_an_approval(finished_run: str, services: Services) -> None:
    start = services.review(finished_run)
    assert (start.state, start.may_export, start.allowed) == ("none", False, ("propose",))
    assert start.overall_verdict == "WITHIN"
    assert not start.needs_override
    proposed = services.decide(finished_run, "Ada", "auditor", "propose", "Please look.")
    assert (proposed.state, proposed.may_export) == ("proposed", False)
    done = services.decide(finished_run, "Kwame", "clinician", "approve", "Looks safe.")
    assert (done.state, done.may_export, done.why_not) == ("approved", True, "")
    decision = done.decisions[-1]
    assert (decision.person, decision.role, decision.verdict_seen) == (
        "Kwame",
        "clinician",
        "WITHIN",
    )
    assert not decision.authenticated
    assert set(decision.hashes) == {
        "model",
        "predictions",
        "audit",
        "plan",
        "classifier",
        "cohort",
        "split",
        "limits",
    }
    assert services.run(finished_run).review_state == ReviewState.APPROVED
    assert services.verify_log() == []
    assert services.audit_log()["action"].tolist() == ["case created", "propose", "approve"]


@pytest.mark.parametrize("name", ["Ada", " ada ", "ADA"])
def test_who_proposed_cannot_approve(finished_run: str, services: Services, name: str) -> None:
    services.decide(finished_run, "Ada", "auditor", "propose")
    with pytest.raises(FairQuantError, match=r"Four-eyes.*proposed"):
        services.decide(finished_run, name, "clinician", "approve")


def test_who_started_cannot_approve(finished_run: str, services: Services) -> None:
    services.decide(finished_run, "Ada", "auditor", "propose")
    with pytest.raises(FairQuantError, match=r"Four-eyes.*started"):
        services.decide(finished_run, "rosa", "clinician", "approve")


def test_nobody_approves_without_a_proposal(finished_run: str, services: Services) -> None:
    with pytest.raises(FairQuantError, match="Possible: propose"):
        services.decide(finished_run, "Kwame", "clinician", "approve")


def test_without_the_rule_one_person_may_decide(finished_run: str, services: Services) -> None:
    alone = open_services(replace(services.settings, four_eyes=False))
    assert alone.decide(finished_run, "Rosa", "clinician", "approve").may_export


@pytest.mark.parametrize(
    ("role", "decision", "needed"),
    [
        ("clinician", "propose", "auditor"),
        ("auditor", "approve", "clinician"),
        ("auditor", "reject", "clinician"),
        ("auditor", "request changes", "clinician"),
    ],
)
def test_each_role_has_its_own_decisions(
    finished_run: str, services: Services, role: str, decision: str, needed: str
) -> None:
    if decision != "propose":
        services.decide(finished_run, "Ada", "auditor", "propose")
    before = services.review(finished_run).decisions
    with pytest.raises(FairQuantError, match=f"is for the {needed}"):
        services.decide(finished_run, "Kwame", role, decision, "Because.")
    assert services.review(finished_run).decisions == before


def test_a_verdict_that_is_no_pass_needs_an_override(
    ready_case: str, services: Services, tmp_path: Path
) -> None:
    run_id = services.start_run(ready_case, {"method": "uniform_ptq", "bits": 2})
    finish_run(services, run_id, tmp_path, candidate=0.0)
    services.decide(run_id, "Ada", "auditor", "propose")
    assert services.review(run_id).needs_override
    for override in (None, "", "   "):
        with pytest.raises(FairQuantError, match=r"OUTSIDE.*override"):
            services.decide(run_id, "Kwame", "clinician", "approve", "ok", override)
    done = services.decide(
        run_id, "Kwame", "clinician", "approve", "ok", "Only for a research archive."
    )
    assert done.may_export
    assert done.decisions[-1].override == "Only for a research archive."


@pytest.mark.parametrize(
    ("person", "role", "decision", "comment", "message"),
    [
        ("", "auditor", "propose", "", "Name"),
        ("Ada", "king", "propose", "", "auditor or clinician"),
        ("Ada", "auditor", "praise", "", "praise"),
        ("Ada", "auditor", "withdraw", "", "none"),
    ],
)
def test_impossible_decisions_are_refused(
    finished_run: str,
    services: Services,
    person: str,
    role: str,
    decision: str,
    comment: str,
    message: str,
) -> None:
    with pytest.raises(FairQuantError, match=message):
        services.decide(finished_run, person, role, decision, comment)
    assert services.review(finished_run).decisions == ()


@pytest.mark.parametrize(
    ("decision", "state"),
    [("reject", "rejected"), ("request changes", "changes requested"), ("withdraw", "withdrawn")],
)
def test_other_ends_do_not_export(
    finished_run: str, services: Services, decision: str, state: str
) -> None:
    services.decide(finished_run, "Ada", "auditor", "propose")
    view = services.decide(finished_run, "Kwame", "clinician", decision, "Because.")
    assert view.state == state
    with pytest.raises(NotApproved):
        services.export(finished_run)
    assert services.decide(finished_run, "Ada", "auditor", "propose").state == "proposed"


def test_a_rejection_says_why(finished_run: str, services: Services) -> None:
    services.decide(finished_run, "Ada", "auditor", "propose")
    with pytest.raises(FairQuantError, match="Comment"):
        services.decide(finished_run, "Kwame", "clinician", "reject")


def test_an_approval_can_be_withdrawn(approved: str, services: Services) -> None:
    assert not services.decide(approved, "Kwame", "clinician", "withdraw").may_export
    with pytest.raises(NotApproved, match="withdrawn"):
        services.export(approved)


Tamper = Callable[[Services, str], None]


def _artefact(name: str) -> Tamper:
    def change(services: Services, run_id: str) -> None:
        path = services._artefacts.path(str(services.run(run_id).result_hash), name)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return change


def _classifier(services: Services, run_id: str) -> None:
    case = services._cases.row(services.run(run_id).case_id)
    path = services._artefacts.path(str(case.classifier_hash), "classifier.safetensors")
    path.write_bytes(path.read_bytes() + b"x")


def _image(services: Services, run_id: str) -> None:
    cohort = services._cases.cohort(services.run(run_id).case_id)
    path = cohort.root / cohort.table["file"].iloc[0]
    path.write_bytes(path.read_bytes() + b"x")


def _sql(statement: str) -> Tamper:
    def change(services: Services, run_id: str) -> None:
        connection = sqlite3.connect(services.settings.data_folder / "store.sqlite3")
        with connection:
            connection.execute(statement)
        connection.close()

    return change


TAMPERS: dict[str, Tamper] = {
    "model": _artefact("model.safetensors"),
    "predictions": _artefact("predictions.parquet"),
    "audit": _artefact("audit.json"),
    "plan": _artefact("plan.json"),
    "manifest": _artefact("manifest.json"),
    "classifier": _classifier,
    "image of the cohort": _image,
    "limits": _sql("UPDATE cases SET limits = replace(limits, '0.5', '0.9')"),
    "withdrawal erased": _sql("DELETE FROM reviews WHERE decision = 'propose'"),
    "override invented": _sql("UPDATE reviews SET override = 'fine' WHERE decision = 'approve'"),
}


@pytest.mark.parametrize("tamper", TAMPERS.values(), ids=TAMPERS.keys())
def test_any_change_stops_the_export(approved: str, services: Services, tamper: Tamper) -> None:
    tamper(services, approved)
    with pytest.raises(NotApproved):
        services.export(approved)
    assert (
        not list(services.settings.exports.glob("*"))
        if services.settings.exports.exists()
        else True
    )


def test_a_changed_file_voids_on_every_page(approved: str, services: Services) -> None:
    TAMPERS["model"](services, approved)
    view = services.review(approved)
    assert (view.state, view.may_export) == (ReviewState.VOID, False)
    assert "the packed model changed" in view.why_not
    assert services.run(approved).review_state == ReviewState.VOID
    assert [run.id for run in services.inbox().awaiting_review] == [approved]
    with pytest.raises(FairQuantError, match="not what the run wrote"):
        services.decide(approved, "Ada", "auditor", "propose")


def test_a_decision_written_into_the_database_does_not_count(
    finished_run: str, services: Services
) -> None:
    """Somebody turns a proposal into an approval with an SQL tool."""
    services.decide(finished_run, "Ada", "auditor", "propose")
    _sql("UPDATE reviews SET decision = 'approve', person = 'Kwame'")(services, finished_run)
    with pytest.raises(NotApproved, match="not those in the log"):
        services.export(finished_run)


def test_a_tampered_log_stops_every_export(approved: str, services: Services) -> None:
    _sql("DROP TRIGGER audit_log_no_update")(services, approved)
    _sql("UPDATE audit_log SET person = 'Mallory' WHERE action = 'approve'")(services, approved)
    assert services.verify_log()
    with pytest.raises(NotApproved, match="tampered"):
        services.export(approved)


def test_two_people_deciding_at_once_cannot_both_win(finished_run: str, services: Services) -> None:
    services.decide(finished_run, "Ada", "auditor", "propose")
    outcomes: list[str] = []

    def act(person: str, decision: str) -> None:
        own = open_services(services.settings)
        try:
            own.decide(finished_run, person, "clinician", decision, "Now.")
            outcomes.append(decision)
        except FairQuantError:
            outcomes.append("refused")

    threads = [
        threading.Thread(target=act, args=("Kwame", "reject")),
        threading.Thread(target=act, args=("Lin", "approve")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes).count("refused") == 1
    assert len(services.review(finished_run).decisions) == 2
    assert services.verify_log() == []


def test_an_unapproved_run_never_exports(finished_run: str, services: Services) -> None:
    with pytest.raises(NotApproved, match="proposed"):
        services.export(finished_run)
    assert "export" not in services.audit_log()["action"].tolist()


def test_names_are_compared_without_case_and_spaces() -> None:
    assert same_person("Ada  Lovelace", " ada lovelace")
    assert not same_person("Ada", "Adam")
