"""What happens while a bundle is written and after it was: nothing leaves that nobody approves any more."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dashboard.backend.export.bundles import ASIDE_FOLDER, EXPORTED
from dashboard.backend.services import Services
from fairquant_core.errors import ExportError, FairQuantError, NotApproved
from fairquant_core.export import bundle as packing
from fairquant_core.export.bundle_approval import BOUND_FILES
from fairquant_core.export.signing import local_key
from tests.dashboard.backend.made_results import approve, finish_export, finish_report

Act = Callable[[], object]


def bundles_in(services: Services, folder: str = "") -> list[str]:
    place = services.settings.exports / folder
    return sorted(path.name for path in place.glob("*.zip")) if place.exists() else []


def actions(services: Services) -> list[str]:
    return services.audit_log()["action"].tolist()


def withdraw(services: Services, run_id: str) -> None:
    services.decide(run_id, "Kwame", "clinician", "withdraw", "An error was found.")


def while_packing(monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    """Let something happen between the packing of a bundle and its final name."""
    write = packing.write_bundle

    def write_and_act(*arguments: Any, **named: Any) -> str:
        found = write(*arguments, **named)
        act()
        return found

    monkeypatch.setattr(packing, "write_bundle", write_and_act)


# While it is written.


def test_a_withdrawal_meanwhile_leaves_no_bundle(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_packing(monkeypatch, lambda: withdraw(services, ready))
    with pytest.raises(NotApproved, match="withdrawn"):
        services.export(ready)
    assert list(services.settings.exports.iterdir()) == []
    assert EXPORTED not in actions(services)


def test_another_approval_meanwhile_is_another_decision(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide_anew() -> None:
        withdraw(services, ready)
        approve(services, ready)

    while_packing(monkeypatch, decide_anew)
    with pytest.raises(NotApproved, match="decided about this run meanwhile"):
        services.export(ready)
    assert list(services.settings.exports.iterdir()) == []


def test_a_withdrawal_in_the_very_last_moment(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the entry in the log and the final name."""
    record = services._log.record

    def record_and_withdraw(*arguments: Any, **named: Any) -> None:
        record(*arguments, **named)
        withdraw(services, ready)

    monkeypatch.setattr(services._log, "record", record_and_withdraw)
    with pytest.raises(NotApproved, match="withdrawn"):
        services.export(ready)
    assert list(services.settings.exports.iterdir()) == []
    assert actions(services)[-2:] == [EXPORTED, "withdraw"]


def test_a_file_that_changes_meanwhile_voids(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = services._artefacts.path(str(services.run(ready).result_hash), "model.safetensors")
    while_packing(monkeypatch, lambda: model.write_bytes(model.read_bytes() + b"x"))
    with pytest.raises(NotApproved, match="the packed model changed"):
        services.export(ready)
    assert list(services.settings.exports.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in BOUND_FILES.values() if "model_" not in name])
