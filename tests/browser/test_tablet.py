"""The tablet page in a real Chromium: the exact-bit file gives the audited answers, without any network."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from fairquant_core.data.images import load_array
from fairquant_core.export.tablet import RUNTIME
from tests.browser.accessibility import assert_accessible
from tests.browser.tablet_site import PAGE_MS, PICTURES, Site, open_page, served

pytestmark = pytest.mark.browser
RUNTIME_FILES = [f"runtime/{name}" for name in RUNTIME]
CLASSIFY = """async (names) => {
  const {Classifier} = await import("./classifier.js");
  const classifier = new Classifier();
  const {difference, milliseconds} = await classifier.open();
  const answers = [];
  for (const name of names) {
    const {logits, probabilities, seen, milliseconds: took} =
      await classifier.classifyFile(await (await fetch(name)).blob());
    answers.push({logits, probabilities, seen: btoa(String.fromCharCode(...seen.data)), took});
  }
  return {difference, milliseconds, answers};
}"""


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
    squares = b"".join(base64.b64decode(answer["seen"]) for answer in answers)
    seen = np.frombuffer(squares, dtype=np.uint8).reshape(images.shape).astype(int)
    shares = np.array([answer["probabilities"] for answer in answers])
    took = pd.DataFrame([answer["took"] for answer in answers]).median()
    figures = {
        "pictures": len(answers),
        "same class": int((shares.argmax(axis=1) == expected.argmax(axis=1)).sum()),
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
    assert len(answers) == figures["same class"] == PICTURES
    assert len(set(expected.argmax(axis=1))) > 1
    assert np.abs(seen - images).max() <= 2
    np.testing.assert_allclose(shares, expected, atol=1e-4)
    # Every request of the page, of its worker and of its service worker went to the folder itself.
    assert {"index.html", *RUNTIME_FILES, "model.onnx"} <= {
        address.removeprefix(url) or "index.html" for address in asked
    }
    assert all(address.startswith((url, f"blob:{url}")) for address in asked)


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
        page.evaluate("document.querySelector('#about').open = true")
    assert_accessible(page)
    assert len(rows) == len(site.onnx.classes)
    assert rows[0].lower().startswith(likely)
    assert f"{round(share.max() * 100)}\u00a0%" in rows[0]
    assert "Not a diagnosis" in told and "Not for: care of patients." in told
    for words in ("WITHIN", "Carla Clinician", site.onnx.about["fingerprint"], "SHA-256 checked"):
        assert words in told


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
