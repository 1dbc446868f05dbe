"""How quickly does the dashboard answer? First page, clicks and memory, in a real Chromium.

    python benchmarks/application.py --rounds 5
    python benchmarks/application.py --journey --epochs 4

Starts the application on a fresh data folder as the README says, opens the inbox, and clicks through the pages of the
demo case. With ``--journey`` it also walks the demo case from the sensitivity map to the exported file. "First page"
counts from the start of the server process to the moment when the question, the demo case and all scripts are
there. A click counts until the new page's question is shown and no script runs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playwright.sync_api import sync_playwright

from benchmarks.figures import script_parser, write_figures
from tests.browser.conftest import ARGUMENTS, find_chromium, start_server, stop_server
from tests.browser.journey import Journey

PAGES = {
    "Case": "What are we judging, on whom?",
    "Sensitivity": "Which layers matter to whom?",
    "Budget": "How small can it get, and who pays?",
    "Runs": "How is training going?",
    "Compare": "Does anyone lose?",
    "Saliency": "Does it still look at the lesion?",
    "Review and export": "May it leave?",
    "Inbox": "What needs me?",
}
LIMITS = {"first page": 5.0, "click": 0.5, "megabytes": 350.0}
JOURNEY_LIMITS = {"sensitivity heatmap": 60.0, "run": 240.0, "whole journey": 480.0}


def walk(journey: Journey, epochs: int, folder: Path) -> dict[str, float]:
    """Seconds from the sensitivity map to the downloaded bundle, and of its two long parts."""
    started = time.monotonic()
    journey.sensitivity()
    journey.budget(epochs)
    journey.run()
    journey.compare()
    journey.saliency()
    journey.review()
    journey.download(folder)
    return journey.seconds | {"whole journey": time.monotonic() - started}


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--journey", action="store_true", help="walk the whole demo case too")
    parser.add_argument("--epochs", type=int, default=4, help="of the run in the journey")
    options = parser.parse_args()
    found: dict[str, float] = {}
    clicks: dict[str, list[float]] = {name: [] for name in PAGES}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        started = time.monotonic()
        server = start_server(Path(folder) / "data", Path(folder) / "server.log")
        try:
            journey = Journey(chromium.new_page(), server.url)
            journey.open()
            found["first page"] = time.monotonic() - started
            for _ in range(options.rounds):
                for name, question in PAGES.items():
                    begin = time.monotonic()
                    journey.menu(name, question)
                    clicks[name].append(time.monotonic() - begin)
            if options.journey:
                found |= walk(journey, options.epochs, Path(folder))
            found["megabytes"] = psutil.Process(server.process.pid).memory_info().rss / 1e6
        finally:
            stop_server(server)
            chromium.close()
    found["click"] = statistics.median(value for values in clicks.values() for value in values)
    print(f"server answers after {server.seconds_to_answer:.1f} s")
    limits = LIMITS | (JOURNEY_LIMITS if options.journey else {})
    for name, limit in limits.items():
        print(
            f"{name:20s} {found[name]:8.2f}   limit {limit:g}, {found[name] / limit:.2f} x the limit"
        )
    for name, values in clicks.items():
        print(
            f"  click {name:18s} median {statistics.median(values):.2f} s, worst {max(values):.2f} s"
        )
    write_figures(options, found)


if __name__ == "__main__":
    main()
