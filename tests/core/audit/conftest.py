"""Predictions tables made of decisions, so that every expected figure can be counted by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from fairquant_core.audit.predictions import Predictions

CLASSES = ("melanoma", "nevus", "keratosis")
MakePredictions = Callable[..., Predictions]


def one_hot(labels: Sequence[str], classes: Sequence[str] = CLASSES) -> np.ndarray:
    """Probability 0.8 on the named class, the rest shared. Shapes: (N, C)."""
    codes = [list(classes).index(label) for label in labels]
    if len(classes) == 1:
        return np.ones((len(codes), 1), np.float32)
    values = np.full((len(codes), len(classes)), 0.2 / (len(classes) - 1))
    values[np.arange(len(codes)), codes] = 0.8
    return values.astype(np.float32)


@pytest.fixture
def make_predictions() -> MakePredictions:
    """Factory: labels, groups (raw text) and the decisions of each model."""

    def make(
        labels: Sequence[str],
        groups: Sequence[str],
        classes: Sequence[str] = CLASSES,
        clusters: Sequence[str] | None = None,
        split: Sequence[str] | str = "audit",
        **decisions: Sequence[str],
    ) -> Predictions:
        ids = [f"image {index}" for index in range(len(labels))]
        table = pd.DataFrame(
            {
                "id": ids,
                "file": "unused.png",
                "label": list(labels),
                "cluster": ids if clusters is None else list(clusters),
                "split": split if isinstance(split, str) else list(split),
                "tone": list(groups),
            }
        )
        models = {
            name.replace("_", " "): one_hot(named, classes) for name, named in decisions.items()
        }
        return Predictions.build(table, classes, models)

    return make


@pytest.fixture
def random_predictions(make_predictions: MakePredictions) -> Predictions:
    """300 images, six skin types and some unknown, two models, the second a little worse."""
    rng = np.random.default_rng(3)
    labels = rng.choice(CLASSES, 300)
    groups = rng.choice(["1", "2", "3", "4", "5", "6", "-1"], 300)
    before = np.where(rng.random(300) < 0.75, labels, rng.choice(CLASSES, 300))
    after = np.where(rng.random(300) < 0.9, before, rng.choice(CLASSES, 300))
    return make_predictions(labels, groups, full_precision=before, candidate=after)


MakeScored = Callable[..., Predictions]


@pytest.fixture
def make_scored() -> MakeScored:
    """Factory: classifiers with real probabilities, some of them tied, of random images."""

    def make(
        images: int = 240,
        classes: int = 4,
        *,
        models: int = 1,
        seed: int = 0,
        groups: Sequence[str] = ("1", "3", "6"),
        clusters: Sequence[str] | None = None,
        skill: float = 1.5,
    ) -> Predictions:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, classes, images)
        logits = rng.normal(size=(images, classes))
        logits[np.arange(images), labels] += skill
        names = tuple(f"class {index}" for index in range(classes))
        ids = [f"image {index}" for index in range(images)]
        table = pd.DataFrame(
            {
                "id": ids,
                "file": "unused.png",
                "label": [names[code] for code in labels],
                "cluster": ids if clusters is None else list(clusters),
                "split": "audit",
                "tone": rng.choice(list(groups), images),
            }
        )
        outputs = {}
        for index in range(models):
            # Half steps make ties between images, which an area under the curve must count as 1/2.
            noisy = np.round(2 * (logits + 0.4 * index * rng.normal(size=logits.shape))) / 2
            odds = np.exp(noisy)
            values = odds / odds.sum(axis=1, keepdims=True)
            outputs[f"model {index}"] = values.astype(np.float32)
        return Predictions.build(table, names, outputs)

    return make
