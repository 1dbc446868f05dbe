"""Sections of the case page that are drawn only when someone opens them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.backend.views import CaseView
from dashboard.components import data, tables
from dashboard.components.charts import cohort as charts
from dashboard.components.limit_words import limits_paragraph
from dashboard.components.words import counted, escaped, interval, percent, when
from fairquant_core.errors import FairQuantError

EXAMPLES_PER_GROUP = 6
EXAMPLE_SIDE = 140


def baseline(case: CaseView) -> None:
    """Accuracy of the full-precision classifier per group, with intervals and origin."""
    table = data.baseline(case)
    st.subheader("How well does it do today, at full precision?", anchor=False)
    if table is None:
        st.caption("Not measured yet: the case is still being prepared.")
        return
    rows = table.by_group[table.by_group["group"] != "unknown"]
    with st.grid(max(2, len(rows) + 1)):
        _metric("All audit photographs", table.overall)
        for _, row in rows.iterrows():
            _metric(str(row["group"]), row)
    origin = case.baseline_origin.split(". ")[0].removesuffix(".")
    st.caption(f"Accuracy with 95 % interval on the locked audit photographs. {escaped(origin)}.")
    shown = pd.concat([table.by_group, table.overall.to_frame().T], ignore_index=True)
    columns = ["group", "n", "correct", "accuracy", "low", "high"]
    shown = shown[columns].infer_objects()
    label = "Baseline as a figure and a table"
    with tables.details(label, "baseline_details", ":material/target:") as is_open:
        if is_open:
            groups = [*rows["group"], "overall"]
            tables.chart(
                charts.accuracy_dots(shown, groups), "baseline_dots", charts.accuracy_alt(shown)
            )
            shares = {name: tables.share(f"{name} (%)") for name in ("accuracy", "low", "high")}
            shown = tables.in_percent(shown, list(shares))
            tables.table(shown, "Baseline accuracy per group", "baseline", shares)
            st.caption(escaped(case.baseline_origin))


def _metric(label: str, row: pd.Series) -> None:
    st.metric(
        label,
        percent(row["accuracy"]),
        interval(row["low"], row["high"]),
        delta_color="off",
        delta_arrow="off",
        border=True,
        delta_description=f"of {int(row['n']):,}",
    )


def splits(case: CaseView, counts: pd.DataFrame) -> None:
    """How the photographs are kept apart, with the hashes."""
    order = [name for name in ("train", "validation", "audit") if name in set(counts["split"])]
    wide = counts.pivot_table(
        index="group", columns="split", values="n", aggfunc="sum", fill_value=0
    ).reindex(columns=order)
    st.markdown(
        "Train: the classifier learns. Validation: settings are chosen. Audit: locked, used only "
        "to judge. Photographs of one patient, lesion or near-duplicate never stand in two parts."
    )
    tables.table(wide.reset_index(), "Photographs per group and split", "splits")
    tables.hashes({"cohort": case.cohort.fingerprint, "classifier": case.classifier.fingerprint})
    st.table(
        {
            "Classifier": f"{escaped(case.classifier.architecture)}, "
            f"{case.classifier.megabytes:.1f} MB, {case.classifier.parameters:,} parameters",
            "Licence of the photographs": escaped(case.cohort.licence or "not stated"),
        },
        border="horizontal",
        alt="Classifier and licence",
    )


def limits(case: CaseView) -> None:
    """Everything that was agreed before any run, with its hash."""
    st.markdown(escaped(limits_paragraph(case.limits)))
    tables.hashes({"limits": case.limits.fingerprint})
    st.caption(f"Set on {when(case.created)}; every run and every decision names this hash.")


def examples(case: CaseView) -> None:
    """A few photographs per group, chosen by their order in the table, not by hand."""
    table = data.cohort_table(case)
    for group in case.groups:
        rows = table[table["group"] == group]
        if rows.empty:
            continue
        # Even steps through the table: reproducible, and not only the first class.
        step = max(1, len(rows) // EXAMPLES_PER_GROUP)
        chosen = rows.sort_values(["label", "id"]).iloc[::step].head(EXAMPLES_PER_GROUP)
        st.markdown(f"**{escaped(group)}** · {counted(len(rows), 'photograph')}")
        try:
            pictures = [data.photograph(case, image_id) for image_id in chosen["id"]]
        except FairQuantError as error:
            st.error(escaped(str(error)))
            continue
        st.image(
            pictures,
            caption=[str(label) for label in chosen["label"]],
            width=EXAMPLE_SIDE,
            alt=[f"Example of {label}, {group}" for label in chosen["label"]],
        )


def warnings(case: CaseView) -> None:
    """What is known to be weak about the data."""
    for text in case.warnings:
        st.warning(escaped(text))
    st.caption(
        "Skin types are perceived from photographs by annotators; they are a proxy, not a measured "
        "skin colour, and annotators often disagree by one type."
    )
