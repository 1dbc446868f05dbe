"""From the content to pages: HTML by Jinja2, PDF with tags for screen readers by WeasyPrint."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from fairquant_core.errors import ExportError
from fairquant_core.report import charts, words
from fairquant_core.report.checklist import SOURCES, counts
from fairquant_core.report.content import SECTIONS
from fairquant_core.report.results import main_measures, other_measures

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "report"
FONTS = (
    ("Report Sans", 400, "source-sans-3-latin-400-normal.woff2"),
    ("Report Sans", 600, "source-sans-3-latin-600-normal.woff2"),
    ("Report Sans Ext", 400, "source-sans-3-latin-ext-400-normal.woff2"),
    ("Report Sans Ext", 600, "source-sans-3-latin-ext-600-normal.woff2"),
)
LABEL_SIZES = (9.5, 8.8, 8.0, 7.2, 6.4, 5.6)
"""Letter sizes in points that are tried until the label fits on one page."""

CALIBRATION = ("ece", "brier")
NO_LIBRARY = (
    "The PDF cannot be made: {reason}. Install the Pango library (Debian and Ubuntu: "
    "apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0; macOS: brew install pango)."
)
NO_TEMPLATE = "The report's templates are not in {folder}: restore the folder from the repository."
CRITERIA = {
    "equal opportunity": "The condition is found equally often",
    "equalised odds": "Found, and wrongly suspected, equally often",
    "demographic parity": "Suspected equally often",
}
_LIGHT, _DARK = (255, 255, 255), (19, 52, 92)
_KINDS = {"WITHIN": "within", "OUTSIDE": "outside"}


def report_html(content: Mapping[str, Any]) -> str:
    """The whole report as one file without script and without a link to the outside."""
    found = content["results"]
    main = main_measures(found)
    sure = [table for table in other_measures(found) if table["metric"] in CALIBRATION]
    shown = {table["measure"] for table in (*main, *sure)}
    return _render(
        "report.html",
        content,
        charts=_charts(content),
        main_tables=main,
        calibration_tables=sure,
        annex_tables=[table for table in found["measures"] if table["measure"] not in shown],
        main_gaps=[row for row in found["gaps"] if row["measure"] in shown],
        annex_gaps=[row for row in found["gaps"] if row["measure"] not in shown],
        checklist_counts=counts(content["checklist"]),
        checklist_sources=SOURCES,
    )


def label_html(content: Mapping[str, Any], size: float) -> str:
    """The Model Facts label.

    Parameters
    ----------
    size : letter size in points.
    """
    rates = [t for t in content["results"]["measures"] if t["metric"] == "sensitivity"]
    widest = max(rates, key=lambda table: len(table["classes"]), default=None)
    return _render("label.html", content, size=size, label_rates=widest)


def report_pdf(content: Mapping[str, Any], html: str) -> bytes:
    """The same pages on paper, tagged for screen readers (PDF/UA-1); same content, same bytes."""
    return _pdf(_document(html), content)


def label_pdf(content: Mapping[str, Any]) -> bytes:
    """The label on one page: the letters get smaller until it fits."""
    for size in LABEL_SIZES:
        document = _document(label_html(content, size))
        if len(document.pages) == 1:
            break
    return _pdf(document, content)


def _document(html: str) -> Any:
    try:
        import weasyprint
    except (ImportError, OSError) as error:
        raise ExportError(NO_LIBRARY.format(reason=error)) from error
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    return weasyprint.HTML(string=html, url_fetcher=_only_data()).render(
        pdf_variant="pdf/ua-1", pdf_tags=True
    )


def _only_data() -> Any:
    """Nothing outside the file is ever fetched, whatever a name or a comment says."""
    from weasyprint import URLFetcher

    return URLFetcher(allowed_protocols={"data"})


def _pdf(document: Any, content: Mapping[str, Any]) -> bytes:
    about = content["about"]
    name = f"{about['run']}:{about['made']}:{about['log_sequence']}:{about['with_images']}"
    identifier = hashlib.sha256(name.encode()).hexdigest()[:32].encode()
    return document.write_pdf(pdf_variant="pdf/ua-1", pdf_tags=True, pdf_identifier=identifier)


def _charts(content: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "accuracy": charts.accuracy_chart(content["results"]),
        "change": charts.change_chart(content["verdicts"]),
    }
    if content["compression"]["widths"]:
        found["widths"] = charts.width_chart(content["compression"])
    if content["results"]["calibration"]:
        found["calibration"] = charts.calibration_chart(content["results"])
    if content["saliency"]:
        found["overlap"] = charts.overlap_chart(content["saliency"])
    return found


def _render(template: str, content: Mapping[str, Any], **more: Any) -> str:
    page = _environment().get_template(template)
    return page.render(files=_fonts(), style=_style(), **content, **more)


@cache
def _fonts() -> tuple[tuple[str, int, str], ...]:
    return tuple(
        (family, weight, f"data:font/woff2;base64,{_base64(ASSETS / 'fonts' / name)}")
        for family, weight, name in FONTS
    )


@cache
def _style() -> Any:
    from markupsafe import Markup

    return Markup((ASSETS / "style.css").read_text(encoding="utf-8"))


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


@cache
def _environment() -> jinja2.Environment:
    if not (ASSETS / "report.html").is_file():
        raise ExportError(NO_TEMPLATE.format(folder=ASSETS))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        name: getattr(words, name)
        for name in (
            *(
                "figure",
                "change",
                "change_number",
                "span",
                "number",
                "count",
                "counted",
                "megabytes",
                "when",
            ),
            *("percent", "joined", "capital", "cut"),
        )
    }
    environment.filters |= {
        "group": words.group_title,
        "groups_joined": lambda names: words.joined(map(words.group_title, names)),
        "lower_joined": lambda names: words.joined(n[:1].lower() + n[1:] for n in names),
        "kind": lambda verdict: _KINDS.get(verdict, "insufficient"),
        "verdict_words": lambda verdict: words.VERDICTS.get(verdict, "not judged"),
        "criterion": lambda name: CRITERIA.get(name, words.capital(name)),
        "gap_figure": _gap_figure,
        "has_flips": lambda rows: any(words.known(row["change"]["lost"]) for row in rows),
        "heat": _heat,
        "shade": _shade,
        "section_name": {anchor: name for anchor, _, name in SECTIONS}.get,
    }
    environment.tests["known"] = words.known
    environment.tests["in_percent"] = words.IN_PERCENT.__contains__
    return environment


def _gap_figure(value: float | None, metric: str) -> str:
    """A distance between two values of a measure: points where the measure is a percentage."""
    if not words.known(value) or value is None:
        return words.NOT_ESTIMABLE
    if metric in words.IN_PERCENT:
        return f"{words.number(100 * value, 1)}{words.SPACE}points"
    return words.number(value, 3)


def _heat(value: float | None, is_measured: bool) -> str:
    if not words.known(value) or value is None:
        return ""
    return words.plus(100 * value, 1) if is_measured else words.brief(value)


def _shade(cell: Mapping[str, Any] | None, highest: float, is_measured: bool) -> str:
    """Dark where it costs most; light letters on dark, so that it reads in black and white."""
    value = cell["value"] if cell else None
    if not words.known(value) or value is None or highest <= 0:
        return ""
    share = min(1.0, max(0.0, value / highest))
    if not is_measured:
        # Predictions differ by powers of ten; the root makes the small ones visible too.
        share **= 0.5
    red, green, blue = (
        round(light + share * (dark - light)) for light, dark in zip(_LIGHT, _DARK, strict=True)
    )
    letters = "#fff" if share > 0.55 else "#16202a"
    return f"background:rgb({red},{green},{blue});color:{letters}"
