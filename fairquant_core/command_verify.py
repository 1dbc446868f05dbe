"""The command ``verify``: is a bundle whole, genuine, approved, and does it still predict what was audited?"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from fairquant_core.progress import Progress

if TYPE_CHECKING:
    from fairquant_core.export.bundle_check import Check
    from fairquant_core.export.verification import Verification

EXIT_CODES = """\
exit status: 0 if nothing is wrong (read what was NOT CHECKED), 1 if a check failed, 2 if the bundle is not there, or
the key or the cohort that was given cannot be used.
"""
WIDTH = 100
INDENT = " " * 13

ABOUT = ("case", "run", "verdict")
"""What the manifest says about the bundle, in this order."""

QUESTIONS = {
    "Zip file": "can it be read?",
    "Names": "do all files stay in their folder when it is unpacked?",
    "Contents": "is every file the one that was packed?",
    "Every byte": "is there nothing between or behind the files?",
    "Signature": "is everything as it was signed?",
    "Signing key": "did somebody sign whom you trust?",
    "Decision log": "is it complete and unchanged?",
    "Approval": "did somebody approve exactly this?",
    "Audit figures": "do they, and the verdicts, follow from the predictions?",
    "ONNX files": "do they hold the classifier that was audited?",
    "Predictions": "does it still give the audited answers on the images?",
}
"""Name of a check -> the question that it answers."""

VERDICTS = {
    "OUTSIDE": "The verdict of the audit is OUTSIDE: more is lost than was agreed.",
    "INSUFFICIENT EVIDENCE": (
        "The verdict of the audit is INSUFFICIENT EVIDENCE: the images cannot tell whether every group keeps what was "
        "agreed. That is not a pass."
    ),
}
NEVERTHELESS = "Read above why it was approved nevertheless."
BROKEN = "{path} does NOT verify: {names}. Do not use it; ask for it again."
GOOD = "{path} verifies: nothing wrong was found."
OPEN = "Nobody has looked at: {names}."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.epilog = EXIT_CODES
    parser.add_argument("bundle", type=Path, help="the zip that was exported")
    parser.add_argument(
        "--key", type=Path, help="public key that you trust, or a folder of .pub files"
    )
    parser.add_argument(
        "--cohort", type=Path, help="folder with the data set of the audit, to predict it again"
    )
    parser.add_argument("--json", action="store_true", help="all answers as JSON")


def verify(options: argparse.Namespace) -> int:
    """Check a bundle: every byte, the signature, the approval, the figures, and its predictions."""
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
    else:
        print(text_of(found))
    return 0 if found.passed else 1


def text_of(found: Verification) -> str:
    """All answers for people, the conclusion last."""
    lines = []
    for name in ABOUT:
        if name in found.about:
            lines.append(f"{name.capitalize():{len(INDENT)}}{printable(found.about[name])}")
    lines += [f"{'SHA-256':{len(INDENT)}}{found.sha256}", ""]
    told: set[str] = set()
    for check in found.checks:
        lines.append(f"{check.result.value:{len(INDENT)}}{check.name}: {QUESTIONS[check.name]}")
        # The same reason for many questions is given once.
        if check.sentence not in told:
            lines += _wrapped(check.sentence)
        told.add(check.sentence)
        lines += _rows(check)
    return "\n".join([*lines, "", *_conclusion(found)])


def _conclusion(found: Verification) -> list[str]:
    if not found.passed:
        names = ", ".join(check.name for check in found.failed)
        return [BROKEN.format(path=found.path, names=names)]
    lines = [GOOD.format(path=found.path)]
    verdict = VERDICTS.get(str(found.about.get("verdict")))
    if verdict:
        lines += textwrap.wrap(f"{verdict} {NEVERTHELESS}", WIDTH)
    if found.not_checked:
        lines.append(OPEN.format(names=", ".join(check.name for check in found.not_checked)))
    return lines


def printable(text: object) -> str:
    """A text of the bundle on one line, without characters that move the cursor or colour the screen.

    >>> printable("a\\x1b[32m\\nPASSED")
    'a?[32m PASSED'
    """
    line = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _rows(check: Check) -> list[str]:
    return [
        f"{INDENT}  {row['file']:12} {printable(row['group']):20} same class for {row['same_class']} of "
        f"{row['images']} images, probabilities at most {row['largest_difference']:.1g} apart"
        for row in check.rows
    ]


def _wrapped(sentence: str) -> list[str]:
    return [f"{INDENT}{line}" for line in textwrap.wrap(printable(sentence), WIDTH - len(INDENT))]
