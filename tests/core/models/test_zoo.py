from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from fairquant_core.errors import CheckpointError, ClassifierError
from fairquant_core.models import weights_file, zoo
from fairquant_core.models.zoo import Classifier, create

WEIGHTS = (
    Path(__file__).parents[3].parent / "shared/data/weights/mobilenetv2_100_imagenet.safetensors"
)
CLASSES = ("mole", "scar", "wart")


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("resnet18", 32),
        ("resnet50", 32),
        ("deit_tiny_patch16_224", 32),
        ("tiny_vit_5m_224", 64),
        ("mobilenetv2_100", 32),
        ("mobilenetv3_small_100", 32),
    ],
)
def test_tested_architectures_take_other_sizes(architecture: str, size: int) -> None:
    classifier = create(architecture, CLASSES, size=size)
    assert classifier.preprocessing.size == size
    assert not classifier.model.training
    with torch.inference_mode():
        assert classifier.model(torch.zeros(2, 3, size, size)).shape == (2, 3)


def test_preprocessing_is_the_architectures_own() -> None:
    inception = create("vit_tiny_patch16_224", CLASSES)
    assert inception.preprocessing.mean == (0.5, 0.5, 0.5)
    assert inception.preprocessing.size == 224
    assert inception.preprocessing.crop_fraction == 1.0
    assert inception.model_arguments == {"img_size": 224}


def test_unknown_architecture_suggests_a_near_one() -> None:
    with pytest.raises(ClassifierError) as caught:
        create("resnet_18", CLASSES)
    assert "timm has no architecture 'resnet_18': did you mean" in str(caught.value)
    assert "resnet18" in str(caught.value)


def test_impossible_size_is_a_classifier_error() -> None:
    with pytest.raises(ClassifierError, match="cannot be made for pictures of 50 x 50"):
        create("tiny_vit_5m_224", CLASSES, size=50, model_arguments={"img_size": -1})


def test_a_size_that_the_network_cannot_read_is_found_at_once() -> None:
    """CrossViT is built for 64 pixels without complaint and fails at the first picture."""
    with pytest.raises(ClassifierError, match=r"cannot read pictures of 64 x 64 pixels \(The size"):
        create("crossvit_tiny_240", CLASSES, size=64)


def test_patches_must_cover_the_whole_picture() -> None:
    with pytest.raises(ClassifierError) as caught:
        create("deit_tiny_patch16_224", CLASSES, size=100)
    assert str(caught.value) == zoo.BORDER_UNSEEN.format(
        name="deit_tiny_patch16_224", patch=16, size=100, rest=4, smaller=96, larger=112
    )


def test_an_output_that_is_not_one_number_per_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: nn.Conv2d(3, 3, 1))
    with pytest.raises(ClassifierError, match=r"its output is \(1, 3, 8, 8\), not \(1, 3\)"):
        create("resnet18", CLASSES, size=8)


@pytest.mark.parametrize("classes", [(), ("one",), ("same", "same")])
def test_classes_must_be_two_different_names(classes: tuple[str, ...]) -> None:
    with pytest.raises(ClassifierError) as caught:
        create("resnet18", classes)
    assert str(caught.value) == zoo.FEW_CLASSES.format(classes=list(classes))


def test_a_network_without_quantisable_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: nn.Sequential(nn.Flatten()))
    with pytest.raises(ClassifierError) as caught:
        create("resnet18", CLASSES)
    assert str(caught.value) == zoo.NOTHING_TO_QUANTISE.format(name="resnet18")


def test_pretrained_is_asked_for_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def refuse(name: str, pretrained: bool, **arguments: object) -> nn.Module:
        asked.append(pretrained)
        if pretrained:
            raise RuntimeError("no network")
        return nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    monkeypatch.setattr(timm, "create_model", refuse)
    create("resnet18", CLASSES)
    with pytest.raises(ClassifierError) as caught:
        create("resnet18", CLASSES, pretrained=True)
    assert asked == [False, True]
    assert str(caught.value) == zoo.NO_PRETRAINED.format(name="resnet18", reason="no network")


