"""The one sentence that answers each page's question, computed from the data. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dashboard.backend.views import CaseView, InboxView, JobState, ReviewView
from dashboard.components.limit_words import limit_words
from dashboard.components.words import (
    capital,
    counted,
    duration,
    group_words,
    groups_words,
    joined,
    known,
    layer_words,
    megabytes,
    nats,
    percent,
    points,
    spelled,
)
from fairquant_core.audit.limits import Limits

WITHIN, OUTSIDE, INSUFFICIENT = "WITHIN", "OUTSIDE", "INSUFFICIENT EVIDENCE"

SAME_SHARE = 0.02
"""Predicted costs that differ by less than this share are called the same."""

NAMED_CLASSES = 3
"""More class names would make the sentence unreadable."""

COMPLETENESS_NOTE = (
    "Saliency is a hint, not a proof: it shows which pixels the score depends on, not why. "
    "Judge the change between the two maps, not a single map."
)


def inbox_sentence(inbox: InboxView) -> str:
    """Say what needs a person: "One run is training, two candidates await your review.\""""
    queued = sum(job.state == JobState.QUEUED for job in inbox.running)
    working = len(inbox.running) - queued
    parts = []
    if working:
        parts.append(f"{spelled(working)} {_plural(working, 'job is', 'jobs are')} running")
    if queued:
        parts.append(f"{spelled(queued)} {_plural(queued, 'waits for its', 'wait for their')} turn")
    awaiting = len(inbox.awaiting_review)
    if awaiting:
        noun = _plural(awaiting, "candidate awaits", "candidates await")
        parts.append(f"{spelled(awaiting)} {noun} your review")
    fresh = len(inbox.unseen_finished)
    if fresh:
        parts.append(f"{spelled(fresh)} {_plural(fresh, 'result is', 'results are')} new")
    failed = len(inbox.failed)
    if failed:
        parts.append(f"{spelled(failed)} {_plural(failed, 'job needs', 'jobs need')} help")
    if not parts:
        return "Nothing needs you now. Open the case, or start a run from the budget page."
    return capital(joined(parts)) + "."


def case_sentence(case: CaseView, counts: pd.DataFrame) -> str:
    """Say who is judged on whom: "MobileNetV2 on 2,832 photographs; 305 of types V-VI, 61 ..."

    Parameters
    ----------
    counts : [group, label, split, n] of the case.
    """
    text = f"{case.classifier.name} on {counted(case.cohort.n, 'photograph')}"
    known_groups = [group for group in case.groups if group != "unknown"]
    totals = counts[counts["group"].isin(known_groups)].groupby("group")["n"].sum()
    totals = totals[totals.index.isin(known_groups)]
    if totals.empty:
        return f"{text}; no photograph has a known group."
    smallest = min(known_groups, key=lambda group: int(totals.get(group, 0)))
    text += f"; {int(totals.get(smallest, 0)):,} of {group_words(smallest)}"
    if case.must_not_miss:
        rows = counts[(counts["group"] == smallest) & counts["label"].isin(case.must_not_miss)]
        named = joined(case.must_not_miss, "or")
        if len(case.must_not_miss) > NAMED_CLASSES:
            named = "with a condition that must not be missed"
        return f"{text}, {int(rows['n'].sum()):,} of them {named}."
    return f"{text}, the smallest group."


def sensitivity_sentence(
    values: pd.DataFrame, layers: Sequence[str], bits: int, measure: str
) -> str:
    """Say which layer matters most, and to whom, or that chance explains all of it.

    A cell counts only if its interval excludes zero; a prediction has no interval.

    Parameters
    ----------
    values : [layer, group, value] and, if measured, [low, high]; value is what a group loses
        (fraction of accuracy, or nats).
    layers : all layers in the network's order.
    measure : "accuracy", "loss" or "predicted".
    """
    rows = values[values["group"] != "unknown"].dropna(subset=["value"])
    if rows.empty:
        return "No layer has been measured yet."
    top = rows.loc[rows["value"].idxmax()]
    if top["value"] <= 0:
        return f"No group loses anything when any single layer alone is squeezed to {bits} bits."
    measured = measure != "predicted"
    certain = rows[rows["low"] > 0] if measured else rows
    if certain.empty:
        return (
            f"At {bits} bits no single layer's harm can be told from chance; the largest figure is "
            f"{_amount(top, measure)} for {group_words(top['group'])}, {_named(top, layers)}."
        )
    top = certain.loc[certain["value"].idxmax()]
    verb = "costs" if measured else "is predicted to cost"
    text = (
        f"Squeezing {_named(top, layers)} to {bits} bits {verb} {group_words(top['group'])} "
        f"{_amount(top, measure)}"
    )
    others = rows[(rows["layer"] == top["layer"]) & (rows["group"] != top["group"])]
    if others.empty:
        return text + "."
    highest = others["value"].max()
    if highest <= 0:
        return text + "; the other groups lose nothing there."
    return f"{text}; the others at most {_size(highest, measure)}."


