"""The house's import rules: data flows upwards, the core knows no screen, the web process knows no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE, DASHBOARD = ROOT / "fairquant_core", ROOT / "dashboard"
HEAVY = ("torch", "timm", "captum", "torchvision", "numba")

FLOORS = {
    "errors": 0,
    "files": 0,
    "progress": 0,
    "threads": 0,
    "data": 1,
    "models": 2,
    "quantization": 3,
    "audit": 3,
    "sensitivity": 4,
    "allocation": 5,
    "training": 6,
    "explain": 7,
    "export": 8,
    "report": 9,
    "scoring": 9,
    "pipeline": 10,
    "sweep": 11,
    "command_sweep": 12,
    "command_verify": 12,
    "command_arguments": 13,
    "command_line": 14,
    "__main__": 15,
    "__init__": 16,
}

BACKEND_FLOORS = {
    "settings": 0,
    "views": 0,
    "records": 1,
    "queue": 2,
    "case": 3,
    "review": 4,
    "run": 5,
    "saliency": 6,
    "export": 6,
    "report": 7,
    "service_parts": 8,
    "service_review": 9,
    "services": 10,
    "worker": 10,
    "job": 10,
    "__init__": 11,
}

NEEDS_TORCH = {
    "fairquant_core/__main__.py",
    "fairquant_core/pipeline.py",
    "fairquant_core/scoring.py",
    "fairquant_core/sweep.py",
    "fairquant_core/data/batches.py",
    "fairquant_core/explain/saliency.py",
    "fairquant_core/explain/side_by_side.py",
    "fairquant_core/explain/cam_layer.py",
    "fairquant_core/export/checkpoint.py",
    *(
        f"fairquant_core/export/onnx/{name}.py"
        for name in (
            "check",
            "convolutions",
            "exact",
            "int8",
            "layers",
            "network",
            "products",
            "ranges",
            "whole",
        )
    ),
    *(
        f"fairquant_core/quantization/{name}.py"
        for name in (
            "activations",
            "bank",
            "budget",
            "codes",
            "compressed",
            "kernels",
            "layers",
            "quantizer",
            "ranges",
            "rounding",
            "straight_through",
        )
    ),
    *(
        f"fairquant_core/sensitivity/{name}.py"
        for name in (
            "cache",
            "centring",
            "gradient_pass",
            "measured",
            "registry",
            "rounding_errors",
            "second_derivatives",
        )
    ),
    *(
        str(path.relative_to(ROOT))
        for path in CORE.glob("training/*.py")
        if path.stem != "__init__"
    ),
    *(str(path.relative_to(ROOT)) for path in CORE.glob("models/*.py") if path.stem != "__init__"),
    "dashboard/backend/job.py",
    "dashboard/backend/export/task.py",
}


def modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


@lru_cache
def imports(path: Path) -> set[str]:
    """Every module imported anywhere in a file, except for type checking only."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def check_floors(path: Path, home: Path, floors: dict[str, int]) -> None:
    """A file imports from the rooms below its own, and from its own."""
    own = path.relative_to(home).with_suffix("").parts[0]
    package = name_of(home) + "."
    for name in imports(path):
        other = name.removeprefix(package).split(".")[0]
        if name.startswith(package) and other in floors and other != own:
            assert floors[other] < floors[own], f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", modules(CORE), ids=name_of)
def test_core_imports_only_what_lies_below(path: Path) -> None:
    check_floors(path, CORE, FLOORS)
    for name in imports(path):
        top = name.split(".")[0]
        assert top not in ("streamlit", "plotly", "dashboard", "sqlalchemy"), f"{path}: {name}"


@pytest.mark.parametrize("path", modules(DASHBOARD / "backend"), ids=name_of)
def test_backend_knows_no_screen_and_imports_only_what_lies_below(path: Path) -> None:
    check_floors(path, DASHBOARD / "backend", BACKEND_FLOORS)
    for name in imports(path):
        assert name.split(".")[0] not in ("streamlit", "plotly"), f"{path}: {name}"
        assert not name.startswith(("dashboard.components", "dashboard.app"))


@pytest.mark.parametrize("path", modules(DASHBOARD / "app_pages"), ids=name_of)
def test_pages_call_services_and_components_only(path: Path) -> None:
    for name in imports(path):
        if name.split(".")[0] == "dashboard" and name != "dashboard":
            part = name.split(".")[1]
            allowed = part in ("components", "app_pages") or name.startswith(
                ("dashboard.backend.services", "dashboard.backend.views")
            )
            assert allowed or name == "dashboard.backend", f"{path}: {name}"


def test_there_are_no_circles() -> None:
    files = {name_of(path): path for path in modules(CORE) + modules(DASHBOARD)}
    graph = {
        name: {other for other in files if other != name and other in imports(path)}
        for name, path in files.items()
    }
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for other in graph[name]:
            walk(other, (*trail, name))
        done.add(name)

    # Imports inside functions are how a lazy import breaks a circle; the packages' own files have none.
    for name in graph:
        walk(name, ())


def test_everything_but_the_named_modules_is_free_of_torch() -> None:
    """One fresh process imports them all, as the web process does."""
    light = [
        name_of(path)
        for path in modules(CORE) + modules(DASHBOARD)
        if str(path.relative_to(ROOT)) not in NEEDS_TORCH
        and path.parent.name != "app_pages"
        and path.name != "app.py"
    ]
    program = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [h for h in {HEAVY!r} if h in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("path", modules(CORE) + modules(DASHBOARD), ids=name_of)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", modules(DASHBOARD), ids=name_of)
def test_no_raw_html(path: Path) -> None:
    assert "unsafe_allow_html" not in path.read_text(encoding="utf-8")
