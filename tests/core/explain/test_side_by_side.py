"""Several classifiers on the same images: the figures of `attribute` and `image_drift`, in steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fairquant_core.errors import Cancelled, EvaluationError
from fairquant_core.explain import side_by_side
from fairquant_core.explain.drift import group_drift, image_drift, pooled
from fairquant_core.explain.maps import ComparedMaps
from fairquant_core.explain.saliency import SaliencySettings, attribute
from fairquant_core.explain.side_by_side import STEP, compare_maps
from fairquant_core.models.zoo import Classifier, create

SIZE, IMAGES = 32, STEP + 2
QUICK = SaliencySettings(steps=4, samples=2, patch=0.5)
IDS = [f"image-{place}" for place in range(IMAGES)]
TARGETS = np.arange(IMAGES) % 3


@pytest.fixture(scope="module")
def classifiers() -> dict[str, Classifier]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    first = create("mobilenetv3_small_050", ("a", "b", "c"), size=SIZE)
    rounded, zeroed = first.copy(), first.copy()
    with torch.no_grad():
        for parameter in rounded.model.parameters():
            parameter.copy_((20 * parameter).round() / 20)
        zeroed.model.classifier.weight.zero_()
    return {"full precision": first, "rounded": rounded, "zeroed": zeroed}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def compared(classifiers: dict[str, Classifier], images: np.ndarray) -> ComparedMaps:
    return compare_maps(classifiers, IDS, images, TARGETS, settings=QUICK)


def test_figures_are_those_of_the_single_maps(
    compared: ComparedMaps, classifiers: dict[str, Classifier], images: np.ndarray
) -> None:
    before, after = (
        attribute(classifiers[name], images, TARGETS, settings=QUICK, batch_size=STEP)
        for name in ("full precision", "rounded")
    )
    drift = image_drift(before.maps, after.maps)
    assert compared.drift[0] == pytest.approx(drift["drift"].to_numpy(), abs=1e-6)
    assert compared.overlap[0] == pytest.approx(drift["overlap"].to_numpy(), abs=1e-6)
    assert compared.completeness[:2] == pytest.approx(
        np.stack([before.completeness, after.completeness]), abs=1e-5
    )
    assert compared.score_change[1] == pytest.approx(after.score_change, abs=1e-5)
    assert compared.pictures[1] == pytest.approx(pooled(after.maps, SIZE), rel=1e-3, abs=1e-6)
    assert compared.targets.tolist() == TARGETS.tolist()


@pytest.fixture(scope="module")
def covers() -> list[np.ndarray | None]:
    """The upper half of every picture is lesion; the second image has no mask."""
    half = np.zeros((SIZE, SIZE), np.float32)
    half[: SIZE // 2] = 1
    return [None if place == 1 else half for place in range(IMAGES)]


@pytest.fixture(scope="module")
def marked(
    classifiers: dict[str, Classifier], images: np.ndarray, covers: list[np.ndarray | None]
) -> ComparedMaps:
    return compare_maps(classifiers, IDS, images, TARGETS, covers=covers, settings=QUICK)


def test_shares_on_the_lesion_are_those_of_the_full_maps(
    marked: ComparedMaps, classifiers: dict[str, Classifier], images: np.ndarray
) -> None:
    assert marked.lesion is not None
    for place, name in enumerate(("full precision", "rounded")):
        maps = attribute(classifiers[name], images, TARGETS, settings=QUICK, batch_size=STEP).maps
        size = np.abs(maps.astype(float))
        wanted = size[:, : SIZE // 2].sum(axis=(1, 2)) / size.sum(axis=(1, 2))
        wanted[1] = np.nan
        assert marked.lesion.inside[place] == pytest.approx(wanted, abs=1e-5, nan_ok=True)
    assert np.isnan(marked.lesion.inside[2]).all(), "a map without any gradient looks nowhere"
    assert marked.lesion.area[0] == 0.5
    assert np.isnan(marked.lesion.covers[1]).all()


def test_masks_change_nothing_else(marked: ComparedMaps, compared: ComparedMaps) -> None:
    np.testing.assert_array_equal(marked.pictures, compared.pictures)
    np.testing.assert_array_equal(marked.drift, compared.drift)
    assert compared.lesion is None
    assert compared.changes()["lesion_after"].isna().all()


def test_groups_get_the_shares_of_their_sample(marked: ComparedMaps) -> None:
    groups = pd.Series(["light", "dark"] * (IMAGES // 2))
    sampled = np.arange(IMAGES) < 4
    rows = marked.by_group(groups, sampled).set_index(["model", "group"])
    assert rows.loc["rounded", "lesion_n"].to_dict() == {"dark": 1, "light": 2}
    inside = marked.lesion.inside[:, [0, 2]].mean(axis=1)  # type: ignore[union-attr]
    row = rows.loc[("rounded", "light")]
    assert row["lesion_before"] == pytest.approx(inside[0])
    assert row["lesion_change"] == pytest.approx(inside[1] - inside[0])
    assert rows.loc["zeroed", "lesion_n"].tolist() == [0, 0]


def test_masks_are_kept_and_files_without_any_still_open(
    marked: ComparedMaps, compared: ComparedMaps, tmp_path: Path
) -> None:
    marked.save(tmp_path / "marked.npz")
    again = ComparedMaps.load(tmp_path / "marked.npz").lesion
    assert again is not None and marked.lesion is not None
    for name in ("covers", "area", "inside"):
        np.testing.assert_array_equal(getattr(again, name), getattr(marked.lesion, name))
    compared.save(tmp_path / "older.npz")
    with np.load(tmp_path / "older.npz") as content:
        assert not [name for name in content if name.startswith("lesion")]
    assert ComparedMaps.load(tmp_path / "older.npz").lesion is None


def test_a_step_with_another_mask_is_drawn_again(
    classifiers: dict[str, Classifier],
    images: np.ndarray,
    covers: list[np.ndarray | None],
    tmp_path: Path,
) -> None:
    compare_maps(classifiers, IDS, images, TARGETS, work=tmp_path, settings=QUICK)
    arguments = (classifiers, IDS, images, TARGETS)
    first = compare_maps(*arguments, covers=covers, work=tmp_path, settings=QUICK)
    turned = [None if cover is None else cover[::-1] for cover in covers]
    found = compare_maps(*arguments, covers=turned, work=tmp_path, settings=QUICK)
    assert first.lesion is not None and found.lesion is not None
    assert found.lesion.inside[:2] == pytest.approx(
        1 - first.lesion.inside[:2], abs=1e-5, nan_ok=True
    )


def test_no_usable_mask_is_a_cohort_with_masks_all_the_same(
    classifiers: dict[str, Classifier], images: np.ndarray
) -> None:
    found = compare_maps(
        classifiers, IDS, images, TARGETS, "grad_cam", covers=[None] * IMAGES, settings=QUICK
    )
    assert found.lesion is not None
    assert np.isnan(found.lesion.inside).all()
    assert found.lesion.covers.shape == found.pictures.shape[1:]


def test_a_candidate_without_any_gradient_is_not_estimable(compared: ComparedMaps) -> None:
    table = compared.changes()
    assert not table.loc[table["model"] == "zeroed", "estimable"].any()
    assert table.loc[table["model"] == "zeroed", "drift"].isna().all()
    assert table.loc[table["model"] == "rounded", "estimable"].all()
    groups = pd.Series(["light", "dark"] * (IMAGES // 2))
    rows = compared.by_group(groups, np.ones(IMAGES, bool)).set_index(["model", "group"])
    assert rows.loc["zeroed", "n"].tolist() == [0, 0]
    assert rows.loc["zeroed", ["drift", "overlap", "drift_low"]].isna().all(axis=None)


def test_groups_are_judged_on_the_sample_only(compared: ComparedMaps) -> None:
    groups = pd.Series(["light", "dark"] * (IMAGES // 2))
    sampled = np.arange(IMAGES) < 4
    clusters = np.array(["p0", "p0", "p1", "p1", "p2", "p2"])
    found = compared.by_group(groups, sampled, clusters=clusters, order=["light", "dark", "none"])
    own = pd.DataFrame(
        {"drift": compared.drift[0], "overlap": compared.overlap[0], "estimable": True}
    )
    wanted = group_drift(
        own[:4], groups[:4], clusters=clusters[:4], order=["light", "dark", "none"]
    )
    mine = found[found["model"] == "rounded"].drop(columns="model").reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, wanted)
    nothing = compared.by_group(groups, np.zeros(IMAGES, bool), order=["light", "dark"])
    assert nothing["n"].tolist() == [0] * 4


def test_saved_maps_are_read_back(compared: ComparedMaps, tmp_path: Path) -> None:
    compared.save(tmp_path / "maps.npz")
    again = ComparedMaps.load(tmp_path / "maps.npz")
    assert (again.method, again.models) == (compared.method, compared.models)
    for name in ("ids", "pictures", "completeness", "drift"):
        np.testing.assert_array_equal(getattr(again, name), getattr(compared, name))


@pytest.mark.parametrize("kept", [0, 10, -20], ids=["empty", "cut", "end lost"])
def test_damaged_files_are_named(compared: ComparedMaps, kept: int, tmp_path: Path) -> None:
    path = tmp_path / "maps.npz"
    compared.save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(EvaluationError, match="cannot be read.*draw them again"):
        ComparedMaps.load(path)


def test_cancelled_work_goes_on_where_it_stopped(
    compared: ComparedMaps,
    classifiers: dict[str, Classifier],
    images: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[int, int]] = []
    arguments = (classifiers, IDS, images, TARGETS)
    with pytest.raises(Cancelled):
        compare_maps(
            *arguments,
            work=tmp_path,
            settings=QUICK,
            progress=lambda done, total: drawn.append((done, total)),
            cancel=lambda: bool(drawn) and drawn[-1][0] >= STEP * 3,
        )
    total = IMAGES * 3
    assert drawn == [(0, total), (4, total), (8, total), (12, total), (12, total)]
    assert len(list(tmp_path.iterdir())) == 1
    again: list[int] = []

    def counted(classifier: Classifier, chunk: np.ndarray, *args: object, **more: object) -> object:
        again.append(len(chunk))
        return attribute(classifier, chunk, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(side_by_side, "attribute", counted)
    resumed = compare_maps(*arguments, work=tmp_path, settings=QUICK)
    assert again == [2, 2, 2], "only the second step was missing"
    np.testing.assert_array_equal(resumed.pictures, compared.pictures)
    next(tmp_path.glob("maps-0.npz")).write_bytes(b"damaged")
    compare_maps(*arguments, work=tmp_path, settings=QUICK)
    assert again == [2, 2, 2, 4, 4, 4]
    compare_maps(classifiers, IDS, images, (TARGETS + 1) % 3, work=tmp_path, settings=QUICK)
    assert again[6:] == [4, 4, 4, 2, 2, 2], "another class is another map"


def test_methods_without_completeness_have_none(
    classifiers: dict[str, Classifier], images: np.ndarray
) -> None:
    found = compare_maps(classifiers, IDS[:2], images[:2], TARGETS[:2], "occlusion", settings=QUICK)
    assert np.isnan(found.completeness).all()
    assert np.isnan(found.score_change).all()


def test_bad_requests(classifiers: dict[str, Classifier], images: np.ndarray) -> None:
    first = classifiers["full precision"]
    other_size = create("mobilenetv3_small_050", ("a", "b", "c"), size=64)
    other_classes = create("mobilenetv3_small_050", ("a", "b", "d"), size=SIZE)
    for strange, words in ((other_size, "sees other pixels"), (other_classes, "other classes")):
        with pytest.raises(EvaluationError, match=words):
            compare_maps({"one": first, "other": strange}, IDS, images, TARGETS)
    with pytest.raises(EvaluationError, match="no image"):
        compare_maps(classifiers, [], images[:0], TARGETS[:0])
    with pytest.raises(EvaluationError, match="one image and one class per id"):
        compare_maps(classifiers, IDS, images[:3], TARGETS)
    with pytest.raises(EvaluationError, match="as many masks or None, not 1"):
        compare_maps(classifiers, IDS, images, TARGETS, covers=[None])
    with pytest.raises(EvaluationError, match="at least one other"):
        compare_maps({"one": first}, IDS[:1], images[:1], TARGETS[:1], settings=QUICK)
