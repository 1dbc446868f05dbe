"""What the limits of a case mean, in words. Pure functions; no Streamlit."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.components.words import capital, counted, groups_words, joined, margin_words
from fairquant_core.audit.limits import Limits
from fairquant_core.audit.measures import METRICS
from fairquant_core.report.words import IN_PERCENT

NAMED_CLASSES = 2
"""More class names than these would make a header or an axis unreadable."""

IN_POINTS = frozenset(METRICS) - {"brier", "net benefit"}
"""Metrics whose changes a person reads in points of a hundred."""

QUESTIONS = {
    "accuracy": "right answers, all conditions (accuracy)",
    "balanced accuracy": "right answers, rare conditions count as much (balanced accuracy)",
    "macro auroc": "telling all conditions apart (macro AUROC)",
    "sensitivity": "finding what must not be missed (sensitivity)",
    "specificity": "raising no false alarm (specificity)",
    "auroc": "telling what must not be missed from the rest (AUROC)",
}
"""Metrics that limits can be set on, plain words first."""


@dataclass(frozen=True)
class Shown:
    """How the figures and changes of one measure are shown."""

    title: str
    metric: str = "accuracy"
    higher_is_better: bool = True

    @property
    def in_percent(self) -> bool:
        """Whether its values are read in per cent."""
        return self.metric in IN_PERCENT

    @property
    def in_points(self) -> bool:
        """Whether its changes are read in points."""
        return self.metric in IN_POINTS


def measure_words(limits: Limits) -> str:
    """Name what the limits are about.

    Examples
    --------
    >>> measure_words(Limits()), measure_words(Limits("sensitivity", positive=("melanoma",)))
    ('accuracy', 'sensitivity for melanoma')
    """
    measure = limits.measure
    if not measure.positive:
        return measure.kind.title
    named = joined(measure.positive, "or")
    if len(measure.positive) > NAMED_CLASSES:
        named = "what must not be missed"
    return f"{measure.kind.title} for {named}"


def limit_words(limits: Limits) -> str:
    """Name the limit with its metric: never a margin alone.

    Examples
    --------
    >>> limit_words(Limits(margin=0.015))
    '1.5 points of accuracy'
    """
    return f"{margin_words(limits.margin)} of {measure_words(limits)}"


def limit_sentence(limits: Limits) -> str:
    """Say who may lose how much of what.

    Examples
    --------
    >>> limit_sentence(Limits(groups=("FST V-VI",)))
    'types V-VI may not lose more than 2 points of accuracy'
    """
    who = f"{groups_words(limits.groups)} may not" if limits.groups else "no group may"
    return f"{who} lose more than {limit_words(limits)}"


def limits_paragraph(limits: Limits) -> str:
    """Say everything that was set, for the form and the case page."""
    text = f"{capital(limit_sentence(limits))}. A group is judged from {needs(limits)}"
    if limits.groups:
        text += "; the other groups are shown, but do not decide"
    return f"{text}. All photographs together are judged as well."


def needs(limits: Limits) -> str:
    """What a group must hold before it is judged.

    Examples
    --------
    >>> needs(Limits())
    '20 photographs on'
    >>> needs(Limits("sensitivity", positive=("melanoma",), minimum_negatives=9))
    '20 photographs of melanoma and 9 of other conditions on'
    """
    about = joined(limits.positive, "or")
    metric = limits.metric
    text = counted(limits.minimum_images, "photograph")
    if metric == "sensitivity":
        text += f" of {about}"
    elif metric == "specificity":
        text += f" of other conditions than {about}"
    parts = [text]
    few, others = limits.minimum_positives, limits.minimum_negatives
    if limits.positive:
        if few > 1:
            parts.append(f"{few} of {about}")
        if others > 1:
            parts.append(f"{others} of other conditions")
    text = f"{joined(parts)} on"
    if not limits.positive and (few > 1 or others > 1):
        text += f", counting conditions with at least {few} photographs of them and {others} others"
    return text
