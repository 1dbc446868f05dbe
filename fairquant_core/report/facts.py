"""What a report is made from: plain values and tables that were stored before, nothing computed anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fairquant_core.audit.predictions import Predictions
from fairquant_core.quantization.plan import BitPlan
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap

if TYPE_CHECKING:
    from PIL.Image import Image

INTENDED_USE = {
    "purpose": "What it is for",
    "population": "For which patients",
    "users": "Who uses it",
    "care_pathway": "Where in the care pathway",
    "do_not_use": "When it must not be used",
    "reference_standard": "How the diagnoses were made, and by whom",
    "dates": "When the images were taken",
    "setting": "Where the images were taken",
    "known_inequalities": "Known inequalities between groups",
    "poor_input": "What to do with images that cannot be judged",
    "threshold_reason": "Why the most probable class decides",
    "ethics_approval": "Ethical approval",
    "funding": "Who paid for the work",
    "registration": "Registration or protocol",
    "live_evaluation": "Trial with users and patients",
    "contact": "Who answers questions",
}
"""Statements that only people can make: key -> title. What nobody said is reported as missing."""


@dataclass(frozen=True)
class SaliencyFacts:
    """Saliency maps that were drawn before.

    Attributes
    ----------
    method, target : words for people.
    by_group : one row per group [group, images, n, drift, drift_low, drift_high, overlap, overlap_low,
        overlap_high], candidate against full precision.
    images : one row per picture that was drawn at random [id, group, label, target, drift, overlap].
    before, after : magnitude of the maps, in the order of `images`. Shapes: (N, P, P).
    crop : share of the shorter side that the classifier sees, from the middle.
    """

    method: str
    target: str
    by_group: pd.DataFrame
    images: pd.DataFrame
    before: np.ndarray
    after: np.ndarray
    crop: float = 1.0


@dataclass(frozen=True)
class Facts:
    """Everything a report rests on.

    Attributes
    ----------
    case : id, title, created, group_source, warnings (sentences about the cohort).
    classifier : name, architecture, fingerprint, megabytes, parameters.
    cohort : name, fingerprint, synthetic, licence, n, n_by_split.
    run : id, title, method_title, started_by, started, ended.
    audit : audit.json of the run.
    made : UTC time stamp of the report.
    cells : [group, label, split, n] of the whole cohort.
    columns : columns of the cohort table.
    predictions : of the audit split, for the list of changed decisions.
    review : state, verdict, why_not, four_eyes; state "approved" makes it no draft.
    decisions : rows time, person, role, decision, comment, override, verdict_seen, sequence,
        authenticated; oldest first.
    log_sequence : number of the last decision that is in the report, in the decision log; 0 without any.
    hashes : SHA-256 sums of what the decisions are bound to, by what it is.
    environment : programs and versions.
    export : the check of the exported file (`ExportCheck.to_json`), if there is one.
    own_audit : audit of the exported file where it does not predict to the last bit what was audited.
    fast, fast_audit : check and audit of the fast file, if one is offered beside the exact one.
    photograph : gives the picture of an image; None makes a report without images of patients.
    intended_use : what people said, keys of `INTENDED_USE`.
    """

    case: Mapping[str, Any]
    classifier: Mapping[str, Any]
    cohort: Mapping[str, Any]
    run: Mapping[str, Any]
    audit: Mapping[str, Any]
    made: str
    cells: pd.DataFrame | None = None
    columns: tuple[str, ...] = ()
    plan: BitPlan | None = None
    sensitivity: SensitivityMap | None = None
    measured: MeasuredMap | None = None
    predictions: Predictions | None = None
    review: Mapping[str, Any] = field(default_factory=dict)
    decisions: Sequence[Mapping[str, Any]] = ()
    log_sequence: int = 0
    hashes: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    export: Mapping[str, Any] | None = None
    own_audit: Mapping[str, Any] | None = None
    fast: Mapping[str, Any] | None = None
    fast_audit: Mapping[str, Any] | None = None
    saliency: SaliencyFacts | None = None
    photograph: Callable[[str], Image] | None = None
    intended_use: Mapping[str, str] = field(default_factory=dict)

    @property
    def approved(self) -> bool:
        """Whether the last word of the people is a yes that still holds."""
        return self.review.get("state") == "approved"
