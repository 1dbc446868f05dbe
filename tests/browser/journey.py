"""The demo journey as a person clicks it, step by step; the test and the benchmark walk the same way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.browser.accessibility import AXE, assert_accessible

STEP_MS = 20_000
MEASURING_MS = 240_000
RUN_MS = 420_000
SALIENCY_MS = 180_000
EXPORT_MS = 300_000
REPORT_MS = 120_000
BUNDLE_MS = 90_000


class Journey:
    """Clicks through the demo case; every step waits for what a person would wait for.

    Parameters
    ----------
    page
        A Playwright page.
    shots
        Folder for a picture of every station, or None.
    """

    def __init__(self, page: Any, url: str, shots: Path | None = None) -> None:
        self.page, self.url, self.shots = page, url, shots
        self.seconds: dict[str, float] = {}
        page.set_default_timeout(STEP_MS)
        page.set_viewport_size({"width": 1440, "height": 900})

    def open(self) -> None:
        """The inbox of a fresh data folder; the demo case is there."""
        with self.timed("first page"):
            self.page.goto(self.url)
            self.heading("What needs me?")
            self.settled()
        self.shot("1-inbox")

    def case(self) -> None:
        """The case page: the baseline is already audited."""
        self.menu("Case", "What are we judging, on whom?")
        self.page.get_by_text("Synthetic demo data").first.wait_for()
        self.shot("2-case")

    def sensitivity(self) -> None:
        """Measure the layers and see the heatmap."""
        self.menu("Sensitivity", "Which layers matter to whom?")
        with self.timed("sensitivity heatmap"):
            self.button("Measure the layers")
            self.page.locator(".js-plotly-plot .heatmaplayer").first.wait_for(timeout=MEASURING_MS)
            self.settled()
        self.shot("3-sensitivity")

    def budget(self, epochs: int) -> None:
        """Choose the budget and start a run with learned bits."""
        self.menu("Budget", "How small can it get, and who pays?")
        self.page.locator(".js-plotly-plot").first.wait_for()
        self.settled()
        self.shot("4-budget")
        field = self.page.get_by_label("Epochs (passes over the photographs)")
        field.fill(str(epochs))
        field.press("Enter")
        self.settled()
        name = self.page.get_by_label("Your name")
        name.fill("Ada Auditor")
        name.press("Enter")
        self.settled()
        self.button("Start the run")
        self.heading("How is training going?")

    def run(self) -> None:
        """Watch the run, reload the page in between, and wait for its end."""
        with self.timed("run"):
            self.page.locator(".js-plotly-plot").first.wait_for(timeout=RUN_MS)
            self.shot("5-run-live")
            self.page.reload()
            self.heading("How is training going?")
            self.page.get_by_role("button", name="Next: does anyone lose?").wait_for(timeout=RUN_MS)
        self.settled()
        self.shot("6-run-finished")

    def compare(self) -> None:
        """Accuracy per group, with intervals and verdicts."""
        self.button("Next: does anyone lose?")
        self.heading("Does anyone lose?")
        self.page.locator(".js-plotly-plot").first.wait_for()
        self.settled()
        self.shot("7-compare")

    def picture(self, kind: str, folder: Path) -> bytes:
        """The first chart of the page, saved as a picture of this kind."""
        choice = self.page.get_by_role("radiogroup", name="Save charts as")
        choice.get_by_text(kind.upper()).click()
        self.settled()
        chart = self.page.locator(".js-plotly-plot").first
        chart.hover()
        with self.page.expect_download(timeout=STEP_MS) as caught:
            chart.locator(".modebar-btn").first.click()
        target = folder / caught.value.suggested_filename
        assert target.suffix == f".{kind}"
        caught.value.save_as(target)
        return target.read_bytes()

    def accessible(self) -> None:
        """Axe finds nothing on the present page, where axe is installed."""
        if AXE.exists():
            # Off the menu: its hint floats above the page, in a layer of Streamlit's own without a landmark.
            self.page.mouse.move(1435, 895)
            self.page.get_by_role("tooltip").first.wait_for(state="detached")
            assert_accessible(self.page, self.page.url)

    def saliency(self) -> None:
        """Draw the maps and see them side by side."""
        self.button("Next: does it still look at the lesion?")
        self.heading("Does it still look at the lesion?")
        with self.timed("saliency"):
            self.button("Draw the maps")
            self.page.locator(".js-plotly-plot").first.wait_for(timeout=SALIENCY_MS)
        self.settled()
        self.shot("8-saliency")

    def review(self) -> None:
        """Propose as one person, approve as another, with a written override where it needs one."""
        self.button("Next: may it leave?")
        self.heading("May it leave?")
        self.settled()
        self.shot("9-review")
        with self.timed("check of the files"):
            self.button("Check the files")
            self.page.get_by_text("the file names the same class").wait_for(timeout=EXPORT_MS)
        self.settled()
        self.shot("10-checked")
        self.decide("Ada Auditor", "Auditor", "Propose", "Ready for review.")
        self.decide("Carla Clinician", "Clinician", "Approve", "Demonstration only.")
        self.shot("11-approved")

    def report(self) -> None:
        """Write the report that tells of the approval, and come back to the review."""
        self.button("To the report")
        self.heading("What does the board read?")
        self.settled()
        with self.timed("report"):
            self.button("Write the report")
            self.page.get_by_text("tells of the approval").wait_for(timeout=REPORT_MS)
        self.settled()
        self.shot("12-report")
        self.menu("Review and export", "May it leave?")

    def download(self, folder: Path) -> Path:
        """The exported bundle, as the browser saves it."""
        self.button("Make the bundle")
        self.page.get_by_role("button", name="Download the bundle").wait_for(timeout=BUNDLE_MS)
        self.settled()
        self.shot("13-bundle")
        with self.page.expect_download(timeout=STEP_MS) as caught:
            self.page.get_by_role("button", name="Download the bundle").click()
        target = folder / caught.value.suggested_filename
        caught.value.save_as(target)
        return target

    def decide(self, person: str, role: str, decision: str, comment: str) -> None:
        """Fill in the decision form and record it."""
        self.page.get_by_label("Your name").fill(person)
        self.page.get_by_role("radio", name=role).click()
        self.page.get_by_role("radiogroup", name="Decision").get_by_text(decision).click()
        self.page.get_by_label("Reasons").fill(comment)
        override = self.page.get_by_label("Override: why may it leave")
        if decision == "Approve" and override.count():
            override.fill("Synthetic demonstration data: nobody will be treated with this.")
        self.button("Record the decision")
        self.page.get_by_text(person).first.wait_for()
        self.settled()

    def menu(self, name: str, question: str) -> None:
        """Go to a page by the menu and wait for its question."""
        sidebar = self.page.get_by_test_id("stSidebar")
        sidebar.get_by_role("link", name=name, exact=True).click()
        self.heading(question)
        self.settled()

    def heading(self, text: str) -> None:
        self.page.get_by_role("heading", name=text).wait_for()

    def button(self, name: str) -> None:
        self.page.get_by_role("button", name=name).first.click()

    def settled(self) -> None:
        """No script is running any more."""
        self.page.wait_for_timeout(120)
        self.page.wait_for_function(
            "() => document.querySelector('[data-testid=stApp]')"
            "?.getAttribute('data-test-script-state') === 'notRunning'",
            timeout=STEP_MS,
        )

    def shot(self, name: str) -> None:
        if self.shots is not None:
            self.shots.mkdir(parents=True, exist_ok=True)
            height = self.page.evaluate(
                "() => document.querySelector('[data-testid=stMain]')?.scrollHeight ?? 900"
            )
            self.page.set_viewport_size({"width": 1440, "height": max(900, int(height) + 20)})
            self.page.wait_for_timeout(500)
            self.page.screenshot(path=self.shots / f"{name}.png")
            self.page.set_viewport_size({"width": 1440, "height": 900})

    def timed(self, name: str) -> _Timer:
        return _Timer(self.seconds, name)


class _Timer:
    def __init__(self, into: dict[str, float], name: str) -> None:
        self.into, self.name = into, name

    def __enter__(self) -> None:
        self.started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.into[self.name] = round(time.monotonic() - self.started, 2)
