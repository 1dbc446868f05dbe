"""How accurate is every method at every budget, for the worst-served group above all?

    python benchmarks/accuracy.py [--methods baq static_qat ...] [--bits 3 4 6] [--seeds 0 1 2] [--epochs 4]
    python benchmarks/accuracy.py --cohort FOLDER --classifiers seed0.safetensors seed1.safetensors ... --out FOLDER

Without arguments: all methods on the demo cohort. Every candidate is kept in --out; the command can be
interrupted and repeated, and --summary-only prints what is finished so far. Figures are of the audit split;
choose settings with --split validation.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import DEMO
from fairquant_core.command_sweep import add_arguments, sweep
from fairquant_core.errors import FairQuantError


def main() -> int:
    """Run or summarise the sweep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(
        parser,
        cohort=DEMO,
        classifiers=[DEMO / "classifier.safetensors"],
        out=Path(tempfile.gettempdir()) / "fairquant-accuracy",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    try:
        return sweep(parser.parse_args())
    except FairQuantError as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
