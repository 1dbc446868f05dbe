"""The guard, beside a healthy torchvision, a broken one, none, and the one installed here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from fairquant_core.models import torchvision_guard as guard

ASK = """
import sys, torch
from fairquant_core.models.torchvision_guard import ensure_torchvision
print("needed", ensure_torchvision())
print("again", ensure_torchvision())
print("defined", hasattr(torch.ops.torchvision, "nms"), hasattr(torch.ops.torchvision, "qnms"))
print("imported", "torchvision" in sys.modules)
"""

HEALTHY = {"__init__.py": "VERSION = 1\n"}
# Like the real package: a submodule is imported first, then a missing operator is described.
BROKEN = {
    "__init__.py": "from . import first, describe\n",
    "first.py": "",
    "describe.py": (
        "import torch\n"
        "@torch.library.register_fake('torchvision::nms')\n"
        "def nms(dets, scores, iou_threshold):\n"
        "    return dets\n"
    ),
}


def ask(path: Path | None, code: str = ASK) -> subprocess.CompletedProcess[str]:
    """Run in a fresh interpreter; folders in `path` are found before the installed packages."""
    start = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    return subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, check=False
    )


def package(folder: Path, files: dict[str, str]) -> Path:
    (folder / "torchvision").mkdir()
    for name, content in files.items():
        (folder / "torchvision" / name).write_text(content, encoding="utf-8")
    return folder


def test_a_healthy_torchvision_is_left_alone(tmp_path: Path) -> None:
    result = ask(package(tmp_path, HEALTHY))
    assert result.stdout.splitlines() == [
        "needed False",
        "again False",
        "defined False False",
        "imported True",
    ], result.stderr


def test_a_torchvision_without_operators_is_imported(tmp_path: Path) -> None:
    result = ask(package(tmp_path, BROKEN))
    assert result.stdout.splitlines() == [
        "needed True",
        "again True",
        "defined True True",
        "imported True",
    ], result.stderr


def importing(error: Exception) -> Callable[[str], None]:
    """A stand-in for `import_module` that always fails."""

    def fail(name: str) -> None:
        raise error

    return fail


def test_another_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard.importlib, "import_module", importing(RuntimeError("other")))
    with pytest.raises(RuntimeError, match="^other$"):
        guard.ensure_torchvision()


def test_no_torchvision_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ModuleNotFoundError("No module named 'torchvision'", name="torchvision")
    monkeypatch.setattr(guard.importlib, "import_module", importing(absent))
    assert guard.ensure_torchvision() is False


def test_a_torchvision_that_lacks_something_else_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = ModuleNotFoundError("No module named 'numpy'", name="numpy")
    monkeypatch.setattr(guard.importlib, "import_module", importing(absent))
    with pytest.raises(ModuleNotFoundError, match="numpy"):
        guard.ensure_torchvision()


def test_a_torchvision_that_stays_broken_is_named(tmp_path: Path) -> None:
    files = BROKEN | {"describe.py": BROKEN["describe.py"].replace("::nms", "::roi_align")}
    result = ask(package(tmp_path, files))
    assert "ClassifierError: torchvision cannot be imported beside this torch" in result.stderr


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
def test_the_installed_torchvision() -> None:
    more = "from torchvision.extension import _has_ops\nprint('own operators', _has_ops())\n"
    result = ask(None, ASK + more)
    lines = dict(line.rsplit(" ", 1) for line in result.stdout.splitlines())
    assert result.returncode == 0, result.stderr
    # Placeholders exactly where torchvision has no operators of its own.
    assert lines["needed"] == str(lines["own operators"] == "False")
    assert lines["imported"] == "True"
