"""The command ``sweep``: many methods, budgets and seeds, compared. ``benchmarks/accuracy.py`` is the same thing."""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairquant_core.errors import EvaluationError, TrainingError
from fairquant_core.progress import Progress
from fairquant_core.quantization.catalogue import GRANULARITIES, METHODS, RunConfig

if TYPE_CHECKING:
    from fairquant_core.data.cohort import Cohort
    from fairquant_core.sweep import Finished, Sweep

BUDGETS = (3.0, 4.0, 6.0)
REFERENCES = ("full_precision", "static_qat")
DIFFERENT_READING = (
    "The classifiers were made with different readings of the cohort ({readings}). Give one per seed, all fitted "
    "with the same columns and groups; only the split may differ."
)
BAD_SETTING = (
    "'{text}' is no setting. Write NAME=VALUE with a field of a run, e.g. granularity=layer."
)


def add_arguments(parser: argparse.ArgumentParser, **given: Any) -> None:
    """The arguments of the command; ``given`` are defaults for cohort, classifiers and out."""
    run = RunConfig()

    def place(name: str, text: str, **more: Any) -> None:
        required = name not in given
        default = given.get(name)
        parser.add_argument(
            f"--{name}", type=Path, required=required, default=default, help=text, **more
        )

    place("cohort", "folder with a table and images")
    place("classifiers", "one file, or one per seed, each perhaps with its own split", nargs="+")
    place("out", "folder for all candidates; what is finished there is not run again")
    parser.add_argument("--labels", help="column with the diagnosis (default: as the classifier's)")
    parser.add_argument("--groups", help="column with the skin tone (default: as the classifier's)")
    parser.add_argument("--scheme", help="fst6, fst3, fst2 or values (default: likewise)")
    parser.add_argument(
        "--split-seed", type=int, help="seed of the split (default: each classifier's own)"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "fairquant-cache"
    )
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    parser.add_argument("--bits", type=float, nargs="+", default=list(BUDGETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=run.epochs)
    parser.add_argument("--batch-size", type=int, default=run.batch_size)
    parser.add_argument(
        "--learning-rate", type=float, default=0.0, help="default: each method's own"
    )
    parser.add_argument("--granularity", choices=GRANULARITIES, default=run.granularity)
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="any other field of a run"
    )
    parser.add_argument(
        "--order",
        nargs=3,
        default=["seed", "bits", "method"],
        metavar="NAME",
        help="seed, bits and method, what changes slowest first; values as given",
    )
    parser.add_argument("--split", choices=("validation", "audit"), default="audit")
    parser.add_argument("--references", nargs="*", default=list(REFERENCES), choices=tuple(METHODS))
    parser.add_argument("--minimum-images", type=int, default=20, help="of the worst group")
    parser.add_argument("--margin", type=float, default=0.02, help="largest acceptable drop")
    parser.add_argument("--threads", type=int, help="threads of the arithmetic")
    parser.add_argument("--summary-only", action="store_true", help="of what is finished")
    parser.add_argument("--json", type=Path, help="file for all figures")


def sweep(options: argparse.Namespace) -> int:
    """Run many methods, budgets and seeds and compare them; may be interrupted and repeated."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    plan = build(options)
    for (method, bits), reason in {(s.method, s.bits): s.reason for s in plan.skipped}.items():
        print(f"Left out: {method} at {bits:g} bits: {reason}")
    status = 0
    if not options.summary_only:
        print(f"{len(plan.planned)} candidates, {len(plan.all_finished())} of them finished.")
        speaker = _Speaker(options.quiet)
        try:
            plan.run(progress=speaker, done=lambda found: _say_finished(plan, found, options.split))
        except KeyboardInterrupt:
            print("Interrupted. Repeat the command to go on; this is what is finished:")
            status = 130
    _report(plan, options)
    failures = plan.failures()
    for row in failures.to_dict("records"):
        print(f"FAILED  {row['method']} {row['bits']:g} bits, seed {row['seed']}: {row['message']}")
        print(f"        {row['error']}, see {row['folder']}")
    return status or int(len(failures) > 0)


def build(options: argparse.Namespace) -> Sweep:
    """The sweep that the options describe, with the cohort read as when the classifiers were made."""
    from fairquant_core.audit.criteria import Limits
    from fairquant_core.data.adapters import read_cohort
    from fairquant_core.data.skin_tone import default_scheme
    from fairquant_core.scoring import load_any
    from fairquant_core.sweep import Start, Sweep

    classifiers = [load_any(path) for path in options.classifiers]
    names = ("labels", "groups", "scheme")
    readings = {tuple(one.origin.get(name) for name in names) for one in classifiers}
    if len(readings) > 1:
        raise EvaluationError(DIFFERENT_READING.format(readings=sorted(map(str, readings))))
    reading: dict[str, Any] = dict(zip(names, readings.pop(), strict=True))
    for name in names:
        given = getattr(options, name)
        reading[name] = reading[name] if given is None else given

    @functools.cache
    def split_with(seed: int) -> Cohort:
        return read_cohort(
            options.cohort, labels=reading["labels"], groups=reading["groups"], seed=seed
        )

    starts = []
    for one in classifiers:
        own = options.split_seed
        own = one.origin.get("split_seed") or 0 if own is None else own
        starts.append(Start(one, split_with(own), reading | {"split_seed": own}))
    cohort = starts[0].cohort
    column = reading["groups"] or next(iter(cohort.group_columns))
    settings = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "granularity": options.granularity,
        **dict(map(_setting, options.set)),
    }
    return Sweep(
        tuple(starts),
        tuple(options.methods),
        tuple(options.bits),
        tuple(options.seeds),
        options.out,
        options.cache,
        column,
        reading["scheme"] or default_scheme(cohort.table[column]),
        limits=Limits(margin=options.margin, minimum_images=options.minimum_images),
        settings=settings,
        order=tuple(options.order),
    )


def _setting(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or name not in RunConfig.__dataclass_fields__:
        raise TrainingError(BAD_SETTING.format(text=text))
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _say_finished(plan: Sweep, found: Finished, split: str) -> None:
    from fairquant_core.audit.board_text import candidate_line

    print(candidate_line(plan.board_of([found], split=split)), flush=True)


def _report(plan: Sweep, options: argparse.Namespace) -> None:
    from fairquant_core.audit.board_text import board_text, board_values
    from fairquant_core.files import write_json

    found = plan.all_finished()
    print(f"\n{len(found)} of {len(plan.planned)} candidates are finished.")
    if not found:
        return
    board = plan.board_of(found, split=options.split)
    print(board_text(board, options.references))
    if options.json:
        write_json(
            options.json,
            {
                "cohort": plan.starts[0].cohort.name,
                "starts": [
                    {
                        "classifier": start.classifier.fingerprint,
                        "cohort": start.cohort.fingerprint,
                        "split_seed": start.source["split_seed"],
                    }
                    for start in plan.starts
                ],
                "settings": plan.settings,
                "planned": len(plan.planned),
                "finished": len(found),
                "skipped": [vars(one) for one in plan.skipped],
                "failures": plan.failures().to_dict("records"),
                **board_values(board, options.references),
            },
        )
        print(f"Wrote {options.json}.")


class _Speaker:
    """Progress on standard error: a line at most every thirty seconds, and every failure."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.spoken = quiet, 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        failed = progress.stage == "failed"
        if not failed and (self.quiet or now - self.spoken < 30):
            return
        self.spoken = now
        left = progress.seconds_left
        line = f"[{progress.stage}] {progress.message}"
        line += "" if left is None else f", about {left:.0f} s left"
        print(line, file=sys.stderr, flush=True)
