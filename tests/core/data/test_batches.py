from __future__ import annotations

import numpy as np
import pytest
import torch

from fairquant_core.data import batches as module
from fairquant_core.data.batches import GroupStratifiedBatches, augment, normalise
from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import TrainingError

PREPROCESSING = Preprocessing(16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def pixels(count: int = 6, side: int = 16) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_normalise_is_the_textbook_formula() -> None:
    images = pixels()
    result = normalise(images, PREPROCESSING)
    expected = (images / 255 - np.array(PREPROCESSING.mean)) / np.array(PREPROCESSING.std)
    assert result.shape == (6, 3, 16, 16)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)
    assert torch.equal(result, normalise(torch.from_numpy(images), PREPROCESSING))


def test_normalise_leaves_a_memory_map_alone() -> None:
    images = pixels()
    images.flags.writeable = False
    before = images.copy()
    normalise(images, PREPROCESSING).add_(1)
    assert np.array_equal(images, before)


def test_augment_follows_its_generator() -> None:
    images = torch.from_numpy(pixels())
    first, again, other = (
        augment(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert first.dtype == torch.uint8


def test_augment_gives_all_eight_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZOOM", "SHIFT", "LIGHT", "CONTRAST"):
        monkeypatch.setattr(module, name, 0.0)
    image = torch.from_numpy(pixels(1))
    moved = augment(image.expand(200, -1, -1, -1), torch.Generator().manual_seed(0))
    positions = [
        torch.rot90(side, turns, dims=(0, 1))
        for side in (image[0], image[0].flip(1))
        for turns in range(4)
    ]
    found = [[torch.equal(one, position) for position in positions] for one in moved]
    assert all(sum(row) == 1 for row in found)
    assert np.array(found).any(axis=0).all()


def test_augment_changes_brightness_mildly_and_never_hue() -> None:
    grey = torch.full((50, 16, 16, 3), 120, dtype=torch.uint8)
    moved = augment(grey, torch.Generator().manual_seed(0))
    assert (moved.amax(dim=3) == moved.amin(dim=3)).all()
    assert int(moved.min()) >= 108
    assert int(moved.max()) <= 132
    assert moved.unique().numel() > 5


def test_augment_takes_normalised_floats_too() -> None:
    floats = normalise(pixels(), PREPROCESSING)
    moved = augment(floats, torch.Generator().manual_seed(0))
    assert moved.shape == floats.shape
    assert moved.dtype == torch.float32
    assert torch.isfinite(moved).all()


GROUPS = np.array(["light"] * 400 + ["medium"] * 90 + ["dark"] * 7 + ["unknown"] * 3)
LABELS = np.arange(500) % 5


@pytest.mark.parametrize("batch_size", [4, 5, 8, 16, 33])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_batch_holds_every_group(batch_size: int, seed: int) -> None:
    batches = GroupStratifiedBatches(LABELS, GROUPS, batch_size, seed)
    epoch = list(batches)
    assert len(epoch) == len(batches) == -(-500 // batch_size)
    for batch in epoch:
        assert len(batch) == batch_size
        assert set(GROUPS[batch]) == {"light", "medium", "dark", "unknown"}


def test_large_groups_are_seen_in_proportion() -> None:
    seen = np.concatenate(list(GroupStratifiedBatches(LABELS, GROUPS, 20, 0)))
    # Two of twenty places are reserved for the two small groups.
    assert np.isin(GROUPS[seen], ["dark", "unknown"]).mean() == pytest.approx(0.10, abs=0.01)
    light, medium = (np.sum(GROUPS[seen] == group) for group in ("light", "medium"))
    assert light / medium == pytest.approx(400 / 90, rel=0.05)
    assert np.bincount(seen, minlength=500)[:490].max() == 1


def test_small_groups_are_drawn_again_evenly() -> None:
    seen = np.concatenate(list(GroupStratifiedBatches(LABELS, GROUPS, 20, 0)))
    times = np.bincount(seen, minlength=500)[490:497]
    assert times.max() - times.min() <= 1
    assert times.min() >= 3


def test_equal_groups_see_every_image_once() -> None:
    groups = ["a", "b"] * 50
    seen = np.concatenate(list(GroupStratifiedBatches([0] * 100, groups, 10, 0)))
    assert sorted(seen) == list(range(100))


def test_classes_are_spread_over_the_epoch() -> None:
    labels = np.array([0] * 80 + [1] * 20)
    for batch in GroupStratifiedBatches(labels, ["a"] * 100, 20, 0):
        assert 3 <= np.sum(labels[batch] == 1) <= 5


def test_minimum_places() -> None:
    batches = GroupStratifiedBatches(LABELS, GROUPS, 32, 0, minimum=4)
    for batch in batches:
        assert min(np.sum(GROUPS[batch] == group) for group in set(GROUPS)) >= 4


def test_an_epoch_depends_on_seed_and_number_only() -> None:
    first = GroupStratifiedBatches(LABELS, GROUPS, 16, 3)
    two_epochs = [list(first), list(first)]
    resumed = list(GroupStratifiedBatches(LABELS, GROUPS, 16, 3).epoch(1))
    assert all(np.array_equal(a, b) for a, b in zip(two_epochs[1], resumed, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(*two_epochs, strict=True))
    other = list(GroupStratifiedBatches(LABELS, GROUPS, 16, 4))
    assert any(not np.array_equal(a, b) for a, b in zip(two_epochs[0], other, strict=True))


def test_too_small_a_batch_names_the_groups() -> None:
    with pytest.raises(TrainingError) as caught:
        GroupStratifiedBatches(LABELS, GROUPS, 3, 0)
    assert str(caught.value) == module.BATCH_TOO_SMALL.format(
        batch_size=3, count=4, groups="dark, light, medium, unknown"
    )


def test_labels_and_groups_must_fit() -> None:
    with pytest.raises(TrainingError, match="3 labels but 2 groups"):
        GroupStratifiedBatches([1, 2, 3], ["a", "b"], 4, 0)
    with pytest.raises(TrainingError, match="no image to train on"):
        GroupStratifiedBatches([], [], 4, 0)


def test_fewer_images_than_a_batch() -> None:
    (batch,) = GroupStratifiedBatches([0, 1, 0], ["a", "a", "b"], 8, 0)
    assert len(batch) == 8
    assert set(batch) == {0, 1, 2}