def test_what_is_packed_is_what_was_approved(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Other bytes for the moment of packing only: before and after it every file is as it was."""
    write = packing.write_bundle

    def with_other_bytes(
        path: Path, files: Mapping[str, Path | bytes], *rest: Any, **named: Any
    ) -> str:
        source = files[name]
        content = source if isinstance(source, bytes) else source.read_bytes()
        return write(path, {**files, name: content + b" "}, *rest, **named)

    monkeypatch.setattr(packing, "write_bundle", with_other_bytes)
    with pytest.raises(NotApproved, match=f"{name} changed while the bundle was written"):
        services.export(ready)
    assert list(services.settings.exports.iterdir()) == []
    assert EXPORTED not in actions(services)


def test_an_approved_file_cannot_be_left_out(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = packing.write_bundle

    def without(path: Path, files: Mapping[str, Path | bytes], *rest: Any, **named: Any) -> str:
        return write(path, {k: v for k, v in files.items() if k != "export.json"}, *rest, **named)

    monkeypatch.setattr(packing, "write_bundle", without)
    with pytest.raises(NotApproved, match="export.json changed"):
        services.export(ready)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_takes_no_entry_leaves_no_bundle(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(services._log, "record", full)
        with pytest.raises(FairQuantError, match="No space left"):
            services.export(ready)
    with monkeypatch.context() as patched:
        patched.setattr(services._log, "_write_head", full)
        with pytest.raises(FairQuantError, match="No space left"):
            services.export(ready)
    assert list(services.settings.exports.iterdir()) == []
    assert services.verify_log() == []
    assert services.export(ready).is_file()


def test_a_name_that_cannot_be_given_leaves_no_bundle(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.suffix == target.suffix == ".zip":
            full()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ExportError, match="could not be made.*No space left"):
        services.export(ready)
    assert list(services.settings.exports.iterdir()) == []


# After it was written.


def test_a_bundle_is_handed_out_while_its_approval_counts(ready: str, services: Services) -> None:
    path = services.export(ready)
    assert services.deliver(ready, path.name) == path.read_bytes()
    assert services.withdrawn_bundles(services.review(ready)) == []


def test_the_review_page_reads_the_review_once(
    ready: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.export(ready)
    read: list[str] = []
    view = services._reviews.view
    monkeypatch.setattr(
        services._reviews, "view", lambda run, case, **how: read.append(run.id) or view(run, case)
    )
    review = services.review(ready)
    assert services.missing_for_export(review) == services.withdrawn_bundles(review) == []
    assert read == [ready]


def test_a_bundle_that_was_approved_meanwhile_stays(ready: str, services: Services) -> None:
    before = services.review(ready)
    name = services.export(ready).name
    run, case = services._judged(ready)
    services._bundles.set_aside(run, case, replace(before, may_export=False))
    assert bundles_in(services) == [name]


def test_a_page_of_before_a_withdrawal_hands_nothing_out(ready: str, services: Services) -> None:
    name = services.export(ready).name
    withdraw(services, ready)
    with pytest.raises(NotApproved, match="withdrawn"):
        services.deliver(ready, name)
    assert bundles_in(services) == []
    assert bundles_in(services, ASIDE_FOLDER) == [name]
    (told,) = services.withdrawn_bundles(services.review(ready))
    assert f"The bundle {name} can no longer be downloaded" in told


def test_a_bundle_of_a_void_approval_is_set_aside(ready: str, services: Services) -> None:
    path = services.export(ready)
    content = path.read_bytes()
    model = services._artefacts.path(str(services.run(ready).result_hash), "model.safetensors")
    whole = model.read_bytes()
    model.write_bytes(whole + b"x")
    with pytest.raises(NotApproved, match="void"):
        services.deliver(ready, path.name)
    assert services.review(ready).state == "void"
    assert (bundles_in(services), bundles_in(services, ASIDE_FOLDER)) == ([], [path.name])
    # The file is put back, so the approval counts again; the bundle is made anew.
    model.write_bytes(whole)
    with pytest.raises(ExportError, match="no bundle for the present approval"):
        services.deliver(ready, path.name)
    assert services.export(ready).read_bytes() == content
    assert services.withdrawn_bundles(services.review(ready)) == []


def test_an_earlier_approval_s_bundle_is_not_handed_out_for_a_new_one(
    ready: str, services: Services, tmp_path: Path
) -> None:
    old = services.export(ready)
    content = old.read_bytes()
    withdraw(services, ready)
    approve(services, ready)
    finish_report(services, ready, tmp_path)
    new = services.export(ready)
    assert new.name != old.name
    old.write_bytes(content)  # somebody puts it back
    with pytest.raises(NotApproved, match="made for an approval that counts no longer"):
        services.deliver(ready, old.name)
    assert services.deliver(ready, new.name) == new.read_bytes()
    services.review(ready)
    assert bundles_in(services) == [new.name]


def test_checking_again_sets_the_bundle_aside(
    ready: str, services: Services, tmp_path: Path
) -> None:
    name = services.export(ready).name
    services.start_export(ready, "Ada", again=True)
    finish_export(services, ready, tmp_path, fast=None)
    with pytest.raises(NotApproved, match="void"):
        services.deliver(ready, name)
    services.review(ready)
    assert bundles_in(services) == []


def test_a_file_that_was_never_logged_is_not_handed_out(ready: str, services: Services) -> None:
    path = services.export(ready)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ExportError, match="not the one in the decision log"):
        services.deliver(ready, path.name)


def test_bundles_of_other_runs_stay(ready: str, services: Services) -> None:
    name = services.export(ready).name
    other = services.settings.exports / f"{ready}-other-3.zip"
    other.write_bytes(b"of another run")
    withdraw(services, ready)
    assert bundles_in(services) == [other.name]
    assert bundles_in(services, ASIDE_FOLDER) == [name]


def test_a_bundle_that_cannot_be_moved_is_told_and_not_handed_out(
    ready: str, services: Services
) -> None:
    name = services.export(ready).name
    (services.settings.exports / ASIDE_FOLDER).write_text("a file in the way")
    withdraw(services, ready)
    (told,) = services.withdrawn_bundles(services.review(ready))
    assert f"The bundle {name} is not handed out" in told and "by hand" in told
    with pytest.raises(NotApproved, match="withdrawn"):
        services.deliver(ready, name)


def test_the_public_key_is_there_from_the_first_bundle_on(ready: str, services: Services) -> None:
    assert services.public_key() is None
    services.export(ready)
    found, key = services.public_key(), local_key(services.settings.keys)
    assert found is not None
    assert (found.content, found.fingerprint) == (key.public_pem, key.fingerprint)
    assert b"PRIVATE" not in found.content
    assert key.public.expires is not None
    assert (found.expires, found.expired) == (key.public.expires.isoformat(), False)
