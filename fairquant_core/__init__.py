"""Audit and compress skin-lesion classifiers so that no skin-tone group pays for it.

A notebook needs no more than the names listed here. They are imported on first use, so that
``import fairquant_core`` stays quick and free of torch.

>>> from fairquant_core import RunConfig
>>> RunConfig(bits=4.0).title
'Learned bit-widths (BAQ), 4 bits, seed 0'
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Cohort": "fairquant_core.data.cohort",
    "read_cohort": "fairquant_core.data.adapters",
    "Preprocessing": "fairquant_core.data.images",
    "Classifier": "fairquant_core.models.zoo",
    "create": "fairquant_core.models.zoo",
    "save_classifier": "fairquant_core.models.checkpoint",
    "load_classifier": "fairquant_core.models.checkpoint",
    "predict": "fairquant_core.models.inference",
    "FitConfig": "fairquant_core.training.fitting",
    "fit": "fairquant_core.training.fitting",
    "RunConfig": "fairquant_core.quantization.catalogue",
    "METHODS": "fairquant_core.quantization.catalogue",
    "BitPlan": "fairquant_core.quantization.plan",
    "SensitivityMap": "fairquant_core.sensitivity.maps",
    "MeasuredMap": "fairquant_core.sensitivity.maps",
    "minimax": "fairquant_core.allocation.allocators",
    "sensitivity_map": "fairquant_core.sensitivity.registry",
    "measured_map": "fairquant_core.sensitivity.measured",
    "Compressed": "fairquant_core.quantization.compressed",
    "attach": "fairquant_core.quantization.compressed",
    "compress": "fairquant_core.quantization.compressed",
    "Sweep": "fairquant_core.sweep",
    "Board": "fairquant_core.audit.board",
    "Predictions": "fairquant_core.audit.predictions",
    "Limits": "fairquant_core.audit.criteria",
    "audit_summary": "fairquant_core.audit.summary",
    "attribute": "fairquant_core.explain.saliency",
    "compare_maps": "fairquant_core.explain.side_by_side",
    "save_packed": "fairquant_core.export.checkpoint",
    "load_packed": "fairquant_core.export.checkpoint",
    "verify_bundle": "fairquant_core.export.bundle",
    "FairQuantError": "fairquant_core.errors",
}

__all__ = sorted([*_WHERE, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'fairquant_core' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
