"""Rounding one layer at a time: the real change, and going on where an earlier call stopped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import bootstrap

from fairquant_core.data.batches import normalise
from fairquant_core.errors import Cancelled
from fairquant_core.quantization.compressed import compress_with
from fairquant_core.sensitivity import measured
from fairquant_core.sensitivity.measured import measured_map
from fairquant_core.sensitivity.registry import sample_per_group
from fairquant_core.training.methods import uniform_widths


@pytest.fixture
def chosen(data) -> dict[str, np.ndarray]:
    return sample_per_group(data.groups.iloc[:60], 40, 0)


def image_losses(model, data, positions, preprocessing) -> np.ndarray:
    with torch.no_grad():
        logits = model.eval()(normalise(data.images[positions], preprocessing))
    target = torch.as_tensor(data.labels[positions])
    return torch.nn.functional.cross_entropy(logits, target, reduction="none").numpy()


def test_measured_change_is_the_real_one(classifier, data, chosen) -> None:
    found = measured_map(
        classifier, data.images, data.labels, chosen, bits=(2,), resamples=4000
    ).frame
    widths = {name: np.full_like(w, 8) for name, w in uniform_widths(classifier, 8).items()}
    rounded = classifier.copy()
    rounded.model.pointwise.weight.data = compress_with(
        classifier, {**widths, "pointwise": np.full(16, 2, np.uint8)}
    ).classifier.model.pointwise.weight.data
    for group, positions in chosen.items():
        before, after = (
            image_losses(one.model, data, positions, classifier.preprocessing)
            for one in (classifier, rounded)
        )
        row = found[(found.layer == "pointwise") & (found.group == group)].iloc[0]
        assert row.loss_change == pytest.approx((after - before).mean(), abs=1e-5)
        assert row.n == len(positions)
        interval = bootstrap(
            (after - before,), np.mean, n_resamples=4000, method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        width = float(interval.high - interval.low)
        assert row.loss_low == pytest.approx(interval.low, abs=0.1 * width)
        assert row.loss_high == pytest.approx(interval.high, abs=0.1 * width)


def test_it_goes_on_after_the_last_finished_layers(
    classifier, data, chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "TOGETHER", 2)
    whole = measured_map(classifier, data.images, data.labels, chosen, bits=(2, 4)).frame
    kept: list[pd.DataFrame] = []
    calls = iter(range(100))
    with pytest.raises(Cancelled):
        measured_map(
            classifier, data.images, data.labels, chosen, bits=(2, 4),
            keep=kept.append, cancel=lambda: next(calls) >= 5,
        )  # fmt: skip
    assert [rows["layer"].unique().tolist() for rows in kept] == [["stem"], ["depthwise"]]
    steps: list[tuple[int, int]] = []
    again = measured_map(
        classifier, data.images, data.labels, chosen, bits=(2, 4),
        known=pd.concat(kept), keep=kept.append, progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert steps == [(5, 8), (6, 8), (7, 8), (8, 8)]
    pd.testing.assert_frame_equal(again.frame, whole, check_exact=True)
    assert len(pd.concat(kept)) == len(whole)


def test_a_finished_map_needs_no_forward_pass(classifier, data, chosen) -> None:
    whole = measured_map(classifier, data.images, data.labels, chosen, bits=(2, 4)).frame
    classifier.model.forward = None
    again = measured_map(classifier, data.images, data.labels, chosen, bits=(4,), known=whole)
    expected = whole[whole["bits"] == 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(again.frame, expected, check_exact=True)


def test_rows_of_other_images_are_not_taken(classifier, data, chosen) -> None:
    whole = measured_map(classifier, data.images, data.labels, chosen, bits=(4,))
    fewer = {group: positions[:4] for group, positions in chosen.items()}
    again = measured_map(classifier, data.images, data.labels, fewer, bits=(4,), known=whole.frame)
    assert set(again.frame["n"]) == {4}


def test_how_many_images_go_together_and_how_many_layers_changes_nothing(
    classifier, data, chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measured_map(classifier, data.images, data.labels, chosen, bits=(2, 4))
    monkeypatch.setattr(measured, "TOGETHER", 3)
    steps: list[tuple[int, int]] = []
    again = measured_map(
        classifier, data.images, data.labels, chosen, bits=(2, 4), batch_size=7,
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    pd.testing.assert_frame_equal(again.frame, whole.frame, rtol=1e-4, atol=1e-6)
    batches = -(-sum(map(len, chosen.values())) // 7)
    assert steps == [(done, 8 * batches) for done in range(1, 8 * batches + 1)]
