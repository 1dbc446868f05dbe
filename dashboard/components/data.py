"""What pages read again and again, kept by id and hash so that a click redraws at once.

Every key holds a fingerprint or a result hash: the same key always means the same bytes, so
nothing here can become stale.
"""

from __future__ import annotations

import io
import json
from typing import Any

import pandas as pd
import streamlit as st
from PIL import Image

from dashboard.backend.run.full_audit import FullAuditView
from dashboard.backend.run.pairs import PairView
from dashboard.backend.saliency.views import SaliencyChoice, SaliencyView
from dashboard.backend.views import (
    BoardView,
    CaseView,
    ComparisonView,
    PlanPreview,
    RunView,
)
from dashboard.components import state
from dashboard.components.measures import loss_rise
from fairquant_core.audit.metrics import AccuracyTable
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap

THUMBNAIL_SIDE = 224
JPEG_QUALITY = 88
FULL_PRECISION, CANDIDATE = "full precision", "candidate"


def baseline(case: CaseView, scheme: str | None = None) -> AccuracyTable | None:
    """Full-precision accuracy of a prepared case."""
    if not case.ready:
        return None
    return _baseline(case.id, case.classifier.fingerprint, case.cohort.fingerprint, scheme)


@st.cache_data(max_entries=32, show_spinner=False)
def _baseline(
    case_id: str, classifier: str, cohort: str, scheme: str | None
) -> AccuracyTable | None:
    return state.services().baseline(case_id, scheme)


def cohort_table(case: CaseView) -> pd.DataFrame:
    """The cohort table with its "group" column."""
    return _cohort_table(case.id, case.cohort.fingerprint)


@st.cache_data(max_entries=8, show_spinner=False)
def _cohort_table(case_id: str, fingerprint: str) -> pd.DataFrame:
    return state.services().cohort_table(case_id)


def cell_counts(case: CaseView) -> pd.DataFrame:
    """[group, label, split, n] of the case."""
    return _cell_counts(case.id, case.cohort.fingerprint)


@st.cache_data(max_entries=32, show_spinner=False)
def _cell_counts(case_id: str, fingerprint: str) -> pd.DataFrame:
    return state.services().cell_counts(case_id)


def photograph(case: CaseView, image_id: str, side: int = THUMBNAIL_SIDE) -> Image.Image:
    """A photograph of the cohort, scaled down."""
    return Image.open(io.BytesIO(_photograph(case.id, case.cohort.fingerprint, image_id, side)))


@st.cache_data(max_entries=400, show_spinner=False)
def _photograph(case_id: str, fingerprint: str, image_id: str, side: int) -> bytes:
    image = state.services().image(case_id, image_id, longest_side=side)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def sensitivity(case: CaseView) -> tuple[MeasuredMap, SensitivityMap] | None:
    """The newest finished measurement, or None."""
    job = state.services().sensitivity_job(case.id)
    if job is None:
        return None
    return _sensitivity(case.id, job.id, job.result_hash)


@st.cache_resource(max_entries=4, show_spinner=False)
def _sensitivity(
    case_id: str, job_id: str, result_hash: str | None
) -> tuple[MeasuredMap, SensitivityMap] | None:
    # Frozen arrays of several megabytes: shared, not copied for every session.
    return state.services().sensitivity(case_id)


def budget_curve(case: CaseView) -> pd.DataFrame | None:
    """The predicted cost of every budget, or None before the layers are measured."""
    job = state.services().sensitivity_job(case.id)
    return _budget_curve(case.id, job.id, job.result_hash) if job else None


@st.cache_data(max_entries=8, show_spinner=False)
def _budget_curve(case_id: str, job_id: str, result_hash: str | None) -> pd.DataFrame | None:
    return state.services().budget_curve(case_id)


def plan_preview(
    case: CaseView, bits: float, granularity: str, wishes: dict[str, Any] | None = None
) -> PlanPreview | None:
    """The bit plan at a budget, or None before the layers are measured.

    `wishes` are further fields of a run's configuration.
    """
    job = state.services().sensitivity_job(case.id)
    if job is None:
        return None
    text = json.dumps(wishes or {}, sort_keys=True)
    return _plan_preview(case.id, job.id, job.result_hash, bits, granularity, text)


@st.cache_resource(max_entries=128, show_spinner=False)
def _plan_preview(
    case_id: str, job_id: str, result_hash: str | None, bits: float, granularity: str, wishes: str
) -> PlanPreview | None:
    return state.services().plan_preview(case_id, bits, granularity, json.loads(wishes))


def comparison(run: RunView, scheme: str | None = None) -> ComparisonView:
    """Accuracy, differences, flips and verdicts of a finished run."""
    return _comparison(run.id, run.result_hash, scheme)


