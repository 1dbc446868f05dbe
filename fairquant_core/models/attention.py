"""Two things that timm's transformers need: fresh attention biases, and positions for other picture sizes."""

from __future__ import annotations

import math
from types import MethodType

import torch
from torch import nn

from fairquant_core.models.torchvision_guard import ensure_torchvision

ensure_torchvision()

from timm.layers import resample_abs_pos_embed  # noqa: E402  (the guard has to run first)

STRETCHED = "{tensor}: made for {found} x {found} patches, stretched to {expected} x {expected}"
POSITIONS = "pos_embed"


def forget_attention_biases(model: nn.Module) -> None:
    """Let TinyViT, LeViT and their like look up their attention biases anew in every forward pass.

    In evaluation mode timm keeps them from the first pass on, together with its graph: a second backward pass then
    fails, and so does a copy of the network.
    """
    for module in model.modules():
        if hasattr(module, "attention_bias_cache"):
            module.get_attention_biases = MethodType(_fresh_biases, module)  # type: ignore[assignment]


def _fresh_biases(attention: nn.Module, device: torch.device) -> torch.Tensor:
    attention.attention_bias_cache = {}  # type: ignore[assignment]
    biases = type(attention).get_attention_biases(attention, device)  # type: ignore[attr-defined]
    attention.attention_bias_cache = {}  # type: ignore[assignment]
    return biases


def stretch_positions(model: nn.Module, tensors: dict[str, torch.Tensor]) -> tuple[str, ...]:
    """Resample the position embedding among ``tensors`` in place to the grid of the network.

    Returns
    -------
    A sentence if that was necessary. What cannot be stretched is left as it is.

    Shapes: position embeddings (1, tokens, features), extra tokens before the patches.
    """
    target, source = model.state_dict().get(POSITIONS), tensors.get(POSITIONS)
    if target is None or source is None or target.shape == source.shape:
        return ()
    if source.ndim != 3 or target.ndim != 3 or source.shape[2] != target.shape[2]:
        return ()
    prefix = (
        0 if getattr(model, "no_embed_class", False) else getattr(model, "num_prefix_tokens", 0)
    )
    found, expected = (math.isqrt(max(0, t.shape[1] - prefix)) for t in (source, target))
    if found**2 + prefix != source.shape[1] or expected**2 + prefix != target.shape[1]:
        return ()
    if not found or not expected:
        return ()
    tensors[POSITIONS] = resample_abs_pos_embed(
        source.float(), [expected, expected], [found, found], num_prefix_tokens=prefix
    )
    return (STRETCHED.format(tensor=POSITIONS, found=found, expected=expected),)
