"""The sensitivity map: checks, files, sums."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairquant_core.errors import EvaluationError
from fairquant_core.sensitivity.maps import (
    MeasuredMap,
    SensitivityMap,
    monotone_in_bits,
)
from fairquant_core.sensitivity.measures import REVISION
from fairquant_core.sensitivity.reducers import REDUCERS

GROUPS = ("FST I-II", "FST V-VI")


def small_map(**changes: object) -> SensitivityMap:
    rng = np.random.default_rng(0)
    content: dict = {
        "measure": "fisher",
        "groups": GROUPS,
        "images": {"FST I-II": 40, "FST V-VI": 12},
        "menu": (2, 4, 8),
        "layers": ("stem", "head"),
        "weights": np.array([9, 9, 9, 20, 20]),
        "layer_index": np.array([0, 0, 0, 1, 1]),
        "damage": np.sort(rng.random((2, 5, 3)), axis=2)[:, :, ::-1],
    }
    return SensitivityMap(**{**content, **changes})


def test_monotone_envelope_is_monotone_between_its_bounds_and_keeps_monotone_rows() -> None:
    rng = np.random.default_rng(2)
    noisy = rng.random((3, 200, 7))
    smooth = monotone_in_bits(noisy)
    assert (np.diff(smooth, axis=-1) <= 0).all()
    assert (smooth <= np.maximum.accumulate(noisy[..., ::-1], axis=-1)[..., ::-1]).all()
    assert (smooth >= np.minimum.accumulate(noisy, axis=-1)).all()
    falling = np.sort(noisy, axis=-1)[..., ::-1]
    np.testing.assert_array_equal(monotone_in_bits(falling), falling)


def test_by_layer_sums_channels() -> None:
    channels = small_map()
    layered = channels.by_layer()
    assert channels.granularity == "channel"
    assert layered.granularity == "layer"
    assert layered.weights.tolist() == [27, 40]
    np.testing.assert_allclose(layered.damage[:, 0], channels.damage[:, :3].sum(axis=1), rtol=1e-6)


def test_predicted_is_the_sum_of_the_chosen_damages() -> None:
    sensitivity = small_map()
    rise = sensitivity.predicted(np.array([2, 4, 8, 8, 2]))
    by_hand = sensitivity.damage[1, np.arange(5), [0, 1, 2, 2, 0]].astype(float).sum()
    assert rise["FST V-VI"] == pytest.approx(by_hand, rel=1e-6)


def test_predicted_never_rises_with_bits_even_where_the_estimate_is_noisy() -> None:
    noisy = small_map(damage=np.random.default_rng(3).random((2, 5, 3)))
    rises = [noisy.predicted(np.full(5, bits)) for bits in noisy.menu]
    for group in GROUPS:
        values = [rise[group] for rise in rises]
        assert values == sorted(values, reverse=True)


def test_layer_frame_has_a_row_per_layer_and_group() -> None:
    sensitivity = small_map()
    frame = sensitivity.layer_frame(4)
    assert frame.columns.tolist() == ["layer", "bits", "group", "value", "low", "high", "n"]
    row = frame.set_index(["layer", "group"]).loc[("head", "FST V-VI")]
    assert row["value"] == pytest.approx(sensitivity.damage[1, 3:, 1].sum(), rel=1e-6)
    assert row["n"] == 12
    assert np.isnan(row["low"]) and np.isnan(row["high"]), "a map without spread has no interval"
    with pytest.raises(EvaluationError, match="5 bits is not in"):
        sensitivity.layer_frame(5)


def test_spread_becomes_the_interval_of_each_layer_and_group() -> None:
    spread = np.full((2, 2, 2, 3), 0.25)
    spread[0, 1, 1, 1] = 100.0
    spread[1, 1, 1, 1] = 0.5
    frame = small_map(spread=spread).frame()
    assert len(frame) == 2 * 2 * 3
    row = frame.set_index(["bits", "layer", "group"]).loc[(4, "head", "FST V-VI")]
    assert row["low"] == 0.0, "a predicted rise is never below zero"
    assert row["high"] == pytest.approx(row["value"] + 0.5)
    only = small_map(spread=spread).restrict(["FST V-VI"]).layer_frame(4)
    assert only["high"].to_numpy()[1] == pytest.approx(row["high"])


def test_pruning_in_the_menu_does_not_move_the_widths() -> None:
    plain = small_map(damage=np.random.default_rng(5).random((2, 5, 3)))
    pruned = np.random.default_rng(6).random((2, 5, 1))
    both = small_map(menu=(0, 2, 4, 8), damage=np.concatenate([pruned, plain.damage], axis=2))
    np.testing.assert_array_equal(both.monotone_damage[..., 1:], plain.monotone_damage)
    assert (np.diff(both.monotone_damage, axis=-1) <= 0).all()
    np.testing.assert_allclose(both.by_layer().monotone_damage, both.by_layer().damage, rtol=1e-6)


@pytest.mark.parametrize("how", sorted(REDUCERS))
def test_reduced_map_is_a_map_of_one_group(how: str) -> None:
    reduced = small_map(spread=np.zeros((2, 2, 2, 3))).reduced(how)
    assert reduced.groups == (REDUCERS[how].title,)
    assert reduced.images == {REDUCERS[how].title: 52}
    assert reduced.damage.shape == (1, 5, 3)
    assert reduced.spread is None and reduced.measure == "fisher"
    assert reduced.by_layer().damage.shape == (1, 2, 3)


def test_restrict_keeps_order_asked_for() -> None:
    only = small_map().restrict(["FST V-VI", "FST I-II"])
    assert only.groups == ("FST V-VI", "FST I-II")
    np.testing.assert_array_equal(only.damage[0], small_map().damage[1])
    with pytest.raises(EvaluationError, match="no group 'FST VI'"):
        small_map().restrict(["FST VI"])


@pytest.mark.parametrize("spread", [None, np.random.default_rng(1).random((2, 2, 2, 3))])
def test_save_and_load_are_exact(tmp_path: Path, spread: np.ndarray | None) -> None:
    sensitivity = small_map(spread=spread, revision=3)
    sensitivity.save(tmp_path / "map.npz")
    again = SensitivityMap.load(tmp_path / "map.npz")
    for name in ("measure", "groups", "images", "menu", "layers", "revision"):
        assert getattr(again, name) == getattr(sensitivity, name)
    for name in ("weights", "layer_index", "damage", "spread"):
        np.testing.assert_array_equal(getattr(again, name), getattr(sensitivity, name))
    assert [path.name for path in tmp_path.iterdir()] == ["map.npz"]


def test_a_map_of_earlier_days_knows_no_revision(tmp_path: Path) -> None:
    path = tmp_path / "map.npz"
    small_map().save(path)
    with np.load(path) as content:
        arrays = dict(content)
    header = json.loads(arrays["header"].tobytes())
    del header["revision"]
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez(path, **arrays)
    assert SensitivityMap.load(path).revision == 0
    assert small_map().revision == REVISION


def test_a_damaged_file_is_an_evaluation_error(tmp_path: Path) -> None:
    path = tmp_path / "map.npz"
    small_map().save(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(EvaluationError, match="cannot be read as a sensitivity map"):
        SensitivityMap.load(path)
    with pytest.raises(EvaluationError, match="cannot be read"):
        SensitivityMap.load(tmp_path / "absent.npz")


def test_no_flipped_byte_changes_a_figure(tmp_path: Path) -> None:
    sensitivity = small_map()
    path = tmp_path / "map.npz"
    sensitivity.save(path)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            again = SensitivityMap.load(path)
        except EvaluationError:
            refused += 1
        else:
            np.testing.assert_array_equal(again.damage, sensitivity.damage)
    assert refused > 20


def spoilt(value: float) -> np.ndarray:
    damage = np.ones((2, 5, 3))
    damage[1, 4, 0] = value
    return damage


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"damage": spoilt(np.nan)}, r"layer 'head' \(unit 4\) at 2 bits for group 'FST V-VI'"),
        ({"damage": spoilt(-0.1)}, "at least 0"),
        ({"damage": spoilt(np.inf)}, "inf"),
        ({"damage": np.ones((2, 5, 2))}, r"\(2, 5, 3\)"),
        ({"images": {"FST I-II": 40}}, "No image of group 'FST V-VI'"),
        ({"menu": (4, 2, 8)}, "rising"),
        ({"menu": (1, 2, 8)}, "rising widths"),
        ({"groups": ("a", "a"), "images": {"a": 1}}, "named once"),
        ({"groups": ()}, "at least one group"),
        ({"weights": np.array([9, 9, 9, 20])}, "one number per unit"),
        ({"weights": np.array([9, 9, 9, 20, 0])}, "Unit 4 of layer 'head' has no weight"),
        ({"layer_index": np.array([0, 1, 0, 1, 1])}, "must rise from 0 to 1"),
        ({"layer_index": np.zeros(5, dtype=int)}, "must rise from 0 to 1"),
        ({"spread": np.zeros((2, 2, 5, 3))}, r"\(2, 2, 2, 3\)"),
        ({"spread": np.full((2, 2, 2, 3), -1.0)}, "negative distance"),
    ],
)
def test_bad_maps_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        small_map(**changes)


def measured(**changes: object) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "layer": ["stem", "stem", "head", "head"],
            "bits": 4,
            "group": list(GROUPS) * 2,
            "n": [40, 12, 40, 12],
            "loss_change": [0.1, 0.2, 0.0, 0.3],
            "loss_low": [0.0, np.nan, -0.1, 0.1],
            "loss_high": [0.2, np.nan, 0.1, 0.5],
            "accuracy_change": [-0.01, -0.03, 0.0, -0.1],
            "accuracy_low": [-0.02, np.nan, -0.1, -0.2],
            "accuracy_high": [0.0, np.nan, 0.1, 0.0],
        }
    )
    return frame.assign(**changes)


def test_measured_map_round_trip(tmp_path: Path) -> None:
    original = MeasuredMap(measured())
    original.save(tmp_path / "measured.parquet")
    again = MeasuredMap.load(tmp_path / "measured.parquet")
    pd.testing.assert_frame_equal(again.frame, original.frame)
    assert again.layers == ("stem", "head")
    assert again.groups == GROUPS
    assert again.menu == (4,)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (measured().drop(columns="n"), "lacks the columns 'n'"),
        (measured().iloc[:0], "no row"),
        (measured(bits=1), "'bits'"),
        (measured(n=[1, 0, 1, 1]), "layer 'stem', 4 bits, group 'FST V-VI' rests on no image"),
        (measured(loss_change=[0, np.nan, 0, 0]), "loss_change is not a number"),
        (measured(loss_low=1.0), "loss_low > loss_high"),
        (measured(group="a"), "is there twice"),
    ],
)
def test_bad_measured_maps_are_refused(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        MeasuredMap(frame)


def test_a_damaged_measured_file_is_an_evaluation_error(tmp_path: Path) -> None:
    path = tmp_path / "measured.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(EvaluationError, match="cannot be read as a measured map"):
        MeasuredMap.load(path)
    MeasuredMap(measured()).save(path)
    whole = path.read_bytes()
    for place in (60, 200, len(whole) // 3, len(whole) - 6):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            again = MeasuredMap.load(path)
        except EvaluationError:
            continue
        pd.testing.assert_frame_equal(again.frame, measured())
