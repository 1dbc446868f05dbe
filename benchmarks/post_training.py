"""What is left after rounding without training, step by step, and what does it take?

    python benchmarks/post_training.py [--bits 2.5 3 4 6] [--seeds 0 1]
    python benchmarks/post_training.py --cohort FOLDER --classifiers seed0.safetensors seed1.safetensors ...

Without arguments: the demo cohort and its classifier. Figures are of the validation split; the audit split is not
looked at. With several classifiers there is one seed for each, in their order. "Difference" is the mean divergence of
the class probabilities from full precision, in nats, and "changed" the share of answers that are others: far less
noisy than accuracy. "Predicted" is what the plan expects of the loss, mean over the groups. It is made from a map
without what norms make up for; the last row shows what a plan from one with it would give. Seconds are those of the
clock and of the processor; the second hardly depend on what else runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.classifiers import add_classifiers, each_classifier
from benchmarks.figures import divergence, script_parser, write_figures
from fairquant_core.allocation.allocators import Allocation
from fairquant_core.data.training_data import TrainingData
from fairquant_core.models.inference import predict
from fairquant_core.models.zoo import Classifier
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.quantization.compressed import attach, compress
from fairquant_core.sensitivity.registry import sample_per_group, sensitivity_map
from fairquant_core.training.methods import Job, plan_widths, run_method, uniform_widths
from fairquant_core.training.post_training import fit_norms, fit_rounding

FULL = "full precision"
FITTED = "full precision, norms re-estimated"

Make = Callable[[], Classifier]


def variants(job: Job, plain: Job) -> Iterator[tuple[str, Make, Allocation | None]]:
    """Every way of rounding to one budget, from the usual one to the whole post-training mode.

    The last is planned from the plain map of curvature.
    """
    if job.config.bits % 1 == 0:
        for name, words in (("absmax_ptq", "absmax"), ("uniform_ptq", "MSE ranges")):
            uniform = replace(job, config=replace(job.config, method=name))
            yield f"uniform, {words}", lambda job=uniform: run_method(job).classifier, None  # type: ignore[misc]
        same = uniform_widths(job.classifier, int(job.config.bits))
        yield "uniform, compensated", lambda: rounded(job, same, codes=True, biases=True), None
    plan, widths = plan_widths(job)
    yield "minimax, nearest", lambda: rounded(job, widths, norms=False), plan
    yield "  + norms anew", lambda: rounded(job, widths, anew=True), plan
    yield "  + norms moved", lambda: rounded(job, widths), plan
    yield "  + compensation", lambda: rounded(job, widths, codes=True), plan
    yield "  + bias correction", lambda: rounded(job, widths, codes=True, biases=True), plan
    other, others = plan_widths(plain)
    yield "all of it, plain curvature", lambda: rounded(job, others, codes=True, biases=True), other


def rounded(
    job: Job,
    widths: dict[str, np.ndarray],
    *,
    codes: bool = False,
    biases: bool = False,
    norms: bool = True,
    anew: bool = False,
) -> Classifier:
    """The job's classifier rounded with some steps of the post-training mode."""
    student = job.classifier.copy()
    attach(student.model, widths)
    if codes or biases:
        fit_rounding(
            student, job.classifier, job.data, seed=job.config.seed, codes=codes, biases=biases
        )
    elif norms:
        full = None if anew else job.classifier
        fit_norms(student, job.data, full=full, seed=job.config.seed)
    return compress(student).classifier


def figures(classifier: Classifier, data: TrainingData, full: np.ndarray | None) -> dict[str, Any]:
    """Accuracy and loss on the validation split, overall and of the worst-served group."""
    positions = data.positions("validation")
    labels, groups = data.labels[positions], data.groups.to_numpy()[positions]
    chances = predict(classifier, data.images[positions]).astype(float).clip(1e-12)
    right = chances.argmax(1) == labels
    loss = -np.log(chances[np.arange(len(labels)), labels])
    by_group = {name: float(right[groups == name].mean()) for name in data.group_names}
    found = {
        "accuracy": float(right.mean()),
        "worst_group": min(by_group.values()),
        "by_group": by_group,
        "loss": float(loss.mean()),
        "worst_loss": max(float(loss[groups == name].mean()) for name in data.group_names),
    }
    if full is not None:
        found["difference"] = divergence(full, chances)
        found["changed"] = float((full.argmax(1) != chances.argmax(1)).mean())
    return found


