"""The offline page for a tablet: the exported classifier, the page around it, and the runtime that executes it.

Everything is static files. Served over https, or from the device itself, the page keeps itself on the device
and then works without a network; `examples/README.md` says how.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairquant_core.errors import ExportError
from fairquant_core.export.fresh_process import run_fresh
from fairquant_core.files import file_hash

FOLDER = "tablet"
SOURCE = Path(__file__).resolve().parents[2] / "examples" / "tablet"
PAGE = (
    "camera.js",
    "check.png",
    "classifier.js",
    "file_format.js",
    "guard.js",
    "icon.svg",
    "index.html",
    "manifest.webmanifest",
    "offline.js",
    "page.js",
    "picture.js",
    "preprocess.js",
    "resample.js",
    "style.css",
    "words.js",
    "worker.js",
)
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""Of the many builds, the one that computes on the processor only; half the size of those for graphics chips."""
SERVICE_WORKER = "service-worker.js"
SERVER = "serve.py"
LICENCE = "RUNTIME-LICENCE.txt"
NOTICES = "ThirdPartyNotices.txt"
CHECK = "check.png"

NOT_INSTALLED = (
    "The runtime for browsers is not installed ({name} is absent), so the tablet page cannot be made: run 'npm ci' in "
    "{folder}, which needs Node and npm, and try again"
)
NOT_RUN = "{path} could not be run on the reference picture: {reason}"
NO_NOTICES = (
    "The package onnxruntime lacks {name}, without which the runtime may not be handed on: install it again from "
    "requirements.txt"
)
NO_PAGE = "{name} is absent from {folder}: restore examples/tablet from the source of this program"

SECONDS = 300
# A process of its own: whoever writes a bundle, such as the web process, need not hold the runtime in memory.
_CLASSIFY = """
import json, sys
from pathlib import Path
from fairquant_core.data.images import load_array
from fairquant_core.errors import FairQuantError
from fairquant_core.export.onnx.session import OnnxClassifier
try:
    classifier = OnnxClassifier(Path(sys.argv[1]), threads=1)
except FairQuantError as error:
    sys.exit(str(error))
pixels = load_array(Path(sys.argv[2]), classifier.preprocessing)
print(json.dumps([classifier.about, classifier.logits(pixels[None])[0].tolist()]))
"""


def tablet_files(
    onnx: Path, facts: Mapping[str, Any], *, source: Path = SOURCE
) -> dict[str, Path | bytes]:
    """All files of the page, by their names in a bundle.

    Parameters
    ----------
    onnx
        A file that :func:`~fairquant_core.export.onnx.file.write_onnx` wrote. It is run once on a reference
        picture; the page refuses to work in a browser that computes something else.
    facts
        What the page says about the decision, all texts and all optional: "verdict", "approved_by",
        "approved_role", "approved_at" (ISO 8601), "comment", "override", "intended_use", "do_not_use", "case",
        "run". Without "approved_by" the page says that it is for trying out only.
    source
        Folder of the page, in which the runtime was installed.

    Returns
    -------
    ``{"tablet/index.html": ..., ...}``; equal arguments give equal contents on the same machine.

    Raises
    ------
    ExportError
        The runtime, its notices or a file of the page is absent, or the ONNX file is absent, damaged or cannot be
        run.
    """
    onnx = Path(onnx)
    dist = source / "node_modules" / "onnxruntime-web" / "dist"
    for name in RUNTIME:
        if not (dist / name).is_file():
            raise ExportError(NOT_INSTALLED.format(name=name, folder=source))
    for name in (*PAGE, SERVICE_WORKER, SERVER, LICENCE):
        if not (source / name).is_file():
            raise ExportError(NO_PAGE.format(name=name, folder=source))
    files: dict[str, Path | bytes] = {name: source / name for name in PAGE}
    files |= {f"runtime/{name}": dist / name for name in RUNTIME}
    files["model.onnx"] = onnx
    files["model.json"] = _as_json(_describe(onnx, facts, source / CHECK))
    # The service worker and its list are what a browser asks for anew; the rest it keeps.
    files["files.js"] = _list(files)
    files |= {name: source / name for name in (SERVICE_WORKER, SERVER, LICENCE)}
    files[NOTICES] = _notices()
    return {f"{FOLDER}/{name}": content for name, content in sorted(files.items())}


def _notices() -> Path:
    """The terms of what ONNX Runtime itself is built from; its package for browsers leaves them out."""
    package = importlib.util.find_spec("onnxruntime")
    path = Path(str(package.origin)).parent / NOTICES if package else None
    if path is None or not path.is_file():
        raise ExportError(NO_NOTICES.format(name=NOTICES))
    return path


def _describe(onnx: Path, facts: Mapping[str, Any], picture: Path) -> dict[str, Any]:
    """What the browser's runtime cannot read from the file, and what Python computes for the reference picture."""
    about, logits = _classified(onnx, picture)
    return {
        **about,
        "facts": dict(facts),
        "file": {
            "name": "model.onnx",
            "bytes": onnx.stat().st_size,
            "sha256": file_hash(onnx),
        },
        "check": {"picture": CHECK, "logits": logits},
    }


def _classified(onnx: Path, picture: Path) -> tuple[dict[str, Any], list[float]]:
    """The file's description and its logits for one picture."""
    about, logits = run_fresh(_CLASSIFY, onnx, str(picture), seconds=SECONDS, refusal=NOT_RUN)
    return about, logits


def _list(files: Mapping[str, Path | bytes]) -> bytes:
    """The files that stay on the device; the version changes with any byte of them."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0")
        content = content if isinstance(content, bytes) else content.read_bytes()
        digest.update(hashlib.sha256(content).digest())
    listed = {"version": digest.hexdigest()[:32], "names": sorted(files)}
    return b"self.FILES = " + _as_json(listed).rstrip() + b";\n"


def _as_json(content: Any) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"
