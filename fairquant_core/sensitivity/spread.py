"""How far a predicted sensitivity may be off: a bootstrap over the batches it was computed from."""

from __future__ import annotations

import numpy as np

RESAMPLES = 1000


def batch_spread(
    sums: np.ndarray, sizes: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES
) -> np.ndarray:
    """How far below and above a mean per image its 95 % interval reaches.

    Whole batches are drawn with replacement, so the interval covers the choice of the images and the random
    signs of the estimate. Batches of one image give the ordinary bootstrap over images. With few batches
    the percentile interval is somewhat too narrow (by a factor of about ``sqrt(1 - 1 / J)``).

    Shapes: ``sums`` (J, L, B) sums over the images of each of J batches, ``sizes`` (J,) -> (2, L, B); not a number with
    a single batch.
    """
    if len(sizes) < 2:
        return np.full((2, *sums.shape[1:]), np.nan)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=resamples)
    means = np.tensordot(drawn, sums, axes=1) / (drawn @ sizes)[:, None, None]
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    estimate = sums.sum(axis=0) / sizes.sum()
    return np.maximum(np.stack([estimate - low, high - estimate]), 0.0)
