"""The tablet page in a real Chromium: the exact-bit file gives the audited answers, without any network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from fairquant_core.data.images import load_array
from fairquant_core.export.onnx_exact import export_onnx
from fairquant_core.export.onnx_session import OnnxClassifier
from fairquant_core.export.tablet import SOURCE, tablet_files
from fairquant_core.models.checkpoint import load_classifier
from fairquant_core.quantization.compressed import compress_with
from fairquant_core.quantization.layers import quantisable_layers
from tests.browser.conftest import ARGUMENTS, ROOT, find_chromium
from tests.browser.tablet_site import PAGE_MS, require_runtime, served, write_folder

pytestmark = pytest.mark.browser
DEMO = ROOT / "assets" / "demo"
PICTURES = 100
WIDTHS, SHARES = (0, 4, 5, 6, 8), (0.02, 0.2, 0.28, 0.3, 0.2)
FACTS = {
    "verdict": "WITHIN",
    "approved_by": "Carla Clinician",
    "approved_role": "Clinician",
    "approved_at": "2026-11-23T10:00:00+00:00",
    "intended_use": "trying out with synthetic pictures",
    "do_not_use": "care of patients",
}
CLASSIFY = """async (names) => {
  const {Classifier} = await import("./classifier.js");
  const classifier = new Classifier();
  const {difference, milliseconds} = await classifier.open();
  const answers = [];
  for (const name of names) {
    const {logits, probabilities, seen, milliseconds: took} =
      await classifier.classifyFile(await (await fetch(name)).blob());
    answers.push({logits, probabilities, seen: Array.from(seen.data), took});
  }
  return {difference, milliseconds, answers};
}"""


@dataclass(frozen=True)
class Site:
    """The folder that a bundle brings along, and what Python says about its pictures."""

    folder: Path
    onnx: OnnxClassifier
    pictures: list[Path]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The demo classifier with mixed widths and channels left out, exported and unpacked."""
    require_runtime()
    folder = tmp_path_factory.mktemp("tablet")
    classifier = load_classifier(DEMO / "classifier.safetensors")
    generator = np.random.default_rng(0)
    widths = {
        layer.name: generator.choice(WIDTHS, layer.channels, p=SHARES).astype(np.uint8)
        for layer in quantisable_layers(classifier.model)
    }
    onnx = folder / "model.onnx"
    export_onnx(compress_with(classifier, widths), onnx)
    write_folder(folder, tablet_files(onnx, FACTS))
    table = pd.read_csv(DEMO / "cohort.csv")
    audit = table[table["split"] == "audit"]["file"]
    pictures = [DEMO / name for name in audit.iloc[:: len(audit) // PICTURES].iloc[:PICTURES]]
    for picture in pictures:
        shutil.copy(picture, folder / "tablet" / picture.name)
    return Site(folder / "tablet", OnnxClassifier(onnx, threads=1), pictures)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1024, "height": 768})
    context.set_default_timeout(PAGE_MS)
    yield context.new_page()
    context.close()


