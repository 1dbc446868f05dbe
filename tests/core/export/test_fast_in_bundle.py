"""The fast file moves signs and powers of two between codes and scales; nothing else may differ."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from fairquant_core.export import bundle_figures
from fairquant_core.export.bundle import VERSION
from fairquant_core.export.bundle_check import OpenedBundle, Result
from fairquant_core.export.checkpoint import save_packed
from fairquant_core.export.onnx.exact import export_onnx
from fairquant_core.export.onnx.file import read_onnx, write_onnx
from fairquant_core.export.onnx.int8 import export_int8
from fairquant_core.quantization.compressed import Compressed
from tests.core.export.onnx.networks import compressed_of, network_of, pictures

SIZE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed, exact and fast file of a network whose norms have negative and zero gains."""
    made = tmp_path_factory.mktemp("files")
    compressed, network = compressed_of("tiny", SIZE), network_of("tiny", SIZE)
    save_packed(compressed, made / "model.safetensors")
    export_onnx(compressed, made / "model.onnx", network=network)
    export_int8(compressed, made / "fast.onnx", pictures(8, SIZE), network=network)
    return made


def opened(folder: Path) -> OpenedBundle:
    files = {path.name: {} for path in folder.iterdir()}
    return OpenedBundle(folder, {"version": VERSION, "files": files, "about": {}})


def test_the_fast_file_of_the_same_classifier_passes(folder: Path) -> None:
    _, streams = bundle_figures.describe_packed(folder / "model.safetensors")
    changed = []
    for name in ("model.onnx", "fast.onnx"):
        model, _ = read_onnx(folder / name)
        tensors = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        changed.append(
            sum(
                not np.array_equal(tensors[key], stream)
                for key, stream in streams.items()
                if key in tensors
            )
        )
    assert changed[0] == 0 and changed[1] > 0, "the gain of zero must show"
    check = bundle_figures.check_onnx(opened(folder))
    assert check.result == Result.PASSED, check.sentence
    assert "power of two" in check.sentence


def test_other_codes_in_the_fast_file_are_found(folder: Path, tmp_path: Path) -> None:
    compressed = compressed_of("tiny", SIZE)
    layer = "head"
    codes = {**compressed.codes, layer: compressed.codes[layer].copy()}
    places = np.argwhere(np.abs(codes[layer]) > 1)
    codes[layer][tuple(places[0])] -= np.sign(codes[layer][tuple(places[0])])
    other = _with_codes(compressed, codes)
    for name in ("model.safetensors", "model.onnx"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    export_int8(other, tmp_path / "fast.onnx", pictures(8, SIZE), network=network_of("tiny", SIZE))
    _pretend(tmp_path / "fast.onnx", compressed.classifier.fingerprint)
    check = bundle_figures.check_onnx(opened(tmp_path))
    assert check.result == Result.FAILED
    assert f"other codes than model.safetensors in the layer '{layer}'" in check.sentence


def _with_codes(compressed: Compressed, codes: dict[str, np.ndarray]) -> Compressed:
    """The same classifier with these codes as its weights."""
    classifier = compressed.classifier.copy()
    state = classifier.model.state_dict()
    for layer, code in codes.items():
        weight = code.astype(np.float32) * compressed.scales[layer][:, None]
        state[f"{layer}.weight"].copy_(
            torch.from_numpy(weight).reshape(state[f"{layer}.weight"].shape)
        )
    return replace(compressed, classifier=classifier, codes=codes)


def _pretend(path: Path, fingerprint: str) -> None:
    """Let a file claim to be made from another classifier, as a forger would."""
    model, about = read_onnx(path)
    kept = {key: value for key, value in about.items() if key not in ("graph_bytes", "sha256")}
    write_onnx(model, path, json.loads(json.dumps({**kept, "fingerprint": fingerprint})))
