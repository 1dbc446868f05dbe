"""The whole report as one plain dictionary: what the page prints is in it, and it is the JSON twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairquant_core.audit.summary_parts import plain
from fairquant_core.report import cohort_part, failures, results, use
from fairquant_core.report.checklist import checklist
from fairquant_core.report.facts import Facts
from fairquant_core.report.words import (
    group_title,
    joined,
    known,
    megabytes,
    number,
    percent,
)

FORMAT = 1
DRAFT = "DRAFT: NOT APPROVED"
DRAFT_REASON = {
    "proposed": "It was proposed; nobody has approved it yet.",
    "rejected": "It was rejected.",
    "changes requested": "Changes were requested.",
    "withdrawn": "The proposal or approval was withdrawn.",
    "void": "Something changed after the decision, so the decision no longer holds.",
}
NOBODY = "Nobody has decided about it yet."
UNAUTHENTICATED = "Names were typed and not authenticated."

PROGRAMS = ("torch", "timm", "numpy", "scipy", "scikit-learn", "onnxruntime", "weasyprint")

CLASSIFIER = ("name", "architecture", "fingerprint", "parameters")
RUN = ("id", "title", "started_by", "started")
"""What the page shows of them; empty where nobody recorded it."""

VERDICT_WORDS = {
    "WITHIN": "No group loses more than was agreed",
    "OUTSIDE": "More is lost than was agreed",
    "INSUFFICIENT EVIDENCE": "These images cannot tell whether every group keeps what was agreed",
}
SECTIONS = (
    ("identity", "What is this?", "Identity"),
    ("use", "What is it for, and what not?", "Intended use"),
    ("data", "On whom was it judged?", "Data"),
    ("compression", "How was it made smaller?", "Compression"),
    ("results", "How well does it work for each group?", "Performance by group"),
    ("verdicts", "Does anyone lose?", "Gaps, limits and verdicts"),
    ("layers", "Which parts of the network matter to whom?", "Sensitivity by layer and group"),
    ("saliency", "Does it still look at the lesion?", "Saliency"),
    ("failures", "Where did it change its mind?", "Failure analysis"),
    ("limits", "What can this report not say?", "Limitations"),
    ("checklist", "What do the guidelines ask for?", "TRIPOD+AI, CLAIM and DECIDE-AI"),
    ("decisions", "Who decided what?", "Approvals"),
    ("verify", "How can I check this?", "Verification"),
    ("annex", "All other figures", "Annex"),
)
"""Anchor, question for everybody, name for specialists."""


def content(facts: Facts) -> dict[str, Any]:
    """Every figure and sentence of the report, ready for JSON.

    Raises
    ------
    KeyError
        The audit is none of ours.
    """
    judged = results.verdicts(facts.audit)
    found = {
        "format": FORMAT,
        "about": _about(facts, judged),
        "identity": _identity(facts),
        "use": use.intended_use(facts),
        "data": cohort_part.data(facts),
        "compression": cohort_part.compression(facts),
        "results": results.results(facts.audit),
        "verdicts": judged,
        "layers": cohort_part.layers(facts),
        "saliency": failures.saliency(facts),
        "failures": failures.failures(facts),
        "limits": use.limitations(facts, judged["questions"]),
        "decisions": _decisions(facts),
        "verify": _verify(facts),
    }
    found["summary"] = _summary(found)
    found["checklist"] = checklist(found)
    return plain(found)


def without_pictures(found: Mapping[str, Any]) -> dict[str, Any]:
    """The content without the bytes of pictures, for the JSON twin."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        if isinstance(value, str) and value.startswith("data:image/"):
            return "(in the HTML and PDF report)"
        return value

    return clean(dict(found))


def _about(facts: Facts, judged: Mapping[str, Any]) -> dict[str, Any]:
    state = str(facts.review.get("state") or "none")
    last = facts.decisions[-1] if facts.decisions else {}
    override = str(last.get("override") or "") if facts.approved else ""
    return {
        "title": facts.case["title"],
        "case": facts.case.get("id", ""),
        "run": facts.run.get("id", ""),
        "run_title": facts.run.get("title", ""),
        "made": facts.made,
        "log_sequence": facts.log_sequence,
        "approved": facts.approved,
        "state": state,
        "draft": "" if facts.approved else DRAFT,
        "draft_reason": "" if facts.approved else DRAFT_REASON.get(state, NOBODY),
        "override": override,
        "approved_by": {name: last.get(name, "") for name in ("person", "role", "time")},
        "with_images": facts.photograph is not None,
        "synthetic": bool(facts.cohort.get("synthetic")),
        "verdict": judged["verdict"],
        "sections": [
            {"anchor": anchor, "question": question, "name": name}
            for anchor, question, name in SECTIONS
        ],
    }


