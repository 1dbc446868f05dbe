"""Results on disk, named by their content: <root>/<first two>/<sha256>/ with a manifest.

A folder appears under its name only when it is whole, so a reader never sees half a result, and a
changed byte no longer fits the name.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dashboard.backend.records.store import digest
from fairquant_core.errors import FairQuantError
from fairquant_core.files import canonical, file_hash

MANIFEST = "manifest.json"


class Artefacts:
    """The artefact folder of an installation."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(self, files: Mapping[str, Path]) -> str:
        """Copy files into the folder that their content names; returns its hash.

        Parameters
        ----------
        files
            Name inside the artefact -> file to copy.

        Raises
        ------
        FairQuantError
            If there is nothing to publish or a file is missing.
        """
        if not files:
            raise FairQuantError("There is no result file to keep; the job wrote nothing.")
        missing = sorted(str(path) for path in files.values() if not path.is_file())
        if missing:
            raise FairQuantError(f"Result files are missing: {', '.join(missing)}.")
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.root / f".part-{uuid.uuid4().hex}"
        temporary.mkdir()
        try:
            manifest = {}
            for name, source in sorted(files.items()):
                target = temporary / name
                shutil.copyfile(source, target)
                _flush(target)
                manifest[name] = {"sha256": file_hash(target), "bytes": target.stat().st_size}
            (temporary / MANIFEST).write_text(canonical(manifest), encoding="utf-8")
            _flush(temporary / MANIFEST)
            name = digest(manifest)
            self._move_in(temporary, name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return name

    def path(self, artefact: str, name: str) -> Path:
        """A file of an artefact. Raises FairQuantError if it is not there."""
        path = self._folder(artefact) / name
        if not path.is_file():
            raise FairQuantError(
                f"The result file {name} of {artefact[:12]} is missing from {self.root}. Start the "
                "work again to make it anew."
            )
        return path

    def has(self, artefact: str, name: str) -> bool:
        """Whether the artefact holds this file."""
        return (self._folder(artefact) / name).is_file()

    def manifest(self, artefact: str) -> dict[str, dict[str, Any]]:
        """Name -> {"sha256", "bytes"} as recorded when the artefact was made."""
        content = self.path(artefact, MANIFEST).read_text(encoding="utf-8")
        try:
            return json.loads(content)
        except json.JSONDecodeError as error:
            raise FairQuantError(f"The manifest of {artefact[:12]} was changed: {error}") from error

    def problems(self, artefact: str) -> list[str]:
        """Read every byte again and say what no longer fits the name; [] if all does."""
        try:
            manifest = self.manifest(artefact)
        except FairQuantError as error:
            return [str(error)]
        found = []
        if digest(manifest) != artefact:
            found.append(f"the manifest of {artefact[:12]} was changed")
        folder = self._folder(artefact)
        for name, entry in manifest.items():
            if not (folder / name).is_file():
                found.append(f"{name} is missing")
            elif file_hash(folder / name) != entry["sha256"]:
                found.append(f"{name} was changed")
        return found

    def _folder(self, artefact: str) -> Path:
        return self.root / artefact[:2] / artefact

    def _move_in(self, temporary: Path, name: str) -> None:
        target = self._folder(name)
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            if not self.problems(name):
                return
            # Someone changed the old copy: keep it for the inquiry, under a name nobody reads.
            target.rename(target.with_name(f"{name}.changed-{uuid.uuid4().hex[:8]}"))
        try:
            temporary.rename(target)
        except OSError:
            # Another process published the same content a moment ago.
            if not target.exists() or self.problems(name):
                raise


def _flush(path: Path) -> None:
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())
