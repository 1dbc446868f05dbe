"""The packed checkpoint: bit-exact, really small, and not to be fooled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fairquant_core.errors import CheckpointError, ExportError
from fairquant_core.export.checkpoint import load_packed, save_packed
from fairquant_core.models.checkpoint import load_classifier, save_classifier
from fairquant_core.models.zoo import create
from fairquant_core.quantization.compressed import Compressed, compress_with
from fairquant_core.quantization.layers import quantisable_layers

CLASSES = ("benign", "malignant", "other")


def packed(architecture: str, size: int, widths: tuple[int, ...], seed: int = 0) -> Compressed:
    """A randomly initialised network, rounded to random widths."""
    torch.manual_seed(seed)
    classifier = create(architecture, CLASSES, size=size, name="a test")
    rng = np.random.default_rng(seed)
    return compress_with(
        classifier,
        {
            layer.name: rng.choice(widths, layer.channels).astype(np.uint8)
            for layer in quantisable_layers(classifier.model)
        },
    )


@pytest.fixture(scope="module")
def small() -> Compressed:
    return packed("resnet10t", 32, (2, 3, 4, 5, 6, 7, 8))


@pytest.fixture
def saved(small: Compressed, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_packed(small, path, {"parent": "abc", "config": {"bits": 4.0}})
    return path


@pytest.mark.parametrize(
    ("architecture", "size", "allowance"),
    [
        ("resnet10t", 32, 0.03),
        ("mobilenetv3_small_100", 32, 0.05),
        ("deit_tiny_patch16_224", 64, 0.03),
    ],
)
def test_round_trip_is_bit_exact_and_the_file_is_as_small_as_planned(
    architecture: str, size: int, allowance: float, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    compressed = packed(architecture, size, (2, 3, 4, 5, 6))
    assert any((scales < 0).any() for scales in compressed.scales.values())
    path = tmp_path / "model.safetensors"
    save_packed(compressed, path, {})
    again = load_packed(path)
    original = compressed.classifier.model.state_dict()
    restored = again.classifier.model.state_dict()
    assert set(restored) == set(original)
    assert all(torch.equal(restored[key], original[key]) for key in original)
    assert again.classifier.fingerprint == compressed.classifier.fingerprint
    assert again.plan == compressed.plan
    assert again.plan.layers == compressed.plan.layers
    for layer, codes in compressed.codes.items():
        np.testing.assert_array_equal(again.codes[layer], codes)
        np.testing.assert_array_equal(again.scales[layer], compressed.scales[layer])
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        before = compressed.classifier.model.eval()(images)
        assert torch.equal(before, again.classifier.model(images))
    ideal = compressed.plan.packed_bytes()
    assert ideal <= path.stat().st_size <= ideal * (1 + allowance)


def test_everything_travels_along(small: Compressed, saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        about = json.loads(file.metadata()["fairquant"])
    assert about["format"] == "fairquant-packed"
    assert about["parent"] == "abc"
    assert about["extra"]["config"] == {"bits": 4.0}
    assert about["plan"]["average_bits"] == small.plan.average_bits
    classifier = load_classifier(saved)
    assert classifier.classes == CLASSES
    assert classifier.name == "a test"
    assert classifier.preprocessing == small.classifier.preprocessing


def test_equal_input_gives_equal_bytes(small: Compressed, saved: Path, tmp_path: Path) -> None:
    save_packed(small, tmp_path / "b.safetensors", {"parent": "abc", "config": {"bits": 4.0}})
    assert (tmp_path / "b.safetensors").read_bytes() == saved.read_bytes()


def test_codes_that_are_not_the_weights_are_refused(small: Compressed, tmp_path: Path) -> None:
    layer = next(iter(small.codes))
    wrong = {**small.codes, layer: -small.codes[layer]}
    with pytest.raises(ExportError, match=f"Layer '{layer}'"):
        save_packed(
            Compressed(small.classifier, small.plan, wrong, small.scales),
            tmp_path / "m.safetensors",
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_leaves_nothing(small: Compressed, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="could not be written"):
        save_packed(small, tmp_path / "file" / "m.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_file_cut_off_is_a_checkpoint_error(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError):
        load_packed(saved)


@pytest.mark.parametrize("seed", range(12))
def test_an_edited_byte_is_a_checkpoint_error(saved: Path, seed: int) -> None:
    content = bytearray(saved.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(seed)
    # Half of the edits in the header, half in the tensors.
    place = int(rng.integers(8, header) if seed % 2 else rng.integers(header, len(content)))
    content[place] ^= 1 << int(rng.integers(0, 7))
    saved.write_bytes(bytes(content))
    with pytest.raises(CheckpointError):
        load_packed(saved)


def rewrite(path: Path, change: dict[str, object]) -> None:
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["fairquant"])
    about.update(change)
    save_file(load_file(path), path, metadata={"fairquant": json.dumps(about)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["malignant", "benign", "other"]}, "SHA-256 does not match"),
        ({"version": 3}, "newer version"),
        ({"format": "else"}, "not a packed checkpoint"),
    ],
)
def test_an_edited_description_is_a_checkpoint_error(
    saved: Path, change: dict[str, object], message: str
) -> None:
    rewrite(saved, change)
    with pytest.raises(CheckpointError, match=message):
        load_packed(saved)


def test_other_files_are_not_packed_checkpoints(small: Compressed, tmp_path: Path) -> None:
    plain = tmp_path / "plain.safetensors"
    save_classifier(small.classifier, plain)
    with pytest.raises(CheckpointError, match="not a packed checkpoint"):
        load_packed(plain)
    with pytest.raises(CheckpointError, match="not found"):
        load_packed(tmp_path / "absent.safetensors")


def test_planning_and_packing_do_not_import_torch() -> None:
    code = (
        "import sys, fairquant_core.export.packing, fairquant_core.export.bundle, "
        "fairquant_core.allocation.allocators; "
        "assert not {'torch', 'timm', 'captum', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
