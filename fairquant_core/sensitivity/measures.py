"""How sensitivity can be measured: one card per measure. Needs no torch.

The functions behind the cards are registered in :mod:`fairquant_core.sensitivity.registry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairquant_core.errors import EvaluationError

REVISION = 5
"""Raised whenever a measure computes something else than before; maps say which one they are of."""

UNKNOWN_MEASURE = "There is no sensitivity measure '{name}'. Choose one of: {known}."


@dataclass(frozen=True)
class MeasureCard:
    """What a measure is, for a person and for the code that uses it.

    Parameters
    ----------
    title, sentence
        Plain words first; no term of art in the title.
    unit
        Of the damage in its :class:`~fairquant_core.sensitivity.maps.SensitivityMap`.
    predicts_loss
        Whether a damage is a rise of the loss for its very width, so that damages may be added up and shown
        as a cost. If not, only their order means something.
    every_width
        Whether one pass covers every width at once.
    source
        Where it comes from, and where we differ.
    """

    name: str
    title: str
    sentence: str
    unit: str
    predicts_loss: bool
    every_width: bool = True
    source: str = ""


MEASURES: dict[str, MeasureCard] = {
    card.name: card
    for card in (
        MeasureCard(
            "measured",
            "Measured",
            "Each layer alone is squeezed, and the photographs are judged again.",
            "nats per photograph",
            predicts_loss=True,
            every_width=False,
        ),
        MeasureCard(
            "fisher",
            "Predicted by curvature",
            "How much the loss would rise, from how strongly each photograph pulls at the weights.",
            "nats per photograph",
            predicts_loss=True,
            source="Theis et al. 2018 (arXiv 1801.05787), eq. 6",
        ),
        MeasureCard(
            "centred",
            "Predicted by curvature, shifts made up for",
            "How much the loss would rise after the network's averages have been set anew, as every run does.",
            "nats per photograph",
            predicts_loss=True,
            source="As fisher, of inputs less their mean: norms and biases take back what shifts a channel. Kernels of "
            "few weights with codes that are fitted to their inputs",
        ),
        MeasureCard(
            "hessian",
            "Predicted by the full curvature",
            "How much the loss would rise, from how its slope changes when the weights move.",
            "nats per photograph",
            predicts_loss=True,
            source="HAWQ-V2 (arXiv 1911.03852); diagonal by Hutchinson's estimator",
        ),
        MeasureCard(
            "grape",
            "Share of the weights in the decision",
            "How much the loss depends on the weights being there at all. Ranks layers; no forecast.",
            "squared nats per photograph",
            predicts_loss=False,
            source="FairGRAPE (arXiv 2207.10888)",
        ),
        MeasureCard(
            "gradient",
            "Pull at the weights",
            "How far the photographs would still move the weights. Ranks layers; no forecast.",
            "nats per unit of weight",
            predicts_loss=False,
            source="FairQuant (arXiv 2602.23192), default importance of its public code",
        ),
    )
}


def measure_card(name: str) -> MeasureCard:
    """The card of a measure.

    Raises
    ------
    EvaluationError
        There is no such measure.
    """
    if name not in MEASURES:
        raise EvaluationError(UNKNOWN_MEASURE.format(name=name, known=", ".join(MEASURES)))
    return MEASURES[name]


def trend(menu: Sequence[int]) -> np.ndarray:
    """Error of rounding relative to 2 bits: a quarter with every bit, ``4^-(b - 2)``.

    It turns an importance that knows no widths into damage. Only the order of such damages means something.
    Pruning (0 bits) follows the same rule, two bits below 2.

    Shapes: (B,).

    Examples
    --------
    >>> trend((0, 2, 4)).tolist()
    [16.0, 1.0, 0.0625]

    Source: the error model of uniform rounding, 6.02 dB per bit.
    """
    return 4.0 ** -(np.asarray(menu, dtype=np.float64) - 2)
