"""Saliency on small untrained networks: equal to Captum, and the network is left as it was."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam, NoiseTunnel, Occlusion, Saliency
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from fairquant_core.data.batches import normalise
from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import Cancelled, ClassifierError, EvaluationError
from fairquant_core.explain.catalogue import METHODS
from fairquant_core.explain.drift import image_drift
from fairquant_core.explain.saliency import SaliencySettings, attribute
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.quantization.compressed import attach
from fairquant_core.quantization.layers import quantisable_layers

CLASSES = ("melanoma", "nevus", "keratosis")
SIZE = 64
QUICK = SaliencySettings(steps=4, samples=2, patch=0.5)
CAM_LAYERS = {
    "resnet18": "layer4",
    "resnet50": "layer4",
    "mobilenetv2_100": "bn2",
    "mobilenetv3_small_100": "blocks",
    "deit_tiny_patch16_224": "blocks.11.norm1",
    "tiny_vit_5m_224": "stages",
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def classifiers() -> dict[str, Classifier]:
    torch.manual_seed(0)
    return {name: create(name, CLASSES, size=SIZE) for name in CAM_LAYERS}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


TARGETS = np.array([0, 2, 1])


def snapshot(model: nn.Module) -> tuple:
    """Everything that must be the same afterwards."""
    return (
        {key: value.clone() for key, value in model.state_dict().items()},
        [module.training for module in model.modules()],
        [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()],
        [
            (
                len(module._forward_hooks),
                len(module._forward_pre_hooks),
                len(module._backward_hooks),
            )
            for module in model.modules()
        ],
    )


def assert_unchanged(before: tuple, after: tuple) -> None:
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(value, after[0][key]) for key, value in before[0].items())
    assert before[1:] == after[1:]


def assert_close(found: np.ndarray, wanted: np.ndarray, share: float = 1e-4) -> None:
    """Equal up to a share of the largest value."""
    assert np.abs(wanted).max() > 0
    assert np.abs(found - wanted).max() <= share * np.abs(wanted).max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", CAM_LAYERS)
def test_every_method_on_every_architecture(
    classifiers: dict[str, Classifier], images: np.ndarray, architecture: str, method: str
) -> None:
    classifier = classifiers[architecture]
    classifier.model.train()
    frozen = next(classifier.model.parameters())
    frozen.requires_grad_(False)
    before = snapshot(classifier.model)
    try:
        found = attribute(classifier, images[:2], TARGETS[:2], method, settings=QUICK, batch_size=2)
        assert_unchanged(before, snapshot(classifier.model))
    finally:
        frozen.requires_grad_(True)
    assert found.maps.shape == (2, SIZE, SIZE) and found.maps.dtype == np.float32
    assert np.isfinite(found.maps).all()
    if not METHODS[method].signed:
        assert (found.maps >= 0).all()
    assert (found.completeness is not None) is METHODS[method].complete


def test_integrated_gradients_equal_captum(
    classifiers: dict[str, Classifier], images: np.ndarray
) -> None:
    classifier = classifiers["resnet18"]
    found = attribute(classifier, images, TARGETS, settings=SaliencySettings(steps=8))
    inputs = normalise(images, classifier.preprocessing)
    mean = np.rint(images.mean(axis=(1, 2), keepdims=True)).astype(np.uint8)
    baseline = normalise(np.broadcast_to(mean, images.shape).copy(), classifier.preprocessing)
    expected, delta = IntegratedGradients(classifier.model.eval()).attribute(
        inputs,
        baselines=baseline,
        target=torch.from_numpy(TARGETS),
        n_steps=8,
        return_convergence_delta=True,
    )
    wanted = expected.sum(dim=1).detach().numpy()
    assert_close(found.maps, wanted)
    assert found.completeness == pytest.approx(delta.numpy(), abs=1e-4)
    total = found.maps.sum(axis=(1, 2))
    assert found.completeness == pytest.approx(total - found.score_change, abs=1e-4)


def test_completeness_improves_with_steps(
    classifiers: dict[str, Classifier], images: np.ndarray
) -> None:
    few, many = (
        attribute(
            classifiers["deit_tiny_patch16_224"],
            images,
            TARGETS,
            settings=SaliencySettings(steps=steps),
        )
        for steps in (2, 32)
    )
    assert few.completeness is not None and many.completeness is not None
    assert np.abs(many.completeness).max() < 0.1 * np.abs(few.completeness).max()


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenetv2_100", "mobilenetv3_small_100"])
def test_grad_cam_of_convolutions_equals_captum(
    classifiers: dict[str, Classifier], images: np.ndarray, architecture: str
) -> None:
    classifier = classifiers[architecture]
    found = attribute(classifier, images, TARGETS, "grad_cam")
    model = classifier.model.eval()
    coarse = LayerGradCam(model, model.get_submodule(CAM_LAYERS[architecture])).attribute(
        normalise(images, classifier.preprocessing),
        target=torch.from_numpy(TARGETS),
        relu_attributions=True,
    )
    expected = functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")[:, 0]
    assert_close(found.maps, expected.detach().numpy())
    assert found.maps.max() > 0


def test_grad_cam_of_a_transformer_by_its_definition(
    classifiers: dict[str, Classifier], images: np.ndarray
) -> None:
    classifier = classifiers["deit_tiny_patch16_224"]
    found = attribute(classifier, images, TARGETS, "grad_cam")
    model = classifier.model.eval()
    kept: list[torch.Tensor] = []
    handle = model.blocks[-1].norm1.register_forward_hook(lambda *args: kept.append(args[2]))
    logits = model(normalise(images, classifier.preprocessing))
    handle.remove()
    score = logits.gather(1, torch.from_numpy(TARGETS)[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, kept[0])
    patches, slopes = kept[0][:, 1:], gradient[:, 1:]
    coarse = (patches * slopes.mean(dim=1, keepdim=True)).sum(dim=2).relu().reshape(-1, 1, 4, 4)
    expected = functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")[:, 0]
    assert_close(found.maps, expected.detach().numpy())


def test_occlusion_and_smooth_against_captum(
    classifiers: dict[str, Classifier], images: np.ndarray
) -> None:
    classifier = classifiers["resnet18"]
    settings = SaliencySettings(patch=0.5, baseline="black", samples=1, noise=1e-9)
    inputs = normalise(images, classifier.preprocessing)
    model, targets = classifier.model.eval(), torch.from_numpy(TARGETS)
    expected = Occlusion(model).attribute(
        inputs,
        sliding_window_shapes=(3, 32, 32),
        strides=(3, 16, 16),
        baselines=normalise(np.zeros_like(images), classifier.preprocessing),
        target=targets,
    )[:, 0]
    found = attribute(classifier, images, TARGETS, "occlusion", settings=settings)
    assert_close(found.maps, expected.detach().numpy())
    plain = (
        Saliency(model)
        .attribute(inputs.requires_grad_(), target=targets)
        .amax(dim=1)
        .detach()
        .numpy()
    )
    found = attribute(classifier, images, TARGETS, "saliency_smooth", settings=settings)
    assert_close(found.maps, plain, 1e-3)


def test_smoothed_gradients_equal_captum(
    classifiers: dict[str, Classifier], images: np.ndarray
) -> None:
    """Captum's tunnel called directly with the same random numbers."""
    classifier = classifiers["mobilenetv2_100"]
    settings = SaliencySettings(samples=3, noise=0.2, seed=7, forward_batch=32)
    found = attribute(classifier, images, TARGETS, "saliency_smooth", settings=settings)
    model = classifier.model.eval()
    torch.manual_seed(7)
    values = NoiseTunnel(Saliency(model)).attribute(
        normalise(images, classifier.preprocessing),
        nt_type="smoothgrad",
        nt_samples=3,
        nt_samples_batch_size=32 // len(images),
        stdevs=0.2 / float(np.mean(classifier.preprocessing.std)),
        target=torch.from_numpy(TARGETS),
    )
    assert_close(found.maps, values.amax(dim=1).detach().numpy(), 1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["resnet18", "deit_tiny_patch16_224"])
