"""Classifiers that a benchmark is given, each with the data of its own split. No script of its own."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import DEMO
from fairquant_core.data.adapters import read_cohort
from fairquant_core.data.training_data import TrainingData
from fairquant_core.models.checkpoint import load_classifier
from fairquant_core.models.zoo import Classifier
from fairquant_core.scoring import check_split, training_data


def add_classifiers(parser: argparse.ArgumentParser) -> None:
    """Arguments for a cohort and for classifiers that were fitted on splits of it; by default the demo's."""
    parser.add_argument("--cohort", type=Path, default=DEMO)
    parser.add_argument("--labels", help="column of the diagnosis")
    parser.add_argument("--groups", help="column of the groups")
    parser.add_argument("--scheme", default="fst3")
    parser.add_argument(
        "--classifiers", type=Path, nargs="+", default=[DEMO / "classifier.safetensors"]
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="one per classifier; default 0, 1, ..."
    )
    parser.add_argument("--cache", type=Path, help="folder for decoded images that stays")


def each_classifier(
    options: argparse.Namespace,
) -> Iterator[tuple[int, Classifier, TrainingData]]:
    """Seed, classifier and data, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(options.classifiers):
            classifier = load_classifier(path)
            # Split as the classifier's own: another one would call its training images validation.
            cohort = read_cohort(
                options.cohort,
                labels=options.labels,
                groups=options.groups,
                seed=classifier.origin.get("split_seed") or 0,
            )
            check_split(cohort, classifier)
            data = training_data(
                cohort,
                classifier,
                group_column=options.groups or next(iter(cohort.group_columns)),
                scheme=options.scheme,
                cache=options.cache or Path(folder),
            )
            yield options.seeds[number] if options.seeds else number, classifier, data
            del data  # a cache in use cannot be removed everywhere
