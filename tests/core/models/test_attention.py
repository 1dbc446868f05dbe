"""Transformers at other picture sizes, and attention biases that follow their parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from fairquant_core.errors import CheckpointError
from fairquant_core.models import attention, weights_file
from fairquant_core.models.checkpoint import load_classifier
from fairquant_core.models.zoo import Classifier, create

CLASSES = ("mole", "scar", "wart")


@pytest.fixture(scope="module")
def tiny_vit() -> Classifier:
    torch.set_num_threads(1)
    return create("tiny_vit_5m_224", CLASSES, size=64)


def test_looking_at_a_tiny_vit_twice_and_copying_it(tiny_vit: Classifier) -> None:
    model = tiny_vit.model.eval()
    for _ in range(2):
        model(torch.randn(2, 3, 64, 64)).sum().backward()
    copy = tiny_vit.copy()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(copy.model(images), model(images))


def test_new_attention_biases_count_at_once(tiny_vit: Classifier) -> None:
    model = tiny_vit.copy().model.eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = model(images)
        for name, parameter in model.named_parameters():
            if name.endswith("attention_biases"):
                parameter.normal_()
        assert not torch.equal(model(images), before)
        assert torch.equal(tiny_vit.copy().model.eval()(images), before), "copies share nothing"


@pytest.fixture(scope="module")
def vit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights made for 64 pixels: a class token and 4 x 4 patches."""
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    model = create("deit_tiny_patch16_224", CLASSES, size=64, seed=1).model
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, path)
    return path


def test_positions_are_stretched_to_another_size(vit_file: Path) -> None:
    small = create("deit_tiny_patch16_224", CLASSES, size=64, weights=vit_file)
    assert small.not_loaded == ()
    large = create("deit_tiny_patch16_224", CLASSES, size=96, weights=vit_file)
    assert large.not_loaded == (
        attention.STRETCHED.format(tensor="pos_embed", found=4, expected=6),
    )
    ours, theirs = (c.model.state_dict()["pos_embed"] for c in (large, small))
    assert torch.equal(ours[:, :1], theirs[:, :1]), "the class token has no place to be moved"
    assert torch.equal(ours, resample_abs_pos_embed(theirs, [6, 6]))
    with torch.no_grad():
        assert large.model(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


def test_a_finished_classifier_is_never_stretched(vit_file: Path) -> None:
    """What was trained at one size is another classifier at another; only a new training may start so."""
    name = "deit_tiny_patch16_224"
    assert load_classifier(vit_file, architecture=name, classes=CLASSES, size=64)
    with pytest.raises(CheckpointError) as caught:
        load_classifier(vit_file, architecture=name, classes=CLASSES, size=96)
    assert str(caught.value) == weights_file.WRONG_SHAPE.format(
        path=vit_file, tensor="pos_embed", architecture=name, found=(1, 17, 192),
        expected=(1, 37, 192),
    )  # fmt: skip
