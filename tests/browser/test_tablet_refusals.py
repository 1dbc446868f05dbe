"""What the tablet page says where something is missing, switched off, damaged or not allowed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import ARGUMENTS, ROOT, find_chromium
from tests.browser.tablet_site import PAGE_MS, Site, open_page, served

pytestmark = pytest.mark.browser
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
# A name that is not localhost: as a tablet sees the page over plain http.
OTHER_NAME = ["--host-resolver-rules=MAP tablet.test 127.0.0.1"]


@contextmanager
def started(browser: Any, arguments: list[str], **context: Any) -> Iterator[Any]:
    """A page of another Chromium with further arguments."""
    other = browser.browser_type.launch(
        executable_path=find_chromium(), args=[*ARGUMENTS, *arguments], timeout=PAGE_MS
    )
    try:
        page = other.new_context(**context).new_page()
        page.set_default_timeout(PAGE_MS)
        yield page
    finally:
        other.close()


def refused(page: Any, words: str) -> None:
    """The page says why it does not work, and offers nothing that would not."""
    page.locator("#problem").get_by_text(words).wait_for()
    assert page.get_attribute("body", "data-state") == "refused"
    assert not page.locator("#workspace").is_visible()
    assert not page.locator("#opening").is_visible()


def test_the_camera_s_picture_is_classified(browser: Any, site: Site) -> None:
    with (
        served(site.folder) as url,
        started(browser, FAKE_CAMERA, permissions=["camera"]) as page,
    ):
        open_page(page, url)
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("button", name="Take the picture").click()
        page.wait_for_selector(".headline")
        assert page.locator("#seen").is_visible()
        assert not page.locator("#live").is_visible()
        assert page.evaluate("document.querySelector('#live').srcObject") is None


def test_a_refused_camera_and_a_bad_file_leave_the_page_usable(page: Any, site: Site) -> None:
    with served(site.folder) as url:
        open_page(page, url)
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_text("choose a photo", exact=False).and_(page.locator("#problem")).wait_for()
        page.set_input_files("#file", ROOT / "README.md")
        page.get_by_text("not a JPEG or PNG").wait_for()
        page.set_input_files("#file", site.pictures[2])
        page.wait_for_selector(".headline")
        assert not page.locator("#problem").is_visible()
        # Closing the dialogue without a choice changes nothing.
        page.set_input_files("#file", [])
        page.locator("#file").dispatch_event("change")
        assert page.locator(".headline").is_visible()
        assert not page.locator("#problem").is_visible()


DAMAGES = {
    "model.onnx": "SHA-256 differs",
    "model.json": "model.json is damaged",
    "check.png": "cut off or damaged",
    "other numbers": "does not compute what was audited",
    "no model.onnx": "model.onnx could not be loaded",
    "no runtime/ort-wasm-simd-threaded.wasm": "could not open the classifier",
    "no worker.js": "a file of the folder is missing",
    "no words.js": "a file of the folder is missing",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_in_words(
    page: Any, site: Site, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "tablet"
    shutil.copytree(site.folder, folder)
    harm(folder, damage)
    with served(folder) as url:
        page.goto(url)
        refused(page, DAMAGES[damage])


def harm(folder: Path, damage: str) -> None:
    if damage.startswith("no "):
        (folder / damage.removeprefix("no ")).unlink()
    elif damage == "other numbers":
        about = json.loads((folder / "model.json").read_text())
        about["check"]["logits"][0] += 0.01
        (folder / "model.json").write_text(json.dumps(about))
    elif damage == "model.onnx":
        content = bytearray((folder / damage).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / damage).write_bytes(content)
    else:
        content = (folder / damage).read_bytes()
        (folder / damage).write_bytes(content[: len(content) // 2])


def test_opened_as_a_file_it_says_how_to_open_it(page: Any, site: Site) -> None:
    page.goto((site.folder / "index.html").as_uri())
    refused(page, "python serve.py")


def test_without_webassembly_it_says_so(page: Any, site: Site) -> None:
    page.add_init_script("delete globalThis.WebAssembly")
    with served(site.folder) as url:
        page.goto(url)
        refused(page, "WebAssembly is missing or switched off")


def test_over_plain_http_it_takes_photos_and_says_what_is_not_possible(
    browser: Any, site: Site, tmp_path: Path
) -> None:
    folder = tmp_path / "tablet"
    shutil.copytree(site.folder, folder)
    with served(folder) as local, started(browser, OTHER_NAME) as page:
        url = local.replace("127.0.0.1", "tablet.test")
        open_page(page, url)
        assert not page.evaluate("window.isSecureContext")
        assert "Needs the network" in page.inner_text("#offline")
        assert not page.locator("#camera").is_visible()
        assert page.locator("#snap-label").is_visible()
        page.set_input_files("#snap", site.pictures[4])
        page.wait_for_selector(".headline")
        page.evaluate("document.querySelector('#about').open = true")
        assert "not checked: that needs https or localhost" in page.inner_text("#facts")
        # Without a SHA-256 the reference picture, or the runtime, still finds a damaged classifier.
        content = bytearray((folder / "model.onnx").read_bytes())
        middle = len(content) // 2
        content[middle : middle + 100_000] = bytes(100_000)
        (folder / "model.onnx").write_bytes(content)
        page.reload()
        page.wait_for_selector("body[data-state=refused]")
        assert page.locator("#problem").is_visible()


def test_what_was_not_approved_or_overridden_stands_at_the_top(page: Any, site: Site) -> None:
    ask = "async (about) => (await import('./words.js')).uses(about)"
    with served(site.folder) as url:
        page.goto(f"{url}icon.svg")
        assert "No approval is recorded" in page.evaluate(ask, {})
        facts = {"approved_by": "Carla", "verdict": "OUTSIDE", "override": "nothing else is there"}
        told = page.evaluate(ask, {"facts": facts})
    assert "in spite of the verdict of the audit (OUTSIDE): nothing else is there." in told
