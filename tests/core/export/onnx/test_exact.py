"""The exact-bit file: as small as its bits, and the very numbers of the packed classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from fairquant_core.data.batches import normalise
from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import EvaluationError, ExportError
from fairquant_core.export.onnx.check import reference_logits
from fairquant_core.export.onnx.exact import exact_model, export_float, export_onnx
from fairquant_core.export.onnx.file import describe_onnx, read_onnx
from fairquant_core.export.onnx.network import catch_network
from fairquant_core.export.onnx.runtimes import executed_operators
from fairquant_core.export.onnx.session import OnnxClassifier, network_input
from fairquant_core.export.onnx.size import ideal_bytes
from fairquant_core.export.parity import compare_logits
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.compressed import Compressed
from tests.core.export.onnx.networks import (
    CLASSES,
    classifier_of,
    compress_randomly,
    compressed_of,
    network_of,
    pictures,
)

NETWORKS = [("tiny", 16), ("test_efficientnet", 64), ("test_vit", 64)]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    export_onnx(compressed_of("tiny", 16), path, {"run": "7"}, network=network_of("tiny", 16))
    return path


@pytest.mark.parametrize(("architecture", "size"), NETWORKS, ids=str)
def test_logits_are_those_of_the_packed_classifier(
    architecture: str, size: int, tmp_path: Path
) -> None:
    compressed, network = compressed_of(architecture, size), network_of(architecture, size)
    path, images = tmp_path / "model.onnx", pictures(5, size)
    before = compressed.classifier.fingerprint
    export_onnx(compressed, path, network=network)
    reference = reference_logits(compressed.classifier, images)
    found = OnnxClassifier(path, threads=1)
    parity = compare_logits(reference, found.logits(images), ["one"] * 5)
    assert parity.same_everywhere, parity
    np.testing.assert_allclose(found.logits(images[:1]), reference[:1], atol=1e-5)
    assert compressed.classifier.fingerprint == before
    assert not executed_operators(path).decodes_while_classifying


def test_the_reference_evaluator_gives_the_same_logits(tiny: Path) -> None:
    model, _ = read_onnx(tiny)
    onnx.checker.check_model(model, full_check=True)
    compressed = compressed_of("tiny", 16)
    assert any((scales < 0).any() for scales in compressed.scales.values())
    images = pictures(3, 16)
    inputs = network_input(images, compressed.classifier.preprocessing)
    (found,) = ReferenceEvaluator(model).run(None, {"images": inputs})
    expected = reference_logits(compressed.classifier, images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_norms_are_folded_and_pruned_layers_weigh_nothing(tiny: Path) -> None:
    model, _ = read_onnx(tiny)
    operators = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in operators
    assert operators.count("ConstantOfShape") == 1
    names = [tensor.name for tensor in model.graph.initializer]
    assert not [name for name in names if "gone.weight.packed" in name]
    assert "stem.weight.packed" in names and "stem.weight" not in names


def test_the_file_is_about_as_small_as_its_bits(tmp_path: Path) -> None:
    architecture, size = "test_vit", 64
    compressed, network = compressed_of(architecture, size), network_of(architecture, size)
    export_onnx(compressed, tmp_path / "exact.onnx", network=network)
    export_float(compressed.classifier, tmp_path / "float.onnx", network=network)
    exact, plain = ((tmp_path / f"{kind}.onnx").stat().st_size for kind in ("exact", "float"))
    ideal = ideal_bytes(read_onnx(tmp_path / "exact.onnx")[0])
    # What does not shrink is the graph, some 17 kB in this network of 0.4 million weights.
    assert ideal < exact < ideal + 20_000
    assert plain > 4 * compressed.plan.weight_count
    reference = reference_logits(compressed.classifier, pictures(2, size))
    found = OnnxClassifier(tmp_path / "float.onnx").logits(pictures(2, size))
    np.testing.assert_allclose(found, reference, atol=1e-5)


def test_everything_travels_along(tiny: Path) -> None:
    about, compressed = describe_onnx(tiny), compressed_of("tiny", 16)
    assert about["kind"] == "exact"
    assert tuple(about["classes"]) == CLASSES
    assert Preprocessing.from_json(about["preprocessing"]) == compressed.classifier.preprocessing
    assert about["fingerprint"] == compressed.classifier.fingerprint
    assert about["plan"]["average_bits"] == compressed.plan.average_bits
    assert about["plan"]["ideal_bytes"] == ideal_bytes(read_onnx(tiny)[0])
    assert about["extra"] == {"run": "7"}
    opened = OnnxClassifier(tiny)
    assert [value.shape for value in opened.session.get_inputs()] == [["batch", 3, 16, 16]]
    assert [value.shape for value in opened.session.get_outputs()] == [["batch", 3]]


def test_equal_classifiers_give_equal_bytes(tiny: Path, tmp_path: Path) -> None:
    again = catch_network(classifier_of("tiny", 16))
    export_onnx(compressed_of("tiny", 16), tmp_path / "again.onnx", {"run": "7"}, network=again)
    assert (tmp_path / "again.onnx").read_bytes() == tiny.read_bytes()


def test_a_caught_network_holds_for_other_weights_of_the_same_shape(tmp_path: Path) -> None:
    classifier = classifier_of("tiny", 16)
    for parameter in classifier.model.parameters():
        parameter.data += 0.1
    other = compress_randomly(classifier, menu=(4, 8), seed=3)
    export_onnx(other, tmp_path / "other.onnx", network=network_of("tiny", 16))
    images = pictures(2, 16)
    found = OnnxClassifier(tmp_path / "other.onnx").logits(images)
    np.testing.assert_allclose(found, reference_logits(other.classifier, images), atol=1e-5)


def test_the_network_of_another_classifier_is_refused(tmp_path: Path) -> None:
    other = compressed_of("test_vit", 64)
    with pytest.raises(ExportError, match="is not that of"):
        export_onnx(other, tmp_path / "model.onnx", network=network_of("tiny", 16))
    assert list(tmp_path.iterdir()) == []


def test_codes_that_are_not_the_weights_are_refused(tmp_path: Path) -> None:
    compressed = compressed_of("tiny", 16)
    wrong = replace(compressed, codes={**compressed.codes, "head": -compressed.codes["head"]})
    with pytest.raises(ExportError, match="Layer 'head'"):
        export_onnx(wrong, tmp_path / "model.onnx", network=network_of("tiny", 16))


class Fickle(nn.Module):
    """Goes another way for dark pictures, which a graph cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if float(x.mean()) < 0:
            x = -x
        return self.head(x.mean(dim=(2, 3)))


