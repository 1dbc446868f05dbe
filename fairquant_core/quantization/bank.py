"""All quantisers of a network in one go, once per training step.

A network has some fifty layers with a few hundred channels each. Computing ranges, neighbouring widths and shares layer
by layer costs more in calls than in arithmetic, so a step does it for all channels of the network together, and rounds
all weights as one node of the graph.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fairquant_core.quantization.codes import Grid, grid_of, levels
from fairquant_core.quantization.layers import original_weight
from fairquant_core.quantization.plan import PRUNED
from fairquant_core.quantization.projection import project
from fairquant_core.quantization.quantizer import quantizers
from fairquant_core.quantization.straight_through import Mixture, rounded


class QuantizerBank:
    """All quantisers of one network, perhaps none; each has its own menu, a pinned layer a single width."""

    def __init__(self, model: nn.Module) -> None:
        found = quantizers(model)
        self.owners = list(found.values())
        self.weights = [original_weight(model.get_submodule(name)) for name in found]
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

    def prepare(self, hardness: float | None) -> Tensor:
        """Round the weights of all layers and hand them to their quantisers for one forward pass.

        Parameters
        ----------
        hardness
            Of the mixture while the widths are learned; ``None`` for the whole widths.

        Returns
        -------
        The average bits per weight, fractions counted as they are, with its gradient. Shapes: scalar.
        """
        if not self.owners:
            return self.average()
        signs = torch.cat([owner.sign for owner in self.owners])
        clip = torch.cat([owner.log_clip for owner in self.owners]).exp() * signs
        if hardness is None:
            mixture = Mixture(clip, self._grid(clip, levels(self.whole_bits())))
        else:
            low, high, share = mix_of(self._bits(), self.menus, hardness)
            grids = self._grid(clip, low), self._grid(clip, high)
            mixture = Mixture(clip, *grids, share[self.unit_of_row])
        found = rounded(self.weights, mixture)
        for owner, weight in zip(self.owners, found, strict=True):
            owner.prepared = weight
        return self.average()

    def _bits(self) -> Tensor:
        """The bits of every unit of all layers. Shapes: (U, 1)."""
        return torch.cat([owner.bits for owner in self.owners]) if self.owners else self.menus

    @torch.no_grad()
    def whole_bits(self) -> Tensor:
        """The width of its menu nearest to each unit's bits. Shapes: (U, 1), or (0, 1)."""
        if not self.owners:
            return self.menus
        nearest = (self._bits() - self.menus).abs_().argmin(1, keepdim=True)
        return self.menus.gather(1, nearest)

    def _grid(self, clip: Tensor, steps: Tensor) -> Grid[Tensor]:
        """The grid of every output channel. Shapes: ``steps`` (U, 1)."""
        return grid_of(clip, steps[self.unit_of_row])

    def average(self) -> Tensor:
        """Average bits per weight, fractions counted as they are. Shapes: scalar."""
        return self._bits().flatten() @ self.shares

    @torch.no_grad()
    def settle(self, budget: float) -> None:
        """Move the learned widths to whole ones within the budget. Units: bits per weight."""
        bits = self._bits().flatten().double().numpy()
        weights = np.repeat([owner.weights_per_unit for owner in self.owners], self.units)
        chosen = project(bits, weights.astype(float), budget, self.menus.numpy().astype(int))
        widths = torch.as_tensor(chosen, dtype=torch.float32).unsqueeze(1).split(self.units)
        for owner, own in zip(self.owners, widths, strict=True):
            owner.bits.copy_(own)

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


def mix_of(bits: Tensor, menus: Tensor, hardness: float) -> tuple[Tensor, Tensor, Tensor]:
    """Steps of the two widths of its menu around each unit's bits, and the share of the upper one.

    The share is steepened by ``hardness`` around one half, so that the mixture settles gradually.

    Shapes: ``bits`` (U, 1), ``menus`` (U, widths), rising, short menus filled up with their last width; all
    three results (U, 1).
    """
    if menus.shape[1] == 1:
        only = levels(menus)
        return only, only, torch.zeros_like(bits)
    index = (bits.detach() >= menus).sum(1, keepdim=True).sub_(1).clamp_(0, menus.shape[1] - 2)
    low, high = menus.gather(1, index), menus.gather(1, index + 1)
    # Where a short menu ends both widths are the last one.
    share = (bits - low) / (high - low).clamp_(min=1)
    if hardness != 1:
        share = (share - 0.5) * hardness + 0.5
    return levels(low), levels(high), share.clamp(0, 1)
