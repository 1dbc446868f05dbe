"""The one training loop: full precision, quantisation-aware, and with learned bit-widths.

Schedule with learned bits: the widths move during the first half of the training, mixed ever more steeply
towards whole widths, and are then projected onto the exact budget; the second half trains weights and
ranges for the widths that were found. Source: METHOD 4; the gentle, annealed schedule is what won there.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairquant_core.data.batches import GroupStratifiedBatches, augment, normalise
from fairquant_core.data.training_data import TrainingData
from fairquant_core.errors import Cancelled, TrainingError
from fairquant_core.files import atomic_path
from fairquant_core.models.zoo import Classifier
from fairquant_core.progress import Progress, Report
from fairquant_core.quantization.bank import QuantizerBank
from fairquant_core.quantization.quantizer import quantizers
from fairquant_core.training.norms import reestimate_norms
from fairquant_core.training.objective import (
    FairnessTerm,
    RateTerm,
    image_losses,
)
from fairquant_core.training.validation import validation_figures

HARDEST = 8.0
"""Steepness of the mixture when the widths are settled; at 1 it is the plain interpolation."""

REPORT_EVERY_SECONDS = 0.7
NOT_FINITE = (
    "Training stopped: the loss is not a number in epoch {epoch}. A smaller learning rate usually helps; "
    "nothing was saved from this epoch."
)
NO_TRAINING_IMAGES = "The train split holds no image, so nothing can be trained."


@dataclass(frozen=True)
class Schedule:
    """How long, how fast, and with which terms.

    Parameters
    ----------
    budget
        Average bits to hold while bits are learned; ``None`` for full precision and fixed widths.
    learning_share
        Share of the steps in which the widths move.
    keep_best
        Go back to the epoch that was best on the validation split.
    fitting_norms
        Re-estimate the batch norms after the last step. They keep learning until then: with statistics that are
        frozen from the middle on, or from the start, the validation loss ended at 2.11 and 3.42 instead of 1.87
        (METHOD 4 asks; Fitzpatrick17k, MobileNetV2, 2.5 bits, one classifier).
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    weight_decay: float = 1e-4
    warm_up: float = 0.05
    clip_learning_rate: float = 0.01
    bit_learning_rate: float = 0.0
    budget: float | None = None
    learning_share: float = 0.5
    fairness: str = "none"
    fairness_weight: float = 0.0
    keep_best: bool = False
    fitting_norms: bool = False


def train(
    classifier: Classifier,
    data: TrainingData,
    schedule: Schedule,
    *,
    teacher: Classifier | None = None,
    checkpoint: Path | None = None,
    report: Report | None = None,
    cancel: Callable[[], bool] | None = None,
) -> list[dict[str, Any]]:
    """Train in place; returns one row of figures per epoch, the start as epoch 0.

    Quantisers that are attached to the classifier are trained with it. With ``checkpoint`` the state is saved
    after every epoch and training continues from there when called again with the same arguments.

    Raises
    ------
    TrainingError
        Empty train split, a batch smaller than the number of groups, or a loss that is not a number.
    Cancelled
        When ``cancel()`` says so; the last checkpoint stays.
    """
    loop = TrainingLoop(classifier, data, schedule, teacher)
    if checkpoint and checkpoint.exists():
        history = loop.restore(checkpoint)
    else:
        # Epoch 0: where it starts, so that the trajectories show what training changed.
        history = [loop.evaluate(0, None)]
        if report:
            message = "Before the first epoch"
            report(Progress("training", 0, schedule.epochs, message, None, history[0]))
    started, first = time.monotonic(), len(history) - 1
    spoken = 0.0
    for epoch in range(first, schedule.epochs):
        torch.manual_seed(schedule.seed * 1000 + epoch)
        losses: list[float] = []
        for index, batch in enumerate(loop.batches(epoch)):
            if cancel and cancel():
                raise Cancelled(f"Cancelled in epoch {epoch + 1} of {schedule.epochs}.")
            losses.append(loop.step(batch, epoch, index))
            now = time.monotonic()
            if report and now - spoken > REPORT_EVERY_SECONDS:
                spoken = now
                share = (epoch - first + (index + 1) / loop.steps_per_epoch) / (
                    schedule.epochs - first
                )
                report(
                    Progress(
                        "training",
                        epoch + 1,
                        schedule.epochs,
                        f"Epoch {epoch + 1} of {schedule.epochs}",
                        (now - started) * (1 - share) / share,
                        {
                            "loss": float(np.mean(losses[-20:])),
                            "average_bits": loop.bits_now(),
                            "epoch_share": (index + 1) / loop.steps_per_epoch,
                        },
                    )
                )
        if schedule.fitting_norms and epoch + 1 == schedule.epochs:
            reestimate_norms(classifier, data.images, loop.train_positions, seed=schedule.seed)
        figures = loop.evaluate(epoch + 1, float(np.mean(losses)))
        history.append(figures)
        if checkpoint:
            loop.save(checkpoint, history)
        if report:
            left = (time.monotonic() - started) / (epoch + 1 - first)
            report(
                Progress(
                    "training",
                    epoch + 1,
                    schedule.epochs,
                    f"Epoch {epoch + 1} of {schedule.epochs} done",
                    left * (schedule.epochs - epoch - 1),
                    figures,
                )
            )
    loop.finish()
    return history


