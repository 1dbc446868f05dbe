"""Names and words of the saliency methods; no torch, so that pages can list them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SaliencyMethod:
    """What a person needs to know to choose a method.

    Attributes
    ----------
    signed:
        Whether values below zero (evidence against the class) occur.
    complete:
        Whether a completeness delta is defined.
    """

    name: str
    title: str
    sentence: str
    signed: bool
    complete: bool


_METHODS = (
    SaliencyMethod(
        "integrated_gradients",
        "Integrated Gradients",
        "Shares the score out among the pixels, compared with a picture of one mean colour.",
        signed=True,
        complete=True,
    ),
    SaliencyMethod(
        "grad_cam",
        "Grad-CAM",
        "Shows the coarse regions whose features speak for the class.",
        signed=False,
        complete=False,
    ),
    SaliencyMethod(
        "saliency_smooth",
        "Smoothed gradients",
        "Shows the pixels to which the score is most sensitive, averaged over noisy copies.",
        signed=False,
        complete=False,
    ),
    SaliencyMethod(
        "occlusion",
        "Occlusion",
        "Covers one patch after the other and notes how far the score falls; slow but direct.",
        signed=True,
        complete=False,
    ),
)
#: Method name -> words, in the order in which they are offered.
METHODS: dict[str, SaliencyMethod] = {method.name: method for method in _METHODS}
