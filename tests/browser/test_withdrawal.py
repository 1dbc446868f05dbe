"""A page that was drawn before a withdrawal, in a real Chromium: the button is still there, the bundle is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.backend.export.bundles import ASIDE_FOLDER
from dashboard.backend.services import Services, open_services
from dashboard.backend.settings import Settings
from fairquant_core.export.verification import tampering
from tests.browser.conftest import Server, start_server, stop_server
from tests.browser.journey import STEP_MS, Journey
from tests.dashboard.backend.made_results import (
    approve,
    finish_export,
    finish_prepare,
    finish_report,
    finish_run,
    make_case,
)

pytestmark = pytest.mark.browser
NO_DOWNLOAD_MS = 4_000


@pytest.fixture
def approved(tmp_path: Path) -> Iterator[tuple[Services, str]]:
    """A data folder with one approved run, made without training."""
    settings = Settings(data_folder=tmp_path / "data", assets_folder=tmp_path / "no-assets")
    services = open_services(settings)
    case_id = make_case(services, tmp_path)
    finish_prepare(services, case_id, tmp_path)
    run_id = services.start_run(case_id, {"method": "minimax_ptq", "bits": 4.0}, "Rosa")
    finish_run(services, run_id, tmp_path)
    finish_export(services, run_id, tmp_path)
    approve(services, run_id)
    finish_report(services, run_id, tmp_path)
    yield services, run_id
    services.close()


@pytest.fixture
def application(approved: tuple[Services, str], tmp_path: Path) -> Iterator[Server]:
    running = start_server(approved[0].settings.data_folder, tmp_path / "server.log")
    yield running
    stop_server(running)


def test_a_withdrawn_bundle_is_not_downloaded(
    approved: tuple[Services, str], application: Server, browser: Any, tmp_path: Path
) -> None:
    services, run_id = approved
    case_id = services.run(run_id).case_id
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    journey = Journey(page, f"{application.url}/review?case={case_id}&run={run_id}")
    page.goto(journey.url)
    journey.heading("May it leave?")
    journey.settled()
    bundle = journey.download(tmp_path)
    assert tampering(bundle) == []
    journey.accessible()
    with page.expect_download(timeout=STEP_MS) as caught:
        page.get_by_role("button", name="Download the public key").click()
    assert caught.value.suggested_filename == "signing_key.pub"

    services.decide(run_id, "Kwame", "clinician", "withdraw", "An error was found.")
    downloads: list[Any] = []
    page.on("download", lambda download: downloads.append(download))
    page.get_by_role("button", name="Download the bundle").click()
    page.get_by_text("can no longer be downloaded").wait_for(timeout=STEP_MS)
    page.get_by_text("The proposal or approval was withdrawn.").wait_for(timeout=STEP_MS)
    page.wait_for_timeout(NO_DOWNLOAD_MS)
    assert downloads == []
    assert page.get_by_role("button", name="Download the bundle").count() == 0
    assert [path.name for path in (services.settings.exports / ASIDE_FOLDER).iterdir()] == [
        bundle.name
    ]
    context.close()
