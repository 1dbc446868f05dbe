"""Names of the files that make up a report; nothing is imported here."""

from __future__ import annotations

HTML_FILE = "report.html"
PDF_FILE = "report.pdf"
LABEL_FILE = "label.pdf"
JSON_FILE = "report.json"
CHECKLIST_FILE = "checklist.json"
FILES = (HTML_FILE, PDF_FILE, LABEL_FILE, JSON_FILE, CHECKLIST_FILE)
