"""The command ``verify``: is a bundle whole, genuine, approved, and does it still predict what was audited?"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path

from fairquant_core.progress import Progress

EXIT_CODES = """\
exit status: 0 if nothing is wrong (read what was NOT CHECKED), 1 if a check failed, 2 if the key or the cohort
that was given cannot be used.
"""
WIDTH = 100
COLUMN = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.epilog = EXIT_CODES
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--key", type=Path, help="public key that you trust, or a folder of .pub files"
    )
    parser.add_argument(
        "--cohort", type=Path, help="folder with the data set of the audit, to predict it again"
    )
    parser.add_argument("--json", action="store_true", help="all answers as JSON")


def verify(options: argparse.Namespace) -> int:
    """Check a bundle: every byte, the signature, the approval, the figures, and its predictions."""
    from fairquant_core.export.bundle_check import Result
    from fairquant_core.export.verification import verify

    def speak(progress: Progress) -> None:
        print(f"[{progress.stage}] {progress.message}", file=sys.stderr, flush=True)

    found = verify(
        options.bundle,
        key=options.key,
        cohort=options.cohort,
        report=None if options.quiet else speak,
    )
    if options.json:
        print(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
        return 0 if found.passed else 1
    for check in found.checks:
        lines = textwrap.wrap(check.sentence, WIDTH - COLUMN) or [""]
        print(f"{check.result.value:12}{check.name}")
        print(textwrap.indent("\n".join(lines), " " * 12))
        for row in check.rows:
            print(
                f"{'':14}{row['file']:12} {row['group']:20} {row['same_class']} of {row['images']} "
                f"images: same class, probabilities within {row['largest_difference']:.1g}"
            )
    print(f"\nSHA-256 of the bundle: {found.sha256}" if found.sha256 else "")
    if not found.passed:
        names = ", ".join(check.name for check in found.failed)
        print(f"{options.bundle} does NOT verify: {names}.")
        return 1
    open_questions = [check.name for check in found.checks if check.result == Result.NOT_CHECKED]
    rest = f" Not checked: {', '.join(open_questions)}." if open_questions else ""
    print(f"{options.bundle} verifies: nothing is wrong with it.{rest}")
    return 0