def _named(row: pd.Series, layers: Sequence[str]) -> str:
    return layer_words(str(row["layer"]), layers)


def _size(value: float, measure: str) -> str:
    return points(value) if measure == "accuracy" else nats(value)


def _amount(row: pd.Series, measure: str) -> str:
    """Return the value with its interval where it was measured."""
    text = _size(row["value"], measure)
    if measure == "predicted" or not known(row["low"]):
        return text
    scale = 100 if measure == "accuracy" else 1
    digits = 1 if measure == "accuracy" else 2
    return f"{text} (95 %: {scale * row['low']:.{digits}f} to {scale * row['high']:.{digits}f})"


def no_sensitivity_sentence(case: CaseView, running: bool) -> str:
    """Say that nothing is measured yet and what the measurement does."""
    name = case.classifier.name
    if running:
        return f"Being measured: each layer of {name} is squeezed alone, for every group."
    return (
        f"Not measured yet: each layer of {name} will be squeezed alone, and what that costs each "
        "group is measured."
    )


def budget_sentence(
    bits: float,
    size: int,
    full_size: float,
    predicted: dict[str, float],
    asked_size: int | None = None,
) -> str:
    """Say what a budget means: "At 4 bits the file is 1.4 MB; predicted cost ... 0.06 nats."

    Parameters
    ----------
    asked_size : the size, where that was asked for and not bits.

    Units: sizes in bytes, predictions in nats.
    """
    ratio = full_size / size if size else float("nan")
    text = f"At {round(bits, 2):g} bits the file is {megabytes(size)}"
    if asked_size is not None:
        text = f"{megabytes(asked_size)} leave {bits:.2f} bits for each weight"
    if known(ratio) and ratio > 1.05:
        text += f", {ratio:.1f} times smaller than now"
    known_groups = {group: value for group, value in predicted.items() if group != "unknown"}
    if not known_groups:
        return text + "."
    worst = max(known_groups, key=lambda group: known_groups[group])
    if equal_costs(known_groups):
        return (
            f"{text}; predicted cost of rounding alone, the same for every group: "
            f"{nats(known_groups[worst])}{_loss_meaning(known_groups[worst])}."
        )
    return (
        f"{text}; predicted cost of rounding alone for the worst group, {group_words(worst)}: "
        f"{nats(known_groups[worst])}{_loss_meaning(known_groups[worst])}."
    )


def equal_costs(predicted: dict[str, float]) -> bool:
    """Whether the groups pay the same as far as a reader can tell; a fair plan often ends there."""
    lowest, highest = min(predicted.values()), max(predicted.values())
    return len(predicted) > 1 and highest - lowest <= SAME_SHARE * highest


def _loss_meaning(rise: float) -> str:
    """Put a rise of the loss in plain words; the steps are a convention for reading, not a test."""
    if rise < 0.01:
        return ", hardly noticeable"
    if rise < 0.05:
        return ", a slight loss of certainty"
    if rise < 0.2:
        return ", a noticeable loss of certainty"
    if rise < 0.5:
        return ", a serious loss"
    return ", a loss too large for the prediction to be more than a warning"


