"""The form for a new case: photographs, groups, classifier, limits and what it is for."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.backend.views import CohortInspection, NewCase
from dashboard.components import choices, state, tables
from dashboard.components.case import intended_use, limit_form
from dashboard.components.glossary import tip
from dashboard.components.page import opening, show_from_the_top
from dashboard.components.words import SCHEME_TITLES, counted, escaped
from fairquant_core.errors import FairQuantError

INSPECTED = "inspected_cohort"
FROM_PATH, FROM_UPLOAD, FROM_NAME = (
    "A file on this computer",
    "Upload a file",
    "Train one here first",
)
SUFFIXES = ["safetensors", "pt", "pth"]
ARCHITECTURES = (
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "resnet18",
    "resnet50",
    "deit_tiny_patch16_224",
    "tiny_vit_5m_224",
)
"""Architectures that are tested; any other timm name of Conv2d and Linear layers can be typed."""


def form() -> None:
    """Draw the form; nothing is stored before the last button, and an error loses nothing."""
    opening(
        "What shall be judged, on whom?",
        "Photographs, groups, classifier and limits; everything is checked first.",
    )
    inspection = _cohort()
    if inspection is None:
        if st.button("Back", icon=":material/arrow_back:"):
            state.go("case")
        return
    fields = _groups(inspection)
    with ExitStack() as uploads:
        fields |= _classifier(uploads)
        st.subheader("4 · Limits, set before any run", anchor=False)
        fields |= limit_form.draw(fields.pop("classes"), fields.pop("groups"))
        st.subheader("5 · What it is for", anchor=False)
        fields |= intended_use.form()
        st.subheader("6 · Name", anchor=False)
        fields["title"] = st.text_input(
            "Title of the case", key="new_title", placeholder="Which decision is this about?"
        )
        with st.container(horizontal=True):
            create = st.button(
                "Create the case",
                type="primary",
                icon=":material/add:",
                disabled=fields["limits"] is None,
                help=None if fields["limits"] else "The limits above are not complete yet.",
            )
            if st.button("Cancel"):
                state.go("case")
        if create:
            _create(fields)


def _cohort() -> CohortInspection | None:
    """Ask for the folder and look into it; returns what was found there."""
    st.subheader("1 · Photographs", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        folder = st.text_input(
            "Folder with the photographs and their table",
            key="new_folder",
            placeholder="/path/to/cohort",
            help=tip("cohort"),
        )
        look = st.button("Look at it", icon=":material/search:")
    if look:
        st.session_state.pop(INSPECTED, None)
        try:
            found = state.services().inspect_cohort(Path(folder.strip()).expanduser())
        except FairQuantError as error:
            st.error(escaped(str(error)))
        else:
            st.session_state[INSPECTED] = (folder.strip(), found)
    known_folder, inspection = st.session_state.get(INSPECTED, ("", None))
    if inspection is None or known_folder != folder.strip():
        st.caption("A folder with a CSV file and the images; known data sets are recognised.")
        return None
    _found(inspection)
    return inspection


def _found(inspection: CohortInspection) -> None:
    name = inspection.guess.get("name") or inspection.guess.get("adapter") or "unknown data set"
    st.success(
        f"{counted(inspection.images, 'photograph')}; recognised as {escaped(str(name))}.",
        icon=":material/check:",
    )
    for text in inspection.warnings:
        st.warning(escaped(text))
    with tables.details("Columns found", "new_columns", ":material/view_column:") as is_open:
        if is_open:
            frame = pd.DataFrame(
                {
                    "column": list(inspection.columns),
                    "different values": [inspection.values.get(c) for c in inspection.columns],
                }
            )
            tables.table(frame, "Columns of the cohort", "new_columns")


def _groups(inspection: CohortInspection) -> dict[str, Any]:
    st.subheader("2 · Diagnoses and groups", anchor=False)
    columns = list(inspection.columns)
    guess = inspection.guess
    sources: dict[str, str] = guess.get("group_columns") or {}
    left, middle, right = st.columns(3)
    label = left.selectbox(
        "Column with the diagnosis",
        columns,
        index=_place(columns, guess.get("label_column")),
        key="new_label",
    )
    ordered = [*sources, *(column for column in columns if column not in sources)]
    group = middle.selectbox(
        "Column with the group",
        ordered,
        format_func=lambda column: (
            f"{column} ({sources[column]})" if sources.get(column) else column
        ),
        key="new_group",
        help=tip("group"),
    )
    scheme = right.selectbox(
        "How to group",
        list(SCHEME_TITLES),
        index=_place(list(SCHEME_TITLES), guess.get("scheme")),
        format_func=lambda name: SCHEME_TITLES[name],
        key="new_scheme",
    )
    drop = st.toggle(
        "Leave out rows whose image file is missing",
        key="new_drop",
        help="Otherwise a missing file is an error that names the row.",
    )
    return {
        "cohort_folder": Path(st.session_state[INSPECTED][0]).expanduser(),
        "drop_missing_files": drop,
        "label_column": label,
        "group_column": group,
        "scheme": scheme,
        "classes": list(inspection.distinct.get(label) or guess.get("classes") or []),
        "groups": state.services().groups_of(inspection, group, scheme),
    }


def _classifier(uploads: ExitStack) -> dict[str, Any]:
    st.subheader("3 · Classifier", anchor=False)
    way = choices.segmented(
        "Where is it?",
        [FROM_PATH, FROM_UPLOAD, FROM_NAME],
        default=FROM_PATH,
        required=True,
        key="new_classifier_way",
        help=tip("classifier"),
    )
    path: Path | None = None
    if way == FROM_PATH:
        text = st.text_input(
            "Path of the file", key="new_path", placeholder="classifier.safetensors"
        )
        path = Path(text.strip()).expanduser() if text.strip() else None
    elif way == FROM_UPLOAD:
        file = st.file_uploader("Classifier file", type=SUFFIXES, key="new_upload")
        if file is not None:
            # The person's file name is not used: only its ending says something about the content.
            folder = Path(uploads.enter_context(tempfile.TemporaryDirectory(prefix="fairquant")))
            path = folder / f"classifier{Path(file.name).suffix.lower()}"
            path.write_bytes(file.getbuffer())
    left, right = st.columns(2)
    architecture = left.selectbox(
        "Architecture" if way == FROM_NAME else "Architecture, if the file does not say it",
        ARCHITECTURES,
        index=None,
        accept_new_options=True,
        placeholder="a timm name",
        key="new_architecture",
    )
    size = right.number_input(
        "Image size in pixels (empty: as the classifier says)",
        32,
        512,
        None,
        step=32,
        key="new_size",
    )
    fields: dict[str, Any] = {
        "classifier_path": path,
        "architecture": architecture,
        "image_size": int(size) if size else None,
    }
    return fields | _training() if way == FROM_NAME else fields


def _training() -> dict[str, Any]:
    """What fine-tuning a new classifier needs."""
    left, right = st.columns(2)
    weights = left.text_input(
        "File with ImageNet weights to start from",
        key="new_weights",
        placeholder="optional",
    )
    epochs = right.number_input("Epochs", 1, 200, NewCase.fit_epochs, key="new_epochs")
    download = st.toggle(
        "Fetch ImageNet weights from the internet",
        key="new_download",
        disabled=bool(weights.strip()),
        help="The only thing that ever asks the network, and only if you switch it on.",
    )
    return {
        "weights_path": Path(weights.strip()).expanduser() if weights.strip() else None,
        "download_weights": download and not weights.strip(),
        "fit_epochs": int(epochs),
    }


def _create(fields: dict[str, Any]) -> None:
    try:
        case_id = state.services().create_case(NewCase(**fields))
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return
    st.session_state.pop(INSPECTED, None)
    state.services().ensure_worker()
    show_from_the_top()
    state.go("case", case_id)


def _place(columns: list[str], wanted: str | None) -> int:
    return columns.index(wanted) if wanted in columns else 0
