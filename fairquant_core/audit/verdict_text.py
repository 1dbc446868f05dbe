"""What a verdict means, in the words of a clinic, and how many images would settle it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fairquant_core.audit.grouping import OVERALL
from fairquant_core.audit.intervals import paired_score_interval
from fairquant_core.audit.limits import Limits, Verdict
from fairquant_core.audit.measures import COUNTED
from fairquant_core.audit.paired_tests import level_among

#: Beyond this many images of one group, "how many would settle it" is no practical answer.
_MOST_IMAGES = 100_000


def shortages(row: Mapping, limits: Limits) -> list[str]:
    """What the limits ask for and the group does not hold, in words."""
    missing = []
    if row["n"] < limits.minimum_images:
        missing.append(f"at least {limits.minimum_images} images are required")
    if limits.positive:
        about = limits_about(limits)
        for column, least, whose in (
            ("n_positive", limits.minimum_positives, f"of {about}"),
            ("n_negative", limits.minimum_negatives, f"of other classes than {about}"),
        ):
            found = row.get(column, math.nan)
            if found < least:
                missing.append(f"at least {least} images {whose} are required, not {found:.0f}")
    return missing


def images_to_settle(row: Mapping, limits: Limits, among: int = 1) -> float:
    """Smallest n that is decisive if the same shares of images change; else NaN.

    A harm must stand where `among` groups are judged together; see `criteria.judge`.
    Clusters as in these data are allowed for by the design effect; for metrics that are no share of
    images, the interval is taken to shrink with the square root of n.
    """
    start = max(int(row["n"]), limits.minimum_images)
    if limits.positive:
        for column, least in (
            ("n_positive", limits.minimum_positives),
            ("n_negative", limits.minimum_negatives),
        ):
            found = row.get(column, math.nan)
            if found < least:
                start = max(start, math.ceil(row["n"] * least / found)) if found else _MOST_IMAGES
    sizes = np.unique(np.geomspace(start, max(start, _MOST_IMAGES), 600).round())
    if limits.metric in COUNTED:
        effective = sizes / row["design_effect"]
        lost, gained = (row[kind] / row["n"] * effective for kind in ("lost", "gained"))
        low, _ = paired_score_interval(lost, gained, effective)
        _, high = paired_score_interval(lost, gained, effective, level_among(among))
    else:
        shrink = np.sqrt(row["n"] / sizes)
        low = row["difference"] - (row["difference"] - row["low"]) * shrink
        high = row["difference"] + (row["high_among"][among - 1] - row["difference"]) * shrink
    decisive = (-low < limits.margin) | (-high > limits.margin)
    if not decisive.any() or start >= _MOST_IMAGES:
        return math.nan
    return _two_digits(float(sizes[decisive.argmax()]))


def images_without_change(margin: float) -> int:
    """About how many images a group needs to be within a limit if not one decision changes.

    Examples
    --------
    >>> images_without_change(0.02), images_without_change(0.05)
    (190, 73)
    """
    sizes = np.unique(np.geomspace(1, _MOST_IMAGES, 2000).round())
    low, _ = paired_score_interval(0 * sizes, 0 * sizes, sizes)
    return int(_two_digits(float(sizes[(-low < margin).argmax()])))


def verdict_sentence(
    row: Mapping,
    limits: Limits,
    verdict: Verdict,
    missing: list[str],
    needed: float,
    among: int = 1,
) -> str:
    """What changed, what the data allow, the limit and what follows, in one sentence.

    In three where a group would be OUTSIDE if it were judged alone; see `criteria.judge`.

    Parameters
    ----------
    missing:
        Result of `shortages`.
    needed:
        Result of `images_to_settle`; NaN when it is settled or cannot be.
    among:
        How many groups are judged together.
    """

    def in_points(fraction: float) -> str:
        return points(fraction, limits.margin)

    worst, best = -row["low"], -row["high"]
    limit = f"the limit is {points(limits.margin)}"
    moved = _counted(row, limits) if limits.metric in COUNTED else _moved(row, limits)
    head = f"{title(row['group'])}: {moved}; the data allow "
    if verdict == Verdict.WITHIN:
        return f"{head}{_at_most(worst, limits.margin)}, {limit}: within the limit."
    if verdict == Verdict.OUTSIDE:
        return f"{head}no less than a loss of {in_points(best)}, {limit}: outside the limit."
    if missing:
        settle = " and ".join(missing)
        if not math.isnan(needed):
            settle += f", and about {needed:,.0f} {counted_images(limits)} would settle it"
    elif math.isnan(needed):
        settle = f"not even {_MOST_IMAGES:,} {counted_images(limits)} would settle it"
    else:
        settle = f"about {needed:,.0f} {counted_images(limits)} would settle it"
    if best > limits.margin and not missing:
        sure = -row["high_among"][among - 1]
        least = f"the loss may be as small as {in_points(sure)}"
        return (
            f"{title(row['group'])}: {moved}; looked at alone, that is a loss of at least "
            f"{in_points(best)}, and {limit}. But {among} results are judged at once (every group, "
            "and all images together), and one of them can look like that by chance. With allowance "
            f"for that, {least if sure > 0 else 'there may be no loss at all'}: insufficient evidence; "
            f"{settle}."
        )
    span = f"a loss between {in_points(best)} and {in_points(worst)}"
    if best < 0:
        span = f"anything from a gain of {in_points(-best)} to a loss of {in_points(worst)}"
    return f"{head}{span}, {limit}: insufficient evidence; {settle}."


def limits_about(limits: Limits) -> str:
    """The classes that must not be missed, in words.

    Examples
    --------
    >>> limits_about(Limits("sensitivity", positive=("melanoma", "carcinoma")))
    'melanoma or carcinoma'
    """
    *rest, last = limits.positive
    return f"{', '.join(rest)} or {last}" if rest else last


def counted_images(limits: Limits) -> str:
    """Which images a limit counts; more of others would not help.

    Examples
    --------
    >>> counted_images(Limits()), counted_images(Limits("sensitivity", positive=("melanoma",)))
    ('images', 'images of melanoma')
    """
    if limits.metric == "sensitivity":
        return f"images of {limits_about(limits)}"
    if limits.metric == "specificity":
        return f"images of other classes than {limits_about(limits)}"
    return "images"


def title(group: str) -> str:
    """Name of a group at the start of a sentence."""
    return "All images" if group == OVERALL else group


def points(fraction: float, margin: float | None = None) -> str:
    """Percentage points with one digit, or two where one would look equal to the limit.

    >>> points(0.031), points(0.01), points(0.02), points(0.0204, 0.02)
    ('3.1 points', '1 point', '2 points', '2.04 points')
    """
    shown = f"{100 * fraction:.1f}"
    if margin is not None and fraction != margin and shown == f"{100 * margin:.1f}":
        return f"{100 * fraction:.2f} points"
    number = shown.removesuffix(".0")
    return f"{number} {'point' if number == '1' else 'points'}"


def _two_digits(images: float) -> float:
    """Rounded up: more digits would claim a precision that an extrapolation does not have."""
    unit = 10 ** max(0, math.floor(math.log10(images)) - 1)
    return float(math.ceil(images / unit) * unit)


def _counted(row: Mapping, limits: Limits) -> str:
    n, net = int(row["n"]), int(row["lost"]) - int(row["gained"])
    images = counted_images(limits)
    if net == 0 and row["lost"] == 0:
        return f"none of {n} {images} changed"
    count = abs(net) or int(row["lost"])
    were = "was" if count == 1 else "were"
    if net == 0:
        return f"{count} of {n} {images} {were} lost and as many gained"
    moved = points(abs(row["difference"]))
    return f"{count} of {n} {images} ({moved}) {were} {'lost' if net > 0 else 'gained'} net"


def _moved(row: Mapping, limits: Limits) -> str:
    name = {"auroc": "AUROC", "macro auroc": "macro AUROC"}.get(limits.metric, limits.metric)
    if limits.metric == "auroc":
        name += f" of {limits_about(limits)}"
    before, after = (f"{row[side]:.3f}" for side in ("before", "after"))
    change = row["difference"]
    if abs(change) < 5e-4:
        return f"the {name} stayed at {after}"
    moved = "fell" if change < 0 else "rose"
    return f"the {name} {moved} from {before} to {after} ({points(abs(change))})"


def _at_most(worst: float, margin: float) -> str:
    if worst <= 0:
        return f"no loss (a gain of at least {points(-worst)})"
    return f"a loss of at most {points(worst, margin)}"
