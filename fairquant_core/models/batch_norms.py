"""The batch norms of a network."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Those that hold running statistics, in the network's order."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
