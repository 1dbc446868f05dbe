"""What it is for, what it is not for, and what the report cannot say: derived from the evidence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fairquant_core.report.facts import INTENDED_USE, Facts
from fairquant_core.report.words import counted, group_title, joined, known, percent

NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)
SHARE_ALIKE = re.compile(r"\bSA\b|share-?alike", re.IGNORECASE)

SYNTHETIC = (
    "On any person: the pictures it was judged on were drawn by a computer program and show nobody."
)
NOT_ALONE = "As the only reason for a decision about a patient."
OTHER_CONDITIONS = (
    "For conditions other than the {count} it knows ({classes}): it always answers with one of "
    "them, also when a picture shows something else."
)
OTHER_IMAGES = (
    "On images from other sources than {cohort}: another camera, another clinic or another way of "
    "taking the picture was not tried."
)
COMMERCIAL = "Commercially: the licence of the images is {licence}."
LOSES = "For {groups}: more is lost than was agreed before the run."
UNCERTAIN = (
    "For {groups} without a second look: these images cannot show that the agreed limit is kept."
)
NO_GROUP = "For {groups}: there is no image of it in the audit, so nothing is known."
ALL_TOGETHER = "all images together"

FITZPATRICK = (
    "The groups are Fitzpatrick types as seen by {source}. The scale was made (1975) to describe how "
    "skin reacts to ultraviolet light, not its colour, and judging it from a photograph is an "
    "adaptation of it. It is a proxy, not a measured skin tone."
)
MONK = (
    "The groups are Monk skin tones as seen by {source}. Judging a tone from a photograph depends on "
    "light and camera; it is a proxy, not a measured skin tone."
)
OTHER_GROUPS = "The groups come from the column '{column}' as recorded by {source}."
AGREEMENT = (
    "Two annotators ({first} and {second}) chose exactly the same type for {exact} of {n} images and "
    "types at most one step apart for {close}. {sentence}"
)
ONE_ANNOTATOR = "This audit rests on one source of the groups; how the result depends on who looked is not known."
SMALL = (
    "Small numbers make wide intervals, and an interval that holds zero is no proof that nothing "
    "changed. In the audit: {groups}."
)
ABSENT = "no image of {groups}; nothing can be estimated for it"
NO_KNOWN_GROUP = "no known group"
UNKNOWN = "{n} images of the audit have no known group; they count in no group's verdict."
CLUSTERS = (
    "The {images} images come from {clusters} independent patients, lesions or groups of duplicates; the intervals "
    "take that into account."
)
NO_CLUSTERS = (
    "No two images are known to belong together. Where several images of one patient were not marked, "
    "the intervals are too narrow."
)
INTERNAL = (
    "The audit images come from the same collection as the training images (kept apart by patient, "
    "lesion or duplicate). How it does in another clinic is not known."
)
MANY = (
    "Many figures are shown; some differences will look large by chance. The verdict rests on the one "
    "measure and the limit that were set before the run."
)
SALIENCY = "Saliency is a hint, not a proof: it shows which pixels the score depends on, not why."
SYNTHETIC_LIMIT = "The cohort is synthetic: no statement about people follows from it."
COMPRESSED_ONLY = (
    "The audit asks what making the file smaller changed. Faults that the original classifier already "
    "had are still there; the tables show its figures beside the others."
)
SMALL_GROUP = 100
"""Below about 100 images with and without the condition, performance of a group is imprecise.

