"""Small, realistic records and tables for the page tests.

Every figure comes from the real audit functions on made-up predictions; nothing here is a result.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from dashboard.backend.views import (
    CaseView,
    ClassifierView,
    CohortView,
    ComparisonView,
    JobKind,
    JobState,
    JobView,
    ReviewState,
    RunView,
)
from fairquant_core.audit.comparison import flips, paired_difference
from fairquant_core.audit.criteria import Limits, judge, overall_verdict
from fairquant_core.audit.metrics import group_accuracy
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary import audit_summary
from fairquant_core.quantization.plan import BitPlan
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap

GROUPS = ("FST I-II", "FST III-IV", "FST V-VI")
CLASSES = ("benign naevus", "dermatofibroma", "keratosis", "melanoma", "vascular lesion")
LAYERS = tuple(
    ["conv_stem"]
    + [f"blocks.{b}.{u}.{c}" for b in range(5) for u in range(2) for c in ("conv_pw", "conv_dw")]
    + ["conv_head", "classifier"]
)
PER_CELL = {"FST I-II": 26, "FST III-IV": 16, "FST V-VI": 6}
NOW = "2026-01-31T12:05:09Z"


@cache
def cohort_frame(seed: int = 0) -> pd.DataFrame:
    """A cohort table with fewer dark-skinned images, as in real collections."""
    random = np.random.default_rng(seed)
    rows = []
    for group, size in PER_CELL.items():
        for label in CLASSES:
            for split, share in (("train", 2.4), ("validation", 0.6), ("audit", 1.0)):
                for _ in range(round(size * share)):
                    number = len(rows)
                    tone = {"FST I-II": 1, "FST III-IV": 3, "FST V-VI": 5}[group]
                    rows.append(
                        {
                            "id": f"image-{number:04d}",
                            "file": f"images/{number:04d}.png",
                            "label": label,
                            "cluster": f"image-{number:04d}",
                            "split": split,
                            "skin_type": str(tone + int(random.integers(0, 2))),
                            "group": group,
                        }
                    )
    return pd.DataFrame(rows)


@cache
def predictions(harm: float = 0.12, seed: int = 1) -> Predictions:
    """Made-up probabilities: the candidate errs more often, most of all for V-VI."""
    random = np.random.default_rng(seed)
    frame = cohort_frame()
    rows = frame[frame["split"] != "train"].reset_index(drop=True)
    codes = pd.Index(CLASSES).get_indexer(pd.Index(rows["label"]))
    dark = (rows["group"] == "FST V-VI").to_numpy()
    logits = random.normal(0, 1, (len(rows), len(CLASSES)))
    logits[np.arange(len(rows)), codes] += np.where(dark, 2.0, 2.8)
    models = {"full precision": logits}
    for name, scale in (("uniform 4-bit", 1.4), ("candidate", 0.6)):
        noise = random.normal(0, 1, logits.shape) * harm * scale
        models[name] = logits + noise * np.where(dark, 6.0, 2.0)[:, None]
    return Predictions.build(
        rows.drop(columns="group"), CLASSES, {name: _softmax(x) for name, x in models.items()}
    )


@cache
def made_audit(bits: float = 4.0, seed: int = 0) -> dict[str, Any]:
    """What pages read of audit.json: fewer bits do more harm, another seed errs elsewhere."""
    audit = predictions(0.5 / bits, seed + 1).part("audit")
    groups = audit.groups("skin_type", "fst3")
    accuracy = {}
    for model in audit.models:
        found = group_accuracy(audit, model, groups, order=GROUPS, minimum=20, resamples=50)
        accuracy[model] = {
            "overall": found.overall.to_dict(),
            "by_group": found.by_group.to_dict("records"),
            "worst_group": found.worst_group,
            "gap": {"value": found.gap},
        }
    return {
        "images": len(audit),
        "reference": "full precision",
        "candidate": "candidate",
        "models": list(audit.models),
        "scheme": "fst3",
        "comparisons": {"candidate": _judged(audit, groups)},
        "accuracy": accuracy,
        "size": {"bytes_on_disk": 840_000, "bytes_full_precision": 6_200_000},
    }


def full_audit_of(table: Predictions) -> dict[str, Any]:
    """The real audit of a table with a column "skin_type", with the limits of the made case."""
    case = case_view()
    return audit_summary(
        table,
        group_column="skin_type",
        scheme="fst3",
        limits=case.limits,
        must_not_miss=case.must_not_miss,
        resamples=60,
    )


def _judged(audit: Predictions, groups: pd.Series) -> dict[str, Any]:
    """Changes and verdicts of the candidate, as audit.json has them."""
    changes = paired_difference(
        audit, "full precision", "candidate", groups, order=GROUPS, resamples=50
    )
    verdicts = judge(changes, Limits(margin=0.02, minimum_images=20))
    return {
        "differences": changes.to_dict("records"),
        "verdicts": verdicts.to_dict("records"),
    }


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def case_view(**changes: Any) -> CaseView:
    """The demo case as pages see it."""
    frame = cohort_frame()
    view = CaseView(
        id="demo",
        title="Demo: synthetic skin lesions",
        classifier=ClassifierView(
            "MobileNetV3 small (demo)", "mobilenetv3_small_100", "ab" * 32, 6.2, 1_520_000
        ),
        cohort=CohortView(
            "Synthetic skin lesions",
            "cd" * 32,
            True,
            len(frame),
            {k: int(v) for k, v in frame["split"].value_counts().items()},
            "made by this program",
        ),
        classes=CLASSES,
        group_column="skin_type",
        group_source="the generator",
        scheme="fst3",
        groups=GROUPS,
        must_not_miss=("melanoma", "keratosis"),
        limits=Limits(margin=0.02, minimum_images=20),
        created=NOW,
        ready=True,
        baseline_origin="Measured when the demo was made.",
        warnings=("6 pairs of photographs are near-duplicates; they are kept in one split.",),
    )
    return replace(view, **changes)


def job_view(kind: JobKind = JobKind.SENSITIVITY, **changes: Any) -> JobView:
    """A finished job."""
    view = JobView(
        id=f"job-{kind}",
        kind=kind,
        case_id="demo",
        title=f"A job: {kind}",
        state=JobState.FINISHED,
        stage="measured",
        step=20,
        steps=20,
        message="",
        seconds_left=None,
        created=NOW,
        started=NOW,
        ended=NOW,
        error="",
        config={},
        seen=True,
        result_hash="ef" * 32,
    )
    return replace(view, **changes)


def drawing(step: int, steps: int) -> JobView:
    """A job that draws maps of the first run, on its way."""
    return job_view(
        JobKind.SALIENCY,
        run_id="run-1",
        state=JobState.RUNNING,
        stage="saliency",
        message=f"Map {step} of {steps}",
        step=step,
        steps=steps,
    )


def run_view(run_id: str = "run-1", **changes: Any) -> RunView:
    """A finished run."""
    view = RunView(
        id=run_id,
        kind=JobKind.RUN,
        case_id="demo",
        title="Learned bit-widths (BAQ), 4 bits, seed 0",
        state=JobState.FINISHED,
        stage="audit",
        step=4,
        steps=4,
        message="",
        seconds_left=None,
        created=NOW,
        started=NOW,
        ended=NOW,
        error="",
        config={"method": "baq", "bits": 4.0, "epochs": 4, "seed": 0},
        seen=True,
        result_hash="0a" * 32,
        started_by="Ada",
        method="baq",
        method_title="Learned bit-widths (BAQ)",
        bits=4.0,
        seed=0,
        epochs=4,
        achieved_bits=3.997,
        bytes_packed=840_000,
        verdict="INSUFFICIENT EVIDENCE",
        review_state=ReviewState.NONE,
    )
    return replace(view, **changes)


@cache
def measured_map(bits: tuple[int, ...] = (2, 4)) -> MeasuredMap:
    """Layer x group costs that grow as the bits fall."""
    random = np.random.default_rng(2)
    rows = []
    for layer in LAYERS:
        base = random.gamma(1.2, 0.008)
        for width in bits:
            for place, group in enumerate(GROUPS):
                change = -base * (1 + 0.7 * place) * (5 - width) / 2 + random.normal(0, 0.004)
                rows.append(
                    {
                        "layer": layer,
                        "bits": width,
                        "group": group,
                        "n": 60,
                        "loss_change": -2 * change,
                        "loss_low": -2 * change - 0.03,
                        "loss_high": -2 * change + 0.03,
                        "accuracy_change": change,
                        "accuracy_low": change - 0.02,
                        "accuracy_high": change + 0.02,
                    }
                )
    return MeasuredMap(pd.DataFrame(rows))


@cache
def sensitivity_map() -> SensitivityMap:
    """A curvature map with eight channels per layer."""
    random = np.random.default_rng(3)
    menu = (0, 2, 3, 4, 5, 6, 7, 8)
    units = 8 * len(LAYERS)
    base = random.gamma(1.0, 0.0008, (len(GROUPS), units, 1))
    decay = 4.0 ** -np.array([-1.0, *range(len(menu) - 1)])
    return SensitivityMap(
        "centred",
        GROUPS,
        {group: 60 for group in GROUPS},
        menu,
        LAYERS,
        np.full(units, 40),
        np.repeat(np.arange(len(LAYERS)), 8),
        base * decay,
    )


def epochs_frame(done: int = 4, total: int = 4) -> pd.DataFrame:
    """What training reported after each epoch."""
    epochs = np.arange(1, done + 1)
    frame = pd.DataFrame(
        {
            "epoch": epochs,
            "epochs": total,
            "loss": 1.2 / epochs,
            "validation_loss": 1.3 / epochs + 0.1,
            "average_bits": 4.0 + 0.4 / epochs**2 - 0.003,
            "widths_moved": 0.02,
            "worst_group_accuracy": 0.40 + 0.02 * epochs,
            "accuracy": 0.6 + 0.02 * epochs,
        }
    )
    for place, group in enumerate(GROUPS):
        frame[f"accuracy: {group}"] = 0.62 - 0.1 * place + 0.02 * epochs
    return frame


def trajectory_frame(done: int = 4) -> pd.DataFrame:
    """Mean bits per layer: most stay, some move."""
    rows = []
    for place, layer in enumerate(LAYERS):
        for epoch in range(done + 1):
            drift = 0.12 * epoch if place % 9 == 0 else 0.0
            rows.append({"epoch": epoch, "layer": layer, "bits": 3 + place % 4 + drift})
    return pd.DataFrame(rows)


def made_plan() -> BitPlan:
    """Eight channels per layer, all with the layer's width."""
    widths = {layer: np.full(8, 3 + place % 4) for place, layer in enumerate(LAYERS)}
    return BitPlan(widths, dict.fromkeys(LAYERS, 9))


@cache
def compared(scheme: str) -> ComparisonView:
    """The audit figures of the made-up candidate."""
    table = predictions().part("audit")
    groups = table.groups("skin_type", scheme)
    order = list(dict.fromkeys(groups.sort_values()))
    parts = []
    for model in table.models:
        scored = group_accuracy(table, model, groups, order=order, resamples=50)
        frame = pd.concat([scored.overall.to_frame().T, scored.by_group], ignore_index=True)
        parts.append(frame.assign(model=model))
    accuracy = pd.concat(parts, ignore_index=True).infer_objects()
    pair = ("full precision", "candidate")
    differences = paired_difference(table, *pair, groups, order=order, resamples=50)
    verdicts = judge(differences, case_view().limits)
    return ComparisonView(
        accuracy=accuracy[["model", "group", "n", "accuracy", "low", "high"]],
        differences=differences,
        flips=flips(table, *pair, groups),
        verdicts=verdicts.assign(verdict=verdicts["verdict"].astype(str)),
        overall_verdict=str(overall_verdict(verdicts)),
        scheme=scheme,
        groups=tuple(order),
        models=tuple(table.models),
    )
