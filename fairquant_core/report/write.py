"""Writing a report: all of its files, or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairquant_core.errors import Cancelled
from fairquant_core.files import atomic_path, write_json
from fairquant_core.progress import Report, Stop, say
from fairquant_core.report.checklist import SOURCES, counts
from fairquant_core.report.content import FORMAT, content, without_pictures
from fairquant_core.report.facts import Facts
from fairquant_core.report.names import CHECKLIST_FILE, HTML_FILE, JSON_FILE, LABEL_FILE, PDF_FILE
from fairquant_core.report.render import label_pdf, report_html, report_pdf

STEPS = ("figures", "pages", "PDF", "label", "files")


def write_report(
    facts: Facts, folder: Path, *, progress: Report | None = None, cancel: Stop | None = None
) -> dict[str, Any]:
    """Write all files of `names.FILES` into a folder; the same facts give the same bytes.

    Returns
    -------
    dict
        The content, as in report.json (without the bytes of pictures).

    Raises
    ------
    ExportError
        The PDF library is not installed, or the templates are gone.
    """

    def step(number: int) -> None:
        if cancel is not None and cancel():
            raise Cancelled("The report was cancelled.")
        say(progress, "report", number, len(STEPS), f"Writing the {STEPS[number]}")

    step(0)
    found = content(facts)
    twin = without_pictures(found)
    step(1)
    html = report_html(found)
    step(2)
    paper = report_pdf(found, html)
    step(3)
    label = label_pdf(found)
    step(4)
    # Everything is made before anything is written: no reader finds half a report.
    for name, data in ((HTML_FILE, html.encode()), (PDF_FILE, paper), (LABEL_FILE, label)):
        with atomic_path(folder / name) as part:
            part.write_bytes(data)
    write_json(folder / JSON_FILE, twin)
    write_json(folder / CHECKLIST_FILE, checklist_json(found))
    return twin


def checklist_json(found: Mapping[str, Any]) -> dict[str, Any]:
    """The checklist on its own, with what it is about."""
    names = ("title", "run", "made", "approved", "log_sequence", "verdict")
    return {
        "format": FORMAT,
        "about": {name: found["about"][name] for name in names},
        "sources": SOURCES,
        "counts": counts(found["checklist"]),
        "items": found["checklist"],
    }
