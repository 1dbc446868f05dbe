"""Batches for torch: normalising, augmenting, and index batches that hold every group."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional

from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import TrainingError

BATCH_TOO_SMALL = (
    "batch size {batch_size} is smaller than the number of groups ({count}: {groups}), so a batch "
    "cannot hold every group: choose at least {count}, or join groups"
)
DIFFERENT_LENGTHS = "there are {labels} labels but {groups} groups: both need one entry per image"
NO_IMAGES = "there is no image to train on"

#: Largest zoom (fraction of the side), shift (likewise), and change of brightness and contrast.
ZOOM, SHIFT, LIGHT, CONTRAST = 0.12, 0.06, 0.10, 0.10


def normalise(images: np.ndarray | torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Bytes to the classifier's input range.

    Shapes
    ------
    images (B, S, S, 3) uint8; returns (B, 3, S, S) float32, channels last in memory: on a CPU,
        MobileNetV2 trains about twice as fast that way, and the layers need no other change.
    """
    if isinstance(images, np.ndarray):
        # A copy: slices of a read-only memory map must not be shared with torch.
        images = torch.from_numpy(np.array(images))
    mean = torch.tensor(preprocessing.mean, device=images.device) * 255
    scale = 1 / (torch.tensor(preprocessing.std, device=images.device) * 255)
    floats = images.permute(0, 3, 1, 2).to(torch.float32)
    return ((floats - mean[:, None, None]) * scale[:, None, None]).contiguous(
        memory_format=torch.channels_last
    )


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random flips, quarter turns, small shift and zoom, mild brightness and contrast.

    Nothing here changes hue: skin tone is what is audited, so training must not blur it.

    Shapes
    ------
    images (B, S, S, 3) uint8, or (B, 3, S, S) float that was normalised; returns the same kind
    """
    count = len(images)
    if images.dtype == torch.uint8:
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)
        # Spread of ordinary picture values: gives brightness the same meaning for both kinds.
        unit = 64.0
    else:
        pixels, unit = images, 1.0
    draw = torch.rand(6, count, generator=generator)
    turn = torch.floor(draw[0] * 4) * (math.pi / 2)
    mirror = torch.where(draw[1] < 0.5, -1.0, 1.0)
    zoom = 1 - ZOOM * draw[2]
    cosine, sine = torch.cos(turn).round() * zoom, torch.sin(turn).round() * zoom
    shift = (draw[3:5] * 2 - 1) * 2 * SHIFT
    rows = torch.stack(
        [
            torch.stack([cosine * mirror, -sine, shift[0]], dim=1),
            torch.stack([sine * mirror, cosine, shift[1]], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(
        rows.to(pixels.device, pixels.dtype), list(pixels.shape), align_corners=False
    )
    moved = functional.grid_sample(
        pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    light = torch.rand(2, count, generator=generator).to(pixels.device, pixels.dtype) * 2 - 1
    centre = moved.mean(dim=(1, 2, 3), keepdim=True)
    contrast = 1 + CONTRAST * light[0, :, None, None, None]
    offset = LIGHT * unit * light[1, :, None, None, None]
    moved = (moved - centre) * contrast + centre + offset
    if images.dtype != torch.uint8:
        return moved
    return moved.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class GroupStratifiedBatches:
    """Index batches in which every group appears.

    Each group gets its natural share of a batch, but at least `minimum` places; what small groups
    get more, large groups get less. Within a group the classes are spread evenly over the epoch.
    An epoch is a function of seed and epoch number only, so that a resumed training goes on
    exactly as it would have.

    Parameters
    ----------
    labels : class of every image.
    groups : group of every image; "unknown" is a group like the others.
    batch_size : images per batch; the same for every batch.
    seed : of the order.
    minimum : places that each group has at least, as far as the batch size allows.

    Raises
    ------
    TrainingError
        `batch_size` is smaller than the number of groups.
    """

    def __init__(
        self,
        labels: Sequence[object] | np.ndarray,
        groups: Sequence[object] | np.ndarray,
        batch_size: int,
        seed: int,
        *,
        minimum: int = 1,
    ) -> None:
        if len(labels) != len(groups):
            raise TrainingError(DIFFERENT_LENGTHS.format(labels=len(labels), groups=len(groups)))
        if not len(labels):
            raise TrainingError(NO_IMAGES)
        self._labels = np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1)
        names, codes = np.unique(np.asarray(groups).astype(str), return_inverse=True)
        if batch_size < len(names):
            raise TrainingError(
                BATCH_TOO_SMALL.format(
                    batch_size=batch_size, count=len(names), groups=", ".join(names)
                )
            )
        self.batch_size = batch_size
        self._members = [np.flatnonzero(codes.reshape(-1) == code) for code in range(len(names))]
        self._seed = seed
        self._epoch = 0
        minimum = max(1, min(minimum, batch_size // len(names)))
        sizes = np.array([len(members) for members in self._members], dtype=float)
        self._quota = _quotas(sizes, batch_size, minimum)

    def __len__(self) -> int:
        """Batches per epoch."""
        return math.ceil(len(self._labels) / self.batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The next epoch: each iteration over the object is another one."""
        batches = self.epoch(self._epoch)
        self._epoch += 1
        return batches

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """Batches of epoch `number`. Shapes: each (batch_size,) int64."""
        rng = np.random.default_rng([self._seed, number])
        queues = [self._queue(members, rng) for members in self._members]
        owed = np.zeros(len(queues))
        for _ in range(len(self)):
            owed += self._quota
            counts = np.floor(owed + 1e-9).astype(int)
            counts = np.maximum(counts, 1)
            # Whole places only: the groups that are owed most get the rest.
            while counts.sum() < self.batch_size:
                counts[np.argmax(owed - counts)] += 1
            while counts.sum() > self.batch_size:
                spare = np.where(counts > 1, owed - counts, np.inf)
                counts[np.argmin(spare)] -= 1
            owed -= counts
            batch = [next(queue) for queue, n in zip(queues, counts, strict=True) for _ in range(n)]
            yield rng.permutation(np.array(batch, dtype=np.int64))

    def _queue(self, members: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
        """Members without end, every one once per round, classes spread evenly over the round."""
        labels = self._labels[members]
        while True:
            shuffled = rng.permutation(len(members))
            place = np.empty(len(members))
            for label in np.unique(labels):
                of_label = shuffled[labels[shuffled] == label]
                place[of_label] = (np.arange(len(of_label)) + rng.random()) / len(of_label)
            yield from members[np.argsort(place, kind="stable")].tolist()


def _quotas(sizes: np.ndarray, batch_size: int, minimum: int) -> np.ndarray:
    """Places per batch: proportional to size, at least `minimum`, adding up to `batch_size`."""
    quota = np.zeros(len(sizes))
    free = np.ones(len(sizes), dtype=bool)
    while True:
        left = batch_size - quota[~free].sum()
        quota[free] = left * sizes[free] / sizes[free].sum()
        small = free & (quota < minimum)
        if not small.any():
            return quota
        quota[small] = minimum
        free &= ~small
