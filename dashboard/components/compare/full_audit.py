"""The compare page in full: every measure, gap, curve and matrix of any two classifiers."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.backend.run.full_audit import FullAuditView
from dashboard.backend.views import CaseView, RunView
from dashboard.components import data, tables
from dashboard.components.charts import full_audit as charts
from dashboard.components.compare.pairs import NOTE, Pair
from dashboard.components.tables import COUNTS, notes, plain
from dashboard.components.words import NOT_ESTIMABLE, capital, escaped, joined
from fairquant_core.errors import FairQuantError

AUDITED_EARLIER = (
    "The figures of {who} come from a run that was audited before every measure, gap and group question was "
    "kept; start that run again to see them here."
)
CRITERIA = {
    "equal opportunity": "found when it is there (equal opportunity)",
    "equalised odds": "found when there, not called when absent (equalised odds)",
    "demographic parity": "called equally often (demographic parity)",
}


def in_full(case: CaseView, run: RunView, pair: Pair, scheme: str) -> bool:
    """Everything that the audits say about two classifiers, each part drawn when it is opened.

    Parameters
    ----------
    scheme : the grouping that was chosen on the page.

    Returns
    -------
    Whether there is anything; where not, the reason stands on the page.
    """
    st.subheader("Every figure of the audit", anchor=False)
    try:
        audit = data.full_audit(run, pair.before, pair.after)
    except FairQuantError as error:
        st.error(escaped(str(error)))
        return False
    if audit.earlier:
        who = joined(audit.earlier)
        st.info(escaped(AUDITED_EARLIER.format(who=who)), icon=":material/history:")
        return False
    others = "" if scheme == case.scheme else ", not those chosen above"
    st.caption(
        f"{escaped(capital(pair.words))}. Groups of the case{others}: {escaped(audit.scheme_title)}. All "
        f"figures come from the {audit.images:,} audit photographs, with 95 % intervals. A figure that the photographs "
        f"cannot give is “{NOT_ESTIMABLE}”, never zero."
    )
    for label, key, icon, draw in (
        ("Every measure per group", "full_measures", ":material/straighten:", _measures),
        ("Gaps between groups and fairness", "full_gaps", ":material/balance:", _gaps),
        (
            "From which probability would one act?",
            "full_thresholds",
            ":material/tune:",
            _thresholds,
        ),
        ("Is it as sure as it should be?", "full_calibration", ":material/speed:", _calibration),
        ("What is taken for what?", "full_confusion", ":material/grid_on:", _confusion),
    ):
        with tables.details(label, key, icon) as is_open:
            if is_open:
                draw(audit, pair)
    return True


def rows_of(audit: FullAuditView, part: str) -> pd.DataFrame:
    """One table of the audit for both classifiers, with a model column and a note.

    Returns
    -------
    pandas.DataFrame
        [model, *columns of the part, note]; the note says why a row is not estimable.
    """
    frame = pd.concat(
        [pd.DataFrame(audit.metrics[name][part]).assign(model=name) for name in audit.models],
        ignore_index=True,
    )
    if "estimable" in frame:
        frame["note"] = notes(frame)
    return frame[["model", *(name for name in frame.columns if name != "model")]]


def _measures(audit: FullAuditView, pair: Pair) -> None:
    every = rows_of(audit, "by_group")
    left_out = int((~every["estimable"]).sum())
    st.caption(
        f"As fractions: 0.25 is 25 %. {left_out} of {len(every)} figures are {NOT_ESTIMABLE}. One "
        "measure as a figure: choose it above, at “Measure”."
    )
    columns = ["measure", "group", "model", *COUNTS, "classes_estimable", "value", "low", "high"]
    tables.table(
        every[[*columns, "note"]],
        f"Every measure per group {pair.words}",
        "full_every_measure",
        COUNTS
        | {"measure": "Measure", "group": "Group", "model": "Model", "value": plain("Value")}
        | {
            "classes_estimable": "Classes estimable",
            "low": plain("95 % from"),
            "high": plain("95 % to"),
        }
        | NOTE,
    )
    kinds = pd.DataFrame(audit.measures)
    tables.twin(
        kinds[["measure", "meaning", "interval"]],
        "What the measures mean",
        "full_meanings",
        {"measure": "Measure", "meaning": "Meaning", "interval": "Its interval"},
        "What the measures mean",
    )


def _thresholds(audit: FullAuditView, pair: Pair) -> None:
    kinds = {kind["measure"]: kind for kind in audit.measures}
    every = rows_of(audit, "by_group")
    every["threshold"] = every["measure"].map(lambda name: kinds[name]["threshold"])
    every = every.dropna(subset=["threshold"])
    if every.empty:
        st.caption("The case names no condition that must not be missed, so there is no threshold.")
        return
    about = escaped(joined(kinds[every["measure"].iloc[0]]["classes"], "or"))
    group = st.selectbox(
        "Group", list(dict.fromkeys(every["group"])), key="full_threshold_group", width=300
    )
    rows = every[every["group"] == group]
    st.caption(
        f"Who acts at 10 % accepts nine needless treatments for one {about} found. Net benefit: "
        "those found per photograph, less the needless treatments weighted that way. A classifier is "
        "of use where it lies above both “treat nobody” and “treat everybody”."
    )
    tables.chart(
        charts.decision_curve(rows, audit.models, str(group)),
        "full_decision",
        charts.decision_alt(rows, str(group), audit.models),
    )
    figures = ["value", "low", "high"]
    tables.table(
        tables.in_percent(
            rows[["threshold", "model", *COUNTS, *figures, "note"]], ["threshold"]
        ).sort_values("threshold", kind="stable"),
        f"Net benefit {group} {pair.words}",
        "full_decision",
        COUNTS
        | {"threshold": tables.share("Acts from"), "model": "Model", "value": plain("Net benefit")}
        | {"low": plain("95 % from"), "high": plain("95 % to")}
        | NOTE,
    )


def _gaps(audit: FullAuditView, pair: Pair) -> None:
    fairness = rows_of(audit, "fairness")
    fairness.insert(
        0,
        "question",
        [
            _question(str(criterion), str(about))
            for criterion, about in zip(fairness["criterion"], fairness["about"], strict=True)
        ],
    )
    st.markdown("**Does every group get the same?**")
    st.caption(
        "The largest difference between groups. Few photographs make a difference by chance alone: "
        "one near the grey mark is no evidence that groups are treated differently."
    )
    for name, rows in fairness[fairness["classes"] > 0].groupby("criterion", sort=False):
        if (rows["about"] == "").all():
            first = rows.iloc[-1]
            st.markdown(
                f"- {escaped(capital(CRITERIA.get(str(name), str(name))))}: "
                f"{int(first['classes_estimable'])} of {int(first['classes'])} classes estimable"
            )
    tables.chart(
        charts.gap_dots(fairness, audit.models),
        "full_fairness",
        charts.gap_alt(fairness, audit.models[-1]),
    )
    fractions = ["value", "low", "high", "by_chance"]
    columns = ["question", "model", *fractions, "classes_estimable", "classes", "note"]
    tables.table(
        tables.in_percent(fairness[columns], fractions),
        f"Fairness criteria {pair.words}",
        "full_fairness",
        {"question": "Criterion", "model": "Model", "value": tables.share("Gap")}
        | {"low": tables.share("95 % from"), "high": tables.share("95 % to")}
        | {"by_chance": tables.share("By chance", "The gap if groups did not differ at all.")}
        | {"classes_estimable": "Classes estimable", "classes": "Of classes"}
        | NOTE,
    )
    st.markdown("**The gap of every measure**")
    st.caption("As fractions. The macro mean counts every group alike, however few photographs.")
    between = rows_of(audit, "between_groups")
    means = ["macro", "macro_low", "macro_high"]
    gaps = ["gap", "gap_low", "gap_high", "gap_by_chance"]
    columns = ["measure", "model", "worst_group", "worst_value", *gaps, *means, "note"]
    tables.table(
        between[columns],
        f"Gaps between groups {pair.words}",
        "full_gaps",
        {"measure": "Measure", "model": "Model", "worst_group": "Worst group"}
        | {"worst_value": plain("Worst value"), "gap": plain("Gap")}
        | {"gap_low": plain("Gap from"), "gap_high": plain("Gap to")}
        | {"gap_by_chance": plain("Gap by chance"), "macro": plain("Macro mean")}
        | {"macro_low": plain("Mean from"), "macro_high": plain("Mean to")}
        | NOTE,
    )
    _classes(audit, pair)


def _classes(audit: FullAuditView, pair: Pair) -> None:
    """The gaps class by class: which diagnosis one group is recognised in and another is not."""
    st.markdown("**The gaps, condition by condition**")
    st.caption(
        "Largest differences between groups, as fractions: in how often the condition is found when "
        "it is there, called when it is not, and called at all."
    )
    rows = rows_of(audit, "fairness_by_class")
    gaps = ["tpr_gap", "fpr_gap", "called_gap"]
    tables.table(
        rows[["class", "model", *gaps, "tpr_groups", "fpr_groups", "note"]],
        f"Gaps per condition {pair.words}",
        "full_classes",
        {"class": "Condition", "model": "Model", "tpr_gap": plain("Gap, found")}
        | {"fpr_gap": plain("Gap, false alarm"), "called_gap": plain("Gap, called")}
        | {
            "tpr_groups": st.column_config.NumberColumn(
                "Groups with it", help="Groups in which “found” can be estimated."
            ),
            "fpr_groups": st.column_config.NumberColumn(
                "Groups without it", help="Groups in which “false alarm” can be estimated."
            ),
        }
        | NOTE,
    )


def _question(criterion: str, about: str) -> str:
    words = CRITERIA.get(criterion, criterion)
    return f"{about}: {words}" if about else capital(words)


def _calibration(audit: FullAuditView, pair: Pair) -> None:
    every = rows_of(audit, "calibration")
    group = st.selectbox(
        "Group", list(dict.fromkeys(every["group"])), key="full_calibration_group", width=300
    )
    rows = every[every["group"] == group]
    st.caption(
        "Points on the dashed line: of the photographs it is 80 % sure about, 80 % are right. "
        "Below the line it is surer than it should be. Large marks stand for many photographs."
    )
    tables.chart(
        charts.calibration_curve(rows, audit.models, str(group)),
        "full_calibration_curve",
        charts.calibration_alt(rows, str(group), audit.models),
    )
    fractions = ["bin_low", "bin_high", "confidence", "accuracy", "low", "high"]
    tables.table(
        tables.in_percent(rows[["model", "group", "n", *fractions]], fractions),
        f"Calibration {group} {pair.words}",
        "full_calibration",
        {"model": st.column_config.TextColumn("Model", width="medium"), "group": "Group"}
        | {"n": "Images"}
        | {"bin_low": tables.share("Sure from"), "bin_high": tables.share("Sure to")}
        | {"confidence": tables.share("Sure, mean"), "accuracy": tables.share("Right")}
        | {"low": tables.share("95 % from"), "high": tables.share("95 % to")},
    )


def _confusion(audit: FullAuditView, pair: Pair) -> None:
    found = {name: audit.metrics[name]["confusion"] for name in audit.models}
    group = st.selectbox(
        "Group", list(found[audit.models[0]]), key="full_confusion_group", width=300
    )
    classes = audit.classes
    st.caption(
        "Rows: what it is. Columns: what the classifier says. Right answers lie on the diagonal."
    )
    counts = {}
    with st.grid(len(found), min_column_width=380):
        for place, (name, by_group) in enumerate(found.items()):
            matrix = by_group[group]
            with st.container():
                st.markdown(f"**{escaped(capital(name))}**")
                tables.chart(
                    charts.confusion_matrix(
                        matrix, classes, f"truth ({group})", f"answer of {name}"
                    ),
                    f"full_confusion_{place}",
                    charts.confusion_alt(matrix, classes, str(group), name),
                )
            counts[name] = [count for row in matrix for count in row]
    pairs = [(truth, answer) for truth in classes for answer in classes]
    frame = pd.DataFrame(pairs, columns=["truth", "answer"]).assign(**counts)
    tables.table(
        frame,
        f"Confusion {group} {pair.words}",
        "full_confusion",
        {"truth": "Truth", "answer": "Answer"},
    )