def _identity(facts: Facts) -> dict[str, Any]:
    return {
        "classifier": {**dict.fromkeys(CLASSIFIER, ""), **facts.classifier},
        "cohort_fingerprint": facts.cohort.get("fingerprint", ""),
        "run": {**dict.fromkeys(RUN, ""), **facts.run},
        "hashes": dict(facts.hashes),
        "limits_fingerprint": facts.audit.get("limits_fingerprint", ""),
        "classes": list(facts.audit["classes"]),
        "environment": dict(facts.environment),
        "programs": _programs(facts.environment),
        "case_created": facts.case.get("created", ""),
    }


def _programs(environment: Mapping[str, Any]) -> str:
    """The programs that decide the figures, with their versions."""
    packages = environment.get("packages") or {}
    named = [f"Python {environment['python']}"] if environment.get("python") else []
    named += [str(environment["system"])] if environment.get("system") else []
    named += [f"{name} {packages[name]}" for name in PROGRAMS if name in packages]
    own = (environment.get("fairquant") or {}).get("source_sha256")
    return ", ".join([*named, *([f"FairQuant sources {own[:12]}"] if own else [])])


def _decisions(facts: Facts) -> dict[str, Any]:
    return {
        "state": facts.review.get("state", "none"),
        "why_not": facts.review.get("why_not", ""),
        "four_eyes": bool(facts.review.get("four_eyes", True)),
        "rows": [dict(row) for row in facts.decisions],
        "log_sequence": facts.log_sequence,
        "note": ""
        if facts.decisions and all(row.get("authenticated") for row in facts.decisions)
        else UNAUTHENTICATED,
    }


def _verify(facts: Facts) -> dict[str, Any]:
    return {
        "hashes": dict(facts.hashes),
        "model_sha256": facts.audit.get("size", {}).get("sha256", ""),
        "command": "python -m fairquant_core verify BUNDLE.zip",
    }


def _summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """The first page: the answer, one row per group, and what to look at."""
    judged, made = found["verdicts"], found["compression"]
    return {
        "answer": VERDICT_WORDS[judged["verdict"]],
        "sentence": judged["sentence"],
        "size": _size_sentence(made),
        "groups": judged["rows"],
        "warnings": _warnings(found),
    }


def _size_sentence(made: Mapping[str, Any]) -> str:
    if not made["bytes_on_disk"]:
        return ""
    text = f"The file shrinks from {megabytes(made['bytes_full_precision'])} to {megabytes(made['bytes_on_disk'])}"
    if known(made["times_smaller"]):
        text += f", {number(made['times_smaller'], 1)} times smaller"
    if known(made["bits_achieved"]):
        text += f": {number(made['bits_achieved'], 2)} bits per weight instead of 32"
    return f"{text}."


def _warnings(found: Mapping[str, Any]) -> list[str]:
    """At most six sentences that nobody may overlook."""
    texts = []
    if found["about"]["synthetic"]:
        texts.append("Synthetic pictures: nothing here says anything about real people.")
    if missing := found["use"]["missing"]:
        names = joined([name[:1].lower() + name[1:] for name in missing])
        texts.append(f"Nobody has stated: {names}.")
    worst = _lowest(found["results"])
    if worst:
        texts.append(worst)
    lost = found["failures"]["critical_lost"]
    if lost:
        noun = "image" if lost == 1 else "images"
        texts.append(
            f"{lost} {noun} of a condition that must not be missed were recognised before and are missed now."
        )
    texts += _few_images(found["verdicts"]["rows"])
    for each in found["verdicts"]["questions"]["annotators"]:
        if each["changes"]:
            texts.append(each["sentence"])
    if found["saliency"] is None:
        texts.append(
            "Nobody has looked at where the classifier looks: no saliency maps were drawn."
        )
    return texts[:6]


def _few_images(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The groups with too few images for narrow intervals, the smallest first."""
    small = sorted(
        (row for row in rows if row["group"] != "overall" and row["n"] < 2 * use.SMALL_GROUP),
        key=lambda row: row["n"],
    )
    if not small:
        return []
    named = joined(f"{group_title(row['group'])} {row['n']}" for row in small[:4])
    return [f"Few audit images, so the intervals are wide: {named}."]


def _lowest(found: Mapping[str, Any]) -> str:
    """Which group the small classifier serves least well."""
    rows = [
        row
        for table in found["measures"]
        if table["measure"] == "accuracy"
        for row in table["rows"]
        if row["group"] not in ("overall", "unknown") and known(row["after"]["value"])
    ]
    if len(rows) < 2:
        return ""
    low, high = (pick(rows, key=lambda row: row["after"]["value"]) for pick in (min, max))
    return (
        f"{group_title(low['group'])} is served least well: {percent(low['after']['value'], 0)} right, "
        f"against {percent(high['after']['value'], 0)} for {group_title(high['group'])}."
    )