class TrainingLoop:
    """State of one training: model, optimiser, terms; knows how to take a step and to be saved."""

    def __init__(
        self,
        classifier: Classifier,
        data: TrainingData,
        schedule: Schedule,
        teacher: Classifier | None,
    ) -> None:
        self.classifier, self.model, self.data = classifier, classifier.model, data
        self.schedule = schedule
        self.teacher = teacher.model.eval() if teacher else None
        self.train_positions = data.positions("train")
        if not len(self.train_positions):
            raise TrainingError(NO_TRAINING_IMAGES)
        self.names = data.group_names
        code = {name: index for index, name in enumerate(self.names)}
        self.group_codes = np.array([code.get(group, -1) for group in data.groups])
        self.quantizers = quantizers(self.model)
        self.steps_per_epoch = len(self.batches(0))
        self.steps = self.steps_per_epoch * schedule.epochs
        learn = schedule.budget is not None and schedule.bit_learning_rate > 0
        self.learning_steps = max(1, round(schedule.learning_share * self.steps)) if learn else 0
        self.done = 0
        self.fairness = FairnessTerm(schedule.fairness, len(self.names))
        self.rate = RateTerm(schedule.budget or 0.0)
        self.optimiser = self._optimiser()
        self.best: tuple[float, dict[str, Tensor]] | None = None
        self.bank = QuantizerBank(self.model)
        self.planned = self.bank.whole_bits()

    def _optimiser(self) -> torch.optim.Optimizer:
        clips = [quantizer.log_clip for quantizer in self.quantizers.values()]
        bits = [quantizer.bits for quantizer in self.quantizers.values()]
        special = {id(parameter) for parameter in clips + bits}
        rest = [p for p in self.model.parameters() if id(p) not in special and p.requires_grad]
        decayed = [p for p in rest if p.ndim > 1]
        plain = [p for p in rest if p.ndim <= 1]
        rate, decay = self.schedule.learning_rate, self.schedule.weight_decay
        groups: list[dict[str, Any]] = [
            {"params": decayed, "lr": rate, "weight_decay": decay, "name": "weights"},
            {"params": plain, "lr": rate, "name": "weights"},
            {"params": clips, "lr": self.schedule.clip_learning_rate, "name": "clips"},
            {"params": bits, "lr": self.schedule.bit_learning_rate, "name": "bits"},
        ]
        for group in groups:
            group["base"] = group["lr"]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]], weight_decay=0.0, fused=True
        )

    @property
    def learning(self) -> bool:
        return self.done < self.learning_steps

    def batches(self, epoch: int) -> GroupStratifiedBatches:
        return GroupStratifiedBatches(
            self.data.labels[self.train_positions],
            self.data.groups.to_numpy()[self.train_positions],
            min(self.schedule.batch_size, max(2, len(self.train_positions))),
            seed=self.schedule.seed * 1000 + epoch,
        )

    def step(self, batch: np.ndarray, epoch: int, index: int) -> float:
        positions = self.train_positions[batch]
        generator = torch.Generator().manual_seed(
            (self.schedule.seed * 1000 + epoch) * 100_000 + index
        )
        pixels = augment(torch.from_numpy(self.data.images[positions]), generator)
        inputs = normalise(pixels, self.classifier.preprocessing)
        labels = torch.as_tensor(self.data.labels[positions], dtype=torch.long)
        groups = torch.as_tensor(self.group_codes[positions])
        self._set_rates()
        self.model.train()
        guide = None
        if self.teacher is not None:
            with torch.no_grad():
                guide = self.teacher(inputs).float()
        average = self.bank.prepare(self._hardness() if self.learning else None)
        losses = image_losses(self.model(inputs).float(), labels, guide)
        loss = losses.mean()
        if self.schedule.fairness_weight:
            loss = loss + self.schedule.fairness_weight * self.fairness(losses, groups)
        if self.learning:
            loss = loss + self.rate(average)
        if not math.isfinite(float(loss.detach())):
            raise TrainingError(NOT_FINITE.format(epoch=epoch + 1))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.bank.release()
        if self.learning:
            self.bank.keep_in_menu()
        self.done += 1
        if self.learning_steps and self.done == self.learning_steps:
            assert self.schedule.budget is not None
            self.bank.settle(self.schedule.budget)
        return float(losses.mean().detach())

    def _set_rates(self) -> None:
        """Cosine decay after a short warm-up; the widths anneal within their own, shorter phase."""
        total, warm = self.steps, max(1, round(self.schedule.warm_up * self.steps))
        factor = min((self.done + 1) / warm, 0.5 * (1 + math.cos(math.pi * self.done / total)))
        progress = min(1.0, self.done / max(1, self.learning_steps))
        for group in self.optimiser.param_groups:
            if group["name"] == "bits":
                group["lr"] = group["base"] * 0.5 * (1 + math.cos(math.pi * progress))
            else:
                group["lr"] = group["base"] * factor

    def _hardness(self) -> float:
        """Plain interpolation in the first half of the learning phase, ever steeper in the second."""
        return HARDEST ** max(0.0, 2 * self.done / self.learning_steps - 1)

    def bits_now(self) -> float | None:
        """Average bits per weight, fractions counted as they are; None in full precision."""
        return float(self.bank.average().detach()) if self.quantizers else None

    def evaluate(self, epoch: int, loss: float | None) -> dict[str, Any]:
        """Loss and accuracy on the validation split, overall and per group, and the widths now.

        ``widths_moved`` is the share of the units whose whole width is no longer the planned one. Widths that
        are still being learned are rounded for it.
        """
        moved = self.bank.whole_bits() != self.planned
        figures: dict[str, Any] = {
            "epoch": epoch,
            "epochs": self.schedule.epochs,
            "loss": loss,
            "average_bits": self.bits_now(),
            "widths_moved": float(moved.float().mean()) if len(moved) else None,
            "bits_by_layer": {
                name: float(quantizer.bits.detach().mean())
                for name, quantizer in self.quantizers.items()
            },
            **validation_figures(self.classifier, self.data),
        }
        if self.schedule.keep_best and "accuracy" in figures:
            score = figures["accuracy"] - 1e-3 * figures["validation_loss"]
            if self.best is None or score > self.best[0]:
                self.best = (score, copy.deepcopy(self.model.state_dict()))
        return figures

    def finish(self) -> None:
        """Go back to the best epoch on the validation split where that was asked for."""
        if self.best is not None:
            self.model.load_state_dict(self.best[1])
        self.model.eval()

    def save(self, path: Path, history: list[dict[str, Any]]) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
            "multiplier": self.rate.multiplier,
            "running": self.fairness.running,
            "best": list(self.best) if self.best else None,
            "history": history,
        }
        with atomic_path(path) as part:
            torch.save(state, part)

    def restore(self, path: Path) -> list[dict[str, Any]]:
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.done, self.rate.multiplier = state["done"], state["multiplier"]
        self.fairness.running = state["running"]
        self.best = tuple(state["best"]) if state["best"] else None
        return state["history"]
