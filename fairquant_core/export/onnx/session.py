"""Running an ONNX file with the stock runtime; needs neither torch nor the network that the file was made from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import Cancelled, EvaluationError, ExportError
from fairquant_core.export.onnx.file import describe_onnx
from fairquant_core.progress import Stop

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

BATCH = 32

NOT_OPENED = "ONNX Runtime {version} cannot open {name} ({reason}): update it, or copy the original file again"
NO_SATURATION = "session.x64quantprecision"
"""The runtime's setting that keeps sums of products exact where the processor would saturate them; it costs time."""

WRONG_PIXELS = "images are {dtype} {shape}, but {name} needs uint8 (N, {size}, {size}, 3)"


def open_session(
    model: Path | bytes, *, threads: int | None = None, executed: Path | None = None
) -> InferenceSession:
    """Open a session on the processor, whose whole numbers are added up without saturation.

    Parameters
    ----------
    threads
        As many as the processor has when None.
    executed
        Where the runtime writes down the graph that it executes.

    Raises
    ------
    ExportError
        The runtime refuses the file.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Waiting threads of one session would take time from another one that is being compared with it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(NO_SATURATION, str(int(sums_saturate())))
    if executed is not None:
        options.optimized_model_filepath = str(executed)
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=["CPUExecutionProvider"],
        )
    except (
        states.Fail,
        states.InvalidArgument,
        states.InvalidGraph,
        states.InvalidProtobuf,
        states.NoSuchFile,
        states.NotImplemented,
        states.RuntimeException,
    ) as error:
        name = "the model" if isinstance(model, bytes) else str(model)
        raise ExportError(
            NOT_OPENED.format(
                version=onnxruntime.__version__, name=name, reason=str(error).splitlines()[0]
            )
        ) from error


@cache
def sums_saturate() -> bool:
    """Whether this processor cuts off sums of 8-bit products, found by adding up the largest ones.

    Processors with AVX2 but without VNNI add two products of uint8 and int8 in 16 bits, which do not hold twice
    255 x 127. Where they do not, the setting against it would only cost time, so it is not simply always on.

    Source: ONNX Runtime documentation, "Quantize ONNX models", when to use a reduced range.
    """
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    length, columns = 64, 16
    weights = numpy_helper.from_array(np.full((length, columns), 127, dtype=np.int8), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["rows", "weights"], ["sums"])],
        "largest_sums",
        [helper.make_tensor_value_info("rows", TensorProto.UINT8, [columns, length])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [columns, columns])],
        [weights],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 20)])
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (sums,) = session.run(None, {"rows": np.full((columns, length), 255, dtype=np.uint8)})
    return bool((sums != length * 255 * 127).any())


def network_input(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Bytes to the classifier's input range, the same bits as :func:`fairquant_core.data.batches.normalise`.

    Shapes
    ------
    images (B, S, S, 3) uint8; returns (B, 3, S, S) float32
    """
    mean = np.asarray(preprocessing.mean, dtype=np.float32) * np.float32(255)
    scale = np.float32(1) / (np.asarray(preprocessing.std, dtype=np.float32) * np.float32(255))
    normal = (images.astype(np.float32) - mean) * scale
    return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))


class OnnxClassifier:
    """One of our ONNX files, opened.

    Attributes
    ----------
    about : the file's description.
    classes : class names in the order of the logits.
    preprocessing : how a picture becomes the input.

    Raises
    ------
    ExportError
        The file is absent, damaged, or the runtime refuses it.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        self.about: dict[str, Any] = describe_onnx(path)
        self.classes: tuple[str, ...] = tuple(self.about["classes"])
        self.preprocessing = Preprocessing.from_json(self.about["preprocessing"])
        self.session = open_session(path, threads=threads)

    def logits(self, images: np.ndarray, *, cancel: Stop | None = None) -> np.ndarray:
        """Logits of every image.

        Shapes
        ------
        images (N, S, S, 3) uint8; returns (N, C) float32

        Raises
        ------
        EvaluationError
            Images of another shape.
        Cancelled
            ``cancel()`` said so.
        """
        size = self.preprocessing.size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise EvaluationError(
                WRONG_PIXELS.format(
                    dtype=images.dtype, shape=images.shape, name=self.about["name"], size=size
                )
            )
        parts = [np.zeros((0, len(self.classes)), np.float32)]
        for batch in _batches(images, cancel):
            pictures = network_input(batch, self.preprocessing)
            parts.append(self.session.run(["logits"], {"images": pictures})[0])
        return np.concatenate(parts)


def _batches(images: np.ndarray, cancel: Stop | None) -> Iterator[np.ndarray]:
    for start in range(0, len(images), BATCH):
        if cancel and cancel():
            raise Cancelled("The prediction was cancelled.")
        yield images[start : start + BATCH]
