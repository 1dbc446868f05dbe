"""Runs that leave the right files within milliseconds, for tests of what is done with many of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fairquant_core.audit.predictions import Predictions
from fairquant_core.data.cohort import Cohort
from fairquant_core.files import file_hash, write_json
from fairquant_core.models.zoo import Classifier
from fairquant_core.pipeline import RunResult
from fairquant_core.quantization.catalogue import RunConfig
from fairquant_core.scoring import CANDIDATE, FULL_PRECISION


class QuickRuns:
    """Takes the place of :func:`pipeline.run`: the same files, the answers drawn, nothing trained."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.failing: set[tuple[str, int]] = set()

    def __call__(
        self, cohort: Cohort, classifier: Classifier, config: RunConfig, **more: Any
    ) -> RunResult:
        self.calls.append((config.method, config.seed))
        if self.calls[-1] in self.failing:
            raise RuntimeError("out of luck")
        work: Path = more["work"]
        table = cohort.table[cohort.table["split"] != "train"]
        rng = np.random.default_rng([config.seed, len(config.method)])
        answers = rng.dirichlet(np.ones(len(cohort.classes)), (2, len(table)))
        predictions = Predictions.build(
            table, cohort.classes, {FULL_PRECISION: answers[0], CANDIDATE: answers[1]}
        )
        predictions.save(work / "predictions.parquet")
        packed = work / "model.safetensors"
        packed.write_bytes(bytes(100 + len(config.method)))
        size = {"bytes_on_disk": packed.stat().st_size, "bytes_full_precision": 1000}
        size |= {"sha256": file_hash(packed), "bits_achieved": config.bits}
        audit = {"config": config.to_json(), "size": size, "seconds": {"training": 30.0}}
        write_json(work / "audit.json", audit)
        return RunResult(work, audit, predictions, [])
