"""Which program computes an exported file as what, checked where it can be checked."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fairquant_core.export.onnx.file import describe_onnx
from fairquant_core.export.onnx.session import NO_SATURATION, open_session

CHECKED, NOT_CHECKED = "on this machine", "no"

WHOLE_OPERATORS = {
    "QLinearConv": "convolutions",
    "ConvInteger": "convolutions",
    "DynamicQuantizeMatMul": "products of matrices",
    "MatMulIntegerToFloat": "products of matrices",
    "MatMulInteger": "products of matrices",
    "QLinearMatMul": "products of matrices",
}
DECODING = frozenset(("BitShift", "BitwiseAnd", "BitwiseOr", "TopK"))

FLOATS = "decoded to float32 when the file is opened"
CODES = "decoded to int8 when the file is opened"
EVERY_TIME = "decoded anew for every picture"

# Per kind of file, False for exact and True for whole numbers: program, arithmetic, weights.
ELSEWHERE = {
    False: (
        ("ONNX Runtime 1.17 or newer, any processor", "float32", FLOATS),
        ("ONNX Runtime Web (wasm)", "float32", FLOATS),
        ("ONNX Runtime with a graphics card", "float32, or TF32 where that is switched on", FLOATS),
    ),
    True: (
        ("ONNX Runtime 1.17 or newer, processor with VNNI or ARM dot product", "int8", CODES),
        (
            "ONNX Runtime, processor with AVX2 only",
            f"int8 if opened with {NO_SATURATION} = 1; otherwise sums with 8-bit weights can saturate, so that "
            "predictions differ",
            CODES,
        ),
        ("ONNX Runtime Web (wasm)", "int8", CODES),
    ),
}
OTHERS = (
    "Other ONNX programs",
    "not known; they need opset 20, model-local functions and BitShift",
    "not known",
)

SPACE_NOT_TIME = (
    "No program of this table computes with 2 to 7 bits: fewer bits save space on disk and on the way, not time and "
    "not memory."
)


@dataclass(frozen=True)
class Runtime:
    """One line of the table.

    Attributes
    ----------
    program : what opens the file.
    computes_in : the arithmetic while it classifies.
    weights : what becomes of the bits.
    checked : where that was checked.
    """

    program: str
    computes_in: str
    weights: str
    checked: str


@dataclass(frozen=True)
class Executed:
    """What the runtime on this machine made of a file.

    Attributes
    ----------
    operators : how often it runs each operator while it classifies.
    """

    operators: dict[str, int]

    @property
    def decodes_while_classifying(self) -> bool:
        """Whether weights would be decoded anew for every picture."""
        return bool(DECODING & set(self.operators))

    @property
    def whole_number(self) -> dict[str, int]:
        """Layers that it computes with whole numbers, by kind."""
        kinds: Counter[str] = Counter()
        for operator, count in self.operators.items():
            if operator in WHOLE_OPERATORS:
                kinds[WHOLE_OPERATORS[operator]] += count
        return dict(kinds)


def executed_operators(path: Path) -> Executed:
    """Let the runtime write down the graph that it executes, and count its operators."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "executed.onnx"
        open_session(path, executed=written)
        graph = onnx.load(written, load_external_data=False).graph
    return Executed(dict(sorted(Counter(node.op_type for node in graph.node).items())))


def runtime_table(path: Path) -> tuple[tuple[Runtime, ...], bool]:
    """Which program runs a file as what.

    Returns
    -------
    The table, whose first line is what happens on this machine; and whether the weights are decoded anew for every
    picture here, which would make the file slow.
    """
    import onnxruntime

    kind = describe_onnx(path)["kind"]
    executed = executed_operators(path)
    held = CODES if executed.whole_number else FLOATS
    if executed.decodes_while_classifying:
        held = EVERY_TIME
    here = f"ONNX Runtime {onnxruntime.__version__}, processor"
    rows = [
        Runtime(here, _words(executed), held, CHECKED),
        *(Runtime(*row, NOT_CHECKED) for row in ELSEWHERE[kind == "int8"]),
        Runtime(*OTHERS, NOT_CHECKED),
    ]
    return tuple(rows), executed.decodes_while_classifying


def _words(executed: Executed) -> str:
    whole = executed.whole_number
    if not whole:
        return "float32"
    counts = " and ".join(f"{count} {kind}" for kind, count in whole.items())
    return f"int8 in {counts}, float32 in the rest"
