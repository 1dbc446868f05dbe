"""Facts of a small made-up run, and its report written once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary import audit_summary
from fairquant_core.explain.drift import group_drift
from fairquant_core.quantization.plan import BitPlan
from fairquant_core.report.facts import Facts, SaliencyFacts
from fairquant_core.report.write import write_report
from fairquant_core.sensitivity.maps import SensitivityMap

CLASSES = ("melanoma", "naevus", "psoriasis")
LAYERS = ("stem", "block", "head")
NOW = "2026-01-31T12:00:00Z"
NEW_KEYS = ("measures", "metrics", "other_comparisons", "questions")
MakeFacts = Callable[..., Facts]


def made_predictions(
    classes: tuple[str, ...] = CLASSES, tones: tuple[str, ...] = ("1", "4", "6"), images: int = 150
) -> Predictions:
    """Random images; the small classifier loses a few that the original had right."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, len(classes), images)
    table = pd.DataFrame(
        {
            "id": [f"image {number}" for number in range(images)],
            "file": "unused.png",
            "label": [classes[code] for code in labels],
            "cluster": [f"patient {number // 2}" for number in range(images)],
            "split": "audit",
            "tone": rng.choice(list(tones), images),
            "sex": rng.choice(["female", "male"], images),
        }
    )
    logits = rng.normal(size=(images, len(classes)))
    logits[np.arange(images), labels] += 2
    outputs = {}
    for model, noise in (("full precision", 0.0), ("candidate", 0.6), ("uniform 4-bit", 2.0)):
        odds = np.exp(logits + noise * rng.normal(size=logits.shape))
        outputs[model] = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    return Predictions.build(table, classes, outputs)


def made_audit(predictions: Predictions, limits: Limits | None = None) -> dict[str, Any]:
    """The audit of it with what the pipeline writes beside."""
    audit = audit_summary(
        predictions,
        group_column="tone",
        scheme="fst3",
        limits=limits or Limits(margin=0.05),
        must_not_miss=predictions.classes[:1],
        resamples=30,
    )
    size = {
        "bytes_on_disk": 1_500_000,
        "bytes_full_precision": 9_000_000,
        "bytes_ideal": 1_480_000,
        "bits_requested": 4.0,
        "bits_achieved": 3.998,
        "sha256": "ab" * 32,
    }
    return {"config": {"method": "minimax_ptq", "bits": 4.0, "seed": 0}, "size": size, **audit}


def old_audit(audit: dict[str, Any]) -> dict[str, Any]:
    """The same as a program wrote it before the other figures existed."""
    kept = {name: value for name, value in audit.items() if name not in NEW_KEYS}
    compared = {
        model: {name: value for name, value in found.items() if name != "metric_differences"}
        for model, found in audit["comparisons"].items()
    }
    return {**kept, "comparisons": compared}


def made_saliency(predictions: Predictions) -> SaliencyFacts:
    """Maps of noise for a few images of every group."""
    rng = np.random.default_rng(1)
    frame = predictions.frame.head(18)
    groups = predictions.groups("tone", "fst3").head(18).reset_index(drop=True)
    changes = pd.DataFrame(
        {"drift": rng.random(18), "overlap": rng.random(18), "estimable": True, "id": frame["id"]}
    )
    images = pd.DataFrame({"id": frame["id"], "group": groups, "label": frame["label"]}).assign(
        target=frame["label"], drift=changes["drift"], overlap=changes["overlap"]
    )
    before = rng.random((18, 14, 14))
    return SaliencyFacts(
        method="Grad-CAM",
        target="what the original answers",
        by_group=group_drift(changes, groups, resamples=20),
        images=images,
        before=before,
        after=np.flip(before, axis=2),
    )


def made_cells(predictions: Predictions) -> pd.DataFrame:
    """[group, label, split, n], every combination."""
    groups = predictions.groups("tone", "fst3")
    counts = pd.crosstab([groups, predictions.frame["label"]], "n").reset_index()
    counts.columns = ["group", "label", "n"]
    parts = [counts.assign(split=split) for split in ("train", "validation", "audit")]
    return pd.concat(parts, ignore_index=True)


