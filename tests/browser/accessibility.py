"""What axe, the accessibility checker, has to say about a page in light and in dark."""

from __future__ import annotations

from typing import Any

from fairquant_core.export.tablet import SOURCE

AXE = SOURCE / "node_modules" / "axe-core" / "axe.min.js"
REPAINTED_MS = 500
PASSING = "[data-testid=stToast], .plotly-notifier"
"""Short messages that the libraries draw and take away again by themselves."""


def assert_accessible(page: Any, name: str = "") -> None:
    """Axe finds nothing, in neither colour scheme."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(REPAINTED_MS)
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate(
            "(passing) => axe.run({exclude: [passing]}).then((result) => result.violations)",
            PASSING,
        )
        assert not found, [
            (name, scheme, one["id"], [node["html"][:300] for node in one["nodes"]])
            for one in found
        ]
    page.emulate_media(color_scheme="light")
