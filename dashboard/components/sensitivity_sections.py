"""Controls and values of the sensitivity page."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.backend.views import CaseView, JobState, RunView
from dashboard.components import choices, state
from dashboard.components.charts import sensitivity as charts
from dashboard.components.glossary import tip
from dashboard.components.header import run_label
from dashboard.components.words import escaped, joined
from fairquant_core.data.skin_tone import UNKNOWN
from fairquant_core.errors import FairQuantError
from fairquant_core.quantization.catalogue import MENU, PLANNED_FROM
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap
from fairquant_core.sensitivity.measures import REVISION
from fairquant_core.sensitivity.reducers import REDUCERS

SHORTLIST = 16
"""Layers shown at first: they fit on one screen with readable numbers."""

MOST, ALL = f"the {SHORTLIST} that matter most", "all layers"
RANKINGS = ("max", "worst_k", "mean")
"""Ways to join the groups that make sense for ranking layers, the default first."""

DEFAULT_IMAGES = 60
DEFAULT_WIDTHS = (2, 4)
"""Two widths measure in under a minute on the demo; the prediction covers all the others."""

Maps = tuple[MeasuredMap, SensitivityMap]


def chosen(measured: MeasuredMap, predicted: SensitivityMap) -> tuple[int, str]:
    """Width and measure as the controls below the figure stand (drawn later on the page)."""
    measure = st.session_state.get("sensitivity_measure") or "accuracy"
    menu = widths(measured, predicted, measure)
    wanted = st.session_state.get("sensitivity_bits")
    bits = wanted if wanted in menu else (4 if 4 in menu else menu[0])
    return bits, measure


def widths(measured: MeasuredMap, predicted: SensitivityMap, measure: str) -> list[int]:
    """Widths that this measure can show."""
    menu = predicted.menu if measure == "predicted" else measured.menu
    return [width for width in menu if width > 0]


def controls(measured: MeasuredMap, predicted: SensitivityMap) -> None:
    """Choose width, measure and how many layers are shown."""
    bits, measure = chosen(measured, predicted)
    st.session_state["sensitivity_bits"] = bits
    st.session_state["sensitivity_measure"] = measure
    with st.container(horizontal=True, gap="medium"):
        choices.segmented(
            "Squeeze each layer to … bits",
            widths(measured, predicted, measure),
            required=True,
            key="sensitivity_bits",
            help=tip("bits"),
        )
        choices.segmented(
            "Show",
            list(charts.MEASURES),
            format_func=lambda name: charts.MEASURES[name],
            required=True,
            key="sensitivity_measure",
            help=tip("sensitivity"),
        )
    if len(predicted.layers) > SHORTLIST:
        with st.container(horizontal=True, gap="medium"):
            choices.segmented(
                "Layers", [MOST, ALL], default=MOST, required=True, key="sensitivity_shown"
            )
            st.selectbox(
                "Matter most to",
                RANKINGS,
                format_func=lambda name: REDUCERS[name].title,
                disabled=st.session_state.get("sensitivity_shown") == ALL,
                key="sensitivity_ranking",
                width=280,
            )


def values(maps: Maps, bits: int, measure: str) -> pd.DataFrame:
    """[layer, group, value, ...] with larger = worse, measured or predicted."""
    measured, predicted = maps
    if measure == "predicted":
        return predicted.layer_frame(bits).drop(columns="bits")
    return charts.measured_values(measured.frame, bits, measure)


def shown_layers(frame: pd.DataFrame, layers: Sequence[str]) -> list[str]:
    """Layers in the heatmap: the shortlist or all, in the network's order."""
    if len(layers) <= SHORTLIST or st.session_state.get("sensitivity_shown") == ALL:
        return [layer for layer in layers if layer in set(frame["layer"])]
    ranking = st.session_state.get("sensitivity_ranking") or RANKINGS[0]
    return charts.shortlist(frame, layers, SHORTLIST, ranking)


def worst_layer(frame: pd.DataFrame, layers: Sequence[str]) -> str:
    """The layer that costs some known group most; the picker starts there."""
    rows = frame[frame["group"] != "unknown"]
    return str(rows.loc[rows["value"].idxmax(), "layer"]) if len(rows) else layers[0]


def layer_rows(maps: Maps, layer: str, measure: str) -> pd.DataFrame:
    """[bits, group, value, low, high] of one layer over all widths."""
    measured, predicted = maps
    parts = []
    for bits in widths(measured, predicted, measure):
        frame = values(maps, bits, measure)
        parts.append(frame[frame["layer"] == layer].assign(bits=bits))
    rows = pd.concat(parts, ignore_index=True)
    return rows[["bits", "group", "value", "low", "high"]]


def plan_of_run(run: RunView | None) -> tuple[pd.DataFrame | None, str]:
    """[layer, bits] of the selected run, with its name; None without a finished run."""
    if run is None or run.state != JobState.FINISHED:
        return None, ""
    plan = state.services().bit_plan(run.id)
    if plan is None:
        return None, ""
    return plan.layer_table()[["layer", "bits"]], run_label(run)


def reading(measure: str, plan_name: str) -> str:
    """How to read the figure, in one line."""
    text = {
        "accuracy": "Each number: points of accuracy that the group loses when this layer alone is "
        "squeezed. Measured on photographs the classifier was not trained on.",
        "loss": "Each number: rise of the group's mean loss (nats) when this layer alone is "
        "squeezed. It sees small harm before a decision flips.",
        "predicted": "Each number: rise of the group's loss (nats) predicted from the curvature on "
        "training photographs, once the network's averages have been set anew, as every run does. "
        "The bit plan is made from these; the table holds their 95 % intervals.",
    }[measure]
    if measure != "predicted":
        text += (
            " Bold: the 95 % interval excludes zero; the others may be chance. A run takes part of "
            "it back, since it sets the network's averages anew (choose 'Predicted' for what is left)."
        )
    return text + (f" Right: bits of {escaped(plan_name)}." if plan_name else "")


def outdated(predicted: SensitivityMap) -> str:
    """Say that new plans are made from something else than what was measured here; empty where they are not."""
    if (predicted.measure, predicted.revision) == (PLANNED_FROM, REVISION):
        return ""
    return (
        "Measured with an earlier version, which predicted less well what a run ends with. New runs plan from a "
        "better prediction: measure the layers again on the sensitivity page to see it."
    )


def left_out(case: CaseView, groups: Sequence[str]) -> str:
    """Which groups of the case are not in the figure, and why; empty where all are."""
    absent = [group for group in case.groups if group not in groups and group != UNKNOWN]
    if not absent:
        return ""
    return (
        f"Not shown: {joined(absent)}, without a photograph in the part of the cohort that this "
        "figure is made from. What squeezing costs there can only be judged afterwards."
    )


def start(case: CaseView) -> None:
    """Start the measurement."""
    left, right = st.columns(2)
    bits = left.pills(
        "Widths to measure",
        list(MENU),
        selection_mode="multi",
        default=list(DEFAULT_WIDTHS),
        key="measure_bits",
        help="Every layer is squeezed to each of these widths, one at a time.",
    )
    images = right.number_input(
        "Photographs per group at most", 10, 2000, DEFAULT_IMAGES, step=10, key="measure_images"
    )
    pressed = st.button(
        "Measure the layers", type="primary", icon=":material/straighten:", disabled=not bits
    )
    if pressed:
        try:
            state.services().request_sensitivity(
                case.id, bits=tuple(sorted(bits)), images_per_group=int(images)
            )
        except FairQuantError as error:
            st.error(escaped(str(error)))
            return
        state.services().ensure_worker()
        st.rerun()
