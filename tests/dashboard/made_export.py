"""Files of a run and what their check says, small but real: the runtime opens them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairquant_core.export.onnx.file import write_onnx
from fairquant_core.export.onnx.runtimes import ELSEWHERE, OTHERS, SPACE_NOT_TIME
from fairquant_core.export.parity import compare_logits

SIDE = 8


def write_small_onnx(
    path: Path, classes: Sequence[str], fingerprint: str, kind: str = "exact"
) -> Path:
    """The mean colour decides; a real file with a real description."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(len(kind)).normal(size=(len(classes), 3)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(classes)])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    about = {
        "kind": kind,
        "name": "Small classifier",
        "architecture": "resnet18",
        "classes": list(classes),
        "preprocessing": {
            "size": SIDE,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "crop_fraction": 1.0,
            "interpolation": "bicubic",
        },
        "fingerprint": fingerprint,
    }
    write_onnx(model, path, about)
    return path


def made_check(
    groups: Sequence[str] = ("FST I-II", "FST V-VI"),
    *,
    kind: str = "exact",
    other_class: int = 0,
    ratio: float = 1.01,
    objections: Sequence[str] = (),
    on_disk: int = 840_000,
) -> dict[str, Any]:
    """What `ExportCheck.to_json` gives, with "audited" beside it; four photographs per group."""
    shown = [group for group in groups for _ in range(4)]
    logits = np.tile(np.array([[2.0, 1.0]], np.float32), (len(shown), 1))
    found = logits.copy()
    found[:other_class] = found[:other_class, ::-1]
    parity = compare_logits(logits, found, shown, [f"image-{n}" for n in range(len(shown))])
    rows = [("ONNX Runtime 1.23.0, processor", "float32", "decoded when opened", "on this machine")]
    rows += [(*row, "no") for row in (*ELSEWHERE[kind == "int8"], OTHERS)]
    return {
        "kind": kind,
        "fingerprint": "ab" * 32,
        "sha256": "cd" * 32,
        "parity": parity.to_json(),
        "size": {
            "on_disk": on_disk,
            "ideal": 825_000,
            "float32": 6_200_000,
            "bits_requested": 4.0,
            "bits_achieved": 3.998,
        },
        "opening": {"seconds": 0.21, "bytes_after": 31_000_000},
        "opening_float32": {"seconds": 0.05, "bytes_after": 29_000_000},
        "latency": {
            "milliseconds": 5.2 * ratio,
            "baseline_milliseconds": 5.2,
            "ratio": ratio,
            "low": ratio - 0.03,
            "high": ratio + 0.03,
            "rounds": 30,
            "threads": None,
            "faster": ratio < 0.97,
        },
        "runtimes": [
            dict(zip(("program", "computes_in", "weights", "checked"), row, strict=True))
            for row in rows
        ],
        "rounds_activations": False,
        "objections": list(objections),
        "needs_own_audit": bool(other_class),
        "may_be_offered": not objections,
        "notes": [SPACE_NOT_TIME],
        "audited": {
            "images": len(shown),
            "same_class": len(shown) - other_class,
            "largest_difference": 2e-6,
        },
    }
