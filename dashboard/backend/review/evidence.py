"""What a decision is about, byte for byte: the hashes that bind a review to files."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dashboard.backend.case.cases import COHORT_FOLDER
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Case, Job
from dashboard.backend.records.store import digest
from dashboard.backend.settings import Settings
from fairquant_core.audit.criteria import Limits
from fairquant_core.data.cohort import load_cohort
from fairquant_core.errors import CohortError, FairQuantError
from fairquant_core.files import file_hash

MODEL_FILE = "model.safetensors"
PLAN_FILE = "plan.json"
SENSITIVITY_FILE = "sensitivity.npz"
PREDICTIONS_FILE = "predictions.parquet"
AUDIT_FILE = "audit.json"
HISTORY_FILE = "epochs.json"

# Words for people, by the key under which the hash is kept.
TITLES = {
    "model": "the packed model",
    "predictions": "the predictions",
    "audit": "the audit",
    "plan": "the bit plan",
    "classifier": "the full-precision classifier",
    "cohort": "the cohort",
    "split": "the split into training, validation and audit",
    "limits": "the limits",
    "onnx": "the exported file",
    "onnx check": "the check of the exported file",
    "onnx audit": "the audit of the exported file",
    "fast onnx": "the fast file",
    "fast audit": "the audit of the fast file",
}
EXPORTED = ("onnx", "onnx check", "onnx audit", "fast onnx", "fast audit")
"""What the check of the files leaves. Whoever proposes need not have known it; an approval binds all of it."""
CHECKED = ("onnx", "onnx check")
"""What every finished check leaves."""
OLDER = ("split",)
"""Sums that decisions of older versions do not hold."""

BOUND_FILES = {
    "model": MODEL_FILE,
    "predictions": PREDICTIONS_FILE,
    "audit": AUDIT_FILE,
    "plan": PLAN_FILE,
}
GONE = "missing"
MOST_KNOWN = 10_000


@dataclass(frozen=True)
class Evidence:
    """Hashes of everything a decision rests on, and the audits that were seen.

    `fast_audit` is that of the fast file, {} where there is none.
    """

    hashes: dict[str, str]
    audit: dict[str, Any]
    fast_audit: dict[str, Any] = field(default_factory=dict)


def changed_since(
    hashes: Mapping[str, str], earlier: Mapping[str, str], *, whole: bool
) -> list[str]:
    """Words for what is not what it was earlier.

    Parameters
    ----------
    whole : files that were exported since count as changed too, as they do for an approval.
    """
    free = OLDER if whole else (*OLDER, *EXPORTED)
    bound = {key for key in TITLES if key in earlier or key not in free}
    return [
        title
        for key, title in TITLES.items()
        if key in bound and hashes.get(key) != earlier.get(key)
    ]


def files_checked(hashes: Mapping[str, str]) -> bool:
    """Whether the hashes hold those of a finished check of the files that may leave."""
    return all(hashes.get(key, GONE) != GONE for key in CHECKED)


class EvidenceReader:
    """Reads the bytes as they are now; nothing is taken from what the store remembers of them."""

    def __init__(
        self,
        settings: Settings,
        artefacts: Artefacts,
        exported: Callable[[Job], Mapping[str, Path]],
    ) -> None:
        self._settings = settings
        self._artefacts = artefacts
        self._exported = exported
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}

    def read(self, run: Job, case: Case, *, fresh: bool) -> Evidence:
        """Hash the files of a finished run.

        Parameters
        ----------
        fresh
            Read every byte again, the images of the cohort included, as an export needs it.
            Otherwise a file whose size and time did not change is trusted, so that a page is drawn
            quickly.
        """
        hashes = self.hashes(run, case, fresh=fresh)
        fast = self._exported(run).get("fast audit")
        return Evidence(
            hashes,
            self._audit(self._folder(run) / AUDIT_FILE),
            self._audit(fast) if fast else {},
        )

    def hashes(self, run: Job, case: Case, *, fresh: bool) -> dict[str, str]:
        """Only the hashes, for lists."""
        hashes = {}
        folder = self._folder(run)
        for key, name in BOUND_FILES.items():
            if key != "plan" or (folder / name).exists():
                hashes[key] = self._hash(folder / name, fresh)
        if case.classifier_hash is not None:
            file = self._artefacts.root / case.classifier_hash[:2] / case.classifier_hash
            hashes["classifier"] = self._hash(file / case.classifier["file"], fresh)
        hashes |= self._cohort(case, fresh)
        hashes["limits"] = Limits.from_json(case.limits).fingerprint
        for key, path in self._exported(run).items():
            hashes[key] = self._hash(path, fresh)
        return hashes

    def _folder(self, run: Job) -> Path:
        if run.result_hash is None:
            raise FairQuantError("This run has no result yet, so there is nothing to review.")
        return self._artefacts.root / run.result_hash[:2] / run.result_hash

    def _cohort(self, case: Case, fresh: bool) -> dict[str, str]:
        """Of the table with its images, and of the split alone."""
        folder = self._settings.case_folder(case.id) / COHORT_FOLDER
        try:
            key = "|".join(f"{path}:{_state(path)}" for path in sorted(folder.iterdir()))
            with self._lock:
                known = self._known.get(key)
            if known is None or fresh:
                cohort = load_cohort(folder, check_images=fresh)
                # A copy has no remembered hash: its fingerprint reads every image.
                whole = replace(cohort).fingerprint if fresh else cohort.fingerprint
                rows = cohort.table[["id", "split"]].to_numpy().tolist()
                known = f"{whole}:{digest(rows)}"
                self._remember(key, known)
            whole, split = known.split(":")
        except (CohortError, OSError):
            return {"cohort": GONE, "split": GONE}
        return {"cohort": whole, "split": split}

    def _hash(self, path: Path, fresh: bool) -> str:
        try:
            key = f"{path}:{_state(path)}"
        except FileNotFoundError:
            return GONE
        with self._lock:
            known = self._known.get(key)
        if known is None or fresh:
            known = file_hash(path)
            self._remember(key, known)
        return known

    def _remember(self, key: str, value: str) -> None:
        with self._lock:
            if len(self._known) > MOST_KNOWN:
                self._known.clear()
            self._known[key] = value

    @staticmethod
    def _audit(path: Path) -> dict[str, Any]:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # A lost or damaged audit shows as a changed hash; there is no verdict to trust in it.
            return {}


def _state(path: Path) -> str:
    """Size and time of a file; while they stay, a page takes the bytes to be the same."""
    found = path.stat()
    return f"{found.st_size}:{found.st_mtime_ns}"