Source: Riley et al. 2024, BMJ 384:e074821; Snell et al. 2021.
"""


def intended_use(facts: Facts) -> dict[str, Any]:
    """What people said it is for, what they did not say, and when not to use it."""
    said = {
        key: text.strip()
        for key, text in facts.intended_use.items()
        if key in INTENDED_USE and isinstance(text, str) and text.strip()
    }
    core = ("purpose", "population", "users", "care_pathway")
    return {
        "said": said,
        "titles": INTENDED_USE,
        "missing": [INTENDED_USE[key] for key in core if key not in said],
        "do_not_use": do_not_use(facts, said.get("do_not_use", "")),
    }


def do_not_use(facts: Facts, said: str = "") -> list[str]:
    """Uses that the evidence does not support, the gravest first."""
    audit, cohort = facts.audit, facts.cohort
    found = [SYNTHETIC] if cohort.get("synthetic") else []
    found += [said] if said else []
    by_reason: dict[str, list[str]] = {LOSES: [], UNCERTAIN: [], NO_GROUP: []}
    for row in audit["comparisons"][audit["candidate"]]["verdicts"]:
        whole = row["group"] == "overall"
        reason = LOSES if row["verdict"] == "OUTSIDE" else UNCERTAIN if row["n"] else NO_GROUP
        if row["verdict"] != "WITHIN" and (not whole or reason == LOSES):
            by_reason[reason].append(ALL_TOGETHER if whole else group_title(row["group"]))
    found += [text.format(groups=joined(names)) for text, names in by_reason.items() if names]
    found.append(NOT_ALONE)
    classes = [str(name) for name in audit["classes"]]
    named = joined(classes) if len(classes) <= 8 else f"{joined(classes[:8], 'and')} and others"
    found.append(OTHER_CONDITIONS.format(count=len(classes), classes=named))
    found.append(OTHER_IMAGES.format(cohort=cohort.get("name") or "the cohort"))
    licence = str(cohort.get("licence", ""))
    if NON_COMMERCIAL.search(licence):
        found.append(COMMERCIAL.format(licence=licence))
    return found


def limitations(facts: Facts, questions: Mapping[str, Any]) -> list[dict[str, str]]:
    """What the report cannot say: [{title, text}].

    Parameters
    ----------
    questions : "questions" of `results.verdicts`.
    """
    audit = facts.audit
    found: list[dict[str, str]] = []

    def say(title: str, text: str) -> None:
        found.append({"title": title, "text": text})

    if facts.cohort.get("synthetic"):
        say("Drawn pictures", SYNTHETIC_LIMIT)
    say("Skin tone is a proxy", _scale(facts))
    if questions["annotators"]:
        for each in questions["annotators"]:
            say("Annotators disagree", _agreement(each, facts))
    else:
        say("One annotator", ONE_ANNOTATOR)
    if small := _small_groups(facts):
        say("Small groups", SMALL.format(groups="; ".join(small)))
    if audit.get("unknown"):
        say("Group unknown", UNKNOWN.format(n=audit["unknown"]))
    clusters = audit.get("clusters")
    if clusters and clusters < audit["images"]:
        say(
            "Images that belong together",
            CLUSTERS.format(images=audit["images"], clusters=clusters),
        )
    else:
        say("Images that belong together", NO_CLUSTERS)
    if facts.cohort.get("n_by_split", {}).get("train"):
        say("No outside test", INTERNAL)
    say("What was compared", COMPRESSED_ONLY)
    say("Chance", MANY)
    if facts.saliency is not None:
        say("Saliency", SALIENCY)
    for note in map(str, audit.get("notes", [])):
        if NO_KNOWN_GROUP not in note:
            say("Noted by the audit", note)
    return found


def _scale(facts: Facts) -> str:
    scheme = str(facts.audit["scheme"])
    source = facts.case.get("group_source") or "an unnamed source"
    text = OTHER_GROUPS
    if scheme.startswith("fst"):
        text = FITZPATRICK
    elif scheme.startswith("mst"):
        text = MONK
    return text.format(source=source, column=facts.audit["group_column"])


def _agreement(each: Mapping[str, Any], facts: Facts) -> str:
    exact, close = (each.get(name) or {} for name in ("exact", "within_one_step"))
    if not known(exact.get("value")):
        return str(each["sentence"])
    return AGREEMENT.format(
        first=facts.case.get("group_source") or each["column"],
        second=each["other"],
        exact=percent(exact["value"]),
        close=percent(close.get("value")),
        n=counted(int(each.get("n") or 0), "image"),
        sentence=each["sentence"],
    ).strip()


def _small_groups(facts: Facts) -> list[str]:
    audit, cells = facts.audit, facts.cells
    critical: dict[str, int] = {}
    if cells is not None and audit["must_not_miss"]:
        inside = cells[(cells["split"] == "audit") & cells["label"].isin(audit["must_not_miss"])]
        critical = {str(k): int(n) for k, n in inside.groupby("group")["n"].sum().items()}
    texts = []
    for row in audit["accuracy"][audit["reference"]]["by_group"]:
        group, n = row["group"], int(row["n"])
        with_condition = critical.get(group)
        small = n < 2 * SMALL_GROUP or (with_condition or SMALL_GROUP) < SMALL_GROUP
        if group == "unknown" or not small:
            continue
        if n == 0:
            texts.append(ABSENT.format(groups=group_title(group)))
            continue
        words = f"{counted(n, 'image')} of {group_title(group)}"
        if with_condition is not None:
            words += f", {int(with_condition)} of them of a condition that must not be missed"
        texts.append(words)
    return texts
