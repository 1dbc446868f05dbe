"""With which programs something was made, so that somebody can make it again."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from fairquant_core import __version__

FORMAT = 1


def environment_lock() -> dict[str, Any]:
    """Python, the machine, and the exact version of every installed package.

    Returns
    -------
    "fairquant" (version and SHA-256 of its source files), "python", "implementation", "system", "machine" and
    "packages" (name -> version; names as package indexes write them). Nothing that names a person,
    a folder or the host.
    """
    return {
        "format": FORMAT,
        "fairquant": {"version": __version__, "source_sha256": source_hash()},
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "packages": _packages(),
    }


@cache
def source_hash() -> str:
    """SHA-256 over names and contents of the core's source files."""
    root = Path(sys.modules["fairquant_core"].__path__[0])
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        # Parsed anew whenever it is asked for.
        about = distribution.metadata
        if name := about["Name"]:
            # The first one on the path is the one that is imported.
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), about["Version"])
    return dict(sorted(found.items()))
