"""Rules of the checklist: each looks at the report's content and says MET, PARTIAL or MISSING, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fairquant_core.report.facts import INTENDED_USE
from fairquant_core.report.words import counted, group_title, joined, known

MET, PARTIAL, MISSING = "MET", "PARTIAL", "MISSING"
STATES = (MET, PARTIAL, MISSING)

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """How far an item is met: what is shown, and what is missing ("" if nothing)."""

    state: str
    shown: str
    missing: str = ""


Rule = Callable[[Content], Finding]


def parts(found: Mapping[str, bool]) -> Finding:
    """MET if everything is there, MISSING if nothing is.

    Parameters
    ----------
    found : what belongs to the item, in words -> whether it is there.
    """
    there = [name for name, fine in found.items() if fine]
    absent = [name for name, fine in found.items() if not fine]
    state = MET if not absent else PARTIAL if there else MISSING
    return Finding(state, joined(there), joined(absent))


def said(*keys: str) -> Rule:
    """Statements of people about these keys of `INTENDED_USE`."""

    def rule(content: Content) -> Finding:
        texts = content["use"]["said"]
        return parts({_low(INTENDED_USE[key]): key in texts for key in keys})

    return rule


def objective(content: Content) -> Finding:
    """The question and the limits, fixed before the run."""
    created, started = (
        content["identity"]["case_created"],
        content["identity"]["run"].get("started"),
    )
    before = bool(created and started and created <= started)
    return parts(
        {
            "the question and the limit per group": bool(content["verdicts"]["limits"]),
            "that the limit was set before the run started": before,
        }
    )


def sources(content: Content) -> Finding:
    cohort = content["data"]["cohort"]
    return parts(
        {
            "the name of the collection": bool(cohort.get("name")),
            "its licence": bool(cohort.get("licence")),
            "its fingerprint": bool(cohort.get("fingerprint")),
        }
    )


def preparation(content: Content) -> Finding:
    """Every image goes through the same steps; warnings of the check are listed."""
    groups = [row for row in content["results"]["groups"] if row not in ("overall", "unknown")]
    return parts(
        {
            "one and the same preparation for the images of every group": bool(groups),
            "what checking the cohort found": bool(content["data"]["cohort"].get("fingerprint")),
            "how images that cannot be judged are handled": "poor_input" in content["use"]["said"],
        }
    )


def annotators(content: Content) -> Finding:
    return parts(
        {
            "who named the skin tones": bool(content["data"]["group_source"]),
            "who made the diagnoses, and how": "reference_standard" in content["use"]["said"],
        }
    )


def variability(content: Content) -> Finding:
    found = content["verdicts"]["questions"]["annotators"]
    if found:
        return Finding(
            MET, "agreement of two annotators, and the verdict with the other one's groups"
        )
    return Finding(MISSING, "", "a second annotator of the skin tones in the cohort")


def sample_size(content: Content) -> Finding:
    """Enough images for a verdict in every group, or how many would be enough."""
    rows = [row for row in content["verdicts"]["rows"] if row["group"] != "overall"]
    unsure = [row for row in rows if row["verdict"] == "INSUFFICIENT EVIDENCE"]
    if not rows:
        return Finding(MISSING, "", "a single group with a verdict")
    if not unsure:
        return Finding(MET, "images per group, enough for a verdict in each")
    names = joined([group_title(row["group"]) for row in unsure])
    return Finding(
        PARTIAL,
        "images per group, and how many would settle the verdict where it is open",
        f"enough images for {names}",
    )


def missing_data(content: Content) -> Finding:
    unknown = content["verdicts"]["questions"]["unknown"]
    n = int(unknown.get("n") or 0)
    if n == 0:
        return Finding(MET, "every audited image has a group")
    if known(unknown.get("share")):
        return Finding(
            MET, f"{counted(n, 'image')} without a known group, shown as a group of their own"
        )
    return Finding(PARTIAL, f"{counted(n, 'image')} without a known group", "their figures")


def partition(content: Content) -> Finding:
    split = content["data"]["cohort"].get("n_by_split") or {}
    return parts(
        {
            "images per split (training, validation, locked audit)": bool(split.get("audit")),
            "images per group in every split": bool(content["data"]["rows"]),
        }
    )


def disjoint(content: Content) -> Finding:
    clusters, audited = content["data"]["clusters"], content["data"]["audited"]
    columns = set(content["data"]["columns"])
    marked = bool(columns & {"patient", "lesion"}) or bool(clusters and clusters < audited)
    if marked:
        return Finding(
            MET, "images of one patient, lesion or group of duplicates stay in one split"
        )
    return Finding(
        PARTIAL, "every image is in one split only", "which images show the same patient"
    )


def compression_steps(content: Content) -> Finding:
    made = content["compression"]
    return parts(
        {
            "the method": bool(made["method"]),
            "its settings": bool(made["config"]),
            "bits and bytes asked for and achieved": known(made["bits_achieved"])
            or known(made["bytes_on_disk"]),
        }
    )


def training(content: Content) -> Finding:
    return parts(
        {
            "how it was compressed": bool(content["compression"]["config"]),
            "how the original classifier was trained": bool(
                content["identity"]["classifier"].get("training")
            ),
        }
    )


def measures(content: Content) -> Finding:
    """Discrimination, calibration and clinical usefulness, as well as plain accuracy."""
    metrics = {table["metric"] for table in content["results"]["measures"]}
    return parts(
        {
            "accuracy": "accuracy" in metrics,
            "discrimination (AUROC)": bool(metrics & {"auroc", "macro auroc"}),
            "calibration": "ece" in metrics and bool(content["results"]["calibration"]),
            "clinical usefulness (net benefit)": "net benefit" in metrics,
        }
    )


def fairness(content: Content) -> Finding:
    found = content["results"]
    return parts(
        {
            "a limit for every group, set before": bool(content["verdicts"]["limits"]),
            "criteria of fairness between groups": bool(found["fairness"]),
            "gaps between groups with their intervals": bool(found["gaps"]),
        }
    )


def output(content: Content) -> Finding:
    return parts(
        {
            "what it answers (one class with a probability each)": bool(
                content["identity"]["classes"]
            ),
            "why the most probable class decides": "threshold_reason" in content["use"]["said"],
        }
    )


def characteristics(content: Content) -> Finding:
    columns = {str(name).lower() for name in content["data"]["columns"]}
    return parts(
        {
            "images per skin tone, class and split": bool(content["data"]["rows"]),
            "age": bool(columns & {"age", "age_approx", "age_group"}),
            "sex": bool(columns & {"sex", "gender"}),
        }
    )


def specification(content: Content) -> Finding:
    identity = content["identity"]
    return parts(
        {
            "architecture": bool(identity["classifier"].get("architecture")),
            "SHA-256 of the compressed weights": bool(
                identity["hashes"].get("model") or content["verify"]["model_sha256"]
            ),
            "bits of every layer": bool(content["compression"]["layers"]),
        }
    )


def performance(content: Content) -> Finding:
    """Estimates with intervals for every group; what cannot be estimated is named."""
    judged = {content["results"]["judged"], "accuracy"}
    tables = [t for t in content["results"]["measures"] if t["measure"] in judged]
    rows = [row for table in tables for row in table["rows"] if row["group"] != "unknown"]
    if not rows:
        return Finding(MISSING, "", "any figure per group")
    absent = {row["group"] for row in rows if not known(row["after"]["low"])}
    shown = "estimates with 95 % intervals per group, before and after"
    gone = [f"an estimate for {joined(sorted(map(group_title, absent)))}"] if absent else []
    if not content["results"]["complete"]:
        gone.append("measures beyond accuracy")
    return Finding(PARTIAL if gone else MET, shown, joined(gone))


def uncertainty(content: Content) -> Finding:
    rows = content["verdicts"]["rows"]
    return parts(
        {
            "95 % intervals of every change": any(known(row["low"]) for row in rows),
            "how each interval is made": all(t["interval"] for t in content["results"]["measures"]),
        }
    )


def robustness(content: Content) -> Finding:
    asked = content["verdicts"]["questions"]
    return parts(
        {
            "the verdict with other groupings": bool(asked["schemes"]),
            "the verdict with another annotator": bool(asked["annotators"]),
        }
    )


def explainability(content: Content) -> Finding:
    found = content["saliency"]
    return parts(
        {
            "how far the gaze moved per group": found is not None and bool(found["by_group"]),
            "maps beside the images": found is not None and bool(found["pictures"]),
        }
    )


def failure_analysis(content: Content) -> Finding:
    found = content["failures"]
    changed = found["lost"] + found["gained"]
    return parts(
        {
            "how many decisions changed per group": bool(found["by_group"]),
            "each changed decision": changed == 0 or bool(found["listed"]),
            "images of changed decisions": changed == 0 or bool(found["pictures"]),
        }
    )


def external(content: Content) -> Finding:
    if not (content["data"]["cohort"].get("n_by_split") or {}).get("train"):
        return Finding(MET, "the classifier was not trained on this collection")
    return Finding(MISSING, "", "a test on images of another collection or clinic")


def interpretation(content: Content) -> Finding:
    return parts(
        {
            "a verdict per group in words": bool(content["verdicts"]["rows"]),
            "gaps between groups beside what chance alone would make": bool(
                content["results"]["gaps"]
            ),
        }
    )


def limitations(content: Content) -> Finding:
    return parts({"what the report cannot say": bool(content["limits"])})


def software(content: Content) -> Finding:
    packages = content["identity"]["environment"].get("packages")
    return parts(
        {
            "programs and versions": bool(packages),
            "version of the operating system and Python": bool(
                content["identity"]["environment"].get("python")
            ),
        }
    )


def access(content: Content) -> Finding:
    return parts(
        {
            "licence of the images": bool(content["data"]["cohort"].get("licence")),
            "how to check the files of the bundle": bool(content["verify"]["command"]),
        }
    )


def privacy(content: Content) -> Finding:
    if content["about"]["synthetic"]:
        return Finding(MET, "the pictures show nobody")
    if not content["about"]["with_images"]:
        return Finding(PARTIAL, "the report holds no image", "how the cohort was de-identified")
    return Finding(PARTIAL, "image numbers instead of names", "how the cohort was de-identified")


def version(content: Content) -> Finding:
    classifier = content["identity"]["classifier"]
    return parts(
        {
            "name and architecture": bool(
                classifier.get("name") and classifier.get("architecture")
            ),
            "fingerprints of the original and of the small classifier": bool(
                classifier.get("fingerprint") and content["verify"]["model_sha256"]
            ),
            "on whom it was trained": bool(content["data"]["rows"]),
        }
    )


def safety(content: Content) -> Finding:
    return parts(
        {
            "which errors count most (classes that must not be missed)": bool(
                content["data"]["must_not_miss"]
            ),
            "errors that compression added, per group": bool(content["failures"]["by_group"]),
            "when not to use it": bool(content["use"]["do_not_use"]),
        }
    )


def practice(content: Content) -> Finding:
    return parts(
        {
            "when not to use it": bool(content["use"]["do_not_use"]),
            "what it is for": "purpose" in content["use"]["said"],
        }
    )


def support(content: Content) -> Finding:
    """Whether the evidence supports the stated use: there must be a use, and a verdict that holds."""
    return parts(
        {
            "a verdict that every limit is kept": content["about"]["verdict"] == "WITHIN",
            "a stated use that it can be held against": "purpose" in content["use"]["said"],
        }
    )


def _low(text: str) -> str:
    return text[:1].lower() + text[1:]
