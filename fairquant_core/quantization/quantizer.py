"""The fake quantiser: the learnable range and bits of one layer, attached to its weight.

Source: FairQuant (Woergaard & Selvan, arXiv 2602.23192) for learnable widths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fairquant_core.quantization.catalogue import MENU
from fairquant_core.quantization.codes import grid_of, levels, quantise
from fairquant_core.quantization.ranges import best_clip
from fairquant_core.quantization.straight_through import Mixture, rounded


class FakeQuantizer(nn.Module):
    """Attached to one layer's weight by ``torch.nn.utils.parametrize``; also the owner of its bits.

    Parameters
    ----------
    weight
        The layer's weight, first dimension = output channels.
    bits
        Widths at the start: one per channel, or a single one for the whole layer.
    clip
        How the range at the start is found; the one of least squared error by default.

    Shapes: ``log_clip`` and ``sign`` (C, 1); ``bits`` (C, 1) or (1, 1). Units: bits per weight.
    """

    menu: Tensor
    sign: Tensor
    bits: nn.Parameter
    log_clip: nn.Parameter

    def __init__(
        self,
        weight: Tensor,
        bits: Tensor,
        menu: tuple[int, ...] = MENU,
        clip: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        flat = weight.detach().flatten(1)
        bits = bits.detach().float().reshape(-1, 1)
        self.register_buffer("menu", torch.tensor(sorted(menu), dtype=torch.float32))
        self.bits = nn.Parameter(bits.clone())
        ranges = (clip or best_clip)(flat, bits.expand(len(flat), 1))
        self.register_buffer("sign", ranges.sign())
        self.log_clip = nn.Parameter(ranges.abs().log())
        self.weights_per_unit = flat.shape[1] * (len(flat) // len(bits))
        self.prepared: Tensor | None = None

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **options: Any
    ) -> None:
        """A training that was begun before ranges had signs goes on with what it had."""
        state_dict.setdefault(f"{prefix}sign", torch.ones_like(self.sign))
        super()._load_from_state_dict(state_dict, prefix, *rest, **options)

    @property
    def clip(self) -> Tensor:
        """The range of every channel, negative where its sign says so. Shapes: (C, 1)."""
        return self.sign * self.log_clip.exp()

    def whole_bits(self) -> Tensor:
        """The width of the menu nearest to each unit's bits. Shapes: as ``bits``."""
        distance = (self.bits.detach() - self.menu).abs()
        return self.menu[distance.argmin(1)].unsqueeze(1)

    def forward(self, weight: Tensor) -> Tensor:
        """The quantised weight, same shape as ``weight``.

        The one that was prepared for this pass, together with those of all layers; without one, ``weight`` rounded
        to the whole widths.
        """
        ready, self.prepared = self.prepared, None
        if ready is not None:
            return ready
        clip = self.clip
        steps = levels(self.whole_bits()).expand(len(clip), 1)
        return rounded((weight,), Mixture(clip, grid_of(clip, steps)))[0]

    @torch.no_grad()
    def codes(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes, scale and width of every channel, as they are exported.

        Shapes: int8 (C, K), float32 (C,), uint8 (C,).
        """
        flat = weight.detach().flatten(1)
        bits = self.whole_bits().expand(len(flat), 1)
        codes, scale = quantise(flat, self.clip, bits)
        return codes.to(torch.int8), scale.flatten(), bits.flatten().to(torch.uint8)


def quantizers(model: nn.Module) -> dict[str, FakeQuantizer]:
    """The attached quantisers by layer name, in the network's order."""
    return {
        name: module.parametrizations.weight[0]
        for name, module in model.named_modules()
        if parametrize.is_parametrized(module, "weight")
        and isinstance(module.parametrizations.weight[0], FakeQuantizer)
    }
