"""The files of a report: tags for screen readers, the words on every page, the same bytes every time."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from fairquant_core.errors import Cancelled, ExportError
from fairquant_core.report import render
from fairquant_core.report.content import DRAFT
from fairquant_core.report.facts import Facts
from fairquant_core.report.names import FILES
from fairquant_core.report.write import write_report


def structure(reader: PdfReader) -> list[dict[str, Any]]:
    """Every element of the tag tree, in reading order."""
    found: list[dict[str, Any]] = []

    def walk(node: Any) -> None:
        node = node.get_object() if hasattr(node, "get_object") else node
        if not isinstance(node, dict):
            return
        if "/S" in node:
            found.append(node)
        kids = node.get("/K", [])
        kids = kids.get_object() if hasattr(kids, "get_object") else kids
        for kid in kids if isinstance(kids, list) else [kids]:
            walk(kid)

    walk(reader.trailer["/Root"]["/StructTreeRoot"])
    return found


def tags(reader: PdfReader) -> list[str]:
    return [str(element["/S"]) for element in structure(reader)]


class Page(HTMLParser):
    """Collects what a screen reader or a browser could stumble over."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_all_files_are_written(draft_folder: Path) -> None:
    assert sorted(path.name for path in draft_folder.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", ["report.pdf", "label.pdf"])
def test_pdf_is_tagged_for_screen_readers(name: str, approved_folder: Path) -> None:
    reader = PdfReader(approved_folder / name)
    root = reader.trailer["/Root"]

    assert root["/Lang"] == "en"
    assert root["/MarkInfo"]["/Marked"]
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert "Lesions of the north clinic" in str(reader.metadata.title)
    assert re.search(rb"pdfuaid:part(>|=.)1", root["/Metadata"].get_data())
    assert {"/H1", "/H2", "/Table", "/TH", "/TD", "/P", "/L"} <= set(tags(reader))


def test_headings_go_down_one_step_at_a_time(approved_folder: Path) -> None:
    levels = [
        int(tag[2:])
        for tag in tags(PdfReader(approved_folder / "report.pdf"))
        if re.match("/H[1-6]", tag)
    ]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_figure_of_the_pdf_has_words(approved_folder: Path) -> None:
    figures = [
        e for e in structure(PdfReader(approved_folder / "report.pdf")) if e["/S"] == "/Figure"
    ]

    assert len(figures) > 8
    assert all(len(str(figure.get("/Alt", ""))) > 20 for figure in figures)


def test_cells_of_the_pdf_name_their_heads(approved_folder: Path) -> None:
    cells = [e for e in structure(PdfReader(approved_folder / "report.pdf")) if e["/S"] == "/TD"]

    named = [cell["/A"].get("/Headers", []) for cell in cells if "/A" in cell]
    assert len(named) > 200
    assert sum(len(heads) > 1 for heads in named) > 0.8 * len(named)


def test_fonts_are_inside_the_pdf(approved_folder: Path) -> None:
    fonts = {
        font.get_object()["/BaseFont"]
        for page in PdfReader(approved_folder / "report.pdf").pages
        for font in page["/Resources"].get("/Font", {}).values()
    }

    assert any("Report-Sans" in str(font) for font in fonts)


@pytest.mark.parametrize("name", ["report.pdf", "label.pdf"])
def test_a_draft_says_so_on_every_page(name: str, draft_folder: Path) -> None:
    pages = PdfReader(draft_folder / name).pages

    assert all(DRAFT in page.extract_text() for page in pages)


def test_an_approved_report_is_no_draft(approved_folder: Path) -> None:
    for name in ("report.pdf", "label.pdf"):
        assert not any(
            DRAFT in page.extract_text() for page in PdfReader(approved_folder / name).pages
        )
    assert DRAFT not in (approved_folder / "report.html").read_text()


def test_an_override_comes_first(approved_folder: Path) -> None:
    text = PdfReader(approved_folder / "report.pdf").pages[0].extract_text()
    label = PdfReader(approved_folder / "label.pdf").pages[0].extract_text()

    assert text.index("Approved by override") < text.index("The file shrinks from")
    assert "dermatologist looks at every image & decides" in text
    assert label.index("Approved by override") < label.index("What it is")


def test_the_summary_is_one_page_and_the_label_too(
    draft_folder: Path, approved_folder: Path
) -> None:
    for folder in (draft_folder, approved_folder):
        pages = PdfReader(folder / "report.pdf").pages
        assert "In this report" in pages[0].extract_text()
        assert "What is this?" in pages[1].extract_text()
        assert len(PdfReader(folder / "label.pdf").pages) == 1


def test_html_needs_nothing_from_outside(approved_folder: Path) -> None:
    elements = Page((approved_folder / "report.html").read_text()).elements

    assert not [tag for tag, _ in elements if tag in ("script", "link", "iframe", "object", "form")]
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    for tag, attributes in elements:
        for name in ("src", "href"):
            if attributes.get(name):
                assert re.match("data:|#", str(attributes[name])), (tag, attributes[name])
    policies = [
        a["content"] for _, a in elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in str(policies[0])


def test_links_lead_somewhere_and_ids_are_unique(approved_folder: Path) -> None:
    elements = Page((approved_folder / "report.html").read_text()).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    links = {str(attributes["href"])[1:] for tag, attributes in elements if tag == "a"}

    assert len(ids) == len(set(ids))
    assert links <= set(ids)


def test_every_picture_and_figure_has_words(approved_folder: Path) -> None:
    elements = Page((approved_folder / "report.html").read_text()).elements

    assert all(len(str(attributes.get("alt"))) > 10 for tag, attributes in elements if tag == "img")
    drawn = [attributes for tag, attributes in elements if tag == "svg"]
    assert len(drawn) == 5
    assert all(a["role"] == "img" and len(str(a["aria-label"])) > 40 for a in drawn)


def test_the_same_facts_give_the_same_bytes(
    approved: Facts, approved_folder: Path, tmp_path: Path
) -> None:
    write_report(approved, tmp_path)

    for name in FILES:
        assert (tmp_path / name).read_bytes() == (approved_folder / name).read_bytes(), name


def test_json_holds_figures_and_no_pictures(approved_folder: Path) -> None:
    text = (approved_folder / "report.json").read_text()
    found = json.loads(text)

    assert found["about"]["run"] == "run-1"
    assert found["about"]["log_sequence"] == 5
    assert found["about"]["approved"] is True
    assert "data:image" not in text
    assert "NaN" not in text


def test_every_figure_of_the_page_is_in_the_json(draft_folder: Path) -> None:
    """Percentages on the page, written anew from the fractions of the twin."""
    page = re.sub(
        r"<style>.*?</style>|<[^>]+>", " ", (draft_folder / "report.html").read_text(), flags=re.S
    )
    shown = set(re.findall(r"(\d+\.\d)\u00a0%", page))
    fractions: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)
        elif isinstance(value, float):
            fractions.add(f"{100 * value:.1f}".removeprefix("-"))

    collect(json.loads((draft_folder / "report.json").read_text()))
    assert len(shown) > 50
    assert shown <= fractions | {"0.0", "100.0"}


def test_checklist_counts_its_own_items(draft_folder: Path) -> None:
    found = json.loads((draft_folder / "checklist.json").read_text())

    for guideline, counted in found["counts"].items():
        for state, number in counted.items():
            rows = [r for r in found["items"] if (r["guideline"], r["state"]) == (guideline, state)]
            assert len(rows) == number


def test_cancelling_leaves_nothing(approved: Facts, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        write_report(approved, tmp_path, cancel=lambda: True)

    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_named_and_nothing_is_written(
    approved: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "weasyprint", None)

    with pytest.raises(ExportError, match="Install the Pango library"):
        write_report(approved, tmp_path)
    assert not list(tmp_path.iterdir())


def test_templates_that_are_gone_are_named(
    approved: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render._environment.cache_clear()
    monkeypatch.setattr(render, "ASSETS", tmp_path / "nowhere")
    render._style.cache_clear()
    render._fonts.cache_clear()
    try:
        with pytest.raises(ExportError, match="restore the folder"):
            write_report(approved, tmp_path)
    finally:
        for kept in (render._environment, render._style, render._fonts):
            kept.cache_clear()
