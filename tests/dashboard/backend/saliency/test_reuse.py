"""Which maps of earlier jobs are taken: same method, class, files and mask, whole and only once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.saliency.reuse import SALIENCY_FILE, Drawn, drawn_before
from fairquant_core.explain.maps import ComparedMaps

RESULTS = {"run-a": "hash-a", "run-b": "hash-b"}
CONFIG = {"choice": {"method": "grad_cam"}, "results": {"run-b": "hash-b"}}
WANTED = {"x": 0, "y": 1, "z": 0}


def made_maps(ids: str, value: float, models: tuple[str, ...] = ("run-a", "run-b")) -> ComparedMaps:
    """Maps whose every pixel is `value`, plus the number of the model."""
    shape = (1 + len(models), len(ids))
    pictures = value + np.arange(shape[0])[:, None, None, None] * np.ones((*shape, 4, 4))
    return ComparedMaps(
        method="grad_cam",
        models=("full precision", *models),
        ids=np.array(list(ids)),
        targets=np.array([WANTED[one] for one in ids]),
        pictures=pictures.astype(np.float32),
        completeness=np.zeros(shape),
        score_change=np.ones(shape),
        drift=np.zeros((len(models), len(ids))),
        overlap=np.ones((len(models), len(ids))),
    )


@pytest.fixture
def artefacts(tmp_path: Path) -> Artefacts:
    return Artefacts(tmp_path / "artefacts")


def row(artefacts: Artefacts, folder: Path, maps: ComparedMaps, **config: Any) -> SimpleNamespace:
    maps.save(folder / SALIENCY_FILE)
    return SimpleNamespace(
        result_hash=artefacts.publish({SALIENCY_FILE: folder / SALIENCY_FILE}),
        config={"choice": {"method": "grad_cam"}, "results": RESULTS, **config},
        summary={"mask_problems": {"x": "shows no lesion", "q": "not asked for"}},
    )


def before(artefacts: Artefacts, *rows: Any, **config: Any) -> Drawn:
    return drawn_before(rows, artefacts, {**CONFIG, **config}, WANTED)


def test_the_newest_maps_are_taken_of_the_classifiers_asked_for(
    artefacts: Artefacts, tmp_path: Path
) -> None:
    newest = row(artefacts, tmp_path, made_maps("xy", 10))
    older = row(artefacts, tmp_path, made_maps("yz", 20))
    found = before(artefacts, newest, older)
    assert found.maps is not None
    assert found.maps.models == ("full precision", "run-b")
    assert found.maps.ids.tolist() == ["x", "y", "z"]
    assert found.maps.pictures[:, :, 0, 0].tolist() == [[10, 10, 20], [12, 12, 22]]
    assert found.mask_problems == {"x": "shows no lesion"}
    assert found.ids == {"x", "y", "z"}


@pytest.mark.parametrize(
    "config",
    [
        {"choice": {"method": "occlusion"}},
        {"results": {"run-b": "another file"}},
        {"results": {"run-a": "hash-a"}},
        {"masks": [["x", "x.png", 100]]},
    ],
    ids=["method", "file", "candidate", "mask"],
)
def test_other_maps_are_not_taken(
    config: dict[str, Any], artefacts: Artefacts, tmp_path: Path
) -> None:
    found = before(artefacts, row(artefacts, tmp_path, made_maps("x", 10), **config))
    assert found == Drawn()


def test_maps_of_another_class_are_not_taken(artefacts: Artefacts, tmp_path: Path) -> None:
    maps = made_maps("xy", 10)
    maps.targets[0] = 3
    assert before(artefacts, row(artefacts, tmp_path, maps)).ids == {"y"}


def test_only_images_whose_mask_changed_are_drawn_anew(
    artefacts: Artefacts, tmp_path: Path
) -> None:
    then = [["x", "x.png", 100], ["y", "y.png", 100]]
    drawn = row(artefacts, tmp_path, made_maps("xyz", 10), masks=then)
    now = [["x", "x.png", 100], ["y", "y.png", 200]]
    assert before(artefacts, drawn, masks=now).ids == {"x", "z"}


def test_damaged_maps_are_drawn_anew(artefacts: Artefacts, tmp_path: Path) -> None:
    drawn = row(artefacts, tmp_path, made_maps("x", 10))
    artefacts.path(drawn.result_hash, SALIENCY_FILE).write_bytes(b"not an archive")
    assert before(artefacts, drawn) == Drawn()
