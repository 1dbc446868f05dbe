"""The part of a model card that programs read: YAML with the results of every group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairquant_core.export.model_card_figures import (
    NOT_ESTIMABLE,
    Row,
    judged_model,
    rows_of,
    shown_measures,
)

TASK = "image-classification"
TAGS = ("onnx", TASK, "dermatology", "quantization", "fairness", "fairquant-audit")

METRIC_NAMES = {
    "balanced accuracy": "balanced_accuracy",
    "macro auroc": "roc_auc",
    "auroc": "roc_auc",
    "brier": "brier_score",
    "ece": "expected_calibration_error",
    "sensitivity": "recall",
    "ppv": "precision",
    "npv": "negative_predictive_value",
}
"""Our metrics -> what model hubs call them; the others have the same name."""

_COUNTS = ("n", "n_positive", "n_negative", "classes_estimable")


def header(audit: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The header between its two lines of dashes.

    Every group is a data set configuration of its own ("overall" is all images together). The interval
    stands with the metric's arguments. What cannot be estimated has words for a value, and the reason.
    """
    from huggingface_hub import EvalResult, ModelCardData

    measures = shown_measures(audit)
    results = [
        EvalResult(**_dataset(audit, facts, group), **_metric(audit, measure, row))
        for group in rows_of(audit, judged_model(audit), measures[0]["measure"])
        for measure in measures
        if (row := rows_of(audit, judged_model(audit), measure["measure"]).get(group))
    ]
    card = ModelCardData(
        license=facts.get("license"),
        library_name="onnx",
        pipeline_tag=TASK,
        tags=[*TAGS, *_own_tags(audit, facts)],
        metrics=list(dict.fromkeys(_name(row["metric"]) for row in measures)),
        model_name=str(facts.get("name") or "classifier"),
        eval_results=results,
    )
    return f"---\n{_yaml(card.to_dict())}---\n"


def _yaml(content: Mapping[str, Any]) -> str:
    """YAML that every reader understands alike, whether it follows version 1.1 or 1.2 of the language."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes what only one of the versions takes for a number, such as 1e5."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = '"' if value[:1] in "0123456789+-." else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)

    Dumper.add_representer(str, text)
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def _own_tags(audit: Row, facts: Row) -> list[str]:
    architecture = (facts.get("classifier") or {}).get("architecture")
    tags = [str(architecture)] if architecture else []
    verdict = audit.get("verdict")
    return [*tags, f"verdict:{str(verdict).lower().replace(' ', '-')}"] if verdict else tags


def _dataset(audit: Row, facts: Row, group: str) -> dict[str, Any]:
    cohort = facts.get("cohort") or {}
    name = str(cohort.get("name") or "cohort")
    return {
        "task_type": TASK,
        "task_name": "classification of photographs of skin lesions",
        "dataset_type": "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
        or "cohort",
        "dataset_name": name,
        "dataset_config": group,
        "dataset_split": audit.get("split") or "all",
        "dataset_revision": cohort.get("fingerprint"),
        "dataset_args": {
            "group_column": audit["group_column"],
            "scheme": audit["scheme"],
            "synthetic": bool(cohort.get("synthetic")),
        },
    }


def _metric(audit: Row, measure: Row, row: Row) -> dict[str, Any]:
    value = row.get("value")
    before = rows_of(audit, audit["reference"], measure["measure"]).get(row["group"], {})
    args: dict[str, Any] = {name: int(row[name]) for name in _COUNTS if row.get(name) is not None}
    if value is None:
        args["reason"] = row.get("reason") or "too few images"
    else:
        args |= {"low": row.get("low"), "high": row.get("high"), "level": audit["method"]["level"]}
        args["interval"] = measure["interval"]
    if audit["candidate"]:
        args["full_precision"] = before.get("value")
    return {
        "metric_type": _name(measure["metric"]),
        "metric_name": measure["measure"],
        "metric_value": NOT_ESTIMABLE if value is None else value,
        "metric_args": args,
    }


def _name(metric: str) -> str:
    return METRIC_NAMES.get(metric, metric.replace(" ", "_"))
