"""What the benchmarks have in common: demo cohort, start of the command line, file of figures. No script of its own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from fairquant_core.files import write_json

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo"
"""The built-in cohort, with a classifier."""


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """Parser with a script's docstring as its help, and ``--json`` for the file of figures.

    >>> script_parser("What does it cost?").parse_args(["--json", "costs.json"]).json.name
    'costs.json'
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser


def write_figures(options: argparse.Namespace, figures: Any) -> None:
    """Write the figures if `script_parser`'s ``--json`` names a file."""
    if options.json:
        write_json(options.json, figures)


def divergence(full: np.ndarray, other: np.ndarray) -> float:
    """Mean divergence of class probabilities from those of full precision. Units: nats.

    >>> divergence(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
    0.0
    """
    full, other = full.astype(float).clip(1e-12), other.astype(float).clip(1e-12)
    return float((full * np.log(full / other)).sum(1).mean())
