"""From the first start to the exported file, in a real Chromium, with real training on the demo case."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest

from fairquant_core.audit.predictions import Predictions
from fairquant_core.command_line import main
from tests.browser.conftest import ROOT, Server
from tests.browser.journey import Journey

pytestmark = pytest.mark.browser
MEMORY_LIMIT = 350e6


def test_demo_journey(server: Server, browser, tmp_path: Path) -> None:
    shots = os.environ.get("FAIRQUANT_SHOTS")
    context = browser.new_context(accept_downloads=True)
    journey = Journey(context.new_page(), server.url, Path(shots) if shots else None)
    journey.open()
    journey.case()
    journey.sensitivity()
    journey.budget(epochs=1)
    journey.run()
    web = psutil.Process(server.process.pid)
    assert web.memory_info().rss < MEMORY_LIMIT
    assert not any("libtorch" in entry.path for entry in web.memory_maps())
    journey.compare()
    journey.accessible()
    assert journey.picture("svg", tmp_path).startswith(b"<svg")
    assert journey.picture("png", tmp_path).startswith(b"\x89PNG")
    journey.saliency()
    journey.accessible()
    journey.review()
    journey.accessible()
    journey.report()
    journey.menu("Report", "What does the board read?")
    journey.accessible()
    journey.menu("Review and export", "May it leave?")
    bundle = journey.download(tmp_path)
    context.close()
    print(journey.seconds)

    assert main(["verify", str(bundle)]) == 0
    demo_folder = str(ROOT / "assets" / "demo")
    key = str(server.data / "keys" / "signing_key.pub")
    assert main(["verify", str(bundle), "--key", key, "--cohort", demo_folder]) == 0
    with zipfile.ZipFile(bundle) as opened:
        names = set(opened.namelist())
    assert {"model.onnx", "export.json", "report.pdf", "decisions.json", "model.sig"} <= names
    edited = tmp_path / "edited.zip"
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    edited.write_bytes(content)
    assert main(["verify", str(edited)]) == 1
    again = tmp_path / "again.parquet"
    demo = ["--cohort", str(ROOT / "assets" / "demo"), "--cache", str(tmp_path / "cache")]
    scoring = ["evaluate", "--model", str(bundle), *demo, "--out", str(again), "--quiet"]
    assert main(scoring) == 0
    audited = next((server.data / "artefacts").rglob("audit.json")).parent / "predictions.parquet"
    before, after = Predictions.load(audited).part("audit"), Predictions.load(again)
    assert before.frame["id"].tolist() == after.frame["id"].tolist()
    assert np.array_equal(before.probabilities("candidate"), after.probabilities("candidate"))