def test_fingerprint_follows_everything_but_the_name(classifier: Classifier) -> None:
    first = classifier.fingerprint
    classifier.name = "another name"
    assert classifier.fingerprint == first
    other = classifier.copy()
    with torch.no_grad():
        next(other.model.parameters()).view(-1)[0].add_(1e-3)
    assert other.fingerprint != first
    other = classifier.copy()
    other.classes = ("scar", "mole", "wart")
    assert other.fingerprint != first
    buffered = classifier.copy()
    next(buffered.model.buffers()).add_(1)
    assert buffered.fingerprint != first


def test_fingerprint_ignores_the_order_in_memory(classifier: Classifier) -> None:
    first = classifier.fingerprint
    classifier.model.to(memory_format=torch.channels_last)
    assert classifier.fingerprint == first


def test_a_copy_is_independent(classifier: Classifier) -> None:
    other = classifier.copy()
    assert other.fingerprint == classifier.fingerprint
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.zero_()
    assert other.fingerprint != classifier.fingerprint


def write_backbone(classifier: Classifier, path: Path, **changes: torch.Tensor) -> Path:
    """Weights of `classifier` in half precision with a head of 1000 classes."""
    tensors = {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in classifier.model.state_dict().items()
    }
    width = tensors["classifier.weight"].shape[1]
    tensors["classifier.weight"] = torch.zeros(1000, width).half()
    tensors["classifier.bias"] = torch.zeros(1000).half()
    told = {"mean": "0.1,0.2,0.3", "std": "[0.4, 0.5, 0.6]"}
    save_file(tensors | changes, path, metadata=told)
    return path


def test_weights_fill_all_but_the_head(classifier: Classifier, tmp_path: Path) -> None:
    path = write_backbone(classifier, tmp_path / "w.safetensors")
    loaded = create(classifier.architecture, CLASSES, size=32, weights=path)
    assert loaded.not_loaded == tuple(
        weights_file.HEAD_NOT_LOADED.format(tensor=f"classifier.{kind}", found=1000, expected=3)
        for kind in ("weight", "bias")
    )
    for key, tensor in loaded.model.state_dict().items():
        if not key.startswith("classifier."):
            assert tensor.dtype != torch.float16
            assert torch.equal(tensor, classifier.model.state_dict()[key].half().to(tensor.dtype))
    assert loaded.preprocessing.mean == (0.1, 0.2, 0.3)
    assert loaded.preprocessing.std == (0.4, 0.5, 0.6)


def test_other_weights_must_fit(classifier: Classifier, tmp_path: Path) -> None:
    wrong = {"conv_stem.weight": torch.zeros(8, 3, 5, 5)}
    path = write_backbone(classifier, tmp_path / "w.safetensors", **wrong)
    with pytest.raises(CheckpointError) as caught:
        create(classifier.architecture, CLASSES, size=32, weights=path)
    expected = tuple(classifier.model.state_dict()["conv_stem.weight"].shape)
    assert str(caught.value) == weights_file.WRONG_SHAPE.format(
        path=path,
        tensor="conv_stem.weight",
        architecture=classifier.architecture,
        found=(8, 3, 5, 5),
        expected=expected,
    )


def test_damaged_mean_is_named(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(dict(classifier.model.state_dict()), path, metadata={"mean": "light"})
    with pytest.raises(CheckpointError, match="mean and std in its description are damaged"):
        create(classifier.architecture, CLASSES, size=32, weights=path)


@pytest.mark.data
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="no real data beside the checkout")
def test_imagenet_weights_beside_the_checkout() -> None:
    classifier = create("mobilenetv2_100", CLASSES, size=64, weights=WEIGHTS)
    assert len(classifier.not_loaded) == 2
    assert classifier.preprocessing.mean == (0.485, 0.456, 0.406)


def test_the_random_start_follows_the_seed_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (
        create("mobilenetv3_small_050", ("a", "b"), size=32, seed=seed) for seed in (1, 1, 2)
    )
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert torch.equal(torch.get_rng_state(), before)
