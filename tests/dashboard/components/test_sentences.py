"""The answer of each page, from data with a known answer."""

from __future__ import annotations

import pandas as pd
import pytest

from dashboard.backend.views import InboxView, JobState
from dashboard.components import sentences
from fairquant_core.audit.criteria import Limits
from tests.dashboard.made_data import case_view, job_view, run_view

GROUPS = ["FST I-II", "FST III-IV", "FST V-VI"]


def inbox(**jobs: tuple) -> InboxView:
    """An inbox that holds these jobs only."""
    names = ("running", "awaiting_review", "unseen_finished", "failed", "others")
    return InboxView(**{name: jobs.get(name, ()) for name in names})


def verdicts(*values: str) -> pd.DataFrame:
    """Verdicts of the three groups."""
    return pd.DataFrame({"group": GROUPS, "verdict": values, "sentence": ""})


DIFFERENCES = pd.DataFrame({"group": GROUPS, "n": [300, 200, 127]})
WITHIN, OUTSIDE, UNSURE = "WITHIN", "OUTSIDE", "INSUFFICIENT EVIDENCE"


def test_empty_inbox_says_what_to_do() -> None:
    assert sentences.inbox_sentence(inbox()).startswith("Nothing needs you now.")


def test_inbox_counts_what_needs_a_person() -> None:
    view = inbox(
        running=(run_view(state=JobState.RUNNING), job_view(state=JobState.QUEUED)),
        awaiting_review=(run_view(), run_view("run-2")),
    )

    assert sentences.inbox_sentence(view) == (
        "One job is running, one waits for its turn and two candidates await your review."
    )


def test_case_names_the_smallest_group_and_its_dangerous_images() -> None:
    case = case_view()
    counts = pd.DataFrame(
        {
            "group": ["FST I-II", "FST III-IV", "FST V-VI", "FST V-VI"],
            "label": ["melanoma", "keratosis", "melanoma", "benign naevus"],
            "split": "audit",
            "n": [500, 400, 61, 244],
        }
    )

    assert sentences.case_sentence(case, counts).endswith(
        "; 305 of types V-VI, 61 of them melanoma or keratosis."
    )


def test_case_without_a_known_group_says_so() -> None:
    counts = pd.DataFrame({"group": ["unknown"], "label": ["a"], "split": "audit", "n": [5]})

    assert "no photograph has a known group" in sentences.case_sentence(case_view(), counts)


def test_sensitivity_names_layer_group_and_the_others() -> None:
    values = pd.DataFrame(
        {
            "layer": ["stem", "stem", "head", "head"],
            "group": ["FST I-II", "FST V-VI"] * 2,
            "value": [0.001, 0.002, 0.010, 0.031],
            "low": [-0.01, -0.01, 0.0, 0.004],
            "high": [0.02, 0.02, 0.02, 0.059],
        }
    )

    assert sentences.sensitivity_sentence(values, ["stem", "head"], 4, "accuracy") == (
        "Squeezing layer 2 of 2 (head) to 4 bits costs types V-VI 3.1 points (95 %: 0.4 to 5.9); "
        "the others at most 1.0 point."
    )


def test_sensitivity_does_not_sell_chance_as_harm() -> None:
    values = pd.DataFrame(
        {"layer": ["a"], "group": ["FST I-II"], "value": [0.05], "low": [-0.05], "high": [0.15]}
    )

    text = sentences.sensitivity_sentence(values, ["a"], 4, "accuracy")

    assert "cannot" not in text and "from chance" in text
    assert "5.0 points (95 %: -5.0 to 15.0) for types I-II" in text


def test_sensitivity_does_not_call_a_prediction_measured() -> None:
    values = pd.DataFrame({"layer": ["a"], "group": ["FST I-II"], "value": [0.2]})

    assert "is predicted to cost" in sentences.sensitivity_sentence(values, ["a"], 2, "predicted")


