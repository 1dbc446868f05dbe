"""Sensitivity and budget: what squeezing costs each group, before anything is trained."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dashboard.backend.case.cases import Cases
from dashboard.backend.case.classifier_file import ClassifierFile
from dashboard.backend.queue.jobs import JobRequest, Jobs
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.schema import Case, Job
from dashboard.backend.review.evidence import SENSITIVITY_FILE
from dashboard.backend.run.runs import case_identity
from dashboard.backend.views import JobKind, JobState, PlanPreview
from fairquant_core.errors import BudgetError
from fairquant_core.quantization.catalogue import (
    MENU,
    PLANNED_FROM,
    PRUNING_BELOW,
    RECOMMENDED,
    RunConfig,
)
from fairquant_core.quantization.file_size import PackedFile
from fairquant_core.quantization.plan import PRUNED, BitPlan
from fairquant_core.sensitivity.maps import MeasuredMap, SensitivityMap
from fairquant_core.sensitivity.measures import REVISION

if TYPE_CHECKING:
    import pandas as pd

MEASURED_FILE = "measured.parquet"
CURVE_FILE = "curve.parquet"
LOWEST, LOWEST_WITH_PRUNING, HIGHEST = float(min(MENU)), 1.5, float(max(MENU))
"""Budgets that are offered. Units: average bits per weight."""

CURVE_STEP = 0.25
"""Distance of the points of the curve. Units: average bits per weight."""

KEPT_PREVIEWS = 64
KEPT_MAPS = 2
WORST = "worst"

PLANNER = RECOMMENDED[0]
"""Stands for every method that starts from the fair plan: what it refuses, they refuse."""

NO_PRUNING = (
    "The sensitivity of this case was measured without pruning (0 bits). Measure the layers again, or leave "
    "pruning out."
)


class Budget:
    """Asking for the sensitivity map, and solving bit plans on it in the web process."""

    def __init__(self, jobs: Jobs, cases: Cases, artefacts: Artefacts) -> None:
        self._jobs = jobs
        self._cases = cases
        self._artefacts = artefacts
        self._lock = threading.Lock()
        self._maps: OrderedDict[str, tuple[MeasuredMap, SensitivityMap]] = OrderedDict()
        self._previews: OrderedDict[tuple[Any, ...], PlanPreview] = OrderedDict()

    def request(self, case_id: str, bits: tuple[int, ...], images_per_group: int) -> str:
        """Queue the measurement."""
        case = self._cases.ready_row(case_id)
        wrong = [width for width in bits if width not in MENU]
        if wrong or not bits:
            raise BudgetError(
                f"The widths to measure must come from {list(MENU)}, not {list(bits)}."
            )
        if images_per_group < 2:
            raise BudgetError("At least 2 images per group are needed to measure anything.")
        config: dict[str, Any] = {
            "measure": PLANNED_FROM,
            "revision": REVISION,
            "bits": sorted(set(bits)),
            "images_per_group": int(images_per_group),
            "seed": 0,
        }
        shown = ", ".join(map(str, config["bits"]))
        request = JobRequest(
            JobKind.SENSITIVITY,
            case.id,
            f"Sensitivity per layer and group at {shown} bits",
            {**case_identity(case), "config": config},
            config,
        )
        return self._jobs.submit(request, lambda result: self._has_maps(result))

    def job(self, case_id: str) -> Job | None:
        """The job that was asked for last."""
        rows = self._jobs.rows(kind=JobKind.SENSITIVITY, case_id=case_id)
        return rows[0] if rows else None

    def maps(self, case_id: str) -> tuple[MeasuredMap, SensitivityMap] | None:
        """The newest finished measurement; None if there is none."""
        artefact = self._newest(case_id)
        return None if artefact is None else self._load(artefact)

    def curve(self, case_id: str) -> pd.DataFrame | None:
        """[kind, bits, megabytes, group, predicted_loss_rise]; None until measured.

        Sizes are those of files that can be exported, not of the weights alone.
        """
        import pandas as pd

        artefact = self._newest(case_id)
        if artefact is None:
            return None
        case, sensitivity = self._cases.row(case_id), self._load(artefact)[1]
        plan = _uniform_plan(sensitivity, max(MENU), kept_parameters(case, sensitivity))
        whole = self._packed_file(case, sensitivity).bytes_of(plan, RunConfig())
        frame = pd.read_parquet(self._artefacts.path(artefact, CURVE_FILE))
        frame["megabytes"] += (whole - plan.packed_bytes()) / 1e6
        return frame

    def preview(
        self, case_id: str, bits: float, granularity: str, wishes: Mapping[str, Any] | None = None
    ) -> PlanPreview | None:
        """The min-max plan of a budget; None until measured.

        Parameters
        ----------
        wishes : fields of a run's configuration: size_bytes (then ``bits`` does not count), menu, floors, pins,
            group_weights.
        """
        artefact = self._newest(case_id)
        if artefact is None:
            return None
        config = RunConfig(
            method=PLANNER, bits=round(float(bits), 4), granularity=granularity, **(wishes or {})
        )
        key = (case_id, artefact, config.digest)
        with self._lock:
            if key in self._previews:
                self._previews.move_to_end(key)
                return self._previews[key]
        preview = self._solve(self._cases.row(case_id), self._load(artefact)[1], config)
        with self._lock:
            self._previews[key] = preview
            while len(self._previews) > KEPT_PREVIEWS:
                self._previews.popitem(last=False)
        return preview

    def _solve(self, case: Case, sensitivity: SensitivityMap, config: RunConfig) -> PlanPreview:
        # The solvers take a while to import and are not needed to draw the first page.
        from fairquant_core.allocation.allocators import minimax

        if PRUNED in config.widths and PRUNED not in sensitivity.menu:
            raise BudgetError(NO_PRUNING)
        packed = self._packed_file(case, sensitivity)
        bits = config.bits
        if config.size_bytes is not None:
            bits = packed.bits_for(config.size_bytes, config)
        allocation = minimax(sensitivity, bits, **config.plan_wishes)
        plan = allocation.plan(kept_parameters=kept_parameters(case, sensitivity))
        gap = allocation.certificate_gap
        return PlanPreview(
            plan=plan,
            predicted=dict(allocation.predicted),
            bytes=packed.bytes_of(plan, config),
            certificate=float("nan") if gap is None else gap,
            requested_bits=allocation.requested_bits,
            achieved_bits=allocation.achieved_bits,
            granularity=allocation.granularity,
            layers=plan.layer_table(),
        )

    def _packed_file(self, case: Case, sensitivity: SensitivityMap) -> PackedFile:
        assert case.classifier_hash is not None
        path = self._artefacts.path(case.classifier_hash, case.classifier["file"])
        about = ClassifierFile.read(path).description or {}
        return PackedFile.read(path, sensitivity.layers, about)

    def _newest(self, case_id: str) -> str | None:
        self._cases.row(case_id)
        rows = self._jobs.rows(kind=JobKind.SENSITIVITY, case_id=case_id, state=JobState.FINISHED)
        found = (row.result_hash for row in rows if row.result_hash)
        return next((artefact for artefact in found if self._has_maps(artefact)), None)

    def _has_maps(self, artefact: str) -> bool:
        needed = (SENSITIVITY_FILE, MEASURED_FILE, CURVE_FILE)
        return all(self._artefacts.has(artefact, name) for name in needed)

    def _load(self, artefact: str) -> tuple[MeasuredMap, SensitivityMap]:
        with self._lock:
            if artefact not in self._maps:
                self._maps[artefact] = (
                    MeasuredMap.load(self._artefacts.path(artefact, MEASURED_FILE)),
                    SensitivityMap.load(self._artefacts.path(artefact, SENSITIVITY_FILE)),
                )
                while len(self._maps) > KEPT_MAPS:
                    self._maps.popitem(last=False)
            self._maps.move_to_end(artefact)
            return self._maps[artefact]


def kept_parameters(case: Case, sensitivity: SensitivityMap) -> int:
    """Numbers that stay float32 in the packed file: all that the map does not hold."""
    total = int(case.classifier.get("parameters", 0))
    return max(0, total - int(sensitivity.weights.sum()))


def solve_curve(sensitivity: SensitivityMap, kept: int) -> pd.DataFrame:
    """The plan of every size as a run would make it, and every uniform width, in one long table.

    Sizes are the ideal ones; :meth:`Budget.curve` adds what the file says about itself.
    """
    import numpy as np
    import pandas as pd

    from fairquant_core.allocation.allocators import curve, uniform_widths

    low = min(width for width in sensitivity.menu if width != PRUNED)
    first = LOWEST_WITH_PRUNING if PRUNED in sensitivity.menu else low
    points = np.arange(first, max(sensitivity.menu) + CURVE_STEP / 2, CURVE_STEP)
    kinds = [uniform_widths(sensitivity).assign(kind="uniform")]
    for part in (points[points < PRUNING_BELOW], points[points >= PRUNING_BELOW]):
        if part.size:
            wishes = RunConfig(method=PLANNER, bits=float(part[0])).plan_wishes
            wishes["menu"] = [width for width in wishes["menu"] if width in sensitivity.menu]
            kinds.append(curve(sensitivity, part.tolist(), **wishes).assign(kind="minimax"))
    wide = pd.concat(kinds, ignore_index=True)
    # A plan weighs pruned channels more heavily than the prediction does that is shown.
    wide["worst"] = wide[list(sensitivity.groups)].max(axis=1)
    codes = wide["achieved_bits"] * int(sensitivity.weights.sum()) / 8
    # Scale and width of every channel and the numbers kept in float32 are in every file.
    empty = _uniform_plan(sensitivity, low, kept)
    fixed = empty.packed_bytes() - empty.weight_bits / 8
    wide["megabytes"] = (codes + fixed) / 1e6
    return wide.rename(columns={"worst": WORST}).melt(
        id_vars=["kind", "bits", "megabytes"],
        value_vars=[*sensitivity.groups, WORST],
        var_name="group",
        value_name="predicted_loss_rise",
    )


def _uniform_plan(sensitivity: SensitivityMap, bits: int, kept: int) -> BitPlan:
    import numpy as np

    counts = np.bincount(sensitivity.layer_index, minlength=len(sensitivity.layers))
    starts = np.searchsorted(sensitivity.layer_index, np.arange(len(sensitivity.layers)))
    weights = sensitivity.weights[starts]
    return BitPlan.uniform(
        dict(zip(sensitivity.layers, weights.tolist(), strict=True)),
        dict(zip(sensitivity.layers, counts.tolist(), strict=True)),
        bits,
        kept,
    )
