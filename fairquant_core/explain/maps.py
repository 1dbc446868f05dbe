"""Saliency maps of several classifiers for the same images: what is kept and how it is read."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fairquant_core.errors import EvaluationError
from fairquant_core.explain.drift import group_drift
from fairquant_core.explain.lesion import LesionShares, group_shares
from fairquant_core.files import atomic_path

UNREADABLE = "the saliency maps in {path} cannot be read ({reason}): draw them again"
TOO_FEW = "the maps are {names}; give the reference and at least one other classifier"
OTHER_MODELS = "these maps are of {known}, the first being the reference; they hold no {wanted}"

_IMAGE_FIELDS = ("ids", "targets")
_MODEL_FIELDS = ("pictures", "completeness", "score_change")
_CHANGE_FIELDS = ("drift", "overlap")
_LESION = "lesion_"
_LESION_FIELDS = ("covers", "area", "inside")


@dataclass(frozen=True)
class ComparedMaps:
    """Maps of the same images and target classes by a reference and by others.

    Attributes
    ----------
    method:
        A name of `explain.catalogue.METHODS`.
    models:
        Names of the classifiers, the reference first.
    ids, targets:
        The images, and the class (number) whose score is explained.
    pictures:
        Magnitude of every map, averaged to a size that fits a screen. Shapes: (M, N, P, P).
    completeness, score_change:
        As in `saliency.Attribution`; NaN where the method defines none. Shapes: (M, N).
    drift, overlap:
        Of every other model against the reference, from the maps at their full size; NaN where not
        estimable. Shapes: (M - 1, N).
    lesion:
        How much of every map lies on the lesion; None if no image has a mask.
    """

    method: str
    models: tuple[str, ...]
    ids: np.ndarray
    targets: np.ndarray
    pictures: np.ndarray
    completeness: np.ndarray
    score_change: np.ndarray
    drift: np.ndarray
    overlap: np.ndarray
    lesion: LesionShares | None = None

    def __post_init__(self) -> None:
        if len(self.models) < 2 or len(set(self.models)) < len(self.models):
            raise EvaluationError(TOO_FEW.format(names=list(self.models)))
        images, models = len(self.ids), len(self.models)
        wanted: dict[str, tuple[int, ...]] = {name: (images,) for name in _IMAGE_FIELDS}
        wanted |= {name: (models, images) for name in _MODEL_FIELDS}
        wanted |= {name: (models - 1, images) for name in _CHANGE_FIELDS}
        arrays = {name: getattr(self, name) for name in wanted}
        if self.lesion is not None:
            arrays |= vars(self.lesion)
            wanted |= {"covers": (images,), "area": (images,), "inside": (models, images)}
        for name, shape in wanted.items():
            found = np.shape(arrays[name])
            if found[: len(shape)] != shape:
                raise EvaluationError(f"saliency maps: {name} has the shape {found}, not {shape}")

    def changes(self) -> pd.DataFrame:
        """One row per other model and image.

        Returns
        -------
        pandas.DataFrame
            Columns model, id, drift, overlap, estimable, lesion_before, lesion_after (share of the
            reference's and of the model's map on the lesion); images in the order of `ids`.
        """
        nothing = np.full((len(self.models), len(self.ids)), np.nan)
        inside = nothing if self.lesion is None else self.lesion.inside
        parts = [
            pd.DataFrame(
                {
                    "model": model,
                    "id": self.ids,
                    "drift": self.drift[place],
                    "overlap": self.overlap[place],
                    "estimable": np.isfinite(self.drift[place]),
                    "lesion_before": inside[0],
                    "lesion_after": inside[1 + place],
                }
            )
            for place, model in enumerate(self.models[1:])
        ]
        return pd.concat(parts, ignore_index=True)

    def by_group(
        self,
        groups: pd.Series,
        sampled: np.ndarray,
        *,
        clusters: np.ndarray | None = None,
        order: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Mean drift per model and group, over the images that were drawn at random.

        Parameters
        ----------
        groups, sampled, clusters:
            Of every image, aligned with `ids`.

        Returns
        -------
        pandas.DataFrame
            Column model, and the columns of `drift.group_drift`; with masks also those of
            `lesion.group_shares`.
        """
        sampled = np.asarray(sampled, dtype=bool)
        groups = groups.reset_index(drop=True)[sampled].reset_index(drop=True)
        clusters = None if clusters is None else np.asarray(clusters)[sampled]
        changes = self.changes()
        parts = []
        for place, model in enumerate(self.models[1:], start=1):
            drift = changes[changes["model"] == model].reset_index(drop=True)[sampled]
            drift = drift.reset_index(drop=True)
            table = group_drift(drift, groups, clusters=clusters, order=order)
            if self.lesion is not None:
                inside = self.lesion.inside[:, sampled]
                area = self.lesion.area[sampled]
                shares = group_shares(
                    area, inside[0], inside[place], groups, clusters=clusters, order=order
                )
                table = table.merge(shares, on="group")
            table.insert(0, "model", model)
            parts.append(table)
        return pd.concat(parts, ignore_index=True)

    def part(self, models: Sequence[str], places: Sequence[int]) -> ComparedMaps:
        """Some of the classifiers, the reference first, and some of the images, in this order.

        Raises
        ------
        EvaluationError
            A classifier is missing, or the first is not the reference: drift is measured from it.
        """
        missing = [name for name in models if name not in self.models]
        if missing or tuple(models[:1]) != self.models[:1]:
            raise EvaluationError(OTHER_MODELS.format(wanted=list(models), known=list(self.models)))
        rows = [self.models.index(name) for name in models]
        others = [row - 1 for row in rows[1:]]
        images = np.asarray(places, dtype=int)
        lesion = self.lesion
        if lesion is not None:
            inside = lesion.inside[rows][:, images]
            lesion = LesionShares(lesion.covers[images], lesion.area[images], inside)
        return ComparedMaps(
            method=self.method,
            models=tuple(models),
            lesion=lesion,
            **{name: getattr(self, name)[images] for name in _IMAGE_FIELDS},
            **{name: getattr(self, name)[rows][:, images] for name in _MODEL_FIELDS},
            **{name: getattr(self, name)[others][:, images] for name in _CHANGE_FIELDS},
        )

    def save(self, path: Path) -> None:
        """Write everything into one file."""
        arrays = {name: getattr(self, name) for name in _arrays()}
        if self.lesion is not None:
            arrays |= {_LESION + name: getattr(self.lesion, name) for name in _LESION_FIELDS}
        with atomic_path(path) as part, part.open("wb") as target:
            np.savez_compressed(
                target, method=np.array(self.method), models=np.array(self.models), **arrays
            )

    @classmethod
    def load(cls, path: Path) -> ComparedMaps:
        """Inverse of `save`; files of versions that knew no masks have none.

        Raises
        ------
        EvaluationError
            The file is damaged or holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as content:
                arrays = {name: content[name] for name in _arrays()}
                method, models = str(content["method"]), content["models"].astype(str).tolist()
                lesion = None
                if _LESION + _LESION_FIELDS[0] in content:
                    lesion = LesionShares(**{key: content[_LESION + key] for key in _LESION_FIELDS})
            return cls(method=method, models=tuple(models), lesion=lesion, **arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise EvaluationError(UNREADABLE.format(path=path, reason=error)) from error


def join_maps(parts: Sequence[ComparedMaps]) -> ComparedMaps:
    """Maps of the same classifiers by the same method, of one set of images after the other.

    Images of a part that knows no masks have no share on the lesion where another part has some.
    """

    def along(name: str, axis: int) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts], axis=axis)

    lesion = None
    if any(part.lesion is not None for part in parts):
        found = [part.lesion or _no_masks(part) for part in parts]
        lesion = LesionShares(
            np.concatenate([one.covers for one in found]),
            np.concatenate([one.area for one in found]),
            np.concatenate([one.inside for one in found], axis=1),
        )
    return ComparedMaps(
        method=parts[0].method,
        models=parts[0].models,
        lesion=lesion,
        **{name: along(name, 0) for name in _IMAGE_FIELDS},
        **{name: along(name, 1) for name in (*_MODEL_FIELDS, *_CHANGE_FIELDS)},
    )


def _no_masks(part: ComparedMaps) -> LesionShares:
    models, images = part.pictures.shape[:2]
    return LesionShares(
        np.full(part.pictures.shape[1:], np.nan, np.float32),
        np.full(images, np.nan),
        np.full((models, images), np.nan),
    )


def _arrays() -> tuple[str, ...]:
    return (*_IMAGE_FIELDS, *_MODEL_FIELDS, *_CHANGE_FIELDS)
