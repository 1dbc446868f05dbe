"""The small arithmetic of all quantisers in one go, once per training step.

A network has some fifty layers with a few hundred channels each. Computing ranges, neighbouring widths and shares layer
by layer costs more in calls than in arithmetic, so a step does it for all channels of the network together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fairquant_core.quantization.plan import PRUNED
from fairquant_core.quantization.quantizer import FakeQuantizer, Grid, Prepared, grid_of, mix_of


class QuantizerBank:
    """All quantisers of one network, perhaps none; each has its own menu, a pinned layer a single width.

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
        self.menus = self._menus()
        self.unit_of_row = self._unit_of_row()
        self.lowest = list(self.menus[:, :1].split(self.units))
        self.highest = list(self.menus[:, -1:].split(self.units))

    def _menus(self) -> Tensor:
        """The widths that each unit may learn, short menus filled up with their last. Shapes: (U, widths).

        What is left out at the start stays out, and nothing else is left out: the mixture of a rounding and
        nothing is like neither, and the classifier falls apart on the way (2 bits: 19 % of validation images right
        after the first epoch and 48.5 % in the end, instead of 34 and 49.8; Fitzpatrick17k, MobileNetV2, means of
        three classifiers with a split each).
        """
        longest = max((len(owner.menu) for owner in self.owners), default=1)
        rows = []
        for owner in self.owners:
            kept = owner.menu[owner.menu != PRUNED]
            kept = kept if len(kept) else owner.menu
            filled = torch.cat([kept, kept[-1:].expand(longest - len(kept))])
            left_out = owner.bits.detach() == PRUNED
            rows.append(torch.where(left_out, torch.zeros(()), filled))
        return torch.cat(rows) if rows else torch.zeros(0, 1)

    def _unit_of_row(self) -> Tensor:
        """The unit of every output channel, counted through all layers. Shapes: (rows,)."""
        units = torch.arange(len(self.menus)).split(self.units) if self.owners else ()
        parts = [unit.expand(row) for unit, row in zip(units, self.rows, strict=True)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)

    def prepare(self, *, hardness: float) -> Tensor:
        """Hand every quantiser its ranges and mixture for one forward pass.

        Returns
        -------
        The average bits per weight, fractions counted as they are, with its gradient. Shapes: scalar.
        """
        clip = torch.cat([owner.log_clip for owner in self.owners]).exp()
        bits = torch.cat([owner.bits for owner in self.owners])
        low, high, share = (part[self.unit_of_row] for part in mix_of(bits, self.menus, hardness))
        clips, mixes = clip.split(self.rows), share.split(self.rows)
        coarse, fine = (self._by_layer(grid_of(clip, steps)) for steps in (low, high))
        for index, owner in enumerate(self.owners):
            owner.prepared = Prepared(clips[index], coarse[index], fine[index], mixes[index])
        return bits.flatten() @ self.shares

    def _by_layer(self, grid: Grid) -> list[Grid]:
        return [
            Grid(*parts) for parts in zip(*(part.split(self.rows) for part in grid), strict=True)
        ]

    def average(self) -> Tensor:
        """Average bits per weight, fractions counted as they are. Shapes: scalar."""
        return torch.cat([owner.bits for owner in self.owners]).flatten() @ self.shares

    @torch.no_grad()
    def keep_in_menu(self) -> None:
        """Put bits that the optimiser pushed beyond their menu back to its ends."""
        bits: list[Tensor] = [owner.bits for owner in self.owners]
        torch._foreach_maximum_(bits, self.lowest)
        torch._foreach_minimum_(bits, self.highest)

    def release(self) -> None:
        """Forget what was prepared, also for layers that the forward pass did not use."""
        for owner in self.owners:
            owner.prepared = None