def show(bits: float | None, name: str, row: dict[str, Any]) -> None:
    """One line of the table."""
    budget = "" if bits is None else f"{bits:g}"
    beside = (
        f"{row['difference']:10.4f} {100 * row['changed']:7.1f}" if "changed" in row else " " * 18
    )
    print(
        f"{row['seed']:4} {budget:>5} {name:36} {100 * row['accuracy']:8.1f} "
        f"{100 * row['worst_group']:6.1f} {row['loss']:7.3f} {row['worst_loss']:7.3f} {beside} "
        f"{row.get('predicted', np.nan):9.4f} {row['seconds']:8.1f} {row['cpu']:6.1f}",
        flush=True,
    )


def one_seed(
    cohort_data: TrainingData, classifier: Classifier, seed: int, budgets: list[float]
) -> list[dict[str, Any]]:
    """All rows of one classifier."""
    rows: list[dict[str, Any]] = []
    full: np.ndarray | None = None

    def keep(bits: float | None, name: str, make: Make, plan: Allocation | None = None) -> None:
        started, cpu = time.perf_counter(), time.process_time()
        made = make()
        times = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
        row = {"seed": seed, "bits": bits, "name": name.strip(), **times}
        if plan is not None:
            row["predicted"] = float(np.mean(list(plan.predicted.values())))
        rows.append(row | figures(made, cohort_data, full))
        show(bits, name, rows[-1])

    def fitted() -> Classifier:
        copy = classifier.copy()
        fit_norms(copy, cohort_data, seed=seed)
        return copy

    keep(None, FULL, lambda: classifier)
    full = predict(classifier, cohort_data.images[cohort_data.positions("validation")])
    keep(None, FITTED, fitted)
    train = cohort_data.positions("train")
    config = RunConfig(method="minimax_ptq", seed=seed)
    chosen = sample_per_group(cohort_data.groups.iloc[train], config.images_per_group, seed)
    usual, plain = (
        sensitivity_map(
            name,
            classifier,
            cohort_data.images,
            cohort_data.labels,
            {group: train[own] for group, own in chosen.items()},
            seed=seed,
        )
        for name in (config.card.measure, "fisher")
    )
    # A plan is refused a map of another measure, so the plain one goes by the name of the usual one.
    plain = replace(plain, measure=usual.measure)
    for bits in budgets:
        # Made anew for each budget: the menu and what a pruned channel counts follow from it.
        job = Job(RunConfig(config.method, bits, seed=seed), classifier, cohort_data, usual)
        for name, make, plan in variants(job, replace(job, sensitivity=plain)):
            keep(bits, name, make, plan)
    return rows


def means(rows: list[dict[str, Any]]) -> None:
    """The table once more, averaged over the seeds."""
    print("\nmean over the seeds\n")
    keys = dict.fromkeys((row["bits"], row["name"]) for row in rows)
    for bits, name in keys:
        own = [row for row in rows if (row["bits"], row["name"]) == (bits, name)]
        numbers = (
            "accuracy",
            "worst_group",
            "loss",
            "worst_loss",
            "difference",
            "changed",
            "predicted",
            "seconds",
            "cpu",
        )
        mean = {key: float(np.mean([row[key] for row in own])) for key in numbers if key in own[0]}
        show(bits, name, {"seed": "", **mean})


def main() -> None:
    """Print the table; write it where asked."""
    parser = script_parser(__doc__)
    add_classifiers(parser)
    parser.add_argument("--bits", type=float, nargs="+", default=[2.5, 3.0, 4.0, 6.0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    print(
        "seed  bits rounding                             accuracy  worst    loss   worst difference"
        " changed predicted  seconds    cpu"
    )
    for seed, classifier, data in each_classifier(options):
        rows += one_seed(data, classifier, seed, options.bits)
    if len(options.classifiers) > 1:
        means(rows)
    write_figures(options, rows)


if __name__ == "__main__":
    main()