def compare_sentence(verdicts: pd.DataFrame, differences: pd.DataFrame, limits: Limits) -> str:
    """Say whether anyone loses: "No group loses more than 2 points of accuracy, except perhaps ..."

    Parameters
    ----------
    verdicts : [group, verdict, sentence]. differences : [group, n, difference, low, high, ...].
    """
    by_verdict = _groups_by_verdict(verdicts)
    limit = limit_words(limits)
    images = dict(zip(differences["group"], differences["n"], strict=True))
    outside, unsure = by_verdict[OUTSIDE], by_verdict[INSUFFICIENT]
    unsure_text = joined(
        f"{group_words(group)}, where {counted(int(images.get(group, 0)), 'image')} cannot tell"
        for group in unsure
    )
    if outside:
        text = f"{capital(groups_words(outside))} lose more than {limit}"
        if by_verdict[WITHIN]:
            text += f"; {groups_words(by_verdict[WITHIN])} stay within the limit"
        if unsure:
            text += f"; undecided for {unsure_text}"
        return text + "."
    if not by_verdict[WITHIN] and unsure:
        who = groups_words(limits.groups) if limits.groups else "any group"
        verb = "lose" if limits.groups else "loses"
        return f"These photographs cannot tell whether {who} {verb} more than {limit}."
    if not by_verdict[WITHIN]:
        return "No group was judged."
    text = f"No group loses more than {limit}"
    if limits.groups:
        text = f"{capital(groups_words(by_verdict[WITHIN]))} lose no more than {limit}"
    return f"{text}, except perhaps {unsure_text}." if unsure else f"{text}."


def saliency_sentence(by_group: pd.DataFrame) -> str:
    """Say where the gaze moved most, and whether the groups can be told apart.

    Parameters
    ----------
    by_group : one row per group with the mean "overlap" of the most important tenth and its bounds.
    """
    rows = by_group[by_group["group"] != "unknown"].dropna(subset=["overlap"])
    if rows.empty:
        return "No drift can be estimated: the maps drawn at random are constant or not numbers."
    moved = rows.loc[rows["overlap"].idxmin()]
    still = rows.loc[rows["overlap"].idxmax()]
    text = (
        f"For {group_words(moved['group'])} the most important tenth of the picture overlaps by "
        f"{percent(moved['overlap'])} with what it was"
    )
    if still["group"] == moved["group"]:
        return text + "."
    text += f"; for {group_words(still['group'])} by {percent(still['overlap'])}"
    # A missing bound compares as false: a difference that nobody can show is not claimed.
    apart = moved["overlap_high"] < still["overlap_low"]
    return f"{text}." if apart else f"{text}, but their intervals overlap."


def review_sentence(review: ReviewView, limits: Limits | None = None) -> str:
    """Say whether it may leave: "Within the limit of 2 points of accuracy for I-IV; ...\""""
    by_verdict = _groups_by_verdict(review.verdicts)
    limit = "the limit" if limits is None else f"the limit of {limit_words(limits)}"
    parts = []
    for verdict, words in (
        (WITHIN, f"within {limit} for"),
        (OUTSIDE, f"outside {limit} for"),
        (INSUFFICIENT, "insufficient evidence for"),
    ):
        if by_verdict[verdict]:
            parts.append(f"{words} {groups_words(by_verdict[verdict])}")
    text = capital("; ".join(parts)) if parts else "No group was judged"
    if review.may_export:
        how = " with a written override" if review.needs_override else ""
        return f"{text}. Approved{how}: it may leave."
    if review.needs_override:
        return f"{text}: an approval needs a written override."
    return f"{text}: it needs a person's approval."


def measure_time_sentence(seconds: float | None) -> str:
    """Return how long a job will take, when a guess is known."""
    return "" if seconds is None else f"This takes about {duration(seconds)}."


def _groups_by_verdict(verdicts: pd.DataFrame) -> dict[str, list[str]]:
    """Sort groups by verdict; "overall" is named only where no single group says the same."""
    found: dict[str, list[str]] = {WITHIN: [], OUTSIDE: [], INSUFFICIENT: []}
    whole = None
    for group, verdict in zip(verdicts["group"], verdicts["verdict"], strict=True):
        if group == "overall":
            whole = str(verdict)
        else:
            found[str(verdict)].append(str(group))
    if whole in (OUTSIDE, INSUFFICIENT) and not found[whole]:
        found[whole].append("overall")
    return found


def _plural(number: int, one: str, many: str) -> str:
    return one if number == 1 else many
