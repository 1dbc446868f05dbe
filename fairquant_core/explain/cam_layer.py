"""Finds the layer that Grad-CAM looks at, and presents its output as (B, C, H, W)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from fairquant_core.errors import ClassifierError
from fairquant_core.models.hooks import hooked

NO_CAM_LAYER = (
    "{name} has no layer that Grad-CAM can show: neither a last convolution stage with more than "
    "one position nor transformer blocks over a grid of patches; choose Integrated Gradients"
)
NO_GRID = (
    "Grad-CAM: {name} gives {tokens} tokens per image, which do not form a grid of patches; choose "
    "Integrated Gradients"
)
#: A map that appears before this share of the modules have finished shows edges and colours, not
#: what the score rests on: what follows it are tokens that this program does not know.
EARLY = 0.5
#: Class, distillation and register tokens; the networks at hand have at most five.
MOST_PREFIX_TOKENS = 16


@dataclass(frozen=True)
class CamLayer:
    """A layer and how its output becomes a picture.

    Attributes
    ----------
    name, module:
        Where it is in the network.
    layout:
        "channels first" (B, C, H, W), "channels last" (B, H, W, C) or "tokens" (B, T, C).
    prefix:
        Tokens before the patches (class and register tokens); dropped from the map.
    grid:
        Rows and columns of the map.
    """

    name: str
    module: nn.Module
    layout: str
    grid: tuple[int, int]
    prefix: int = 0

    def to_picture(self, output: torch.Tensor) -> torch.Tensor:
        """Shapes: output of the layer -> (B, C, H, W)."""
        if self.layout == "tokens":
            return output[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid)
        return output.permute(0, 3, 1, 2) if self.layout == "channels last" else output

    def from_picture(self, picture: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Inverse of `to_picture`; the prefix tokens come from `output`."""
        if self.layout == "tokens":
            patches = picture.flatten(2).transpose(1, 2)
            return torch.cat([output[:, : self.prefix], patches], dim=1)
        # The clone keeps in-place activations after the layer away from what Grad-CAM stored.
        return picture.permute(0, 2, 3, 1) if self.layout == "channels last" else picture.clone()

    @contextmanager
    def tapped(self) -> Iterator[nn.Module]:
        """A module through which the picture flows while the context is open.

        Captum's Grad-CAM takes dimension 1 for the channels, which holds for convolutions only;
        looking at this module instead of the layer makes it right for every layout.
        """
        tap = nn.Identity()

        def through(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
            return self.from_picture(tap(self.to_picture(output)), output)

        handle = self.module.register_forward_hook(through)
        try:
            yield tap
        finally:
            handle.remove()


def find_cam_layer(model: nn.Module, example: torch.Tensor, name: str = "the network") -> CamLayer:
    """Layer for Grad-CAM, found by running one picture through the network.

    Vision transformers: the first norm of the last block, over the patch tokens; behind that block
    only the class token counts, so its patches have no gradient. Everything else: the module that
    finishes last among those whose output still has positions.

    Parameters
    ----------
    model:
        In evaluation mode.
    example:
        Shapes: (1, 3, S, S), normalised.

    Raises
    ------
    ClassifierError
        Nothing suitable; the message names another method.

    Source
    ------
    Selvaraju et al. 2017 (last convolution stage); for transformers the layer that the authors of
    the public grad-cam package found to work, ``blocks[-1].norm1``.
    """
    norm = _last_norm(model)
    if norm is not None:
        path = next(path for path, module in model.named_modules() if module is norm)
        shape = _output_shapes(model, example, {path: norm})[0][1]
        if len(shape) == 3:
            return _token_layer(model, path, norm, shape, name)
    # Parametrised layers hold modules whose output is a weight, which looks like a feature map;
    # inside an attention (images, heads, tokens, tokens) looks like one too.
    candidates = {
        path: module
        for path, module in model.named_modules()
        if path and "parametrizations" not in path.split(".") and not _in_attention(path)
    }
    finished = _output_shapes(model, example, candidates)
    features = _feature_count(model)
    for place in range(len(finished) - 1, -1, -1):
        path, shape = finished[place]
        if len(shape) != 4 or shape[0] != len(example):
            continue
        last = shape[3] == features and shape[1] != features
        grid = (shape[1], shape[2]) if last else (shape[2], shape[3])
        # The input is square, so a map that is not has other things than positions in it.
        if grid[0] != grid[1] or grid[0] < 2:
            continue
        if place < EARLY * len(finished):
            break
        layout = "channels last" if last else "channels first"
        return CamLayer(path, candidates[path], layout, grid)
    raise ClassifierError(NO_CAM_LAYER.format(name=name))


def _last_norm(model: nn.Module) -> nn.Module | None:
    """The first norm of the last transformer block, in front of its attention."""
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, (nn.Sequential, nn.ModuleList)) or not len(blocks):
        return None
    norm = getattr(blocks[-1], "norm1", None)
    return norm if isinstance(norm, nn.Module) else None


def _in_attention(path: str) -> bool:
    return any("attn" in part or "attention" in part for part in path.split("."))


def _token_layer(
    model: nn.Module, path: str, norm: nn.Module, shape: torch.Size, name: str
) -> CamLayer:
    """The patches of a token layer: their grid, and what stands in front of them."""
    tokens = shape[1]
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if grid is not None and 0 <= tokens - grid[0] * grid[1] <= MOST_PREFIX_TOKENS:
        rows, columns = int(grid[0]), int(grid[1])
        return CamLayer(path, norm, "tokens", (rows, columns), tokens - rows * columns)
    # No grid is stated, or the pictures have another size than the stated one.
    declared = getattr(model, "num_prefix_tokens", None)
    for prefix in (0, 1) if declared is None else (int(declared), 0):
        side = math.isqrt(max(tokens - prefix, 0))
        if side > 1 and side * side == tokens - prefix:
            return CamLayer(path, norm, "tokens", (side, side), prefix)
    raise ClassifierError(NO_GRID.format(name=name, tokens=tokens))


def _output_shapes(
    model: nn.Module, example: torch.Tensor, modules: dict[str, nn.Module]
) -> list[tuple[str, torch.Size]]:
    """Shape of each module's output, in the order in which they finish."""
    seen: list[tuple[str, torch.Size]] = []

    def note(path: str, _module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            seen.append((path, output.shape))

    with torch.no_grad(), hooked(modules, note):
        model(example)
    return seen or [("", torch.Size())]


def _feature_count(model: nn.Module) -> int | None:
    """Channels of the last stage as timm states them."""
    stages = getattr(model, "feature_info", None)
    if isinstance(stages, list) and stages:
        return stages[-1].get("num_chs")
    return getattr(model, "num_features", None)