def open_page(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("body[data-state=ready]")


def test_answers_are_those_of_python(page: Any, site: Site) -> None:
    images = np.stack([load_array(path, site.onnx.preprocessing) for path in site.pictures])
    logits = site.onnx.logits(images)
    expected = softmax(logits.astype(float), axis=1)
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    with served(site.folder) as url:
        open_page(page, url)
        found = page.evaluate(CLASSIFY, [path.name for path in site.pictures])
    answers = found["answers"]
    seen = np.array([answer["seen"] for answer in answers], dtype=int).reshape(images.shape)
    shares = np.array([answer["probabilities"] for answer in answers])
    took = pd.DataFrame([answer["took"] for answer in answers]).median()
    figures = {
        "pictures": len(answers),
        "largest pixel difference": int(np.abs(seen - images).max()),
        "largest difference of a probability": float(np.abs(shares - expected).max()),
        "reference picture": found["difference"],
        "opened in ms": round(found["milliseconds"]["all"]),
        "weights unpacked in ms": round(found["milliseconds"]["session"]),
        "prepared in ms": round(took["prepare"], 1),
        "classified in ms": round(took["classify"], 1),
        "page ready in s": float(page.get_attribute("body", "data-seconds")),
    }
    print(json.dumps(figures, indent=1))
    assert len(answers) == PICTURES
    assert (shares.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert np.abs(seen - images).max() <= 2
    np.testing.assert_allclose(shares, expected, atol=1e-4)
    assert asked and all(address.startswith((url, f"blob:{url}")) for address in asked)


def test_a_photo_gets_an_answer_in_plain_words(page: Any, site: Site) -> None:
    picture = site.pictures[0]
    image = load_array(picture, site.onnx.preprocessing)
    share = softmax(site.onnx.logits(image[None]).astype(float))[0]
    likely = site.onnx.classes[int(share.argmax())]
    with served(site.folder) as url:
        open_page(page, url)
        page.set_input_files("#file", picture)
        page.wait_for_selector(".headline")
        rows = page.locator(".shares li").all_inner_texts()
        told = page.inner_text("main")
        audit_accessibility(page)
    assert len(rows) == len(site.onnx.classes)
    assert rows[0].lower().startswith(likely)
    assert f"{round(share.max() * 100)}\u00a0%" in rows[0]
    assert "Not a diagnosis" in told and "Not for: care of patients." in told
    for words in ("WITHIN", "Carla Clinician", site.onnx.about["fingerprint"], "SHA-256 checked"):
        assert words in told


def audit_accessibility(page: Any) -> None:
    """No finding of axe, in light and dark, with everything unfolded."""
    axe = SOURCE / "node_modules" / "axe-core" / "axe.min.js"
    page.evaluate("document.querySelector('#about').open = true")
    page.evaluate(axe.read_text(encoding="utf-8"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate("axe.run().then((result) => result.violations)")
        assert not found, [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]


def test_works_without_a_network_after_the_first_visit(page: Any, site: Site) -> None:
    with served(site.folder) as url:
        open_page(page, url)
        page.wait_for_selector("#offline[data-state=ready]")
    # The server is gone, and the browser is told that there is no network either.
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector("body[data-state=ready]")
    page.set_input_files("#file", site.pictures[1])
    page.wait_for_selector(".headline")
    assert page.locator(".shares li").count() == len(site.onnx.classes)


def test_the_camera_s_picture_is_classified(browser: Any, site: Site) -> None:
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    filming = browser.browser_type.launch(executable_path=find_chromium(), args=[*ARGUMENTS, *fake])
    with served(site.folder) as url:
        page = filming.new_context(permissions=["camera"]).new_page()
        page.set_default_timeout(PAGE_MS)
        open_page(page, url)
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("button", name="Take the picture").click()
        page.wait_for_selector(".headline")
        assert page.locator("#seen").is_visible()
        assert not page.locator("#live").is_visible()
        assert page.evaluate("document.querySelector('#live').srcObject") is None
    filming.close()


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


@pytest.mark.parametrize(
    ("damage", "words"),
    [("model.onnx", "SHA-256 differs"), ("check", "does not compute what was audited")],
)
def test_another_file_or_other_numbers_are_refused(
    page: Any, site: Site, tmp_path: Path, damage: str, words: str
) -> None:
    folder = tmp_path / "tablet"
    shutil.copytree(site.folder, folder)
    if damage == "check":
        about = json.loads((folder / "model.json").read_text())
        about["check"]["logits"][0] += 0.01
        (folder / "model.json").write_text(json.dumps(about))
    else:
        content = bytearray((folder / damage).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / damage).write_bytes(content)
    with served(folder) as url:
        page.goto(url)
        page.get_by_text(words).wait_for()
        assert page.get_attribute("body", "data-state") == "refused"
        assert not page.locator("#workspace").is_visible()


def test_pictures_of_the_page(browser: Any, site: Site) -> None:
    """Nothing is cut off on a phone; pictures for people where FAIRQUANT_SHOTS names a folder."""
    shots = os.environ.get("FAIRQUANT_SHOTS")
    with served(site.folder) as url:
        for name, (width, height) in {"tablet": (1024, 768), "phone": (390, 844)}.items():
            context = browser.new_context(viewport={"width": width, "height": height})
            page = context.new_page()
            page.set_default_timeout(PAGE_MS)
            open_page(page, url)
            page.set_input_files("#file", site.pictures[3])
            page.wait_for_selector(".headline")
            inner = page.evaluate("document.documentElement.scrollWidth")
            assert inner <= width
            for target in page.locator(".button:visible").all():
                assert target.bounding_box()["height"] >= 44
            for scheme in ("light", "dark") if shots else ():
                page.emulate_media(color_scheme=scheme)
                page.screenshot(
                    path=Path(shots or "") / f"tablet-{name}-{scheme}.png", full_page=True
                )
            context.close()
