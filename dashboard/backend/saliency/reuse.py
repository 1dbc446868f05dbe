"""Maps that earlier saliency jobs of the case have drawn: nothing is computed twice. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Job
from fairquant_core.errors import FairQuantError
from fairquant_core.explain.maps import ComparedMaps, join_maps

SALIENCY_FILE = "saliency.npz"


@dataclass(frozen=True)
class Drawn:
    """Maps that are there already; `mask_problems` says of their images why a mask cannot be used."""

    maps: ComparedMaps | None = None
    mask_problems: dict[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> frozenset[str]:
        """The images that need not be drawn."""
        return frozenset() if self.maps is None else frozenset(self.maps.ids.tolist())


def drawn_before(
    rows: Sequence[Job], artefacts: Artefacts, config: Mapping[str, Any], wanted: Mapping[str, int]
) -> Drawn:
    """Gather the maps that a job needs and earlier ones have drawn.

    A map is taken if it is by the same method, of the same class, by the same compressed files, and with the mask of
    the lesion as it is now.

    Parameters
    ----------
    rows : finished saliency jobs of the case.
    config : of the job that asks.
    wanted : image -> number of the class whose score is explained.
    """
    masks = _masks(config)
    parts: list[ComparedMaps] = []
    taken: set[str] = set()
    problems: dict[str, str] = {}
    for row in rows:
        if not _same_files(row, config):
            continue
        try:
            maps = ComparedMaps.load(artefacts.path(str(row.result_hash), SALIENCY_FILE))
        except FairQuantError:
            continue  # lost or damaged: these are drawn anew
        then = _masks(row.config)
        places = [
            place
            for place, (one, target) in enumerate(zip(maps.ids, maps.targets, strict=True))
            if one not in taken
            and wanted.get(one) == target
            and then.get(str(one)) == masks.get(str(one))
        ]
        if not places:
            continue
        parts.append(maps.part([maps.models[0], *config["results"]], places))
        found = set(parts[-1].ids.tolist())
        taken |= found
        told = row.summary.get("mask_problems", {})
        problems |= {one: text for one, text in told.items() if one in found}
    return Drawn(join_maps(parts) if parts else None, problems)


def _same_files(row: Job, config: Mapping[str, Any]) -> bool:
    """Whether an earlier job explained all these files by this method."""
    then = row.config.get("results", {})
    return row.config.get("choice", {}).get("method") == config["choice"]["method"] and all(
        then.get(run) == result for run, result in config["results"].items()
    )


def _masks(config: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {str(one): state for one, *state in config.get("masks", [])}
