"""The compare page in full: would other groups, or another annotator, change the answer?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.backend.views import CaseView, RunView
from dashboard.components import chips, data, tables
from dashboard.components.charts import comparison
from dashboard.components.charts import full_audit as charts
from dashboard.components.compare.pairs import NOTE, Pair, difference_table
from dashboard.components.limit_words import Shown
from dashboard.components.tables import plain
from dashboard.components.words import (
    NOT_ESTIMABLE,
    SCHEME_TITLES,
    VERDICT_LABELS,
    counted,
    escaped,
    groups_words,
    interval,
    joined,
    percent,
)

AGREEMENT = {
    "exact": "Same answer",
    "within_one_step": "At most one step apart",
    "kappa": "Beyond chance (kappa)",
    "kappa_linear": "Beyond chance, far off counts more (linear kappa)",
    "kappa_quadratic": "Beyond chance, far off counts most (quadratic kappa)",
}


WHAT_IF = (
    "These groups were not judged: the limits were set for {groups}. By the same limits they would be: "
    "**{verdict}**. {sentence}"
)


def in_full(case: CaseView, run: RunView, pair: Pair) -> None:
    """Other groupings, combinations with other columns, other annotators, unknown skin types."""
    label = "Would other groups change the answer?"
    with tables.details(label, "full_questions", ":material/groups:") as is_open:
        if is_open:
            _questions(case, data.group_questions(run, pair.before, pair.after), pair)


def _questions(case: CaseView, asked: dict[str, Any], pair: Pair) -> None:
    st.caption(
        escaped(f"The change {pair.words} with other groups. ")
        + "The verdict of the case stays the one at the top, because its groups were set before the run; no "
        "correction is made for asking several questions."
    )
    answers = {f"{one['title']} ({one['column']})": one for one in asked["schemes"]}
    answers |= {one["title"]: one for one in asked["intersections"]}
    answers |= {f"groups of {one['other']}": one["answer"] for one in asked["annotators"]}
    answers = {name: answer for name, answer in answers.items() if "differences" in answer}
    if answers:
        _answer(case, answers, pair, asked["judged"])
    for place, annotator in enumerate(asked["annotators"]):
        _annotators(annotator, place, asked["judged"])
    _unknown(asked["unknown"])
    for column in asked["left_out"]:
        st.caption(escaped(f"{column['column']} is left out: {column['reason']}."))


def _answer(case: CaseView, answers: dict[str, dict[str, Any]], pair: Pair, judged: bool) -> None:
    chosen = st.selectbox("Other groups", list(answers), key="full_question", width=420)
    answer = answers[chosen]
    limits, margin = case.limits, None
    differences = pd.DataFrame(answer["differences"])
    about = "Verdict"
    if judged:
        margin = limits.margin
        verdicts = pd.DataFrame(answer["verdicts"])[["group", "verdict"]]
        differences = differences.merge(verdicts, on="group", how="left")
        sentence = escaped(answer["sentence"])
        if (answer.get("column"), answer.get("scheme")) == (case.group_column, case.scheme):
            st.markdown(f"{chips.verdict_chip(answer['verdict']).markdown()} {sentence}")
        else:
            about = "By the same limits"
            verdict = VERDICT_LABELS[answer["verdict"]].lower()
            groups = escaped(groups_words(case.groups))
            st.markdown(WHAT_IF.format(groups=groups, verdict=verdict, sentence=sentence))
    shown = Shown(limits.measure.title, limits.metric)
    tables.chart(
        comparison.difference_dots(
            differences, ["overall", *answer["groups"]], shown, margin, pair.words
        ),
        "full_question_dots",
        comparison.difference_alt(differences, shown, margin, pair.words),
    )
    name = f"Change per group {chosen} {pair.words}"
    difference_table(differences, shown, name, "full_question", pair, about)


def _annotators(found: dict[str, Any], place: int, judged: bool) -> None:
    here, there = found["column"], found["other"]
    st.markdown(f"**Do {escaped(here)} and {escaped(there)} agree on the skin type?**")
    if found["sentence"] and judged:
        st.markdown(escaped(found["sentence"]))
    types = found["agreement"]["types"]
    tables.chart(
        charts.confusion_matrix(types["table"], types["categories"], here, there),
        f"full_agreement_{place}",
        f"{here} against {there} on {types['n']} photographs: same answer in "
        f"{charts.figure_words(types['exact']['value'], True)}, kappa "
        f"{charts.figure_words(types['kappa']['value'], False)}.",
    )
    kinds = types["categories"]
    cells = pd.DataFrame(
        [
            {here: own, there: other, "photographs": types["table"][row][column]}
            for row, own in enumerate(kinds)
            for column, other in enumerate(kinds)
        ]
    )
    tables.twin(cells, f"Skin types {here} {there}", f"full_types_{place}")
    rows = [
        {"grouping": SCHEME_TITLES.get(level["scheme"], level["scheme"]), "figure": title}
        | {"n": level["n"]}
        | {end: level[name][end] for end in ("value", "low", "high")}
        | {"note": "" if level[name]["estimable"] else f"{NOT_ESTIMABLE}: {level[name]['reason']}"}
        for level in found["agreement"].values()
        for name, title in AGREEMENT.items()
    ]
    tables.table(
        pd.DataFrame(rows),
        f"Agreement {here} {there}",
        f"full_agreement_{place}",
        {"grouping": "Groups", "figure": "Agreement", "n": "Images", "value": plain("Value")}
        | {"low": plain("95 % from"), "high": plain("95 % to")}
        | NOTE,
    )


def _unknown(unknown: dict[str, Any]) -> None:
    if not unknown["n"]:
        st.markdown("Every audit photograph belongs to a known group.")
        return
    right = [
        f"{name}: {percent(row['accuracy'])} (95 %: {interval(row['low'], row['high'])})"
        for name, row in unknown["accuracy"].items()
    ]
    st.markdown(
        escaped(
            f"{counted(unknown['n'], 'photograph')} ({percent(unknown['share'], 1)}) without a "
            f"known group; right among them: {joined(right)}. They count in no group's verdict."
        )
    )