def test_sensitivity_where_nobody_loses() -> None:
    values = pd.DataFrame({"layer": ["a"], "group": ["FST I-II"], "value": [-0.01]})

    assert sentences.sensitivity_sentence(values, ["a"], 8, "accuracy").startswith("No group loses")


def test_budget_says_size_cost_and_meaning() -> None:
    text = sentences.budget_sentence(
        4.0, 1_400_000, 9_800_000, {"FST I-II": 0.02, "FST V-VI": 0.06}
    )

    assert text == (
        "At 4 bits the file is 1.4 MB, 7.0 times smaller than now; predicted cost of rounding alone "
        "for the worst group, types V-VI: 0.06 nats, a noticeable loss of certainty."
    )


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ((WITHIN, WITHIN, WITHIN), "No group loses more than 2 points of accuracy."),
        (
            (WITHIN, WITHIN, UNSURE),
            "No group loses more than 2 points of accuracy, except perhaps types V-VI, "
            "where 127 images cannot tell.",
        ),
        (
            (WITHIN, WITHIN, OUTSIDE),
            "Types V-VI lose more than 2 points of accuracy; types I-II and III-IV stay within the limit.",
        ),
        (
            (UNSURE, UNSURE, UNSURE),
            "These photographs cannot tell whether any group loses more than 2 points of accuracy.",
        ),
        (
            (OUTSIDE, UNSURE, OUTSIDE),
            "Types I-II and V-VI lose more than 2 points of accuracy; undecided for types III-IV, "
            "where 200 images cannot tell.",
        ),
    ],
    ids=["all within", "one unsure", "one outside", "all unsure", "mixed"],
)
def test_comparison_never_turns_missing_evidence_into_a_pass(found: tuple, text: str) -> None:
    assert sentences.compare_sentence(verdicts(*found), DIFFERENCES, Limits()) == text


def test_a_loss_over_all_images_alone_is_not_hidden() -> None:
    table = pd.concat(
        [
            pd.DataFrame({"group": ["overall"], "verdict": [OUTSIDE], "sentence": ""}),
            verdicts(WITHIN, WITHIN, WITHIN),
        ]
    )

    assert "All photographs together lose more" in sentences.compare_sentence(
        table, DIFFERENCES, Limits()
    )


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (
            Limits("sensitivity", 0.05, positive=("melanoma",)),
            "No group loses more than 5 points of sensitivity for melanoma, except perhaps types "
            "V-VI, where 127 images cannot tell.",
        ),
        (
            Limits("macro auroc", groups=("FST I-II", "FST V-VI")),
            "Types I-II and III-IV lose no more than 2 points of macro AUROC, except perhaps types "
            "V-VI, where 127 images cannot tell.",
        ),
    ],
    ids=["one condition", "some groups"],
)
def test_the_sentence_names_the_metric_of_the_limits(limits: Limits, text: str) -> None:
    found = verdicts(WITHIN, WITHIN, UNSURE)

    assert sentences.compare_sentence(found, DIFFERENCES, limits) == text


@pytest.mark.parametrize(("half", "certain"), [(0.02, True), (0.05, False), (float("nan"), False)])
def test_saliency_names_the_group_whose_gaze_moved_most(half: float, certain: bool) -> None:
    overlap = pd.Series([0.81, 0.80, 0.74])
    by_group = pd.DataFrame(
        {
            "group": GROUPS,
            "overlap": overlap,
            "overlap_low": overlap - half,
            "overlap_high": overlap + half,
        }
    )

    text = sentences.saliency_sentence(by_group)

    assert "For types V-VI" in text
    assert "74 %" in text
    assert ("intervals overlap" not in text) is certain


def test_saliency_without_any_figure_says_so() -> None:
    by_group = pd.DataFrame({"group": GROUPS, "overlap": float("nan")})

    assert "No drift can be estimated" in sentences.saliency_sentence(by_group)
