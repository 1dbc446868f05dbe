"""Limits that are set before a run: which metric may lose how much, in which groups."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from fairquant_core.audit.grouping import OVERALL, UNKNOWN
from fairquant_core.audit.measures import JUDGED, METRICS, Measure
from fairquant_core.errors import EvaluationError

#: Format 1 holds `_FIRST_FIELDS` only; it is still written while the others have their defaults,
#: so that the fingerprints of limits that were set earlier stay what they were.
FORMAT = 2
_FIRST_FIELDS = ("metric", "margin", "minimum_images", "groups", "positive")


class Verdict(StrEnum):
    """What the data say about one limit; the last one is not a pass."""

    WITHIN = "WITHIN"
    OUTSIDE = "OUTSIDE"
    INSUFFICIENT = "INSUFFICIENT EVIDENCE"


@dataclass(frozen=True)
class Limits:
    """How much a compressed classifier may lose, agreed before anybody saw its figures.

    Parameters
    ----------
    metric:
        "accuracy", "balanced accuracy" or "macro auroc" over all classes; "sensitivity",
        "specificity" or "auroc" of the classes in `positive`.
    margin:
        Largest acceptable drop (non-inferiority margin). Units: fraction, 0.02 = 2 points.
    minimum_images:
        With fewer images that the metric is about (for a sensitivity: of the classes in
        `positive`) the verdict of a group is INSUFFICIENT EVIDENCE, whatever they show.
    groups:
        Groups that must pass; empty means all known groups.
    positive:
        Classes that must not be missed, counted as one.
    minimum_positives, minimum_negatives:
        A group needs as many images of the classes in `positive`, and of other classes. Where
        `positive` is empty, it is a class that needs as many images of it, and of other classes,
        to count in the balanced accuracy or the macro AUROC.

    Raises
    ------
    EvaluationError
        A value that makes no sense, with the field's name.
    """

    metric: str = "accuracy"
    margin: float = 0.02
    minimum_images: int = 20
    groups: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    minimum_positives: int = 1
    minimum_negatives: int = 1

    def __post_init__(self) -> None:
        if self.metric not in JUDGED:
            raise EvaluationError(
                f"limits: metric '{self.metric}' is unknown; choose from {', '.join(JUDGED)}"
            )
        if not _is_number(self.margin) or not 0 < self.margin < 1:
            raise EvaluationError(
                f"limits: margin must be a fraction above 0 and below 1 (0.02 means 2 points), "
                f"not {self.margin!r}; no number of images can show a loss of exactly 0"
            )
        for field in ("minimum_images", "minimum_positives", "minimum_negatives"):
            value = getattr(self, field)
            if type(value) is not int or value < 1:
                raise EvaluationError(
                    f"limits: {field} must be a whole number of at least 1, not {value!r}"
                )
        for field in ("groups", "positive"):
            value = getattr(self, field)
            if isinstance(value, str) or not all(isinstance(name, str) for name in value):
                raise EvaluationError(f"limits: {field} must be a list of names, not {value!r}")
            object.__setattr__(self, field, tuple(value))
        if {OVERALL, UNKNOWN} & set(self.groups):
            raise EvaluationError(
                f'limits: groups names skin-tone groups, so neither "{OVERALL}" (always judged) '
                f'nor "{UNKNOWN}" (never judged) belongs there'
            )
        if METRICS[self.metric].about_classes and not self.positive:
            raise EvaluationError(
                f"limits: {self.metric} needs the classes that must not be missed (positive)"
            )
        if self.metric == "accuracy" and not self.positive and not self._first_format:
            raise EvaluationError(
                "limits: minimum_positives and minimum_negatives need the classes that count as "
                "positive; the accuracy over all classes has none"
            )

    @property
    def measure(self) -> Measure:
        """The metric with its classes."""
        return Measure(self.metric, self.positive if METRICS[self.metric].about_classes else ())

    @property
    def class_minimums(self) -> tuple[int, int]:
        """Images of a class, and of other classes, from which it counts in a mean over classes."""
        return (1, 1) if self.positive else (self.minimum_positives, self.minimum_negatives)

    @property
    def _first_format(self) -> bool:
        return self.minimum_positives == self.minimum_negatives == 1

    def to_json(self) -> dict:
        """Plain values for a JSON file."""
        fields = asdict(self) | {"groups": list(self.groups), "positive": list(self.positive)}
        if self._first_format:
            return {"format": 1, **{name: fields[name] for name in _FIRST_FIELDS}}
        return {"format": FORMAT, **fields}

    @classmethod
    def from_json(cls, values: Mapping) -> Limits:
        """Read back `to_json`, also of format 1; unknown or missing fields are errors."""
        fields = dict(values)
        version = fields.pop("format", None)
        if version not in (1, FORMAT):
            raise EvaluationError(f"limits: format {version!r} is neither 1 nor {FORMAT}")
        wanted = _FIRST_FIELDS if version == 1 else tuple(cls.__dataclass_fields__)
        if set(fields) != set(wanted):
            raise EvaluationError(
                f"limits: the fields must be {', '.join(wanted)}, not {', '.join(map(str, fields))}"
            )
        return cls(**fields)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the JSON form; changes with any value."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
