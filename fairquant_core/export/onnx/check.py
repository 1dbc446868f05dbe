"""What must be known about an ONNX file before it may leave: does it predict what was audited, what does it cost?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairquant_core.data.batches import normalise
from fairquant_core.errors import Cancelled, ExportError
from fairquant_core.export.onnx.exact import EXACT, export_float
from fairquant_core.export.onnx.file import read_onnx
from fairquant_core.export.onnx.latency import (
    ROUNDS,
    Latency,
    Opening,
    compare_latency,
    opening_cost,
)
from fairquant_core.export.onnx.network import Network, catch_network
from fairquant_core.export.onnx.runtimes import SPACE_NOT_TIME, Runtime, runtime_table
from fairquant_core.export.onnx.session import BATCH, OnnxClassifier
from fairquant_core.export.onnx.size import ideal_bytes, size_limit, size_warning
from fairquant_core.export.parity import LIMIT, Parity, compare_logits
from fairquant_core.files import file_hash
from fairquant_core.models.unchanged import StateUnchanged
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Report, Stop, say
from fairquant_core.quantization.compressed import Compressed

OTHER_CLASSIFIER = (
    "{path} was made from the classifier {found}, but {expected} was audited: export it again."
)
OTHER_CLASS = "{different} of {images} images get another class than from the audited classifier (first: {first})"
OTHER_LOGITS = "logits differ by up to {found:.1e} of the largest one, more than {limit:.0e}"
DECODES = "the runtime here decodes the weights anew for every picture"
NOT_FASTER = "it takes {ratio:.2f} x ({low:.2f} to {high:.2f}) the time of the float32 file here"
ROUNDED_ACTIVATIONS = (
    "This classifier rounds its activations, so that the last bits of a sum can decide between two codes: two "
    "programs never agree to the last bit, and the file needs an audit of its own."
)

STEPS = ("predictions", "opening", "latency", "runtimes")


@dataclass(frozen=True)
class Size:
    """What a file weighs.

    Attributes
    ----------
    ideal : the tensors in the file alone, see :func:`~fairquant_core.export.onnx.size.ideal_bytes`.
    limit : how many times that an exact file may take; None for other kinds.

    Units: bytes; bits per weight.
    """

    on_disk: int
    ideal: int
    limit: float | None
    float32: int
    bits_requested: float | None
    bits_achieved: float


@dataclass(frozen=True)
class ExportCheck:
    """What was found about one file.

    Attributes
    ----------
    kind : "exact" or "int8".
    parity : the file beside the audited classifier in torch, by group.
    opening, opening_float32 : what opening costs in a fresh process, beside the float32 file.
    latency : beside the float32 file, on this machine.
    rounds_activations : whether the audited classifier does so itself.
    objections : what speaks against handing it out.
    warnings : what should be known, and does not.
    """

    kind: str
    fingerprint: str
    sha256: str
    parity: Parity
    size: Size
    opening: Opening
    opening_float32: Opening
    latency: Latency
    runtimes: tuple[Runtime, ...]
    rounds_activations: bool
    objections: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def needs_own_audit(self) -> bool:
        """Whether its predictions are not those that were audited."""
        return not self.parity.same_everywhere

    @property
    def may_be_offered(self) -> bool:
        """Whether nothing speaks against handing the file out, once it is approved."""
        return not self.objections

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and words."""
        return {
            **asdict(self),
            "parity": self.parity.to_json(),
            "latency": {**asdict(self.latency), "faster": self.latency.faster},
            "runtimes": [asdict(row) for row in self.runtimes],
            "objections": list(self.objections),
            "warnings": list(self.warnings),
            "needs_own_audit": self.needs_own_audit,
            "may_be_offered": self.may_be_offered,
            "notes": [
                SPACE_NOT_TIME,
                *[ROUNDED_ACTIVATIONS] * self.rounds_activations,
                *self.warnings,
            ],
        }


