"""What training minimises: the task, fidelity to the full-precision classifier, fairness, and the bit rate."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

TEMPERATURE = 2.0
"""Softening of the logits in distillation (Hinton et al., arXiv 1503.02531)."""

DISTILLATION_SHARE = 0.5
"""Share of the distillation loss in the loss of an image; the rest is cross-entropy with the label."""

MEMORY = 0.9
"""Running means of group losses keep this share: single batches hold few images of a small group."""

FOCUS = 2.0
"""How strongly the group weights follow the running group losses (units: per nat)."""


def image_losses(logits: Tensor, labels: Tensor, teacher: Tensor | None = None) -> Tensor:
    """Loss of every image: cross-entropy, mixed with distillation where a teacher's logits are given.

    Shapes: ``logits`` and ``teacher`` (N, C), ``labels`` (N,) -> (N,). Units: nats.
    """
    losses = functional.cross_entropy(logits, labels, reduction="none")
    if teacher is None:
        return losses
    student = functional.log_softmax(logits / TEMPERATURE, dim=1)
    target = functional.log_softmax(teacher / TEMPERATURE, dim=1)
    divergence = functional.kl_div(student, target, log_target=True, reduction="none").sum(1)
    return torch.lerp(losses, TEMPERATURE**2 * divergence, DISTILLATION_SHARE)


def group_means(losses: Tensor, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean loss of every group, and whether the batch holds it at all.

    Groups are 0..count-1; -1 is the unknown group and belongs to none.

    Shapes: ``losses`` and ``groups`` (N,) -> (count,), (count,).
    """
    known = groups >= 0
    index = groups[known]
    sums = torch.zeros(count).index_add(0, index, losses[known])
    sizes = torch.bincount(index, minlength=count)
    return sums / sizes.clamp(min=1), sizes > 0


@dataclass
class FairnessTerm:
    """Joins the losses of the groups into one number that grows when a group is served worse.

    ``gap``: ``max_g L_g - min_g L_g`` (FairQuant, arXiv 2602.23192). ``worst``: ``sum_g q_g L_g`` with
    ``q_g`` proportional to ``exp(focus * running mean of L_g)``, the soft form of the worst group, after group
    distributionally robust optimisation (Sagawa et al., ICLR 2020).
    """

    kind: str
    count: int
    running: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.running = torch.full((self.count,), float("nan"))

    def __call__(self, losses: Tensor, groups: Tensor) -> Tensor:
        """Shapes: (N,), (N,) -> scalar. Units: nats."""
        means, present = group_means(losses, groups, self.count)
        if self.kind == "none" or not bool(present.any()):
            return losses.new_zeros(())
        if self.kind == "gap":
            return means[present].max() - means[present].min()
        now = means.detach()
        fresh = present & self.running.isnan()
        self.running[fresh] = now[fresh]
        old = present & ~fresh
        self.running[old] = torch.lerp(now[old], self.running[old], MEMORY)
        weights = torch.softmax(FOCUS * self.running[present], 0)
        return (weights * means[present]).sum()


@dataclass
class RateTerm:
    """Augmented Lagrangian that holds the average bits at the budget while widths are learned.

    ``multiplier * h + stiffness / 2 * h^2`` with ``h = average bits - budget``; after each step the multiplier
    moves by ``gain * h``. Units: nats per bit.
    """

    budget: float
    stiffness: float = 2.0
    gain: float = 0.2
    multiplier: float = 0.0

    def __call__(self, average: Tensor) -> Tensor:
        """The term for the average bits of this step."""
        excess = average - self.budget
        term = self.multiplier * excess + 0.5 * self.stiffness * excess.square()
        self.multiplier += self.gain * float(excess.detach())
        return term
