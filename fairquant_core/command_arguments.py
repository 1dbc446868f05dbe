"""The arguments of the commands; their meaning is in :mod:`fairquant_core.command_line`."""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairquant_core import command_sweep, command_verify
from fairquant_core.quantization.catalogue import (
    FAIRNESS_TERMS,
    GRANULARITIES,
    MENU,
    METHODS,
    PLANNED_FROM,
    RECOMMENDED,
    RunConfig,
)
from fairquant_core.sensitivity.measures import MEASURES

Handler = Callable[[argparse.Namespace], int]
SPLITS = ("train", "validation", "audit")
SIZE_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "kib": 2**10, "mib": 2**20}


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
        new = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=METHODS_TEXT if name == "run" else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
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
    measuring.add_argument(
        "--measure",
        choices=tuple(MEASURES),
        default=PLANNED_FROM,
        help="of the map that plans start from",
    )
    measuring.add_argument("--bits", type=int, nargs="+", default=[4], help="widths to measure")
    measuring.add_argument("--images-per-group", type=int, default=256)
    measuring.add_argument("--seed", type=int, default=0)
    measuring.add_argument("--out", type=Path, required=True, help="folder to write to")

    _run_arguments(command("run"))
    command_sweep.add_arguments(command("sweep"))

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

    command_verify.add_arguments(command("verify"))
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


def run_config(options: argparse.Namespace) -> RunConfig:
    """The configuration that the arguments of ``run`` ask for."""
    return RunConfig(
        method=options.method,
        bits=RunConfig().bits if options.bits is None else options.bits,
        epochs=options.epochs,
        seed=options.seed,
        granularity=options.granularity,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        fairness=options.fairness,
        fairness_weight=options.fairness_weight,
        distillation=not options.no_distillation,
        trained_share=options.trained_share,
        images_per_group=options.images_per_group,
        menu=tuple(options.menu or (MENU if options.no_pruning else ())),
        floors=dict(options.floor),
        pins=dict(options.pin),
        size_bytes=options.size_bytes,
        activation_bits=options.activation_bits,
        group_weights=dict(options.group_weight),
    )


def size(text: str) -> int:
    """A size as a person writes it, in bytes.

    Examples
    --------
    >>> size("1.5MB"), size("800 kB"), size("1048576")
    (1500000, 800000, 1048576)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower().replace(",", ""))
    if match is None or match[2] not in SIZE_UNITS:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no size; write bytes, or for example 1.5MB or 800kB"
        )
    return round(float(match[1]) * SIZE_UNITS[match[2]])


def assignment(kind: Callable[[str], Any], unit: str) -> Callable[[str], tuple[str, Any]]:
    """Read ``NAME=VALUE``; the value is the part behind the last equals sign."""

    def read(text: str) -> tuple[str, Any]:
        name, _, value = text.rpartition("=")
        try:
            if not name:
                raise ValueError
            return name, kind(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"'{text}' is not NAME={unit}") from error

    return read


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    default = RunConfig()
    _cohort_arguments(parser)
    _classifier_arguments(parser, "--classifier")
    parser.add_argument(
        "--method", choices=tuple(METHODS), default=default.method, help="see the list below"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--bits", type=float, help=f"average bits per weight ({default.bits:g})")
    budget.add_argument(
        "--size-bytes", type=size, metavar="SIZE", help="size of the exported file, e.g. 1.5MB"
    )
    parser.add_argument("--menu", type=int, nargs="+", metavar="BITS", help="widths to choose from")
    parser.add_argument(
        "--no-pruning", action="store_true", help="no channel may be left out (0 bits)"
    )
    layer_bits = assignment(int, "BITS")
    for name, text in (("pin", "that a layer keeps"), ("floor", "that a layer has at least")):
        parser.add_argument(
            f"--{name}",
            type=layer_bits,
            action="append",
            default=[],
            metavar="LAYER=BITS",
            help=f"bits {text}; may be given several times",
        )
    parser.add_argument(
        "--group-weight",
        type=assignment(float, "WEIGHT"),
        action="append",
        default=[],
        metavar="GROUP=X",
        help="how much a group counts in the plan; may be given several times",
    )
    parser.add_argument(
        "--activation-bits", type=int, choices=(8,), help="round the activations as well"
    )
    parser.add_argument("--epochs", type=int, default=default.epochs)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--granularity", choices=GRANULARITIES, default=default.granularity)
    parser.add_argument("--batch-size", type=int, default=default.batch_size)
    parser.add_argument(
        "--learning-rate", type=float, default=0.0, help="default: the method's own"
    )
    parser.add_argument(
        "--fairness", choices=FAIRNESS_TERMS, default="", help="default: the method's own"
    )
    parser.add_argument("--fairness-weight", type=float, default=default.fairness_weight)
    parser.add_argument("--no-distillation", action="store_true")
    parser.add_argument(
        "--trained-share",
        type=float,
        default=0.0,
        help="how much of the trained weights is kept, the rest is the original (default: the method's own)",
    )
    parser.add_argument("--images-per-group", type=int, default=default.images_per_group)
    parser.add_argument("--margin", type=float, default=0.02, help="largest acceptable drop")
    parser.add_argument("--minimum-images", type=int, default=20, help="per group in the audit")
    parser.add_argument("--must-not-miss", nargs="*", help="classes with sensitivity figures")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")


def _methods_text() -> str:
    """The methods by name, those to compress with first."""
    ordered = sorted(METHODS.values(), key=lambda card: card.name not in RECOMMENDED)
    rows = [f"  {card.name:18} {card.title}" for card in ordered]
    rows.insert(len(RECOMMENDED), "methods to compare with:")
    return "\n".join(["methods to compress with:", *rows])


METHODS_TEXT = _methods_text()
