"""The arguments of the commands; their meaning is in :mod:`fairquant_core.command_line`."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from fairquant_core.quantization.catalogue import GRANULARITIES, METHODS, RunConfig

Handler = Callable[[argparse.Namespace], int]
SPLITS = ("train", "validation", "audit")


def parser(handlers: dict[str, Handler]) -> argparse.ArgumentParser:
    """The parser of ``python -m fairquant_core``; each command calls the handler of its name."""
    top = argparse.ArgumentParser(
        prog="python -m fairquant_core",
        description="Audit what compressing a skin-lesion classifier does to each skin-tone group.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str) -> argparse.ArgumentParser:
        handler = handlers[name]
        text = (handler.__doc__ or "").strip()
        new = commands.add_parser(name, help=text, description=text)
        new.set_defaults(handler=handler)
        new.add_argument("--quiet", action="store_true", help="no progress on standard error")
        return new

    fitting = command("fit")
    _cohort_arguments(fitting)
    fitting.add_argument("--architecture", default="mobilenetv2_100", help="timm's name")
    fitting.add_argument("--weights", type=Path, help="file with weights to start from")
    fitting.add_argument("--pretrained", action="store_true", help="let timm download its weights")
    fitting.add_argument("--size", type=int, help="side of the input in pixels")
    fitting.add_argument("--epochs", type=int, default=12)
    fitting.add_argument("--batch-size", type=int, default=32)
    fitting.add_argument("--learning-rate", type=float, default=1e-3)
    fitting.add_argument("--seed", type=int, default=0)
    fitting.add_argument("--out", type=Path, required=True, help="safetensors file to write")

    measuring = command("sensitivity")
    _cohort_arguments(measuring)
    _classifier_arguments(measuring, "--classifier")
    measuring.add_argument("--bits", type=int, nargs="+", default=[4])
    measuring.add_argument("--images-per-group", type=int, default=256)
    measuring.add_argument("--seed", type=int, default=0)
    measuring.add_argument("--out", type=Path, required=True, help="folder to write to")

    _run_arguments(command("run"))

    scoring = command("evaluate")
    _cohort_arguments(scoring)
    _classifier_arguments(scoring, "--model")
    scoring.add_argument(
        "--split",
        choices=("auto", "all", *SPLITS),
        default="auto",
        help="auto: the audit split of the cohort the model was made with, all images of any other",
    )
    scoring.add_argument(
        "--out", type=Path, help="predictions (.parquet or .csv) or the audit (.json)"
    )

    checking = command("verify")
    checking.add_argument("bundle", type=Path)
    return top


def _cohort_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cohort", type=Path, required=True, help="folder with a table and images")
    parser.add_argument("--labels", help="column with the diagnosis (default: recognised)")
    parser.add_argument("--groups", help="column with the skin tone (default: recognised)")
    parser.add_argument("--scheme", help="fst6, fst3, fst2 or values (default: recognised)")
    parser.add_argument("--split-seed", type=int, help="seed of the split of the cohort (0)")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "fairquant-cache",
        help="folder for decoded images",
    )


def _classifier_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(name, type=Path, required=True, help="weights file, run folder or bundle")
    parser.add_argument("--architecture", help="timm's name, for a checkpoint from elsewhere")
    parser.add_argument("--classes", nargs="+", help="class names in the order of the outputs")
    parser.add_argument("--size", type=int, help="side of the input in pixels, likewise")


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    default = RunConfig()
    _cohort_arguments(parser)
    _classifier_arguments(parser, "--classifier")
    parser.add_argument("--method", choices=tuple(METHODS), default=default.method)
    parser.add_argument("--bits", type=float, default=default.bits, help="average bits per weight")
    parser.add_argument("--epochs", type=int, default=default.epochs)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--granularity", choices=GRANULARITIES, default=default.granularity)
    parser.add_argument("--batch-size", type=int, default=default.batch_size)
    parser.add_argument("--learning-rate", type=float, default=default.learning_rate)
    parser.add_argument("--fairness", choices=("none", "gap", "worst"), default=default.fairness)
    parser.add_argument("--fairness-weight", type=float, default=default.fairness_weight)
    parser.add_argument("--no-distillation", action="store_true")
    parser.add_argument("--images-per-group", type=int, default=default.images_per_group)
    parser.add_argument("--margin", type=float, default=0.02, help="largest acceptable drop")
    parser.add_argument("--minimum-images", type=int, default=20, help="per group in the audit")
    parser.add_argument("--must-not-miss", nargs="*", help="classes with sensitivity figures")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
