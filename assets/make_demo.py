"""Make the built-in demo: pictures, classifier, predictions and their provenance.

    python assets/make_demo.py --out assets/demo --seed 0 --pretrained

Draws the synthetic cohort, trains the demo classifier on its train split (the epoch is chosen on the
validation split, the audit split is scored once at the end), and writes everything beside the pictures.
The network starts from ImageNet weights: from a file (``--weights``) or fetched by timm
(``--pretrained``); with neither it starts at random, which needs far more epochs. With
``--keep-cohort`` the pictures that are there already are used. Masks of the audit pictures' lesions
are drawn too; ``--only-masks`` draws nothing else and leaves all other files as they are.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

# The script is run by its path from a checkout, where the package need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import torch

from fairquant_core.audit.predictions import Predictions
from fairquant_core.data import demo, masks
from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.cohort import Cohort
from fairquant_core.data.images import Preprocessing, decoded_images
from fairquant_core.files import file_hash
from fairquant_core.models.checkpoint import save_classifier
from fairquant_core.models.inference import predict
from fairquant_core.models.zoo import Classifier, create
from fairquant_core.progress import Progress
from fairquant_core.scoring import fingerprints
from fairquant_core.training.fitting import FitConfig, fit
from fairquant_core.training.loop import TrainingData

GROUP_COLUMN = "fitzpatrick"
MODEL_NAME = "full precision"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("assets/demo"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--architecture", default="mobilenetv2_100", help="timm's name")
    parser.add_argument(
        "--weights", type=Path, help="start from these weights (default: at random)"
    )
    parser.add_argument(
        "--pretrained", action="store_true", help="start from ImageNet weights that timm fetches"
    )
    parser.add_argument(
        "--size", type=int, default=96, help="side of the classifier's input, pixels"
    )
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--extra",
        type=int,
        default=0,
        help="further training pictures of the same generator, drawn with other seeds, not shipped",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep-cohort", action="store_true", help="do not draw the pictures again")
    parser.add_argument(
        "--only-masks", action="store_true", help="draw the masks of the shipped pictures, no more"
    )
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.only_masks:
        draw_masks(options)
        return
    started = time.monotonic()
    torch.set_num_threads(options.threads)
    command = (
        f"python assets/make_demo.py --out assets/demo --seed {options.seed} "
        f"--architecture {options.architecture} --size {options.size} --epochs {options.epochs} "
        f"--learning-rate {options.learning_rate:g} --batch-size {options.batch_size}"
        + (f" --extra {options.extra}" if options.extra else "")
        + (f" --weights {options.weights.name}" if options.weights else "")
        + (" --pretrained" if options.pretrained else "")
        + f" --threads {options.threads}"
    )
    if not options.keep_cohort:
        shutil.rmtree(options.out / "images", ignore_errors=True)
        demo.write_cohort(options.out, seed=options.seed, command=command, progress=_count)
        draw_masks(options)
    drawn = time.monotonic()
    cohort = read_cohort(options.out)
    classifier, history = train(cohort, options)
    trained = time.monotonic()
    classifier.origin = {**fingerprints(cohort), "labels": None, "groups": None, "split_seed": 0}
    save_classifier(classifier, options.out / "classifier.safetensors")
    predictions = score(cohort, classifier)
    predictions.save(options.out / "predictions.parquet")
    figures = summarise(predictions)
    minutes = {"pictures": drawn - started, "training": trained - drawn}
    provenance = describe(options, command, cohort, classifier, history, figures, minutes)
    path = options.out / "provenance.json"
    path.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


def draw_masks(options: argparse.Namespace) -> None:
    """Where the lesions of the audit pictures are; the cohort's fingerprint does not hold them."""
    shutil.rmtree(options.out / masks.FOLDER, ignore_errors=True)
    written = demo.write_masks(options.out, seed=options.seed)
    print(f"masks: {len(written)}", flush=True)