def test_fake_quantised_layers(
    classifiers: dict[str, Classifier], images: np.ndarray, architecture: str, method: str
) -> None:
    """Our own quantisers give the maps of a network that holds the rounded weights."""
    wrapped, plain = classifiers[architecture].copy(), classifiers[architecture].copy()
    layers = quantisable_layers(wrapped.model)
    attach(wrapped.model, {layer.name: np.full(layer.channels, 4) for layer in layers})
    with torch.no_grad():
        for layer in layers:
            weight = wrapped.model.get_submodule(layer.name).weight
            plain.model.get_submodule(layer.name).weight.copy_(weight)
    before = snapshot(wrapped.model)
    ours = attribute(wrapped, images[:2], TARGETS[:2], method, settings=QUICK)
    assert_unchanged(before, snapshot(wrapped.model))
    assert all(parametrize.is_parametrized(layer.module, "weight") for layer in layers)
    wanted = attribute(plain, images[:2], TARGETS[:2], method, settings=QUICK).maps
    assert_close(ours.maps, wanted)


@pytest.mark.parametrize("method", METHODS)
def test_fused_attention_gives_the_same_maps_and_stays_fused(
    classifiers: dict[str, Classifier], images: np.ndarray, method: str
) -> None:
    fused = classifiers["deit_tiny_patch16_224"]
    plain = fused.copy()
    switches = [block.attn for block in fused.model.blocks]
    assert all(attention.fused_attn for attention in switches), "timm fuses by default"
    for block in plain.model.blocks:
        block.attn.fused_attn = False
    before = snapshot(fused.model)
    ours = attribute(fused, images[:2], TARGETS[:2], method, settings=QUICK).maps
    assert_unchanged(before, snapshot(fused.model))
    assert all(attention.fused_attn for attention in switches)
    wanted = attribute(plain, images[:2], TARGETS[:2], method, settings=QUICK).maps
    assert_close(ours, wanted, 1e-3)


