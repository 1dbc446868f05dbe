"""A small bundle as the application makes it: a real classifier, its audit, and the decisions about it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.special import softmax

from fairquant_core.audit.criteria import Limits
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary import audit_summary
from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.images import decoded_images
from fairquant_core.export import bundle as writing
from fairquant_core.export.checkpoint import save_packed
from fairquant_core.export.decision_chain import FIRST, entry_hash, excerpt
from fairquant_core.export.onnx.exact import export_onnx
from fairquant_core.export.onnx.session import OnnxClassifier
from fairquant_core.export.signing import PUBLIC_KEY_FILE, SIGNATURE_FILE
from fairquant_core.export.verification import Verification
from fairquant_core.files import canonical, file_hash
from tests.core.export.onnx.networks import CLASSES, compressed_of, network_of

RUN, CASE, SIZE, IMAGES = "run-1", "case-1", 16, 36
Files = dict[str, Path | bytes]
Members = dict[str, bytes]
Make = Callable[[Files], Verification]


def write_cohort(folder: Path) -> Path:
    """Pictures of noise with three skin types; every image is audited."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(IMAGES):
        file = f"images/{number:02d}.png"
        pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / file)
        label, tone = CLASSES[number % 3], (1, 3, 6)[number // 3 % 3]
        rows.append({"id": f"i{number}", "file": file, "label": label, "fitzpatrick": tone})
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    return folder


def write_run(folder: Path, cohort_folder: Path) -> Files:
    """Packed file, ONNX file, predictions of both classifiers, and the audit of them."""
    compressed = compressed_of("tiny", SIZE)
    save_packed(compressed, folder / "model.safetensors")
    export_onnx(compressed, folder / "model.onnx", network=network_of("tiny", SIZE))
    cohort = read_cohort(cohort_folder, evaluation_only=True)
    classifier = OnnxClassifier(folder / "model.onnx")
    images = decoded_images(cohort, classifier.preprocessing, folder / "cache")
    logits = classifier.logits(images)
    table = cohort.table.assign(split="audit")
    # The original is right everywhere, so that the limits are clearly broken.
    right = table["label"].to_numpy()[:, None] == np.array(CLASSES)
    outputs = {
        "full precision": np.where(right, 0.8, 0.1).astype(np.float32),
        "candidate": softmax(logits, axis=1),
    }
    predictions = Predictions.build(table, CLASSES, outputs)
    predictions.save(folder / "predictions.parquet")
    audit = audit_summary(
        predictions,
        group_column="fitzpatrick",
        scheme="fst3",
        limits=Limits(margin=0.02, minimum_images=5),
        resamples=20,
    )
    audit["size"] = {"sha256": file_hash(folder / "model.safetensors")}
    (folder / "audit.json").write_text(json.dumps(audit))
    names = ("model.safetensors", "model.onnx", "predictions.parquet", "audit.json")
    return {name: folder / name for name in names}


def chained(specifications: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries of a log, each bound to the one before."""
    entries: list[dict[str, Any]] = []
    for number, given in enumerate(specifications, 1):
        entry = {
            "sequence": number,
            "time": f"2026-01-{number:02d}T00:00:00Z",
            "person": "Ada",
            "role": "auditor",
            "subject": RUN,
            "previous": entries[-1]["hash"] if entries else FIRST,
            **given,
            "details": canonical(given.get("details") or {}),
        }
        entries.append({**entry, "hash": entry_hash(entry)})
    return entries


def hash_of(source: Path | bytes) -> str:
    """SHA-256 of a file or of bytes."""
    return str(writing._describe(source)["sha256"])


def approval(files: Files, **changes: Any) -> dict[str, Any]:
    """A yes to exactly these files, with a reason because the limits are broken."""
    audit = json.loads(_read(files["audit.json"]))
    bound = {
        "model": "model.safetensors",
        "predictions": "predictions.parquet",
        "audit": "audit.json",
    }
    hashes = {key: hash_of(files[name]) for key, name in (*bound.items(), ("onnx", "model.onnx"))}
    details = {
        "decision": "approve",
        "comment": "Seen.",
        "override": "Every image is looked at by a dermatologist as well.",
        "verdict_seen": audit["verdict"],
        "hashes": {**hashes, "limits": audit["limits_fingerprint"]},
        "authenticated": False,
        **changes,
    }
    return {"action": "approve", "person": "Kwame", "role": "clinician", "details": details}


def usual_log(files: Files, *more: Mapping[str, Any], **changes: Any) -> list[dict[str, Any]]:
    """Case made, another run proposed, this run proposed and approved."""
    return chained(
        [
            {"action": "case created", "subject": CASE},
            {"action": "propose", "subject": "run-0"},
            {"action": "propose"},
            approval(files, **changes),
            *more,
        ]
    )


def with_decisions(files: Files, entries: Sequence[Mapping[str, Any]] | None = None) -> Files:
    """The files and decisions.json."""
    entries = usual_log(files) if entries is None else entries
    about = {"run": RUN, "case": CASE, **excerpt(entries, (RUN, CASE))}
    return {**files, "decisions.json": json.dumps(about, indent=1).encode()}


def failed(found: Verification) -> list[str]:
    """Names of the checks that failed."""
    return [check.name for check in found.failed]


def members_of(path: Path) -> Members:
    """Names and contents of a bundle."""
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def put_back(path: Path, members: Members, *, manifest: bool = True) -> None:
    """Write a bundle as a forger would who knows this program but has no key.

    Parameters
    ----------
    manifest : whether the forger also corrects the manifest.
    """
    members = dict(members)
    if manifest:
        old = json.loads(members[writing.MANIFEST])
        unlisted = (writing.MANIFEST, SIGNATURE_FILE)
        unlisted += (PUBLIC_KEY_FILE,) if PUBLIC_KEY_FILE not in old["files"] else ()
        listed = {
            name: writing._describe(content)
            for name, content in members.items()
            if name not in unlisted
        }
        members[writing.MANIFEST] = writing._manifest_bytes(
            dict(sorted(listed.items())), old["about"]
        )
    write_members(path, members)


def without_signature(path: Path, members: Members) -> None:
    """Pass a bundle off as one of format 1, which knew no signature."""
    manifest = json.loads(members[writing.MANIFEST])
    manifest["version"] = writing.UNSIGNED_VERSION
    text = json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n"
    kept = {name: content for name, content in members.items() if name != SIGNATURE_FILE}
    if PUBLIC_KEY_FILE not in manifest["files"]:
        kept.pop(PUBLIC_KEY_FILE)
    write_members(path, kept | {writing.MANIFEST: text})


def write_members(path: Path, members: Members) -> None:
    """Write the zip that these contents always give."""
    with path.open("wb") as target:
        writing._write_zip(target, {name: writing._source(one) for name, one in members.items()})


def edit_json(files: Files, name: str, change: Callable[[Any], object]) -> Files:
    """The files with one JSON file changed in place."""
    content = json.loads(_read(files[name]))
    change(content)
    return {**files, name: json.dumps(content).encode()}


def _read(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()
