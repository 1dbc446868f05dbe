"""The same images explained by a reference and by others, in steps that can stop and go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fairquant_core.errors import EvaluationError
from fairquant_core.explain.drift import image_drift, pooled
from fairquant_core.explain.lesion import LesionShares, lesion_area, share_inside
from fairquant_core.explain.maps import TOO_FEW, ComparedMaps, join_maps
from fairquant_core.explain.saliency import Attribution, SaliencySettings, attribute
from fairquant_core.models.zoo import Classifier

#: Images per step: few enough that a person sees progress, enough to keep a processor busy.
STEP = 4
#: Side of the kept pictures. Figures come from the maps at their full size.
PICTURE_SIDE = 112
OTHER_PIXELS = (
    "{other} sees other pixels ({theirs}) than {reference} ({ours}); maps are comparable only "
    "between classifiers with the same size and crop"
)
OTHER_CLASSES = "{other} knows other classes than {reference}: {theirs} instead of {ours}"
NO_IMAGES = "there is no image to draw saliency maps of"


def compare_maps(
    classifiers: Mapping[str, Classifier],
    ids: Sequence[str],
    images: np.ndarray,
    targets: np.ndarray,
    method: str = "integrated_gradients",
    *,
    covers: Sequence[np.ndarray | None] | None = None,
    work: Path | None = None,
    settings: SaliencySettings | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> ComparedMaps:
    """Maps of every classifier and how far each is from the first.

    Parameters
    ----------
    classifiers:
        Name -> classifier, the reference first. All must see the same pixels and classes.
    targets:
        Class (number) whose score is explained, the same for every classifier.
    covers:
        Share of every pixel that lies on the lesion, one (S, S) per image and None for an image
        without a mask; None if there are no masks at all.
    work:
        Folder for finished steps; a second call with the same arguments goes on from them.
    progress, cancel:
        ``progress(done, total)`` counts maps; ``cancel()`` is asked at every forward pass.

    Shapes
    ------
    images (N, S, S, 3) uint8, targets (N,) integers.

    Raises
    ------
    EvaluationError
        No images, classifiers that cannot be compared, or what `attribute` raises.
    """
    _check(classifiers)
    if not len(ids):
        raise EvaluationError(NO_IMAGES)
    if covers is not None and len(covers) != len(ids):
        raise EvaluationError(f"{len(ids)} images need as many masks or None, not {len(covers)}")
    if not len(ids) == len(images) == len(targets):
        raise EvaluationError(
            f"saliency maps need one image and one class per id, not {len(images)} images and "
            f"{len(targets)} classes for {len(ids)} ids"
        )
    settings = settings or SaliencySettings()
    total = len(ids) * len(classifiers)
    steps = []
    for start in range(0, len(ids), STEP):
        stop = min(start + STEP, len(ids))
        part = None if work is None else Path(work) / f"maps-{start}.npz"
        wanted = _Step(
            method,
            tuple(classifiers),
            np.asarray(ids[start:stop], dtype=str),
            np.asarray(targets[start:stop]),
            None if covers is None else covers[start:stop],
            images.shape[1],
        )
        found = wanted.finished(part)
        if found is None:
            maps: dict[str, Attribution] = {}
            for place, (name, classifier) in enumerate(classifiers.items()):
                if progress is not None:
                    progress(start * len(classifiers) + place * (stop - start), total)
                maps[name] = attribute(
                    classifier,
                    images[start:stop],
                    targets[start:stop],
                    method,
                    batch_size=STEP,
                    # Another noise for every step, but the same for every classifier.
                    settings=replace(settings, seed=settings.seed + start),
                    cancel=cancel,
                )
            found = wanted.compared(maps)
            if part is not None:
                found.save(part)
        steps.append(found)
        if progress is not None:
            progress(stop * len(classifiers), total)
    return join_maps(steps)


def _check(classifiers: Mapping[str, Classifier]) -> None:
    """There are others, and all see what the reference sees."""
    if len(classifiers) < 2:
        raise EvaluationError(TOO_FEW.format(names=list(classifiers)))
    (reference, first), *others = classifiers.items()
    for name, classifier in others:
        ours, theirs = first.preprocessing.pixel_key, classifier.preprocessing.pixel_key
        if ours != theirs:
            raise EvaluationError(
                OTHER_PIXELS.format(other=name, theirs=theirs, reference=reference, ours=ours)
            )
        if tuple(first.classes) != tuple(classifier.classes):
            raise EvaluationError(
                OTHER_CLASSES.format(
                    other=name,
                    theirs=", ".join(classifier.classes),
                    reference=reference,
                    ours=", ".join(first.classes),
                )
            )


@dataclass(frozen=True)
class _Step:
    """A few images: what their maps are about."""

    method: str
    models: tuple[str, ...]
    ids: np.ndarray
    targets: np.ndarray
    covers: Sequence[np.ndarray | None] | None
    size: int

    def finished(self, part: Path | None) -> ComparedMaps | None:
        """This step as an earlier attempt left it; None if it is not there, damaged or another."""
        if part is None or not part.is_file():
            return None
        try:
            found = ComparedMaps.load(part)
        except EvaluationError:
            return None
        same = (
            (found.method, found.models) == (self.method, self.models)
            and found.ids.tolist() == self.ids.tolist()
            and found.targets.tolist() == self.targets.tolist()
            and (found.lesion is None) == (self.covers is None)
        )
        if same and found.lesion is not None:
            # A mask may have been put right since.
            same = np.array_equal(found.lesion.covers, self._small_covers(), equal_nan=True)
        return found if same else None

    def _small_covers(self) -> np.ndarray:
        """The masks at the size of the kept pictures. Shapes: (N, P, P)."""
        unknown = np.full((self.size, self.size), np.nan)
        whole = [unknown if cover is None else cover for cover in self.covers or ()]
        return pooled(np.stack(whole), PICTURE_SIDE).astype(np.float32)

    def _lesion(self, found: Mapping[str, Attribution]) -> LesionShares | None:
        if self.covers is None:
            return None
        inside = [share_inside(found[name].maps, self.covers) for name in self.models]
        return LesionShares(self._small_covers(), lesion_area(self.covers), np.stack(inside))

    def compared(self, found: Mapping[str, Attribution]) -> ComparedMaps:
        """Figures from the maps at full size, and pictures of them."""
        before, *others = (found[name].maps for name in self.models)
        changes = [image_drift(before, after) for after in others]
        pictures = [pooled(found[name].maps, PICTURE_SIDE) for name in self.models]
        nothing = np.full(len(self.ids), np.nan)

        def figures(field: str) -> np.ndarray:
            values = (getattr(found[name], field) for name in self.models)
            return np.stack([nothing if value is None else value for value in values])

        return ComparedMaps(
            method=self.method,
            models=self.models,
            ids=self.ids,
            targets=self.targets.astype(np.int64),
            pictures=np.stack(pictures).astype(np.float32),
            completeness=figures("completeness"),
            score_change=figures("score_change"),
            drift=np.stack([table["drift"].to_numpy() for table in changes]),
            overlap=np.stack([table["overlap"].to_numpy() for table in changes]),
            lesion=self._lesion(found),
        )
