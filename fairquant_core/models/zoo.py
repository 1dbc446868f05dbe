"""Classifiers from timm, with everything that must travel with their weights."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairquant_core.data.images import FILTERS, Preprocessing
from fairquant_core.errors import CheckpointError, ClassifierError, ImageError
from fairquant_core.models.attention import forget_attention_biases, stretch_positions
from fairquant_core.models.freed_memory import keep_freed_memory
from fairquant_core.models.torchvision_guard import ensure_torchvision
from fairquant_core.models.weights_file import fill, read_tensors

ensure_torchvision()
keep_freed_memory()

import timm  # noqa: E402  (the guard has to run first)

logger = logging.getLogger(__name__)

UNKNOWN_ARCHITECTURE = "timm has no architecture {name!r}{hint}"
NOTHING_TO_QUANTISE = (
    "{name} has no Conv2d and no Linear layer, so there is nothing to quantise: choose another one"
)
FEW_CLASSES = "a classifier needs at least two different class names, not {classes}"
NOT_BUILT = "{name} cannot be made for pictures of {size} x {size} pixels: {reason}"
NOT_RUN = "{name} cannot read pictures of {size} x {size} pixels ({reason}): choose another size"
BORDER_UNSEEN = (
    "{name} cuts pictures into patches of {patch} x {patch} pixels, so of {size} pixels it would not see the "
    "last {rest}: choose {smaller} or {larger}"
)
NO_PRETRAINED = "pretrained weights of {name} cannot be had: {reason}"
BAD_METADATA = "{path}: mean and std in its description are damaged: {reason}"


@dataclass
class Classifier:
    """A network and what is needed to use it.

    Attributes
    ----------
    model : maps normalised float32 (B, 3, S, S) to logits (B, C).
    architecture : timm's name.
    classes : class names in the order of the logits.
    preprocessing : how a picture becomes the input.
    name : words for people.
    model_arguments : further arguments of ``timm.create_model``, such as ``img_size``.
    not_loaded : tensors that a weights file did not fill, with the reason; for people.
    origin : what it was trained on, for example the cohort's fingerprint; not in the fingerprint.
    """

    model: nn.Module
    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    name: str = ""
    model_arguments: dict[str, Any] = field(default_factory=dict)
    not_loaded: tuple[str, ...] = ()
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.classes = _checked_classes(self.classes)
        self.name = self.name or self.architecture

    @property
    def fingerprint(self) -> str:
        """SHA-256 over architecture, classes, preprocessing and every tensor; not over the name."""
        digest = hashlib.sha256()
        about = [
            self.architecture,
            list(self.classes),
            self.preprocessing.to_json(),
            self.model_arguments,
        ]
        digest.update(json.dumps(about, sort_keys=True).encode())
        for key, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{key}:{tensor.dtype}:{list(tensor.shape)};".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(memoryview(flat.numpy()))
        return digest.hexdigest()

    def copy(self) -> Classifier:
        """An independent copy; changing one leaves the other as it is."""
        return replace(
            self,
            model=copy.deepcopy(self.model),
            model_arguments=copy.deepcopy(self.model_arguments),
        )


def create(
    architecture: str,
    classes: Sequence[str],
    *,
    weights: Path | None = None,
    pretrained: bool = False,
    size: int | None = None,
    name: str | None = None,
    crop_fraction: float = 1.0,
    model_arguments: dict[str, Any] | None = None,
    seed: int = 0,
) -> Classifier:
    """Make a classifier, randomly initialised or from weights.

    Parameters
    ----------
    architecture : timm's name, for example "mobilenetv2_100".
    classes : class names in the order of the logits.
    weights : file in timm's names (safetensors, or .pt through ``weights_only=True``). Tensors of
        the last layer for another number of classes are initialised anew and listed in
        ``not_loaded``.
    pretrained : let timm download its weights; only when a person asked for it.
    size : side of the input in pixels; default: what the architecture was made for.
    name : words for people.
    crop_fraction : 1.0 and not timm's 0.875, because the border of a clinical picture can hold the
        lesion, and audits should see what the clinician sees.
    model_arguments : further arguments of ``timm.create_model``.
    seed : of the random start of what the weights do not fill.

    Raises
    ------
    ClassifierError
        Unknown architecture, impossible size, or nothing to quantise.
    CheckpointError
        The weights do not fit.
    """
    classes = _checked_classes(classes)
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        near = difflib.get_close_matches(str(architecture), timm.list_models(), n=3, cutoff=0.5)
        hint = f": did you mean {', '.join(near)}?" if near else ""
        raise ClassifierError(UNKNOWN_ARCHITECTURE.format(name=architecture, hint=hint))
    config = timm.get_pretrained_cfg(architecture)
    preset: dict[str, Any] = config.to_dict() if config is not None else {}
    side = int(size or preset.get("input_size", (3, 224, 224))[-1])
    arguments = dict(model_arguments or {})
    if preset.get("fixed_input_size"):
        arguments.setdefault("img_size", side)
    with torch.random.fork_rng(devices=[]):
        # What no weights file fills starts at random; from a seed, so that a fit can be repeated.
        torch.manual_seed(seed)
        model = _build(architecture, len(classes), pretrained, side, arguments)
    _check_runs(model, architecture, side, len(classes))
    interpolation = preset.get("interpolation", "bicubic")
    classifier = Classifier(
        model=model,
        architecture=architecture,
        classes=classes,
        preprocessing=Preprocessing(
            size=side,
            mean=preset.get("mean", (0.485, 0.456, 0.406)),
            std=preset.get("std", (0.229, 0.224, 0.225)),
            crop_fraction=crop_fraction,
            interpolation=interpolation if interpolation in FILTERS else "bicubic",
        ),
        name=name or architecture,
        model_arguments=arguments,
    )
    if weights is not None:
        load_into(classifier, Path(weights), new_head=True)
    return classifier


def load_into(classifier: Classifier, path: Path, *, new_head: bool = False) -> None:
    """Fill a classifier from a foreign weights file; its mean and std, if told, are taken over.

    With `new_head` the weights are a start for training, so the last layer may differ, and the position embedding
    of a transformer is stretched where it was made for pictures of another size.
    """
    tensors, metadata = read_tensors(path)
    stretched = stretch_positions(classifier.model, tensors) if new_head else ()
    classifier.not_loaded = stretched + fill(
        classifier.model,
        tensors,
        path,
        architecture=classifier.architecture,
        head=head_names(classifier.model),
        new_head=new_head,
    )
    if classifier.not_loaded:
        logger.info("%s: not loaded: %s", path.name, "; ".join(classifier.not_loaded))
    try:
        told = {key: _three(metadata[key]) for key in ("mean", "std") if key in metadata}
        about = classifier.preprocessing.to_json() | told
        classifier.preprocessing = Preprocessing.from_json(about)
    except (ValueError, TypeError, ImageError) as error:
        raise CheckpointError(BAD_METADATA.format(path=path, reason=error)) from error


def _three(text: str) -> list[float]:
    """Numbers written as "0.485,0.456,0.406" or as a JSON list."""
    return [float(number) for number in text.strip("[]() ").replace(",", " ").split()]


def head_names(model: nn.Module) -> frozenset[str]:
    """Tensors of the last layer(s), the only ones whose shape depends on the number of classes."""
    config = getattr(model, "pretrained_cfg", None) or {}
    names = config.get("classifier") or ()
    layers = (names,) if isinstance(names, str) else tuple(names)
    return frozenset(f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias"))


def _build(
    architecture: str, classes: int, pretrained: bool, side: int, arguments: dict[str, Any]
) -> nn.Module:
    try:
        model = timm.create_model(
            architecture, pretrained=pretrained, num_classes=classes, **arguments
        )
    except (AssertionError, ValueError, TypeError) as error:
        raise ClassifierError(
            NOT_BUILT.format(name=architecture, size=side, reason=error)
        ) from error
    except (RuntimeError, OSError) as error:
        raise ClassifierError(NO_PRETRAINED.format(name=architecture, reason=error)) from error
    if not any(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()):
        raise ClassifierError(NOTHING_TO_QUANTISE.format(name=architecture))
    forget_attention_biases(model)
    return model.eval()


def _check_runs(model: nn.Module, architecture: str, side: int, classes: int) -> None:
    """One empty picture through the network: better now than in the middle of a training."""
    embed = getattr(model, "patch_embed", None)
    if isinstance(embed, timm.layers.PatchEmbed) and not embed.dynamic_img_pad:
        patch = int(embed.patch_size[0])
        if rest := side % patch:
            smaller, larger = side - rest, side - rest + patch
            raise ClassifierError(
                BORDER_UNSEEN.format(
                    name=architecture,
                    patch=patch,
                    size=side,
                    rest=rest,
                    smaller=smaller or larger,
                    larger=larger,
                )
            )
    try:
        with torch.inference_mode():
            output = model(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
        raise ClassifierError(
            NOT_RUN.format(name=architecture, size=side, reason=str(error).splitlines()[0])
        ) from error
    if not isinstance(output, torch.Tensor) or output.shape != (1, classes):
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise ClassifierError(
            NOT_RUN.format(
                name=architecture, size=side, reason=f"its output is {shape}, not (1, {classes})"
            )
        )


def _checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    names = tuple(classes)
    if len(set(names)) != len(names) or len(names) < 2:
        raise ClassifierError(FEW_CLASSES.format(classes=list(names)))
    return names
