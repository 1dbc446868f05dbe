"""Does the verdict of an audit follow from its predictions and the limits? Judged again, as it was judged then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fairquant_core.audit.bootstrap import RESAMPLES
from fairquant_core.audit.comparison import paired_difference
from fairquant_core.audit.criteria import JUDGING, judge, overall_verdict
from fairquant_core.audit.limits import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.export.bundle_check import CheckFailed

RANKING = ("auroc", "macro auroc")
MOST_RANKED = 4000
"""Images up to which limits on an AUROC are judged again: more take longer than a few seconds."""
MOST_RESAMPLES = 10 * RESAMPLES
"""A bundle that asks for more comes from somebody who wants this program to hang."""

OTHER_LIMITS = "The limits in {audit} are not those that its fingerprint is of."
OTHER_VERDICT = (
    "{audit} does not fit {table}: for {group} it says {said}, but its predictions give {found} under the limits in "
    "it, judged with this version of the program."
)
TOO_MANY_RESAMPLES = "{audit} asks for {resamples} resamples; at most {most} are drawn."
LATER_JUDGING = (
    "{audit} was judged in a way (number {found}) that this version of the program does not know; check it with a "
    "later version."
)
OTHER_INTERVALS = ("balanced accuracy",)
"""Metrics whose intervals were other ones when every group was judged by itself (`criteria.JUDGING` 1)."""
EARLIER_JUDGING = (
    "{audit} was judged by an earlier version of the program, whose intervals for the {metric} were other ones: for "
    "{group} it says {said}, today it would be {found}. Its verdicts can only be checked with that version."
)
NO_VERDICT = "no verdict"
WHOLE_RUN = "the whole run"
TOO_MANY_IMAGES = "The verdict in {audit} was not judged again: the AUROC of {images} images takes too long for that."


def compare_verdicts(
    audit_name: str,
    audit: Mapping[str, Any],
    table_name: str,
    predictions: Predictions,
    groups: pd.Series,
) -> str:
    """Judge the candidate again and compare the verdict of every group and of the whole run.

    Parameters
    ----------
    predictions : the images that were judged.
    groups : of these images, in the grouping of the audit.

    Returns
    -------
    Why it was not done; "" if it was.

    Raises
    ------
    CheckFailed
        A verdict is another one than the predictions give, or the limits were changed.
    FairQuantError
        The limits or the predictions make no sense.
    KeyError, TypeError, ValueError
        The audit lacks what it is judged by.
    """
    limits = Limits.from_json(audit["limits"])
    if limits.fingerprint != audit["limits_fingerprint"]:
        raise CheckFailed(OTHER_LIMITS.format(audit=audit_name))
    if limits.metric in RANKING and len(predictions) > MOST_RANKED:
        return TOO_MANY_IMAGES.format(audit=audit_name, images=len(predictions))
    judging = audit["method"].get("judging", 1)
    if judging not in range(1, JUDGING + 1):
        raise CheckFailed(LATER_JUDGING.format(audit=audit_name, found=judging))
    earlier = judging == 1 and limits.metric in OTHER_INTERVALS
    said = _said(audit)
    found = _judged_again(audit_name, audit, predictions, groups, limits, together=judging > 1)
    for group in dict.fromkeys((*found, *said)):
        words = {
            "audit": audit_name,
            "table": table_name,
            "group": group,
            "said": said.get(group, NO_VERDICT),
            "found": found.get(group, NO_VERDICT),
        }
        if words["said"] == words["found"]:
            continue
        if earlier:
            return EARLIER_JUDGING.format(metric=limits.metric, **words)
        raise CheckFailed(OTHER_VERDICT.format(**words))
    return ""


def _said(audit: Mapping[str, Any]) -> dict[str, str]:
    """Verdict by group, as the audit tells it."""
    told = audit["comparisons"][audit["candidate"]]
    said = {str(row["group"]): str(row["verdict"]) for row in told["verdicts"]}
    # The verdict stands twice in the document; both have to be right.
    both = {str(audit["verdict"]), str(told["verdict"])}
    return said | {WHOLE_RUN: " and ".join(sorted(both))}


def _judged_again(
    audit_name: str,
    audit: Mapping[str, Any],
    predictions: Predictions,
    groups: pd.Series,
    limits: Limits,
    *,
    together: bool,
) -> dict[str, str]:
    method = audit["method"]
    resamples = int(method["resamples"])
    if resamples > MOST_RESAMPLES:
        raise CheckFailed(
            TOO_MANY_RESAMPLES.format(audit=audit_name, resamples=resamples, most=MOST_RESAMPLES)
        )
    positives, negatives = limits.class_minimums
    differences = paired_difference(
        predictions,
        audit["reference"],
        audit["candidate"],
        groups,
        metric=limits.metric,
        positive=limits.positive,
        # Which numbers are drawn for whom depends on the order of the groups.
        order=audit["groups"],
        minimum_positives=positives,
        minimum_negatives=negatives,
        level=float(method["level"]),
        resamples=resamples,
        seed=int(method["seed"]),
    )
    verdicts = judge(differences, limits, together=together)
    found = {str(row["group"]): str(row["verdict"]) for row in verdicts.to_dict("records")}
    return found | {WHOLE_RUN: str(overall_verdict(verdicts))}
