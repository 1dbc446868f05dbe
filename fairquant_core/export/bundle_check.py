"""The answer to one question about a bundle, and the opened bundle that the questions are asked about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

MODEL_FILE = "model.safetensors"
PREDICTIONS_FILE = "predictions.parquet"
AUDIT_FILE = "audit.json"
DECISIONS_FILE = "decisions.json"
EXACT_FILE = "model.onnx"
FAST_FILE = "fast.onnx"

AUDITED = {
    AUDIT_FILE: PREDICTIONS_FILE,
    "model_audit.json": "model_predictions.parquet",
    "fast_audit.json": "fast_predictions.parquet",
}
"""Audit -> the predictions that it is made of: of the packed file, and of ONNX files with predictions of their own."""

UNREADABLE_JSON = "{name} cannot be read ({reason})."


class Result(StrEnum):
    """How a check ended."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    NOT_CHECKED = "NOT CHECKED"


class CheckFailed(Exception):
    """Raised inside a check; its message is the sentence."""


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Attributes
    ----------
    name : what was looked at, for people.
    sentence : what was found.
    rows : figures behind the sentence, e.g. one row per group.
    """

    name: str
    result: Result
    sentence: str
    rows: Sequence[Mapping[str, Any]] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "result": self.result.value,
            "sentence": self.sentence,
            "rows": [dict(row) for row in self.rows],
        }


@dataclass(frozen=True)
class OpenedBundle:
    """A bundle whose bytes are whole, unpacked.

    Attributes
    ----------
    manifest : what MANIFEST.json says.
    """

    folder: Path
    manifest: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self.manifest["files"]

    def path(self, name: str) -> Path:
        """A file of the bundle."""
        return self.folder / name

    def sha256(self, name: str) -> str | None:
        """SHA-256 of a file; None if there is none."""
        return self.manifest["files"].get(name, {}).get("sha256")

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file.

        Raises
        ------
        CheckFailed
            There is none.
        """
        try:
            content = json.loads(self.path(name).read_bytes())
        except (OSError, ValueError) as error:
            raise CheckFailed(UNREADABLE_JSON.format(name=name, reason=error)) from error
        if not isinstance(content, dict):
            raise CheckFailed(UNREADABLE_JSON.format(name=name, reason="it is no JSON object"))
        return content
