"""The compare page in full follows the two classifiers that the person chose, and judges only what was judged."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.compare.pairs import OTHER_PAIR, OTHER_SCHEME
from fairquant_core.audit.predictions import Predictions
from tests.dashboard.conftest import Open, clean, shown
from tests.dashboard.fakes import FakeServices
from tests.dashboard.made_data import full_audit_of, predictions, run_view

PARTS = (
    *("full_measures", "full_gaps", "full_thresholds", "full_calibration", "full_confusion"),
    *("full_questions", "compare_every_change", "compare_flips"),
)
COLON = "\\: "
"""As Markdown is given it: unescaped it could start an icon."""
OTHER = "Uniform 3 bits"


@cache
def table(run_id: str) -> Predictions:
    """Another candidate for every run; a tenth of the images has no skin type."""
    made = predictions() if run_id == "run-1" else predictions(0.4, 7)
    frame = made.frame.copy()
    frame["skin_type"] = frame["skin_type"].where(pd.Series(range(len(frame))) % 10 != 0)
    return Predictions(frame, made.classes, made.models)


@cache
def audit(run_id: str) -> dict[str, Any]:
    return full_audit_of(table(run_id))


@pytest.fixture
def two_runs(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> FakeServices:
    services.run_views = [run_view(), run_view("run-2", title=OTHER, method="uniform")]
    monkeypatch.setattr(services, "audit", audit)
    monkeypatch.setattr(services, "predictions", table)
    return services


def opened(open_page: Open, *parts: str, scheme: str = "", **chosen: str) -> AppTest:
    app = open_page("compare", case="demo", run="run-1")
    app.session_state["compare_reading"] = "In full"
    for name, value in chosen.items():
        app.session_state[f"compare_{name}"] = value
    if scheme:
        app.session_state["compare_scheme"] = scheme
    for key in parts:
        app.session_state[key] = True
    return app.run()


def below(app: AppTest) -> str:
    """What is said below the last card of the verdict, in plain text."""
    texts = [text.value for text in app.main.get("markdown")]
    return shown(" ".join(texts[texts.index("**FST V-VI**") + 2 :]))


def captions(app: AppTest) -> str:
    return shown(" ".join(text.value for text in app.caption))


@pytest.mark.parametrize(
    ("before", "after", "titles"),
    [
        ("uniform 4-bit", "candidate", ["uniform 4-bit", "candidate"]),
        ("candidate", "run-2", ["candidate", OTHER]),
    ],
    ids=["a baseline", "another run"],
)
def test_every_part_shows_the_chosen_pair(
    before: str, after: str, titles: list[str], two_runs: FakeServices, open_page: Open
) -> None:
    app = opened(open_page, *PARTS, before=before, after=after)

    assert clean(app)
    words = f"from {titles[0]} to {titles[1]}"
    models = [table.value for table in app.dataframe if "model" in table.value]
    assert len(models) == 6
    assert all(list(dict.fromkeys(one["model"])) == titles for one in models)
    counts = next(table.value for table in app.dataframe if "truth" in table.value)
    assert list(counts) == ["truth", "answer", *titles]
    changed = [one.value for one in app.dataframe if "from" in one.value]
    assert len(changed) == 4
    for one in changed:
        assert (one["from"] == titles[0]).all() and (one["to"] == titles[1]).all()
    alts = [figure.proto.alt for figure in app.get("plotly_chart")][1:]
    assert all(any(title in alt for title in titles) for alt in alts)
    assert not any("full precision" in alt for alt in alts)
    assert all(
        words in table.proto.alt for table in app.dataframe if table.proto.alt.find("mean") < 0
    )
    assert f"{words[0].upper()}{words[1:]}: " in captions(app)


def test_figures_of_another_run_are_those_of_its_audit(
    two_runs: FakeServices, open_page: Open
) -> None:
    app = opened(open_page, "full_calibration", "full_confusion", before="candidate", after="run-2")

    assert clean(app)
    counts = next(table.value for table in app.dataframe if "truth" in table.value)
    for title, run_id in (("candidate", "run-1"), (OTHER, "run-2")):
        stored = audit(run_id)["metrics"]["candidate"]["confusion"]["overall"]
        assert counts[title].tolist() == [count for row in stored for count in row]
    curve = next(table.value for table in app.dataframe if "confidence" in table.value)
    stored = pd.DataFrame(audit("run-2")["metrics"]["candidate"]["calibration"])
    wanted = 100 * stored.loc[stored["group"] == "overall", "accuracy"]
    assert curve.loc[curve["model"] == OTHER, "accuracy"].tolist() == pytest.approx(
        wanted.tolist(), nan_ok=True
    )


def test_unknown_skin_types_are_counted_for_the_chosen_pair(
    two_runs: FakeServices, open_page: Open
) -> None:
    app = opened(open_page, "full_questions", before="candidate", after="run-2")

    told = next(text.value for text in app.markdown if "without a known group" in text.value)
    assert (
        f"candidate{COLON}" in told and f"{OTHER}{COLON}" in told and "full precision" not in told
    )


def test_the_pair_of_the_limits_is_judged_with_the_audit_s_own_words(
    two_runs: FakeServices, open_page: Open
) -> None:
    app = opened(open_page)

    verdicts = audit("run-1")["comparisons"]["candidate"]["verdicts"]
    assert "Verdict on this candidate, by the limits of the case" in below(app)
    assert all(row["sentence"] in below(app) for row in verdicts)


def test_another_run_s_candidate_shows_that_run_s_verdict(
    two_runs: FakeServices, open_page: Open
) -> None:
    app = opened(open_page, before="full precision", after="run-2")

    verdicts = audit("run-2")["comparisons"]["candidate"]["verdicts"]
    assert f"Verdict on {OTHER}, by the limits of the case" in below(app)
    assert all(row["sentence"] in below(app) for row in verdicts)


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ({"scheme": "fst6"}, OTHER_SCHEME.format(groups="types I-II, III-IV and V-VI")),
        ({"before": "full precision", "after": "uniform 4-bit"}, OTHER_PAIR),
        ({"before": "candidate", "after": "run-2"}, OTHER_PAIR),
    ],
    ids=["other groups", "a baseline", "two candidates"],
)
def test_nothing_else_is_judged(
    chosen: dict[str, str], why: str, two_runs: FakeServices, open_page: Open
) -> None:
    app = opened(open_page, **chosen)

    assert clean(app)
    assert why in captions(app)
    assert "badge" not in below(app)
    assert "against a limit" not in app.get("plotly_chart")[1].proto.alt


def test_other_groups_of_a_judged_pair_say_that_they_were_not_judged(
    two_runs: FakeServices, open_page: Open
) -> None:
    app = opened(open_page, "full_questions")
    options = app.selectbox(key="full_question").options
    own = next(one for one in options if one.startswith("FST I-II"))
    app.selectbox(key="full_question").select(own).run()
    assert "By the same limits they would be" not in below(app)

    app.selectbox(key="full_question").select(next(o for o in options if o != own)).run()

    assert clean(app)
    assert "These groups were not judged: the limits were set for types I-II" in below(app)


def test_other_groups_of_a_pair_that_nobody_judged_have_no_verdict(
    two_runs: FakeServices, open_page: Open
) -> None:
    app = opened(open_page, "full_questions", before="candidate", after="run-2")

    assert clean(app)
    assert "By the same limits" not in below(app)
    assert not any("verdict" in one.value for one in app.dataframe)


def test_a_run_of_earlier_days_is_named(
    two_runs: FakeServices, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = {key: value for key, value in audit("run-2").items() if key != "metrics"}
    monkeypatch.setattr(two_runs, "audit", lambda one: earlier if one == "run-2" else audit(one))
    app = opened(open_page, before="candidate", after="run-2")

    assert clean(app)
    assert f"The figures of {OTHER} come from a run" in shown(app.info[0].value)


def test_another_grouping_of_the_other_run_is_an_error_that_names_it(
    two_runs: FakeServices, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**audit("run-2"), "scheme": "fst6"}
    monkeypatch.setattr(two_runs, "audit", lambda one: other if one == "run-2" else audit(one))
    app = opened(open_page, before="candidate", after="run-2")

    assert "run-2 was audited with the groups fst6" in shown(app.error[0].value)
