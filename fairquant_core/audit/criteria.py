"""Limits that are set before a run, and the verdict that the data allow."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from fairquant_core.audit.comparison import METRICS
from fairquant_core.audit.grouping import OVERALL, UNKNOWN
from fairquant_core.audit.intervals import paired_score_interval
from fairquant_core.errors import EvaluationError

FORMAT = 1
#: Beyond this many images of one group, "how many would settle it" is no practical answer.
_MOST_IMAGES = 100_000


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
        "accuracy", "sensitivity" or "specificity" (the last two for the classes in `positive`).
    margin:
        Largest acceptable drop (non-inferiority margin). Units: fraction, 0.02 = 2 points.
    minimum_images:
        With fewer images the verdict of a group is INSUFFICIENT EVIDENCE, whatever they show.
    groups:
        Groups that must pass; empty means all known groups.
    positive:
        Classes that must not be missed; needed for sensitivity and specificity only.

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

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise EvaluationError(
                f"limits: metric '{self.metric}' is unknown; choose from {', '.join(METRICS)}"
            )
        if not _is_number(self.margin) or not 0 < self.margin < 1:
            raise EvaluationError(
                f"limits: margin must be a fraction above 0 and below 1 (0.02 means 2 points), "
                f"not {self.margin!r}; no number of images can show a loss of exactly 0"
            )
        if type(self.minimum_images) is not int or self.minimum_images < 1:
            raise EvaluationError(
                f"limits: minimum_images must be a whole number of at least 1, "
                f"not {self.minimum_images!r}"
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
        if self.metric != "accuracy" and not self.positive:
            raise EvaluationError(
                f"limits: {self.metric} needs the classes that must not be missed (positive)"
            )

    def to_json(self) -> dict:
        """Plain values for a JSON file."""
        return {"format": FORMAT, **asdict(self)} | {
            "groups": list(self.groups),
            "positive": list(self.positive),
        }

    @classmethod
    def from_json(cls, values: Mapping) -> Limits:
        """Read back `to_json`; unknown or missing fields are errors, never defaults."""
        fields = dict(values)
        version = fields.pop("format", None)
        if version != FORMAT:
            raise EvaluationError(f"limits: format {version!r} is not {FORMAT}")
        if set(fields) != set(cls.__dataclass_fields__):
            raise EvaluationError(
                f"limits: the fields must be {', '.join(cls.__dataclass_fields__)}, "
                f"not {', '.join(map(str, fields))}"
            )
        return cls(**fields)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the JSON form; changes with any value."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def judge(differences: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """Verdict per group on the table of `comparison.paired_difference`.

    WITHIN: the largest loss that the data allow is below the margin. OUTSIDE: the smallest loss
    that they allow is above it. Everything else is INSUFFICIENT EVIDENCE, as are groups with fewer
    than `limits.minimum_images` images. "overall" is judged too; "unknown" is not.

    Returns
    -------
    pandas.DataFrame
        Columns group, verdict (`Verdict`), sentence, n, images_to_settle (about how many images of
        the group would settle it if the same share changed; NaN when settled, not estimable or
        beyond 100,000).
    """
    rows = {str(row["group"]): row for row in differences.to_dict("records")}
    wanted = limits.groups or tuple(name for name in rows if name not in (OVERALL, UNKNOWN))
    judged = []
    for name in (*((OVERALL,) if OVERALL in rows else ()), *wanted):
        row = rows.get(name)
        n = int(row["n"]) if row else 0
        if row is None or not row["estimable"]:
            verdict, needed = Verdict.INSUFFICIENT, math.nan
            sentence = f"{_title(name)}: no image, not estimable: insufficient evidence."
        else:
            verdict = _verdict(row, limits)
            needed = _images_to_settle(row, limits) if verdict == Verdict.INSUFFICIENT else math.nan
            sentence = _sentence(row, limits, verdict, needed)
        judged.append(
            {
                "group": name,
                "verdict": verdict,
                "sentence": sentence,
                "n": n,
                "images_to_settle": needed,
            }
        )
    return pd.DataFrame(judged, columns=["group", "verdict", "sentence", "n", "images_to_settle"])


def overall_verdict(verdicts: Iterable[str] | pd.DataFrame) -> Verdict:
    """OUTSIDE if any group is; else INSUFFICIENT EVIDENCE if any is, or none was judged."""
    if isinstance(verdicts, pd.DataFrame):
        named = verdicts[verdicts["group"] != OVERALL]
        if named.empty:
            # Without a single known group nothing is known about groups, whatever the total says.
            found = {Verdict.INSUFFICIENT, *map(Verdict, verdicts["verdict"])}
        else:
            found = set(map(Verdict, verdicts["verdict"]))
    else:
        found = set(map(Verdict, verdicts))
    if Verdict.OUTSIDE in found:
        return Verdict.OUTSIDE
    return Verdict.WITHIN if found == {Verdict.WITHIN} else Verdict.INSUFFICIENT


def _verdict(row: Mapping, limits: Limits) -> Verdict:
    if row["n"] < limits.minimum_images:
        return Verdict.INSUFFICIENT
    if -row["low"] < limits.margin:
        return Verdict.WITHIN
    return Verdict.OUTSIDE if -row["high"] > limits.margin else Verdict.INSUFFICIENT


def _images_to_settle(row: Mapping, limits: Limits) -> float:
    """Smallest n that is decisive if the same shares of images are lost and gained; else NaN.

    Clusters as in these data are allowed for by the design effect.
    """
    start = max(int(row["n"]), limits.minimum_images)
    sizes = np.unique(np.geomspace(start, max(start, _MOST_IMAGES), 600).round())
    effective = sizes / row["design_effect"]
    lost, gained = row["lost"] / row["n"] * effective, row["gained"] / row["n"] * effective
    low, high = paired_score_interval(lost, gained, effective)
    decisive = (-low < limits.margin) | (-high > limits.margin)
    if not decisive.any():
        return math.nan
    found = float(sizes[decisive.argmax()])
    # Two leading digits: more would claim a precision that an extrapolation does not have.
    unit = 10 ** max(0, math.floor(math.log10(found)) - 1)
    return float(math.ceil(found / unit) * unit)


def _sentence(row: Mapping, limits: Limits, verdict: Verdict, needed: float) -> str:
    def in_points(fraction: float) -> str:
        return _points(fraction, limits.margin)

    n, net = int(row["n"]), int(row["lost"]) - int(row["gained"])
    images = "images" if limits.metric == "accuracy" else f"images ({limits.metric})"
    points = f"{_points(abs(row['difference']))} points"
    if net == 0:
        moved = (
            f"none of {n} {images} changed"
            if row["lost"] == 0
            else f"{row['lost']} of {n} {images} were lost and as many gained"
        )
    else:
        moved = f"{abs(net)} of {n} {images} ({points}) were {'lost' if net > 0 else 'gained'} net"
    worst, best = -row["low"], -row["high"]
    limit = f"the limit is {_points(limits.margin)}"
    head = f"{_title(row['group'])}: {moved}; the data allow "
    if verdict == Verdict.WITHIN:
        return f"{head}{_at_most(worst, limits.margin)}, {limit}: within the limit."
    if verdict == Verdict.OUTSIDE:
        return f"{head}no less than a loss of {in_points(best)} points, {limit}: outside the limit."
    if n < limits.minimum_images:
        settle = f"at least {limits.minimum_images} images are required"
        if not math.isnan(needed):
            settle += f", and about {needed:,.0f} would settle it"
    elif math.isnan(needed):
        settle = f"not even {_MOST_IMAGES:,} such images would settle it"
    else:
        settle = f"about {needed:,.0f} images would settle it"
    span = f"a loss between {in_points(best)} and {in_points(worst)} points"
    if best < 0:
        span = f"anything from a gain of {in_points(-best)} to a loss of {in_points(worst)} points"
    return f"{head}{span}, {limit}: insufficient evidence; {settle}."


def _at_most(worst: float, margin: float) -> str:
    if worst <= 0:
        return f"no loss (a gain of at least {_points(-worst)} points)"
    return f"a loss of at most {_points(worst, margin)} points"


def _points(fraction: float, margin: float | None = None) -> str:
    """Percentage points with one digit, or two where one would look equal to the limit."""
    shown = f"{100 * fraction:.1f}"
    if margin is not None and fraction != margin and shown == f"{100 * margin:.1f}":
        return f"{100 * fraction:.2f}"
    return shown.removesuffix(".0")


def _title(group: str) -> str:
    return "All images" if group == OVERALL else group


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