def test_a_network_that_no_graph_can_hold_is_a_named_error(tmp_path: Path) -> None:
    classifier = Classifier(Fickle().eval(), "fickle", CLASSES, Preprocessing(16))
    with pytest.raises(ExportError, match="The network 'fickle' cannot be written as ONNX"):
        export_onnx(compress_randomly(classifier), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="could not be written"):
        export_onnx(
            compressed_of("tiny", 16), tmp_path / "file" / "m.onnx", network=network_of("tiny", 16)
        )


def test_pixels_become_the_same_bits_with_and_without_torch() -> None:
    images = pictures(3, 20)
    preprocessing = Preprocessing(20, (0.5, 0.4, 0.3), (0.2, 0.21, 0.27))
    expected = normalise(images, preprocessing).numpy()
    np.testing.assert_array_equal(network_input(images, preprocessing), expected)


def test_pictures_of_another_size_are_refused(tiny: Path) -> None:
    with pytest.raises(EvaluationError, match=r"needs uint8 \(N, 16, 16, 3\)"):
        OnnxClassifier(tiny).logits(pictures(1, 20))


def test_a_norm_that_others_read_too_stays_and_an_unused_layer_does_not(tmp_path: Path) -> None:
    """Folding is only allowed where nothing but the norm reads the convolution."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.head, self.unused = nn.Linear(4, len(CLASSES)), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.head((x + self.norm(x)).mean(dim=(2, 3)))

    classifier = Classifier(Both().eval(), "both", CLASSES, Preprocessing(16))
    compressed: Compressed = compress_randomly(classifier)
    network = catch_network(classifier)
    graph = exact_model(network, compressed).graph
    assert "BatchNormalization" in [node.op_type for node in graph.node]
    assert not [tensor.name for tensor in graph.initializer if "unused" in tensor.name]
    export_onnx(compressed, tmp_path / "both.onnx", network=network)
    found = OnnxClassifier(tmp_path / "both.onnx").logits(pictures(2, 16))
    expected = reference_logits(compressed.classifier, pictures(2, 16))
    np.testing.assert_allclose(found, expected, atol=1e-5)
