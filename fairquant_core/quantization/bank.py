"""The small arithmetic of all quantisers in one go, once per training step.

A network has some fifty layers with a few hundred channels each. Computing ranges, neighbouring widths and shares layer
by layer costs more in calls than in arithmetic, so a step does it for all channels of the network together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fairquant_core.quantization.quantizer import FakeQuantizer, Prepared, mix_of


class QuantizerBank:
    """All quantisers of one network, perhaps none; they must share their menu.

    Parameters
    ----------
    quantizers
        By layer name.
    """

    def __init__(self, quantizers: dict[str, FakeQuantizer]) -> None:
        self.owners = list(quantizers.values())
        self.rows = [len(owner.log_clip) for owner in self.owners]
        self.units = [len(owner.bits) for owner in self.owners]
        sizes = [torch.full((len(q.bits),), float(q.weights_per_unit)) for q in self.owners]
        total = sum(float(size.sum()) for size in sizes)
        self.shares = torch.cat(sizes) / total if sizes else torch.zeros(0)

    def prepare(self, *, hardness: float) -> Tensor:
        """Hand every quantiser its ranges and mixture for one forward pass.

        Returns
        -------
        The average bits per weight, fractions counted as they are, with its gradient. Shapes: scalar.
        """
        clips = torch.cat([owner.log_clip for owner in self.owners]).exp().split(self.rows)
        bits = torch.cat([owner.bits for owner in self.owners])
        menu = self.owners[0].menu
        low, high, share = (part.split(self.units) for part in mix_of(bits, menu, hardness))
        for index, owner in enumerate(self.owners):
            owner.prepared = Prepared(clips[index], low[index], high[index], share[index])
        return bits.flatten() @ self.shares

    def average(self) -> Tensor:
        """Average bits per weight, fractions counted as they are. Shapes: scalar."""
        return torch.cat([owner.bits for owner in self.owners]).flatten() @ self.shares

    @torch.no_grad()
    def keep_in_menu(self) -> None:
        """Put bits that the optimiser pushed beyond the menu back to its ends."""
        menu = self.owners[0].menu
        bits: list[Tensor] = [owner.bits for owner in self.owners]
        torch._foreach_clamp_min_(bits, float(menu[0]))
        torch._foreach_clamp_max_(bits, float(menu[-1]))

    def release(self) -> None:
        """Forget what was prepared, also for layers that the forward pass did not use."""
        for owner in self.owners:
            owner.prepared = None
