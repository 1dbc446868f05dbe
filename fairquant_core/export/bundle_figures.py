"""Do the files of a bundle fit each other? The audit its predictions, the ONNX files the packed classifier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairquant_core.audit.grouping import OVERALL
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import ExportError, FairQuantError
from fairquant_core.export.bundle_check import (
    AUDIT_FILE,
    AUDITED,
    EXACT_FILE,
    FAST_FILE,
    MODEL_FILE,
    Check,
    CheckFailed,
    OpenedBundle,
    Result,
)
from fairquant_core.export.bundle_verdicts import compare_verdicts
from fairquant_core.export.packing import unpack_codes

FIGURES, ONNX = "Audit figures", "ONNX files"
TABLET_COPY = "tablet/model.onnx"

NO_AUDIT = "There is no {name}."
NO_PREDICTIONS = "{audit} is there, but not the predictions that it is made of ({table})."
OTHER_FIGURES = "{audit} does not fit {table}: of {model}, {group}, it counts {said} correct images, the table {found}."
NO_GROUP = "{audit} has no figures of {model} for {group}, but {table} holds images of it."
OTHER_PACKED = "{audit} was made of another {model} than the one that lies here."
FIT = "The accuracy of {rows} rows (model and group) in {audits} was counted again: all the same."
JUDGED = " Every verdict was judged again from the predictions and the limits: all the same."
DAMAGED = "{name} is damaged ({reason})."

NO_ONNX = "The bundle holds no ONNX file."
NO_ABOUT = "{name} does not say which classifier it holds."
OTHER_CLASSIFIER = "{name} holds another classifier ({found}) than {model} ({expected})."
OTHER_WEIGHTS = "{name} holds other codes than {model} in the layer '{layer}'."
OTHER_COPY = "{name} is another file than {original}."
NO_CODES = "{name} holds no packed weights of the layer '{layer}'."
SAME = "{names}: same fingerprint as {model}, and the codes of {layers} layers are the same bit for bit."
SAME_FAST = (
    " Those of {name} up to a sign and a power of two per channel, which whole numbers need."
)

MOST_HALVINGS = 8
"""After these every code is zero, as in a channel that the norm behind it switches off."""

_METADATA_KEY = "fairquant"
BITS = ".weight.bits"
_STREAMS = (".weight.packed", BITS)


def check_figures(opened: OpenedBundle) -> Check:
    """Whether the audits say what the packed predictions give."""
    try:
        if not opened.has(AUDIT_FILE):
            raise CheckFailed(NO_AUDIT.format(name=AUDIT_FILE))
        there = {audit: table for audit, table in AUDITED.items() if opened.has(audit)}
        found = [_compare(opened, audit, table) for audit, table in there.items()]
        size = opened.json(AUDIT_FILE).get("size") or {}
        if size.get("sha256", opened.sha256(MODEL_FILE)) != opened.sha256(MODEL_FILE):
            raise CheckFailed(OTHER_PACKED.format(audit=AUDIT_FILE, model=MODEL_FILE))
        text = FIT.format(rows=sum(rows for rows, _ in found), audits=" and ".join(there))
        open_ = [why for _, why in found if why]
        text += " " + " ".join(open_) if open_ else JUDGED
        return Check(FIGURES, Result.PASSED, text)
    except CheckFailed as failure:
        return Check(FIGURES, Result.FAILED, str(failure))
    except FairQuantError as error:
        return Check(FIGURES, Result.FAILED, str(error))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        return Check(FIGURES, Result.FAILED, DAMAGED.format(name=AUDIT_FILE, reason=repr(error)))


def check_onnx(opened: OpenedBundle) -> Check:
    """Whether the ONNX files hold the classifier that was packed and audited."""
    names = [name for name in (EXACT_FILE, FAST_FILE) if opened.has(name)]
    if not names:
        return Check(ONNX, Result.NOT_CHECKED, NO_ONNX)
    try:
        about, streams = describe_packed(opened.path(MODEL_FILE))
        layers = min(_same_classifier(opened, name, about, streams) for name in names)
        if opened.has(TABLET_COPY) and opened.sha256(TABLET_COPY) != opened.sha256(EXACT_FILE):
            raise CheckFailed(OTHER_COPY.format(name=TABLET_COPY, original=EXACT_FILE))
        text = SAME.format(names=" and ".join(names), model=MODEL_FILE, layers=layers)
        if FAST_FILE in names:
            text += SAME_FAST.format(name=FAST_FILE)
        return Check(ONNX, Result.PASSED, text)
    except CheckFailed as failure:
        return Check(ONNX, Result.FAILED, str(failure))
    except FairQuantError as error:
        return Check(ONNX, Result.FAILED, str(error))


def describe_packed(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Description and packed streams of a packed checkpoint, without torch.

    Raises
    ------
    CheckFailed
        The file is absent, damaged, or does not describe itself.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})[_METADATA_KEY])
            names = [name for name in file.keys() if name.endswith(_STREAMS)]  # noqa: SIM118 (no dict)
            streams = {name: file.get_tensor(name) for name in names}
    except KeyError as error:
        raise CheckFailed(NO_ABOUT.format(name=path.name)) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckFailed(DAMAGED.format(name=path.name, reason=error)) from error
    if not isinstance(about, dict) or not isinstance(about.get("fingerprint"), str):
        raise CheckFailed(NO_ABOUT.format(name=path.name))
    return about, streams


def _compare(opened: OpenedBundle, audit_name: str, table_name: str) -> tuple[int, str]:
    """How many rows of an audit agree with its predictions, and why its verdict was not judged again ("" if it was).

    Raises
    ------
    CheckFailed
        The first row or verdict that does not agree.
    """
    if not opened.has(table_name):
        raise CheckFailed(NO_PREDICTIONS.format(audit=audit_name, table=table_name))
    audit = opened.json(audit_name)
    predictions = Predictions.load(opened.path(table_name))
    if audit["split"] is not None:
        predictions = predictions.part(audit["split"])
    named = predictions.groups(audit["group_column"], audit["scheme"])
    groups = named.to_numpy(dtype=object)
    rows = 0
    for model in predictions.models:
        correct = predictions.correct(model)
        said = audit["accuracy"][model]
        rows_said = {row["group"]: row for row in (said["overall"], *said["by_group"])}
        for group in dict.fromkeys((OVERALL, *groups)):
            chosen = correct if group == OVERALL else correct[groups == group]
            where = {"audit": audit_name, "table": table_name, "model": model, "group": group}
            if group not in rows_said:
                raise CheckFailed(NO_GROUP.format(**where))
            row, count = rows_said.pop(group), int(chosen.sum())
            share = count / len(chosen)
            if (row["correct"], row["n"]) != (count, len(chosen)) or not np.isclose(
                row["accuracy"], share, rtol=0, atol=1e-9
            ):
                raise CheckFailed(
                    OTHER_FIGURES.format(
                        **where,
                        said=f"{row['correct']} of {row['n']}",
                        found=f"{count} of {len(chosen)}",
                    )
                )
            rows += 1
        for group, row in rows_said.items():
            if row["n"]:
                raise CheckFailed(
                    OTHER_FIGURES.format(
                        audit=audit_name,
                        table=table_name,
                        model=model,
                        group=group,
                        said=f"{row['correct']} of {row['n']}",
                        found="no image",
                    )
                )
    return rows, compare_verdicts(audit_name, audit, table_name, predictions, named)


def _same_but_for_scale(
    layer: str, found: np.ndarray, streams: Mapping[str, np.ndarray], shape: Sequence[int]
) -> bool:
    """Whether codes are the packed ones up to a sign and a power of two per channel.

    Whole-number arithmetic moves both between codes and scales.
    """
    widths, count = streams[f"{layer}.weight.bits"], int(np.prod(shape[1:]))
    try:
        codes = unpack_codes(found, widths, count)
    except ExportError:
        return False
    packed = unpack_codes(streams[f"{layer}.weight.packed"], widths, count).astype(np.float64)
    fits = np.zeros(len(codes), dtype=bool)
    for halvings in range(MOST_HALVINGS + 1):
        rounded = np.rint(np.ldexp(packed, -halvings))
        fits |= (codes == rounded).all(axis=1) | (codes == -rounded).all(axis=1)
    return bool(fits.all())


def _same_classifier(
    opened: OpenedBundle, name: str, packed: Mapping[str, Any], streams: Mapping[str, np.ndarray]
) -> int:
    """In how many layers an ONNX file holds the packed codes; raises if it is another classifier."""
    from onnx import numpy_helper

    from fairquant_core.export.onnx.file import read_onnx

    model, about = read_onnx(opened.path(name))
    if about["fingerprint"] != packed["fingerprint"]:
        raise CheckFailed(
            OTHER_CLASSIFIER.format(
                name=name,
                found=about["fingerprint"][:12],
                model=MODEL_FILE,
                expected=packed["fingerprint"][:12],
            )
        )
    layers: set[str] = set()
    for tensor in model.graph.initializer:
        if not tensor.name.endswith(_STREAMS):
            continue
        layer = tensor.name.rsplit(".", 2)[0]
        expected, found = streams.get(tensor.name), numpy_helper.to_array(tensor)
        same = expected is not None and np.array_equal(found, expected)
        if not same and expected is not None and name == FAST_FILE:
            same = _same_but_for_scale(layer, found, streams, packed["shapes"][layer])
        if not same:
            raise CheckFailed(OTHER_WEIGHTS.format(name=name, model=MODEL_FILE, layer=layer))
        layers.add(layer)
    # Layers without any bit left need no codes.
    packed_layers = {
        key.removesuffix(BITS) for key, bits in streams.items() if key.endswith(BITS) and bits.any()
    }
    missing = sorted(packed_layers - layers)
    # The fast file computes some layers in another way; of the exact one every layer must be there.
    if missing and (name == EXACT_FILE or not layers):
        raise CheckFailed(NO_CODES.format(name=name, layer=missing[0]))
    return len(layers)
