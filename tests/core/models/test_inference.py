from __future__ import annotations

import numpy as np
import pytest
import torch

from fairquant_core.data.batches import normalise
from fairquant_core.errors import Cancelled, EvaluationError
from fairquant_core.models import inference
from fairquant_core.models.inference import predict
from fairquant_core.models.zoo import Classifier, create


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (37, 32, 32, 3), dtype=np.uint8)


def test_probabilities_are_the_networks_own(classifier: Classifier, images: np.ndarray) -> None:
    result = predict(classifier, images, batch_size=16)
    with torch.inference_mode():
        expected = classifier.model(normalise(images, classifier.preprocessing)).softmax(dim=1)
    assert result.shape == (37, 3)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(result.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "size"), [("mobilenetv3_small_050", 32), ("deit_tiny_patch16_224", 32)]
)
def test_an_image_gets_the_same_bits_in_any_company(
    architecture: str, size: int, images: np.ndarray
) -> None:
    torch.manual_seed(0)
    classifier = create(architecture, ("a", "b", "c"), size=size)
    whole = predict(classifier, images, batch_size=16)
    assert np.array_equal(whole, predict(classifier, images, batch_size=16))
    parts = [predict(classifier, part, batch_size=16) for part in (images[:5], images[5:])]
    assert np.array_equal(whole, np.concatenate(parts))
    backwards = predict(classifier, images[::-1], batch_size=16)
    assert np.array_equal(whole, backwards[::-1])


def test_modes_and_weights_are_as_before(classifier: Classifier, images: np.ndarray) -> None:
    classifier.model.train()
    frozen = next(m for m in classifier.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    frozen.eval()
    before = classifier.fingerprint
    predict(classifier, images)
    assert classifier.model.training
    assert not frozen.training
    assert classifier.fingerprint == before


def test_progress_counts_images(classifier: Classifier, images: np.ndarray) -> None:
    steps: list[tuple[int, int]] = []
    predict(classifier, images, batch_size=16, progress=lambda *step: steps.append(step))
    assert steps == [(16, 37), (32, 37), (37, 37)]


def test_cancel_stops_before_the_next_batch(classifier: Classifier, images: np.ndarray) -> None:
    classifier.model.train()
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) > 1

    with pytest.raises(Cancelled):
        predict(classifier, images, batch_size=16, cancel=cancel)
    assert len(asked) == 2
    assert classifier.model.training


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 32, 32, 3), dtype=np.float32),
        np.zeros((2, 3, 32, 32), dtype=np.uint8),
        np.zeros((2, 64, 64, 3), dtype=np.uint8),
    ],
    ids=["float", "channels first", "another size"],
)
def test_wrong_pixels_are_refused(classifier: Classifier, wrong: np.ndarray) -> None:
    with pytest.raises(EvaluationError) as caught:
        predict(classifier, wrong)
    assert str(caught.value) == inference.WRONG_PIXELS.format(
        dtype=wrong.dtype, shape=wrong.shape, name="tiny", size=32
    )


def test_outputs_that_are_not_numbers(classifier: Classifier, images: np.ndarray) -> None:
    with torch.no_grad():
        classifier.model.classifier.bias[1] = float("nan")
    with pytest.raises(EvaluationError) as caught:
        predict(classifier, images, batch_size=64)
    assert str(caught.value) == inference.NOT_FINITE.format(
        name="tiny", count=37, total=37, position=0
    )


def test_another_number_of_outputs(classifier: Classifier, images: np.ndarray) -> None:
    classifier.classes = ("a", "b")
    with pytest.raises(EvaluationError, match=r"gives \(3,\) outputs per image for 2 classes"):
        predict(classifier, images)


def test_no_images(classifier: Classifier, images: np.ndarray) -> None:
    assert predict(classifier, images[:0]).shape == (0, 3)