def check_export(
    path: Path,
    compressed: Compressed,
    images: np.ndarray,
    groups: Sequence[str],
    ids: Sequence[str] | None = None,
    *,
    bits_requested: float | None = None,
    network: Network | None = None,
    rounds: int = ROUNDS,
    threads: int | None = None,
    report: Report | None = None,
    cancel: Stop | None = None,
) -> ExportCheck:
    """Check a file that :func:`export_onnx` or :func:`export_int8` wrote.

    Parameters
    ----------
    images, groups, ids
        The audit split, or the images that the comparison is to rest on.
    bits_requested
        The budget that the plan was made for.
    network
        What was caught for the export; saves seconds.
    rounds, threads
        Of the latency measurement, see :func:`~fairquant_core.export.onnx.latency.compare_latency`.

    Shapes: ``images`` uint8 (N, S, S, 3), ``groups`` and ``ids`` (N,).

    Raises
    ------
    ExportError
        The file is damaged, was made from another classifier, or the runtime refuses it.
    EvaluationError
        Logits are not numbers, or there is no image.
    """
    classifier = compressed.classifier
    opened = OnnxClassifier(path, threads=threads)
    about = opened.about
    if about["fingerprint"] != classifier.fingerprint:
        raise ExportError(
            OTHER_CLASSIFIER.format(
                path=path, found=about["fingerprint"][:12], expected=classifier.fingerprint[:12]
            )
        )

    def step(number: int) -> None:
        say(report, "export", number, len(STEPS), f"Checking the file: {STEPS[number]}")

    step(0)
    found = opened.logits(images, cancel=cancel)
    parity = compare_logits(reference_logits(classifier, images, cancel), found, groups, ids)
    del opened
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float32.onnx"
        network = network or catch_network(classifier, report=report)
        export_float(classifier, plain, network=network)
        size = Size(
            path.stat().st_size,
            ideal_bytes(read_onnx(path)[0]),
            size_limit(classifier.architecture) if about["kind"] == EXACT else None,
            plain.stat().st_size,
            bits_requested,
            compressed.plan.average_bits,
        )
        step(1)
        openings = [opening_cost(each, threads=threads) for each in (path, plain)]
        step(2)
        latency = compare_latency(path, plain, rounds=rounds, threads=threads, cancel=cancel)
    step(3)
    table, decodes = runtime_table(path)
    rounded = bool(compressed.activations)
    return ExportCheck(
        kind=about["kind"],
        fingerprint=about["fingerprint"],
        sha256=file_hash(path),
        parity=parity,
        size=size,
        opening=openings[0],
        opening_float32=openings[1],
        latency=latency,
        runtimes=table,
        rounds_activations=rounded,
        objections=_objections(about["kind"], parity, latency, rounded, decodes),
        warnings=_warnings(size),
    )


def reference_logits(
    classifier: Classifier, images: np.ndarray, cancel: Stop | None = None
) -> np.ndarray:
    """Logits of the audited classifier in torch. Shapes: uint8 (N, S, S, 3) -> float32 (N, C)."""
    parts = [np.zeros((0, len(classifier.classes)), np.float32)]
    device = next(classifier.model.parameters()).device
    with StateUnchanged(classifier.model), torch.inference_mode():
        for start in range(0, len(images), BATCH):
            if cancel and cancel():
                raise Cancelled("The prediction was cancelled.")
            pictures = normalise(images[start : start + BATCH], classifier.preprocessing)
            parts.append(classifier.model(pictures.to(device)).float().cpu().numpy())
    return np.concatenate(parts)


def _objections(
    kind: str, parity: Parity, latency: Latency, rounded: bool, decodes: bool
) -> tuple[str, ...]:
    """What speaks against handing the file out."""
    found = [DECODES] if decodes else []
    if kind != EXACT:
        if not latency.faster:
            figures = {"ratio": latency.ratio, "low": latency.low, "high": latency.high}
            found.append(NOT_FASTER.format(**figures))
    elif not rounded:
        overall = parity.overall
        if overall.same_class < overall.images:
            different = overall.images - overall.same_class
            found.append(
                OTHER_CLASS.format(
                    different=different, images=overall.images, first=parity.other_class[0]
                )
            )
        if overall.largest_difference > LIMIT:
            found.append(OTHER_LOGITS.format(found=overall.largest_difference, limit=LIMIT))
    return tuple(found)


def _warnings(size: Size) -> tuple[str, ...]:
    """What does not speak against handing the file out, and should be said all the same."""
    if size.limit is None:
        return ()
    sentence = size_warning(size.on_disk, size.ideal, size.limit)
    return (sentence,) if sentence else ()