def test_same_bits_twice_and_the_random_state_is_left_alone(
    classifiers: dict[str, Classifier], images: np.ndarray
) -> None:
    state = torch.get_rng_state()
    once, again = (
        attribute(classifiers["resnet18"], images, TARGETS, "saliency_smooth").maps
        for _ in range(2)
    )
    assert (once == again).all() and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("method", ["integrated_gradients", "grad_cam"])
def test_cancel_stops_and_restores(
    classifiers: dict[str, Classifier], images: np.ndarray, method: str
) -> None:
    model = classifiers["resnet18"].model.train()
    before, asked = snapshot(model), []

    def cancel() -> bool:
        asked.append(True)
        return len(asked) > 2

    with pytest.raises(Cancelled):
        attribute(classifiers["resnet18"], images, TARGETS, method, batch_size=1, cancel=cancel)
    assert_unchanged(before, snapshot(model))


def test_progress_counts_images(classifiers: dict[str, Classifier], images: np.ndarray) -> None:
    seen: list[tuple[int, int]] = []
    attribute(
        classifiers["resnet18"],
        images,
        TARGETS,
        "grad_cam",
        batch_size=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 3), (3, 3)]


def test_no_images(classifiers: dict[str, Classifier], images: np.ndarray) -> None:
    found = attribute(classifiers["resnet18"], images[:0], TARGETS[:0])
    assert found.maps.shape == (0, SIZE, SIZE)
    assert found.completeness is not None and found.completeness.shape == (0,)


def test_network_without_a_stage_to_show(images: np.ndarray) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 3))
    about = Preprocessing(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    classifier = Classifier(flat, "flat", CLASSES, about)
    with pytest.raises(ClassifierError, match=r"no layer that Grad-CAM can show.*Integrated"):
        attribute(classifier, images, TARGETS, "grad_cam")
    assert np.isfinite(attribute(classifier, images, TARGETS, settings=QUICK).maps).all()


def test_bad_requests(classifiers: dict[str, Classifier], images: np.ndarray) -> None:
    classifier = classifiers["resnet18"]
    with pytest.raises(ClassifierError, match="no saliency method 'deep_lift'; choose from integ"):
        attribute(classifier, images, TARGETS, "deep_lift")
    with pytest.raises(EvaluationError, match="needs images as uint8"):
        attribute(classifier, images[:, :32], TARGETS)
    for wrong in (TARGETS[:2], np.array([0, 1, 3]), np.array([0.0, 1.0, 2.0])):
        with pytest.raises(EvaluationError, match="one class number from 0 to 2"):
            attribute(classifier, images, wrong)
    with pytest.raises(ClassifierError, match="no baseline 'white'"):
        SaliencySettings(baseline="white")


def test_broken_weights_are_named(classifiers: dict[str, Classifier], images: np.ndarray) -> None:
    broken = classifiers["resnet18"].copy()
    with torch.no_grad():
        broken.model.fc.weight.fill_(float("nan"))
    with pytest.raises(EvaluationError, match=r"weights 'fc.weight' hold values that are not"):
        attribute(broken, images, TARGETS, settings=QUICK)


def test_a_map_that_is_not_a_number_is_given_as_it_is(images: np.ndarray) -> None:
    """One image overflows; the others keep their maps and the drift leaves it out."""

    class Overflowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            bright = inputs.mean(dim=(1, 2, 3), keepdim=True) > 0.9
            return (inputs / ~bright).flatten(2).mean(2) * self.scale

    about = Preprocessing(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    classifier = Classifier(Overflowing(), "overflowing", CLASSES, about)
    white = images.copy()
    white[1] = 255
    maps = attribute(classifier, white, TARGETS, settings=QUICK).maps
    assert np.isfinite(maps[[0, 2]]).all()
    assert not np.isfinite(maps[1]).all()
    drift = image_drift(maps, maps)
    assert drift["estimable"].tolist() == [True, False, True]
    assert np.isnan(drift["drift"][1])


def test_a_network_that_ignores_its_input_has_constant_maps(images: np.ndarray) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level = nn.Parameter(torch.ones(3))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.level + 0 * inputs.flatten(1).sum(1, keepdim=True)

    about = Preprocessing(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    classifier = Classifier(Constant(), "constant", CLASSES, about)
    for method in ("integrated_gradients", "saliency_smooth", "occlusion"):
        maps = attribute(classifier, images, TARGETS, method, settings=QUICK).maps
        assert not image_drift(maps, maps)["estimable"].any()
