"""Verifying a bundle, offline and without the program that wrote it: every question with its answer.

The first four questions are about bytes; only if these are whole does the rest make sense. A check that could not be
made is NOT CHECKED, never passed. What no check can answer is whether a decision was wise.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairquant_core.errors import ExportError, FairQuantError
from fairquant_core.export.bundle import (
    BROKEN_ZIP,
    UNREADABLE,
    content_problems,
    layout_problems,
    name_problems,
    read_manifest,
)
from fairquant_core.export.bundle_approval import APPROVAL, CHAIN, check_approval, check_chain
from fairquant_core.export.bundle_check import Check, OpenedBundle, Result
from fairquant_core.export.bundle_figures import FIGURES, ONNX, check_figures, check_onnx
from fairquant_core.export.bundle_predictions import PREDICTIONS, check_predictions
from fairquant_core.export.bundle_signature import KEY, SIGNATURE, check_key, check_signature
from fairquant_core.export.signing_keys import trusted_keys
from fairquant_core.progress import Report

__all__ = ["Check", "Result", "Verification", "tampering", "verify"]

ZIP, NAMES, CONTENTS, LAYOUT = "Zip file", "Names", "Contents", "Every byte"
LATER = (SIGNATURE, KEY, CHAIN, APPROVAL, FIGURES, ONNX, PREDICTIONS)

NO_BUNDLE = "There is no file {path}: give the zip that was exported"
NOT_WHOLE = "Not looked at, because the bytes of the bundle are not whole."
READABLE = "It can be read; {count} files."
SAFE_NAMES = "All names stay inside the folder, none is there twice, nothing is compressed."
AS_LISTED = "Every file has the SHA-256 that MANIFEST.json gives."
AS_WRITTEN = "Writing the same files again gives the same {size} bytes."

UNFORESEEN = (
    "It cannot be looked at, because something in the files is not as it should be ({reason})."
)

NO_ROOM = "The bundle cannot be unpacked to look at it ({reason}): free some space"


@dataclass(frozen=True)
class Verification:
    """Every check of one bundle.

    Attributes
    ----------
    sha256 : of the whole file.
    about : what the manifest says it is about (run, case, verdict); {} if the bytes are not whole.
    """

    path: Path
    sha256: str
    checks: tuple[Check, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no check failed; some may not have been made."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """What is wrong."""
        return tuple(check for check in self.checks if check.result == Result.FAILED)

    @property
    def not_checked(self) -> tuple[Check, ...]:
        """What nobody has looked at."""
        return tuple(check for check in self.checks if check.result == Result.NOT_CHECKED)

    def check(self, name: str) -> Check:
        """One check by its name."""
        return next(check for check in self.checks if check.name == name)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "bundle": self.path.name,
            "sha256": self.sha256,
            "about": dict(self.about),
            "passed": self.passed,
            "checks": [check.to_json() for check in self.checks],
        }


def verify(
    path: Path,
    *,
    key: Path | None = None,
    cohort: Path | None = None,
    report: Report | None = None,
) -> Verification:
    """Ask every question about a bundle.

    Parameters
    ----------
    key : a public key that is trusted, or a folder of ``.pub`` files; decides whether the signing key is known.
    cohort : folder of the data set that the bundle was audited on; its images are predicted again.

    Raises
    ------
    FairQuantError
        There is no such file, a key or the cohort that was given cannot be read, or there is no room to
        unpack the bundle.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(NO_BUNDLE.format(path=path))
    trusted = None if key is None else trusted_keys(key)
    with tempfile.TemporaryDirectory() as work:
        checks, opened = _open(path, Path(work))
        if opened is None:
            rest = [Check(name, Result.NOT_CHECKED, NOT_WHOLE) for name in LATER]
            return Verification(path, _sha256(path), (*checks, *rest))
        sha256 = _sha256(path)
        signature, signed_with = check_signature(opened)
        checks += [
            signature,
            check_key(opened, signed_with, trusted, key),
            _asked(CHAIN, lambda: check_chain(opened)),
            _asked(APPROVAL, lambda: check_approval(opened)),
            _asked(FIGURES, lambda: check_figures(opened)),
            _asked(ONNX, lambda: check_onnx(opened)),
            _asked(PREDICTIONS, lambda: check_predictions(opened, cohort, report=report)),
        ]
        about = opened.manifest["about"]
    return Verification(path, sha256, tuple(checks), about if isinstance(about, dict) else {})


def tampering(path: Path) -> list[str]:
    """Why the bytes of a bundle cannot be trusted, one sentence each; [] if they are as they were written.

    A signature is checked with the key in the bundle; whose key that is, and what was approved, is not asked.
    """
    with tempfile.TemporaryDirectory() as work:
        checks, opened = _open(Path(path), Path(work))
        if opened is not None:
            checks.append(check_signature(opened)[0])
    return [check.sentence for check in checks if check.result == Result.FAILED]


def _asked(name: str, ask: Callable[[], Check]) -> Check:
    """The answer; contents that nobody foresaw fail the check and never end the program.

    Raises
    ------
    FairQuantError
        What the person gave besides the bundle cannot be used.
    """
    try:
        return ask()
    except FairQuantError:
        raise
    except Exception as error:
        return Check(name, Result.FAILED, UNFORESEEN.format(reason=repr(error)))


def _open(path: Path, work: Path) -> tuple[list[Check], OpenedBundle | None]:
    """The checks about bytes, and the unpacked bundle if they all passed."""
    checks: list[Check] = []
    try:
        with zipfile.ZipFile(path) as bundle:
            names = bundle.namelist()
            checks.append(Check(ZIP, Result.PASSED, READABLE.format(count=len(names))))
            steps: tuple[tuple[str, str, Callable[[], list[str]]], ...] = (
                (NAMES, SAFE_NAMES, lambda: name_problems(bundle)),
                (CONTENTS, AS_LISTED, lambda: content_problems(bundle)),
                (
                    LAYOUT,
                    AS_WRITTEN.format(size=path.stat().st_size),
                    lambda: layout_problems(bundle, path),
                ),
            )
            for name, sentence, ask in steps:
                problems = ask()
                result = Result.FAILED if problems else Result.PASSED
                checks.append(Check(name, result, ". ".join(problems) or sentence))
                if problems:
                    return _filled(checks), None
            manifest = read_manifest(bundle)
            _unpack(bundle, work)
            return checks, OpenedBundle(work, manifest)
    except BROKEN_ZIP as error:
        checks = [check for check in checks if check.name != ZIP]
        broken = Check(ZIP, Result.FAILED, UNREADABLE.format(path=path, reason=error))
        return _filled([broken, *checks]), None


def _filled(checks: list[Check]) -> list[Check]:
    known = {check.name for check in checks}
    rest = [name for name in (ZIP, NAMES, CONTENTS, LAYOUT) if name not in known]
    return [*checks, *(Check(name, Result.NOT_CHECKED, NOT_WHOLE) for name in rest)]


def _unpack(bundle: zipfile.ZipFile, folder: Path) -> None:
    """Every file under its name, which was found to stay inside the folder."""
    try:
        for name in bundle.namelist():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with bundle.open(name) as source, target.open("wb") as into:
                shutil.copyfileobj(source, into)
    except OSError as error:
        raise ExportError(NO_ROOM.format(reason=error)) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
