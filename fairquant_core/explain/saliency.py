"""Which pixels a classifier's score depends on, by Captum's methods.

Saliency shows what a score depends on, not why, and is no proof of anything. The network is used
as it is (also with in-place activations and parametrised weights) and is unchanged afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import (
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch import nn
from torch.nn.utils import parametrize

from fairquant_core.data.batches import normalise
from fairquant_core.errors import Cancelled, ClassifierError, EvaluationError
from fairquant_core.explain.cam_layer import find_cam_layer
from fairquant_core.explain.catalogue import METHODS
from fairquant_core.models.unchanged import StateUnchanged
from fairquant_core.models.zoo import Classifier

BASELINES = ("mean colour", "black")
UNKNOWN_METHOD = "there is no saliency method '{name}'; choose from {known}"
WRONG_IMAGES = (
    "saliency needs images as uint8 (N, {size}, {size}, 3) for {name}, not {dtype} {shape}"
)
WRONG_TARGETS = (
    "saliency needs one class number from 0 to {last} per image ({images} images), not {found}"
)
BROKEN_WEIGHTS = (
    "{name}: the weights '{parameter}' hold values that are not a number, so it has no saliency; load "
    "another file or start the run again"
)


@dataclass(frozen=True)
class SaliencySettings:
    """Choices of the methods; the defaults suit 2 cores.

    Parameters
    ----------
    steps:
        Points on the path of Integrated Gradients. The completeness delta tells if they suffice.
    baseline:
        What "nothing there" looks like to Integrated Gradients and Occlusion: the "mean colour" of
        each image itself, or "black". With black, dark skin is close to the baseline and gets less
        attribution than light skin by construction, so it is not the default.
    samples, noise:
        Noisy copies of `saliency_smooth` and their standard deviation. Units: fraction of the
        range from black to white.
    patch:
        Side of the covered square of Occlusion; it moves by half of that. Units: fraction of the
        image's side.
    forward_batch:
        Images per forward pass inside a method; more is slower on a CPU (measured with 32).
    seed:
        Of the noise; the same for every classifier, so that pairs see the same noisy copies.
    """

    steps: int = 32
    baseline: str = "mean colour"
    samples: int = 8
    noise: float = 0.1
    patch: float = 1 / 7
    forward_batch: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.baseline not in BASELINES:
            raise ClassifierError(
                f"saliency: there is no baseline '{self.baseline}'; choose from "
                f"{', '.join(BASELINES)}"
            )
        if min(self.steps, self.samples, self.forward_batch) < 1:
            raise ClassifierError("saliency: steps, samples and forward_batch must be at least 1")
        if not (0 < self.patch <= 1 and self.noise > 0):
            raise ClassifierError("saliency: patch must be in (0, 1] and noise above 0")


@dataclass(frozen=True)
class Attribution:
    """Saliency maps of some images.

    Attributes
    ----------
    maps:
        Shapes: (N, S, S) float32. Units: of the logit; signed for Integrated Gradients and
        Occlusion, >= 0 for the others. A map that is not finite is given as it is: not estimable.
    completeness:
        Completeness delta of Integrated Gradients: sum of the map minus (logit of the image minus
        logit of the baseline); 0 is perfect. Shapes: (N,). None for the other methods.
    score_change:
        Logit of the image minus logit of the baseline, what `completeness` is to be compared with.
    """

    method: str
    maps: np.ndarray
    completeness: np.ndarray | None = None
    score_change: np.ndarray | None = None


@dataclass(frozen=True)
class _Batch:
    """What a method gets: normalised inputs (B, 3, S, S), their baselines, target classes."""

    model: nn.Module
    forward: Callable[[torch.Tensor], torch.Tensor]
    inputs: torch.Tensor
    baselines: torch.Tensor
    targets: torch.Tensor
    range: float
    name: str
    settings: SaliencySettings


_Result = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
_REGISTRY: dict[str, Callable[[_Batch], _Result]] = {}


def _method(name: str) -> Callable[[Callable[[_Batch], _Result]], Callable[[_Batch], _Result]]:
    """Register under a name of the catalogue."""

    def register(function: Callable[[_Batch], _Result]) -> Callable[[_Batch], _Result]:
        _REGISTRY[METHODS[name].name] = function
        return function

    return register


def attribute(
    classifier: Classifier,
    images: np.ndarray,
    targets: np.ndarray,
    method: str = "integrated_gradients",
    *,
    batch_size: int = 8,
    settings: SaliencySettings | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Attribution:
    """Saliency of the score of one class per image.

    Parameters
    ----------
    targets:
        Class whose logit is explained. To compare two classifiers, give both the same.
    method:
        A name of `explain.catalogue.METHODS`.
    batch_size:
        Images handed to the method at once.
    progress, cancel:
        Called as ``progress(done, total)`` after every batch; ``cancel()`` is asked at every
        forward pass.

    Shapes
    ------
    images (N, S, S, 3) uint8, targets (N,) integers.

    Raises
    ------
    ClassifierError
        Unknown method, or no layer for Grad-CAM.
    EvaluationError
        Images or targets of the wrong shape, or weights that are not numbers.
    Cancelled
        `cancel` said so; the network is restored all the same.
    """
    settings = settings or SaliencySettings()
    run = _REGISTRY.get(method)
    if run is None:
        raise ClassifierError(UNKNOWN_METHOD.format(name=method, known=", ".join(METHODS)))
    codes = _checked(classifier, images, targets)
    _check_weights(classifier)
    model, size = classifier.model, classifier.preprocessing.size
    device = next(model.parameters()).device
    span = 1 / float(np.mean(classifier.preprocessing.std))

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        if cancel is not None and cancel():
            raise Cancelled("The saliency maps were cancelled.")
        # Captum's expanded inputs lose this layout, in which a CPU is about a quarter faster.
        return model(inputs.contiguous(memory_format=torch.channels_last))

    maps = np.empty((len(images), size, size), dtype=np.float32)
    deltas: list[torch.Tensor] = []
    changes: list[torch.Tensor] = []
    # Quantised weights are computed once, not at every forward pass; nothing here trains.
    with StateUnchanged(model), parametrize.cached(), torch.enable_grad():
        model.requires_grad_(False)
        for start in range(0, len(images), batch_size):
            chunk = np.asarray(images[start : start + batch_size])
            inputs = normalise(chunk, classifier.preprocessing).to(device)
            batch = _Batch(
                model=model,
                forward=forward,
                inputs=inputs,
                baselines=_baselines(chunk, classifier, settings).to(device),
                targets=torch.from_numpy(codes[start : start + batch_size]).to(device),
                range=span,
                name=classifier.name,
                settings=settings,
            )
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                torch.manual_seed(settings.seed + start)
                found, delta, change = run(batch)
            maps[start : start + len(chunk)] = found.detach().float().cpu().numpy()
            if delta is not None and change is not None:
                deltas.append(delta.detach().float().cpu())
                changes.append(change.detach().float().cpu())
            if progress is not None:
                progress(start + len(chunk), len(images))
    if not METHODS[method].complete:
        return Attribution(method, maps)
    empty = [torch.zeros(0)]
    return Attribution(
        method, maps, torch.cat(deltas or empty).numpy(), torch.cat(changes or empty).numpy()
    )


@_method("integrated_gradients")
def _integrated_gradients(batch: _Batch) -> _Result:
    """Gradients summed along the straight path from the baseline, times the difference.

    Source: Sundararajan, Taly & Yan 2017 (arXiv 1703.01365); Gauss-Legendre points.
    """
    values = IntegratedGradients(batch.forward).attribute(
        batch.inputs,
        baselines=batch.baselines,
        target=batch.targets,
        n_steps=batch.settings.steps,
        internal_batch_size=max(batch.settings.forward_batch, len(batch.inputs)),
    )
    maps = values.sum(dim=1)
    with torch.no_grad():
        logits, nothing = batch.forward(batch.inputs), batch.forward(batch.baselines)
        change = (logits - nothing).gather(1, batch.targets[:, None])[:, 0]
    # Same as Captum's convergence delta, but the score change is kept, which gives it a scale.
    return maps, values.double().sum(dim=(1, 2, 3)) - change.double(), change


@_method("grad_cam")
def _grad_cam(batch: _Batch) -> _Result:
    """Channels of the last stage, weighted by their mean gradient; only what speaks for the class.

    Source: Selvaraju et al. 2017 (arXiv 1610.02391). Upsampled bilinearly to the image.
    """
    layer = find_cam_layer(batch.model, batch.inputs[:1], batch.name)
    with layer.tapped() as tap:
        coarse = LayerGradCam(batch.forward, tap).attribute(
            batch.inputs, target=batch.targets, relu_attributions=True
        )
    size = tuple(batch.inputs.shape[-2:])
    return LayerAttribution.interpolate(coarse, size, "bilinear")[:, 0], None, None


@_method("saliency_smooth")
def _saliency_smooth(batch: _Batch) -> _Result:
    """Largest absolute gradient over the colours, averaged over noisy copies.

    Source: Simonyan, Vedaldi & Zisserman 2014 (arXiv 1312.6034); SmoothGrad, Smilkov et al. 2017
    (arXiv 1706.03825).
    """
    values = NoiseTunnel(Saliency(batch.forward)).attribute(
        batch.inputs,
        nt_type="smoothgrad",
        nt_samples=batch.settings.samples,
        nt_samples_batch_size=max(1, batch.settings.forward_batch // len(batch.inputs)),
        stdevs=batch.settings.noise * batch.range,
        target=batch.targets,
    )
    return values.amax(dim=1), None, None


@_method("occlusion")
def _occlusion(batch: _Batch) -> _Result:
    """Fall of the score when a square is covered with the baseline.

    Source: Zeiler & Fergus 2014 (arXiv 1311.2901).
    """
    patch = max(1, round(batch.settings.patch * batch.inputs.shape[-1]))
    stride = max(1, patch // 2)
    values = Occlusion(batch.forward).attribute(
        batch.inputs,
        sliding_window_shapes=(3, patch, patch),
        strides=(3, stride, stride),
        baselines=batch.baselines,
        target=batch.targets,
        perturbations_per_eval=max(1, batch.settings.forward_batch // len(batch.inputs)),
    )
    # All colours are covered together, so all channels hold the same value.
    return values[:, 0], None, None


def _baselines(
    images: np.ndarray, classifier: Classifier, settings: SaliencySettings
) -> torch.Tensor:
    """Shapes: (B, S, S, 3) uint8 -> (B, 3, S, S)."""
    plain = np.zeros_like(images)
    if settings.baseline == "mean colour":
        plain[:] = np.rint(images.mean(axis=(1, 2), keepdims=True)).astype(np.uint8)
    return normalise(plain, classifier.preprocessing)


def _check_weights(classifier: Classifier) -> None:
    """Broken weights are named before hours are spent on maps that are not numbers."""
    for key, values in classifier.model.state_dict().items():
        if values.is_floating_point() and not bool(values.isfinite().all()):
            raise EvaluationError(BROKEN_WEIGHTS.format(name=classifier.name, parameter=key))


def _checked(classifier: Classifier, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Targets as int64, or a sentence that says what does not fit."""
    size, classes = classifier.preprocessing.size, len(classifier.classes)
    if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
        raise EvaluationError(
            WRONG_IMAGES.format(
                size=size, name=classifier.name, dtype=images.dtype, shape=images.shape
            )
        )
    codes = np.asarray(targets)
    if (
        codes.shape != (len(images),)
        or not (np.issubdtype(codes.dtype, np.integer) or codes.size == 0)
        or ((codes < 0) | (codes >= classes)).any()
    ):
        raise EvaluationError(
            WRONG_TARGETS.format(
                last=classes - 1, images=len(images), found=f"{codes.dtype} {codes.shape}"
            )
        )
    return codes.astype(np.int64)