def train(cohort: Cohort, options: argparse.Namespace) -> tuple[Classifier, list[dict[str, Any]]]:
    """Train the classifier on the train split; nothing of the audit split is looked at."""
    classifier = create(
        options.architecture,
        cohort.classes,
        size=options.size,
        weights=options.weights,
        pretrained=options.pretrained,
        seed=options.seed,
        name="Demo skin-lesion classifier",
    )
    used = cohort.table["split"].isin(["train", "validation"]).to_numpy()
    with tempfile.TemporaryDirectory() as cache:
        images = np.array(decoded_images(cohort, classifier.preprocessing, Path(cache)))[used]
    labels = cohort.label_codes[used]
    groups = cohort.groups(GROUP_COLUMN, "fst6")[used].to_numpy()
    split = cohort.table["split"].to_numpy()[used]
    if options.extra:
        more = extra_pictures(cohort, classifier.preprocessing, options)
        images = np.concatenate([images, more[0]])
        labels, groups = np.concatenate([labels, more[1]]), np.concatenate([groups, more[2]])
        split = np.concatenate([split, np.full(len(more[0]), "train")])
    data = TrainingData(images, labels, pd.Series(groups), split)
    config = FitConfig(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    return classifier, fit(classifier, data, config, report=_say)


def extra_pictures(
    cohort: Cohort, preprocessing: Preprocessing, options: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """More training pictures with the shares of the train split, made like the shipped ones."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        seed = options.seed + 1_000_003
        demo.write_cohort(Path(folder), seed=seed, sizes={"train": options.extra}, progress=_count)
        table = pd.read_csv(Path(folder) / "cohort.csv")
        more = Cohort(
            "extra", Path(folder), table.astype(str), {GROUP_COLUMN: "demo"}, cohort.classes
        )
        images = np.array(decoded_images(more, preprocessing, Path(cache)))
        return images, more.label_codes, more.groups(GROUP_COLUMN, "fst6").to_numpy()


def score(cohort: Cohort, classifier: Classifier) -> Predictions:
    """Predictions on the validation and audit splits."""
    with tempfile.TemporaryDirectory() as cache:
        images = np.array(decoded_images(cohort, classifier.preprocessing, Path(cache)))
    rows = cohort.table["split"].isin(["validation", "audit"]).to_numpy()
    probabilities = predict(classifier, images[rows])
    return Predictions.build(cohort.table[rows], classifier.classes, {MODEL_NAME: probabilities})


def summarise(predictions: Predictions) -> dict[str, Any]:
    """Accuracy per split, overall and per skin type, and the audit confusion table."""
    figures: dict[str, Any] = {}
    for split in ("validation", "audit"):
        part = predictions.part(split)
        correct = pd.Series(part.correct(MODEL_NAME))
        figures[split] = {"images": len(part), "accuracy": round(float(correct.mean()), 4)}
        for scheme in ("fst3", "fst6"):
            by_group = correct.groupby(part.groups(GROUP_COLUMN, scheme).to_numpy())
            figures[split][scheme] = {
                str(group): {"images": int(of.size), "accuracy": round(float(of.mean()), 4)}
                for group, of in by_group
            }
    part = predictions.part("audit")
    table = pd.crosstab(part.frame["label"], part.predicted(MODEL_NAME))
    table = table.reindex(index=part.classes, columns=part.classes, fill_value=0)
    figures["audit"]["confusion, rows are labels"] = {
        str(label): [int(count) for count in row] for label, row in table.iterrows()
    }
    return figures


def describe(
    options: argparse.Namespace,
    command: str,
    cohort: Cohort,
    classifier: Classifier,
    history: list[dict[str, Any]],
    figures: dict[str, Any],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """What a person needs to check or remake the demo."""
    best = max(history, key=lambda row: row["accuracy"] - 1e-3 * row["validation_loss"])
    packages = ("numpy", "scipy", "pillow", "torch", "timm")
    files = ("cohort.csv", "cohort.json", "classifier.safetensors", "predictions.parquet")
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "seed": options.seed,
        "generator_version": demo.GENERATOR_VERSION,
        "must_not_miss": sorted(demo.MALIGNANT),
        "cohort_fingerprint": cohort.fingerprint,
        "classifier_fingerprint": classifier.fingerprint,
        "sha256": {name: file_hash(options.out / name) for name in files},
        "classifier": {
            "architecture": classifier.architecture,
            "start": _start(options),
            "licence": (
                "Apache-2.0, as the ImageNet weights of timm that it started from"
                if options.weights or options.pretrained
                else "CC0 1.0, generated by this project"
            ),
            "parameters": sum(tensor.numel() for tensor in classifier.model.parameters()),
            "input_pixels": options.size,
            "training_pictures": int((cohort.table["split"] == "train").sum()) + options.extra,
            "of_these_not_shipped": options.extra,
            "epochs": options.epochs,
            "epoch_kept": best["epoch"],
            "chosen_by": "accuracy on the validation split; the audit split was scored once",
            "learning_rate": options.learning_rate,
            "batch_size": options.batch_size,
        },
        "figures": figures,
        "minutes": {name: round(value / 60, 1) for name, value in seconds.items()},
        "threads": options.threads,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in packages},
    }


def _start(options: argparse.Namespace) -> str:
    """Where the weights began, precisely enough to begin there again."""
    if options.weights:
        return f"ImageNet weights, {options.weights.name}, SHA-256 {file_hash(options.weights)}"
    return "ImageNet weights, fetched by timm" if options.pretrained else "random"


def _count(done: int, total: int) -> None:
    if done % 300 == 0 or done == total:
        print(f"pictures: {done} of {total}", flush=True)


def _say(progress: Progress) -> None:
    figures = progress.figures
    if "accuracy" in figures:
        print(
            f"epoch {progress.step} of {progress.steps}: loss {figures['loss']:.3f}, validation "
            f"accuracy {figures['accuracy']:.3f}, {progress.seconds_left or 0:.0f} s left",
            flush=True,
        )


if __name__ == "__main__":
    main()
