"""Ranges of values inside an ONNX graph, found on training images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, TensorProto, helper

from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import Cancelled, ExportError
from fairquant_core.export.onnx.network import INPUT
from fairquant_core.export.onnx.session import network_input, open_session
from fairquant_core.models.rounded_inputs import InputRange
from fairquant_core.progress import Report, Stop, say

BATCH = 8

NO_IMAGES = "There is no training image from which the ranges of the activations could be found."
NOT_FINITE = (
    "The value '{name}' reaches from {lowest} to {highest} on the training images, which cannot be rounded: the "
    "weights before it are damaged or rounded to too few bits."
)


def value_ranges(
    model: ModelProto,
    names: Sequence[str],
    images: np.ndarray,
    preprocessing: Preprocessing,
    *,
    report: Report | None = None,
    cancel: Stop | None = None,
) -> dict[str, InputRange]:
    """The range of each value: from the smallest to the largest that any image gives, zero included.

    Parameters
    ----------
    names
        Values of the graph, which are float32; the input of the graph may be one of them.
    images
        Training images; of every group equally many, so that none is outside the ranges more often than others.

    Shapes: ``images`` uint8 (N, S, S, 3).

    Raises
    ------
    ExportError
        There is no image, or a value is not a number.
    """
    if not len(images):
        raise ExportError(NO_IMAGES)
    watching = ModelProto()
    watching.CopyFrom(model)
    outputs = {value.name for value in watching.graph.output}
    for name in names:
        if name != INPUT and name not in outputs:
            value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            watching.graph.output.append(value)
    session = open_session(watching.SerializeToString())
    made = [name for name in names if name != INPUT]
    lowest = dict.fromkeys(names, np.inf)
    highest = dict.fromkeys(names, -np.inf)
    for start in range(0, len(images), BATCH):
        if cancel and cancel():
            raise Cancelled("Cancelled while looking for the ranges of the activations.")
        pictures = network_input(images[start : start + BATCH], preprocessing)
        values = dict(zip(made, session.run(made, {INPUT: pictures}), strict=True))
        for name, value in {INPUT: pictures, **values}.items():
            if name in lowest:
                lowest[name] = min(lowest[name], float(value.min()))
                highest[name] = max(highest[name], float(value.max()))
        done = min(start + BATCH, len(images))
        say(report, "export", done, len(images), f"Ranges: image {done} of {len(images)}")
    for name in names:
        if not np.isfinite(lowest[name]) or not np.isfinite(highest[name]):
            raise ExportError(
                NOT_FINITE.format(name=name, lowest=lowest[name], highest=highest[name])
            )
    return {name: InputRange.covering(lowest[name], highest[name]) for name in names}