@st.cache_data(max_entries=32, show_spinner=False)
def _comparison(run_id: str, result_hash: str | None, scheme: str | None) -> ComparisonView:
    return state.services().comparison(run_id, scheme)


def comparable(run: RunView) -> dict[str, str]:
    """Key -> title: the classifiers of this run, then the candidates of other finished runs."""
    return _comparable(run.id, tuple((one.id, one.result_hash) for one in state.current().runs))


@st.cache_data(max_entries=32, show_spinner=False)
def _comparable(run_id: str, runs: tuple[tuple[str, str | None], ...]) -> dict[str, str]:
    return state.services().comparable(run_id)


def measures(run: RunView) -> list[dict[str, Any]]:
    """What can be compared, as "measures" of audit.json."""
    return _measures(run.id, run.result_hash)


@st.cache_data(max_entries=32, show_spinner=False)
def _measures(run_id: str, result_hash: str | None) -> list[dict[str, Any]]:
    return state.services().measures(run_id)


def measure_rows(
    run: RunView, measure: str, scheme: str, others: tuple[str, ...] = ()
) -> pd.DataFrame:
    """[model, group, n, value, low, high, ...] of one measure."""
    return _measure_rows(run.id, _hashes((run.id, *others)), measure, scheme, others)


@st.cache_data(max_entries=64, show_spinner="Counting …")
def _measure_rows(
    run_id: str, hashes: tuple[str | None, ...], measure: str, scheme: str, others: tuple[str, ...]
) -> pd.DataFrame:
    return state.services().measure_rows(run_id, measure, scheme, others)


def pair(run: RunView, before: str, after: str, scheme: str) -> PairView:
    """What changed from one classifier to another."""
    return _pair(run.id, _hashes((run.id, before, after)), before, after, scheme)


@st.cache_data(max_entries=16, show_spinner="Comparing …")
def _pair(
    run_id: str, hashes: tuple[str | None, ...], before: str, after: str, scheme: str
) -> PairView:
    return state.services().pair(run_id, before, after, scheme)


def full_audit(run: RunView, before: str, after: str) -> FullAuditView:
    """Every figure of two classifiers, in the groups of the case."""
    return _full_audit(run.id, _hashes((run.id, before, after)), before, after)


@st.cache_resource(max_entries=8, show_spinner=False)
def _full_audit(
    run_id: str, hashes: tuple[str | None, ...], before: str, after: str
) -> FullAuditView:
    # Tables of several thousand rows: shared, not copied for every session.
    return state.services().full_audit(run_id, before, after)


def group_questions(run: RunView, before: str, after: str) -> dict[str, Any]:
    """The change between two classifiers with other groups."""
    return _group_questions(run.id, _hashes((run.id, before, after)), before, after)


@st.cache_resource(max_entries=8, show_spinner="Asking with other groups …")
def _group_questions(
    run_id: str, hashes: tuple[str | None, ...], before: str, after: str
) -> dict[str, Any]:
    return state.services().group_questions(run_id, before, after)


def _hashes(ids: tuple[str, ...]) -> tuple[str | None, ...]:
    """Fingerprints of the results of those that are runs."""
    found = {run.id: run.result_hash for run in state.current().runs}
    return tuple(found.get(one) for one in ids)


def board(case: CaseView, runs: tuple[RunView, ...]) -> BoardView | None:
    """All finished runs of the case beside one another."""
    return _board(case.id, tuple((run.id, str(run.state), run.result_hash) for run in runs))


@st.cache_data(max_entries=16, show_spinner=False)
def _board(case_id: str, runs: tuple[tuple[str, str, str | None], ...]) -> BoardView | None:
    return state.services().board(case_id)


def saliency(run: RunView, choice: SaliencyChoice) -> SaliencyView | None:
    """The newest finished maps, or None."""
    result = state.services().saliency_result(run.id, choice)
    return None if result is None else _saliency(run.id, choice, result)


@st.cache_resource(max_entries=2, show_spinner=False)
def _saliency(run_id: str, choice: SaliencyChoice, result_hash: str) -> SaliencyView | None:
    return state.services().saliency(run_id, choice)


def measured_rise(run: RunView, groups: tuple[str, ...]) -> float | None:
    """Largest rise of a group's mean loss from full precision to the candidate, audit photographs.

    Units: nats. None where the run is not finished or no known group has images.
    """
    if run.result_hash is None:
        return None
    return _measured_rise(run.id, run.result_hash, run.case_id, groups)


@st.cache_data(max_entries=64, show_spinner=False)
def _measured_rise(
    run_id: str, result_hash: str, case_id: str, groups: tuple[str, ...]
) -> float | None:
    case = state.services().case(case_id)
    table = state.services().predictions(run_id).part("audit")
    assigned = table.groups(case.group_column, case.scheme)
    rises = loss_rise(table, FULL_PRECISION, CANDIDATE, assigned, groups)
    return max(rises.values()) if rises else None
