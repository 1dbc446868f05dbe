"""Entrypoint: the frame around every page; `python -m streamlit run dashboard/app.py`."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    # Streamlit puts this file's folder on the path, not the repository that holds both packages.
    sys.path.insert(0, str(ROOT))

from dashboard.components import header, sidebar, state  # noqa: E402
from dashboard.components.page import PageEnd, refused  # noqa: E402
from fairquant_core.errors import FairQuantError  # noqa: E402

st.set_page_config(
    page_title="FairQuant Audit",
    # A file: an icon by name would be fetched from the internet.
    page_icon=str(ROOT / "assets" / "icon.svg"),
    layout="wide",
)
st.logo(str(ROOT / "assets" / "logo.svg"), size="large")
# The one thing that the theme in .streamlit/config.toml cannot say; the file tells why.
st.html(ROOT / "dashboard" / "style.css")

sections = {
    "": [
        st.Page(
            "app_pages/inbox.py",
            title="Inbox",
            icon=":material/inbox:",
            help="What needs you: running work, candidates to review, new results, failures.",
            default=True,
        ),
    ],
    "Prepare": [
        st.Page(
            "app_pages/case.py",
            title="Case",
            icon=":material/groups:",
            help="Which classifier is judged, on whose photographs, within which limits.",
        ),
        st.Page(
            "app_pages/sensitivity.py",
            title="Sensitivity",
            icon=":material/grid_on:",
            help="Which layers of the network matter to which skin-tone group.",
        ),
        st.Page(
            "app_pages/budget.py",
            title="Budget",
            icon=":material/compress:",
            help="How small the file can get, and which group pays for it. Runs start here.",
        ),
    ],
    "Compress": [
        st.Page(
            "app_pages/runs.py",
            title="Runs",
            icon=":material/monitoring:",
            help="A run while it trains, and all runs of the case.",
        ),
    ],
    "Judge": [
        st.Page(
            "app_pages/compare.py",
            title="Compare",
            icon=":material/compare_arrows:",
            help="Accuracy per group before and after, with the verdict per group.",
        ),
        st.Page(
            "app_pages/saliency.py",
            title="Saliency",
            icon=":material/visibility:",
            help="Where the classifier looks, before and after.",
        ),
        st.Page(
            "app_pages/review.py",
            title="Review and export",
            icon=":material/verified_user:",
            help="A person decides; only an approved candidate leaves.",
        ),
        st.Page(
            "app_pages/report.py",
            title="Report",
            icon=":material/description:",
            help="What the ethics board reads: report, label and checklist.",
        ),
    ],
}
page = st.navigation(sections, position="hidden")
place = state.arrive()
sidebar.draw(sections, place)
header.strip(place)
try:
    with suppress(PageEnd):
        page.run()
except FairQuantError as error:
    refused(error)
