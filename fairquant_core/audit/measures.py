"""The figures that an audit reports, one description each: what it is about and how it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairquant_core.errors import EvaluationError

#: Probabilities at which a dermatologist might act; the net benefit is given at each of them.
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Metric:
    """What one metric means.

    Parameters
    ----------
    meaning:
        One sentence for a person.
    interval:
        How its 95 % interval is made, for the report.
    low, high:
        Smallest and largest possible value.
    about_classes:
        It scores the classes that must not be missed against all others.
    judged:
        Limits may be set on it; all of these are better when larger.

    Source
    ------
    Net benefit: Vickers & Elkin 2006, Medical Decision Making 26:565. Calibration error: Guo et al.
    2017. Brier score: Brier 1950, the sum over all classes.
    """

    name: str
    title: str
    meaning: str
    interval: str
    low: float = 0
    high: float = 1
    higher_is_better: bool = True
    about_classes: bool = False
    judged: bool = True


_WILSON = "Wilson, at the effective sample size where images come in clusters"
_STUDENT = "Student's t over patients, with the one that is furthest off counted more than once"
_LOGIT = "bootstrap standard error on the logit scale"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy", "accuracy", "Share of images whose most probable class is right.", _WILSON
        ),
        Metric(
            "balanced accuracy",
            "balanced accuracy",
            "Mean over classes of the share of their images that is recognised.",
            "Wilson per class, joined as strata (Yan and Su)",
        ),
        Metric(
            "macro auroc",
            "macro AUROC",
            "Mean over classes of the chance that an image of the class gets a higher probability of "
            "it than an image of another class.",
            _LOGIT,
        ),
        Metric(
            "brier",
            "Brier score",
            "Mean squared distance of the probabilities from the truth, summed over classes.",
            _STUDENT,
            high=2,
            higher_is_better=False,
            judged=False,
        ),
        Metric(
            "ece",
            "calibration error",
            "Mean distance of confidence and accuracy over ten bins of confidence (ECE).",
            "bootstrap test inversion, which allows for the upward bias of the estimate",
            higher_is_better=False,
            judged=False,
        ),
        Metric(
            "sensitivity",
            "sensitivity",
            "Share of the images of these classes that is recognised as one of them.",
            _WILSON,
            about_classes=True,
        ),
        Metric(
            "specificity",
            "specificity",
            "Share of the other images that is recognised as none of these classes.",
            _WILSON,
            about_classes=True,
        ),
        Metric(
            "ppv",
            "positive predictive value",
            "Share of the images called one of these classes that are; at the prevalence in these "
            "images.",
            _WILSON,
            about_classes=True,
            judged=False,
        ),
        Metric(
            "npv",
            "negative predictive value",
            "Share of the images called another class that are; at the prevalence in these images.",
            _WILSON,
            about_classes=True,
            judged=False,
        ),
        Metric(
            "auroc",
            "AUROC",
            "Chance that an image of these classes gets a higher probability of them than another.",
            _LOGIT,
            about_classes=True,
        ),
        Metric(
            "net benefit",
            "net benefit",
            "Recognised images of these classes per image, less the false alarms weighted by the "
            "odds of the probability from which one would act.",
            _STUDENT,
            low=-1,
            about_classes=True,
            judged=False,
        ),
    )
}

#: Metrics that limits can be set on.
JUDGED = tuple(name for name, metric in METRICS.items() if metric.judged)
#: Shares of images that are right: their changes are counted image by image.
COUNTED = ("accuracy", "sensitivity", "specificity")
#: Shares of the images that a model calls something: which images these are depends on the model.
CALLED = ("ppv", "npv")
#: All that are shares of images.
SHARES = (*COUNTED, *CALLED)

#: Name of a set of several classes that count as one.
ANY = "any of these"
UNKNOWN_METRIC = "'{name}' is no metric of an audit; choose from {known}"


@dataclass(frozen=True)
class Measure:
    """One metric with what it is about.

    Parameters
    ----------
    positive:
        Classes that count as positive; several are treated as one.
    threshold:
        Probability from which an image counts as positive; for the net benefit only.

    Examples
    --------
    >>> Measure("net benefit", ("melanoma",), 0.1).title
    'net benefit at 10 % (melanoma)'
    """

    metric: str
    positive: tuple[str, ...] = ()
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise EvaluationError(UNKNOWN_METRIC.format(name=self.metric, known=", ".join(METRICS)))
        if self.kind.about_classes and not self.positive:
            raise EvaluationError(f"{self.metric} needs the classes that must not be missed")
        needed = self.metric == "net benefit"
        if needed != (self.threshold is not None) or not 0 < (self.threshold or 0.5) < 1:
            raise EvaluationError(
                f"{self.metric}: the threshold {self.threshold!r} is wrong; the net benefit needs "
                "one above 0 and below 1, other metrics have none"
            )

    @property
    def kind(self) -> Metric:
        """The description of its metric."""
        return METRICS[self.metric]

    @property
    def about(self) -> str:
        """Its classes in words; empty where it is about all classes."""
        return ANY if len(self.positive) > 1 else "".join(self.positive)

    @property
    def title(self) -> str:
        """Name for people."""
        at = "" if self.threshold is None else f" at {100 * self.threshold:g} %"
        about = f" ({self.about})" if self.positive else ""
        return f"{self.kind.title}{at}{about}"

    @property
    def lowest(self) -> float:
        """Smallest possible value."""
        if self.threshold is not None:
            return -self.threshold / (1 - self.threshold)
        return self.kind.low

    def to_json(self) -> dict:
        """What a reader of the audit needs to know about it."""
        return {
            "measure": self.title,
            "meaning": self.kind.meaning,
            "metric": self.metric,
            "classes": list(self.positive),
            "threshold": self.threshold,
            "lowest": self.lowest,
            "highest": self.kind.high,
            "higher_is_better": self.kind.higher_is_better,
            "interval": self.kind.interval,
        }


def standard_measures(
    must_not_miss: Sequence[str] = (), thresholds: Sequence[float] = THRESHOLDS
) -> tuple[Measure, ...]:
    """All measures of an audit: the general ones, then those of every class that must not be missed.

    With several such classes, the set of them is scored too: taking a melanoma for a basal cell
    carcinoma then is no miss. The net benefit is about acting on any of them, so only the set has
    one.
    """
    found = [Measure(name) for name, metric in METRICS.items() if not metric.about_classes]
    sets: list[tuple[str, ...]] = [(name,) for name in dict.fromkeys(must_not_miss)]
    if len(sets) > 1:
        sets.append(tuple(dict.fromkeys(must_not_miss)))
    about = [name for name, metric in METRICS.items() if metric.about_classes]
    for positive in sets:
        found += [Measure(name, positive) for name in about if name != "net benefit"]
    found += [Measure("net benefit", sets[-1], value) for value in thresholds if sets]
    return tuple(found)
