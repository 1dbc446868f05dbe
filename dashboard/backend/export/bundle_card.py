"""The model card of a bundle: what is known here, handed to the core."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dashboard.backend.export.exports import EXACT_AUDIT, EXACT_CHECK, EXACT_FILE, FAST_AUDIT
from dashboard.backend.records.schema import Case, Job
from dashboard.backend.review.evidence import AUDIT_FILE, PLAN_FILE
from dashboard.backend.settings import REPOSITORY
from dashboard.backend.views import ReviewView
from fairquant_core.export.model_card import NAME, model_card
from fairquant_core.export.onnx.file import describe_onnx
from fairquant_core.quantization.catalogue import METHODS
from fairquant_core.report.names import JSON_FILE

__all__ = ["NAME", "PROGRAM", "program", "write_card"]

PROGRAM = "classify.py"
_PROGRAM_SOURCE = REPOSITORY / "examples" / PROGRAM

Files = Mapping[str, Path | bytes]


def program() -> dict[str, Path | bytes]:
    """The program that classifies a photograph without this tool; {} where it was not installed."""
    return {PROGRAM: _PROGRAM_SOURCE.read_bytes()} if _PROGRAM_SOURCE.is_file() else {}


def write_card(run: Job, case: Case, review: ReviewView, files: Files) -> bytes:
    """The card of the files that were gathered.

    Where the exact file has an audit of its own, the figures are from that one.
    """
    audit = _json(files[AUDIT_FILE])
    own = _json(files[EXACT_AUDIT]) if EXACT_AUDIT in files else None
    method = str(run.config.get("method") or "")
    approval = review.decisions[-1]
    facts = {
        "name": f"{case.title} ({run.title})",
        "method": METHODS[method].title if method in METHODS else method,
        "classifier": case.classifier,
        "cohort": case.cohort,
        "group_source": case.group_source,
        "size": audit.get("size"),
        "check": _json(files[EXACT_CHECK]),
        "preprocessing": describe_onnx(Path(str(files[EXACT_FILE])))["preprocessing"],
        "own_audit": own is not None,
        "fast_audit": _json(files[FAST_AUDIT]) if FAST_AUDIT in files else None,
        "report": _json(files[JSON_FILE]),
        "approval": {
            "person": approval.person,
            "role": approval.role,
            "time": approval.time,
            "comment": approval.comment,
            "override": approval.override,
            "authenticated": approval.authenticated,
        },
        "hashes": review.hashes,
        "program": PROGRAM if PROGRAM in files else None,
        "tablet": any(name.startswith("tablet/") for name in files),
    }
    plan = _json(files[PLAN_FILE]) if PLAN_FILE in files else None
    return model_card(own or audit, plan, facts).encode()


def _json(source: Path | bytes) -> Any:
    return json.loads(source if isinstance(source, bytes) else source.read_bytes())
