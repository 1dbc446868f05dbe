"""The commands of ``python -m fairquant_core``: read arguments, call the pipeline, print tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fairquant_core.command_arguments import SPLITS, Handler, parser, run_config
from fairquant_core.command_sweep import sweep
from fairquant_core.command_verify import verify
from fairquant_core.errors import FairQuantError
from fairquant_core.progress import Progress

SAME_IMAGES = (
    "{cohort} holds the very images that the model was made with, but with another table or another split, so it "
    "cannot be told which of them it was trained on. Use the original table, or score with --split all."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an expected error is one line on standard error and exit status 2."""
    parsed = parser(HANDLERS).parse_args(arguments)
    handler: Handler = parsed.handler
    try:
        return handler(parsed)
    except FairQuantError as error:
        print(f"fairquant: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fairquant: cancelled", file=sys.stderr)
        return 130


def fit(options: argparse.Namespace) -> int:
    """Fine-tune a classifier on a cohort and write it as safetensors."""
    from fairquant_core import scoring
    from fairquant_core.models.checkpoint import save_classifier
    from fairquant_core.models.zoo import create
    from fairquant_core.training.fitting import FitConfig, fit

    cohort = _cohort(options)
    classifier = create(
        options.architecture,
        cohort.classes,
        weights=options.weights,
        pretrained=options.pretrained,
        size=options.size,
        seed=options.seed,
    )
    classifier.origin = {**scoring.fingerprints(cohort), **_source(options)}
    report = _Printer(options.quiet)
    data = scoring.training_data(
        cohort,
        classifier,
        group_column=_group_column(options, cohort),
        scheme=_scheme(options, cohort),
        cache=options.cache,
        report=report,
    )
    config = FitConfig(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    history = fit(classifier, data, config, report=report)
    save_classifier(classifier, options.out)
    if "accuracy" in history[-1]:
        images = len(data.positions("validation"))
        print(f"Validation accuracy {history[-1]['accuracy']:.1%} of {images} images.")
    print(f"Wrote {options.out} ({options.out.stat().st_size / 1e6:.1f} MB).")
    return 0


def sensitivity(options: argparse.Namespace) -> int:
    """Measure how much each layer matters to each group."""
    from fairquant_core import pipeline, scoring

    cohort = _cohort(options, _origin(options.classifier))
    measured, _ = pipeline.sensitivity(
        cohort,
        scoring.load_any(options.classifier, **_foreign(options, cohort, options.classifier)),
        group_column=_group_column(options, cohort),
        scheme=_scheme(options, cohort),
        measure=options.measure,
        bits=tuple(options.bits),
        images_per_group=options.images_per_group,
        seed=options.seed,
        cache=options.cache,
        work=_folder(options.out),
        progress=_Printer(options.quiet),
    )
    print(
        f"Change of accuracy when one layer alone goes to {options.bits} bits (validation images):"
    )
    table = measured.frame.pivot_table(
        index=["layer", "bits"], columns="group", values="accuracy_change", sort=False
    )
    print((100 * table).round(1).to_string())
    print(f"Wrote {options.out / pipeline.MEASURED_FILE} and {pipeline.SENSITIVITY_FILE}.")
    return 0


def run(options: argparse.Namespace) -> int:
    """One method at one budget, from planning to the audit of the packed file."""
    from fairquant_core import pipeline, scoring
    from fairquant_core.audit.criteria import Limits
    from fairquant_core.audit.summary_text import print_table
    from fairquant_core.quantization.budget import budget_bits

    config = run_config(options)
    cohort = _cohort(options, _origin(options.classifier))
    classifier = scoring.load_any(
        options.classifier, **_foreign(options, cohort, options.classifier)
    )
    if options.size_bytes is not None and options.bits is None:
        # What is usual (the menu, how training begins and ends) goes by the bits that the size leaves.
        options.bits = budget_bits(config, classifier)
        config = run_config(options)
    started = time.monotonic()
    result = pipeline.run(
        cohort,
        classifier,
        config,
        group_column=_group_column(options, cohort),
        scheme=_scheme(options, cohort),
        limits=Limits(margin=options.margin, minimum_images=options.minimum_images),
        must_not_miss=tuple(options.must_not_miss or ()),
        source=_source(options),
        cache=options.cache,
        work=_folder(options.out),
        progress=_Printer(options.quiet),
    )
    print_table(result.audit)
    size = result.audit["size"]
    if "bits_achieved" in size:
        print(
            f"Bits per weight: {size['bits_requested']:g} asked, {size['bits_achieved']:.4f} achieved. "
            f"File: {size['bytes_on_disk'] / 1e6:.3f} MB on disk, {size['bytes_ideal'] / 1e6:.3f} MB "
            f"ideal, {size['bytes_full_precision'] / 1e6:.3f} MB in full precision."
        )
    minutes = (time.monotonic() - started) / 60
    print(f"Wrote {', '.join(sorted(p.name for p in options.out.iterdir()))} to {options.out}.")
    print(f"Took {minutes:.1f} minutes: {result.seconds}")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Score any of our models on any cohort with the same classes; print the per-group table."""
    from fairquant_core import scoring
    from fairquant_core.audit.criteria import Limits
    from fairquant_core.audit.summary import audit_summary
    from fairquant_core.audit.summary_text import print_table

    with ExitStack() as stack:
        model = _model_file(options.model, stack)
        origin = _origin(model)
        for name in ("labels", "groups", "scheme"):
            if getattr(options, name) is None:
                setattr(options, name, origin.get(name))
        cohort, split, why = _cohort_to_score(options, origin)
        classifier = scoring.load_any(model, **_foreign(options, cohort, model))
        predictions = scoring.evaluate(
            cohort, classifier, split=split, cache=options.cache, report=_Printer(options.quiet)
        )
    print(f"{len(predictions)} images ({why}).")
    summary = audit_summary(
        predictions,
        reference=scoring.CANDIDATE,
        candidate=None,
        group_column=_group_column(options, cohort),
        scheme=_scheme(options, cohort),
        limits=Limits(),
        split=None,
    )
    print_table(summary)
    if options.out:
        _write_evaluation(options.out, predictions, summary)
        print(f"Wrote {options.out}.")
    return 0


def _cohort(options: argparse.Namespace, origin: dict[str, Any] | None = None) -> Any:
    """The cohort, split as it was when the model was made, if it is that cohort.

    The split depends on the group column and the seed. A classifier must never be judged on images that another
    split gave it for training, so the way in which its own cohort was read has precedence.
    """
    from fairquant_core.data.adapters import read_cohort
    from fairquant_core.errors import EvaluationError

    origin = origin or {}
    if origin.get("cohort"):
        same = _read_as_before(options.cohort, origin)
        if same is not None:
            return same
    seed = options.split_seed or 0
    cohort = read_cohort(options.cohort, labels=options.labels, groups=options.groups, seed=seed)
    if cohort.images_fingerprint == origin.get("images"):
        raise EvaluationError(SAME_IMAGES.format(cohort=options.cohort))
    return cohort


def _read_as_before(folder: Path, origin: dict[str, Any]) -> Any | None:
    """The very cohort that a model was made with, or None if the folder holds another one."""
    from fairquant_core.data.adapters import read_cohort

    try:
        same = read_cohort(
            folder,
            labels=origin.get("labels"),
            groups=origin.get("groups"),
            seed=int(origin.get("split_seed") or 0),
        )
    except FairQuantError:
        return None  # too small or too different to be the cohort it was made with
    return same if same.fingerprint == origin.get("cohort") else None


def _cohort_to_score(
    options: argparse.Namespace, origin: dict[str, Any]
) -> tuple[Any, str | None, str]:
    """The cohort, the split to score, and why; never silently images that the model was trained on."""
    from fairquant_core.data.adapters import read_cohort
    from fairquant_core.errors import EvaluationError

    if options.split in SPLITS:
        return _cohort(options, origin), options.split, f"the {options.split} split"
    same = _read_as_before(options.cohort, origin) if origin.get("cohort") else None
    if options.split == "auto" and same is not None:
        return same, "audit", "the locked audit split of the cohort it was made with"
    arguments = {"labels": options.labels, "groups": options.groups}
    whole = read_cohort(options.cohort, evaluation_only=True, **arguments)
    if options.split == "all":
        return whole, None, "all images, whatever they were used for"
    if whole.images_fingerprint == origin.get("images"):
        raise EvaluationError(SAME_IMAGES.format(cohort=options.cohort))
    if not origin.get("cohort"):
        return whole, None, "all images: the file does not say which images it was trained on"
    return whole, None, "all images: this is not the cohort it was made with"


def _origin(path: Path) -> dict[str, Any]:
    """What a weights file remembers of the cohort it was made with; empty for foreign files."""
    from fairquant_core.models.checkpoint import read_description
    from fairquant_core.scoring import MODEL_FILE

    about = read_description(path / MODEL_FILE if path.is_dir() else path) or {}
    return about.get("origin") or about.get("extra") or {}


def _model_file(path: Path, stack: ExitStack) -> Path:
    """The weights file that a path means: itself, a run's folder, or one inside a bundle."""
    from fairquant_core.errors import CheckpointError
    from fairquant_core.export.verification import tampering
    from fairquant_core.scoring import MODEL_FILE

    if path.is_dir():
        return path / MODEL_FILE
    if path.suffix.lower() != ".zip":
        return path
    problems = tampering(path)
    if problems:
        raise CheckpointError(f"{path} does not verify and is not scored: {problems[0]}")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    with zipfile.ZipFile(path) as bundle:
        if MODEL_FILE not in bundle.namelist():
            raise CheckpointError(f"{path} holds no {MODEL_FILE}; is it one of our bundles?")
        return Path(bundle.extract(MODEL_FILE, folder))


def _foreign(options: argparse.Namespace, cohort: Any, path: Path) -> dict[str, Any]:
    """What a checkpoint from elsewhere cannot say about itself; nothing for our own files."""
    from fairquant_core.models.checkpoint import METADATA_KEY
    from fairquant_core.models.weights_file import read_metadata

    metadata = {} if path.is_dir() else read_metadata(path)
    architecture = options.architecture or metadata.get("architecture")
    if METADATA_KEY in metadata or architecture is None:
        return {}
    if not options.classes:
        # A wrong order would make every figure wrong, so the assumption is said aloud.
        order = ", ".join(cohort.classes)
        print(f"Note: the outputs are taken in this order: {order}", file=sys.stderr)
    classes = tuple(options.classes or cohort.classes)
    return {"architecture": architecture, "classes": classes, "size": options.size}


def _group_column(options: argparse.Namespace, cohort: Any) -> str:
    column = options.groups or next(iter(cohort.group_columns))
    cohort.groups(column)  # says which columns there are if this is none of them
    return column


def _scheme(options: argparse.Namespace, cohort: Any) -> str:
    from fairquant_core.data.skin_tone import default_scheme

    return options.scheme or default_scheme(cohort.table[_group_column(options, cohort)])


def _source(options: argparse.Namespace) -> dict[str, Any]:
    """How the cohort was read, kept with the model so that it can be read the same way again."""
    return {
        "labels": options.labels,
        "groups": options.groups,
        "scheme": options.scheme,
        "split_seed": options.split_seed or 0,
    }


def _write_evaluation(path: Path, predictions: Any, summary: dict[str, Any]) -> None:
    from fairquant_core.files import atomic_path, write_json

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        write_json(path, summary)
    elif path.suffix == ".csv":
        with atomic_path(path) as part:
            predictions.frame.to_csv(part, index=False)
    else:
        predictions.save(path)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


class _Printer:
    """Progress on standard error: a line when the stage changes, every epoch, and every ten seconds."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.stage, self.spoken = quiet, "", 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        epoch_done = "validation_loss" in progress.figures
        if self.quiet or not (progress.stage != self.stage or epoch_done or now - self.spoken > 10):
            return
        self.stage, self.spoken = progress.stage, now
        line = f"[{progress.stage}] {progress.message}"
        if progress.seconds_left is not None:
            line += f", about {progress.seconds_left:.0f} s left"
        if epoch_done:
            worst = progress.figures.get("worst_group_accuracy")
            loss = progress.figures["loss"]
            line += "" if loss is None else f"; loss {loss:.3f}"
            line += f", validation accuracy {progress.figures['accuracy']:.1%}"
            line += "" if worst is None else f", worst group {worst:.1%}"
            bits = progress.figures.get("average_bits")
            line += "" if bits is None else f", {bits:.3f} bits"
        print(line, file=sys.stderr, flush=True)


HANDLERS: dict[str, Handler] = {
    "fit": fit,
    "sensitivity": sensitivity,
    "run": run,
    "sweep": sweep,
    "evaluate": evaluate,
    "verify": verify,
}