@cache
def base_facts() -> Facts:
    """Everything there is to know about a run; not approved."""
    predictions = made_predictions()
    plan = BitPlan({layer: np.array([2, 4, 6]) for layer in LAYERS}, dict.fromkeys(LAYERS, 40))
    groups = ("FST I-II", "FST III-IV", "FST V-VI")
    damage = np.arange(3 * 3 * 3, dtype=float).reshape(3, 3, 3)[:, :, ::-1] / 10
    return Facts(
        case={
            "id": "case-1",
            "title": "Lesions of the north clinic",
            "created": "2026-01-01T00:00:00Z",
            "group_source": "two dermatologists",
            "warnings": ["tone is unknown for 2 of 150 images (1.3 %)."],
        },
        classifier={
            "name": "Small net",
            "architecture": "resnet18",
            "fingerprint": "cd" * 32,
            "megabytes": 9.0,
            "parameters": 1000,
        },
        cohort={
            "name": "North",
            "fingerprint": "ef" * 32,
            "synthetic": False,
            "licence": "CC BY-NC-SA 3.0",
            "n": 450,
            "n_by_split": {"train": 150, "validation": 150, "audit": 150},
        },
        run={
            "id": "run-1",
            "title": "Planned widths, 4 bits, seed 0",
            "method_title": "Planned widths",
            "started_by": "Ada",
            "started": "2026-01-02T00:00:00Z",
            "ended": NOW,
            "epochs": 0,
        },
        audit=made_audit(predictions),
        made=NOW,
        cells=made_cells(predictions),
        columns=("id", "label", "patient", "tone", "sex"),
        plan=plan,
        sensitivity=SensitivityMap(
            "centred",
            groups,
            dict.fromkeys(groups, 30),
            (2, 4, 8),
            LAYERS,
            np.full(3, 120),
            np.arange(3),
            damage,
        ),
        predictions=predictions,
        review={"state": "proposed", "verdict": "OUTSIDE", "why_not": "", "four_eyes": True},
        hashes={"model": "ab" * 32, "audit": "12" * 32},
        environment={"python": "3.11.7", "system": "Linux", "packages": {"numpy": "2.4.6"}},
        saliency=made_saliency(predictions),
    )


def decision(what: str, sequence: int, **more: Any) -> dict[str, Any]:
    """A row as the review hands it on."""
    row = {
        "sequence": sequence,
        "time": NOW,
        "person": "Dr. Grün",
        "role": "clinician",
        "decision": what,
        "comment": "Seen.",
        "override": "",
        "verdict_seen": "OUTSIDE",
        "authenticated": False,
    }
    return {**row, **more}


@pytest.fixture(scope="session")
def make_facts() -> MakeFacts:
    """The facts of a run, with changes."""

    def make(**changes: Any) -> Facts:
        return replace(base_facts(), **changes)

    return make


@pytest.fixture(scope="session")
def approved(make_facts: MakeFacts) -> Facts:
    """Approved by override, with photographs."""
    reason = "A dermatologist looks at every image & decides."
    return make_facts(
        review={"state": "approved", "verdict": "OUTSIDE", "why_not": "", "four_eyes": True},
        decisions=[
            decision("propose", 4, person="Ada", role="auditor"),
            decision("approve", 5, override=reason),
        ],
        log_sequence=5,
        photograph=lambda image_id: Image.new("RGB", (90, 60), (180, 120, 90)),
    )


@pytest.fixture(scope="session")
def draft_folder(make_facts: MakeFacts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that nobody approved."""
    folder = tmp_path_factory.mktemp("draft")
    write_report(make_facts(), folder)
    return folder


@pytest.fixture(scope="session")
def approved_folder(approved: Facts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of an approved run."""
    folder = tmp_path_factory.mktemp("approved")
    write_report(approved, folder)
    return folder
