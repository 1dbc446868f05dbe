"""The arithmetic of rounding, of its gradients and of the search for ranges: one pass over the weights of a layer.

In operations of torch it is a dozen passes forward and a dozen back, most of whose time is memory. Numba compiles the
loops when they are first called and keeps them for later processes.

Shapes, all float32 and contiguous: ``weight``, ``gradient`` and ``out`` (C, K), all others (C,); a grid holds arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from fairquant_core.quantization.codes import Grid

ZERO, ONE = np.float32(0), np.float32(1)

EDGE = np.float32(1 + 1e-6)
"""A weight at the very edge of the range counts as inside; the margin absorbs the division's rounding."""

ANY_ORDER = {"reassoc", "nsz"}
"""Sums whose terms are added in any order, several at a time."""


def _compiled(**options: Any) -> Any:
    """Compile what is decorated when it is first called, and keep it beside this file or in the user's folder."""

    def compiled(function: Callable[..., Any]) -> Any:
        common = {"nogil": True, "error_model": "numpy", **options}
        try:
            return numba.njit(cache=True, **common)(function)
        except RuntimeError:  # Neither folder may be written: every process compiles for itself.
            return numba.njit(**common)(function)

    return compiled


@_compiled()
def _code(place: np.float32, steps: np.float32) -> np.float32:
    """As in :func:`fairquant_core.quantization.codes.quantise`; a weight that is not a number stays so."""
    place = -ONE if place < -ONE else place
    place = ONE if place > ONE else place
    return np.floor(place * steps)


@_compiled()
def round_rows(
    weight: np.ndarray,
    inverse: np.ndarray,
    low: Grid[np.ndarray],
    high: Grid[np.ndarray] | None,
    out: np.ndarray,
) -> None:
    """``out``: the codes of one or two widths times their ``scale``, added.

    ``inverse`` is one over the range.
    """
    for row in range(len(weight)):
        inverse_here = inverse[row]
        half, steps, scale = low.half[row], low.steps[row], low.scale[row]
        if high is None:
            for column in range(weight.shape[1]):
                place = weight[row, column] * inverse_here
                out[row, column] = _code(place + half, steps) * scale
        else:
            half_high, steps_high, scale_high = high.half[row], high.steps[row], high.scale[row]
            for column in range(weight.shape[1]):
                place = weight[row, column] * inverse_here
                first = _code(place + half, steps) * scale
                out[row, column] = first + _code(place + half_high, steps_high) * scale_high


@_compiled(fastmath=ANY_ORDER)
def share_errors(
    places: np.ndarray, shares: np.ndarray, steps: np.float32, out: np.ndarray
) -> None:
    """Root of the squared error of each channel, were its range so many shares of what it is, of either sign.

    Shapes: ``places`` (C, K), weights as shares of the range; ``shares`` (C, S); ``out`` (C, 2 S), positive
    ranges first.
    """
    half, count = np.float32(0.5), shares.shape[1]
    for row in range(len(places)):
        for number in range(count):
            scale = shares[row, number] / steps
            inverse = ONE / scale
            below, above = ZERO, ZERO
            for column in range(places.shape[1]):
                exact = places[row, column] * inverse
                nearest = np.rint(exact)
                low = min(max(nearest, -steps - half), steps - half) - exact
                high = min(max(nearest, half - steps), half + steps) - exact
                below += low * low
                above += high * high
            out[row, number] = np.sqrt(below) * scale
            out[row, count + number] = np.sqrt(above) * scale


@_compiled()
def _inside(place: np.float32, gradient: np.float32) -> np.float32:
    """The gradient where the weight is not clipped, zero elsewhere."""
    return gradient if (place > -EDGE) & (place < EDGE) else ZERO


@_compiled(fastmath=ANY_ORDER)
def pull_rows(
    weight: np.ndarray,
    gradient: np.ndarray,
    inverse: np.ndarray,
    low: Grid[np.ndarray],
    out: np.ndarray,
    dot: np.ndarray,
    pull: np.ndarray,
) -> None:
    """Gradients of a rounding to one width.

    ``out``: the gradient of the weights. ``dot``: that of one step, ``<g, codes>``. ``pull``: ``<out, w>``.
    """
    for row in range(len(weight)):
        inverse_here, half, steps = inverse[row], low.half[row], low.steps[row]
        along, across = ZERO, ZERO
        for column in range(weight.shape[1]):
            given = gradient[row, column]
            place = weight[row, column] * inverse_here + half
            along += given * _code(place, steps)
            passed = _inside(place, given)
            across += passed * weight[row, column]
            out[row, column] = passed
        dot[row], pull[row] = along, across


@_compiled(fastmath=ANY_ORDER)
def pull_mixed_rows(
    weight: np.ndarray,
    gradient: np.ndarray,
    inverse: np.ndarray,
    low: Grid[np.ndarray],
    high: Grid[np.ndarray],
    share: np.ndarray,
    out: np.ndarray,
    dot_low: np.ndarray,
    dot_high: np.ndarray,
    pull: np.ndarray,
) -> None:
    """Gradients of the mixture of two roundings, ``share`` of the second; results as of :func:`pull_rows`."""
    for row in range(len(weight)):
        inverse_here, part = inverse[row], share[row]
        half, steps = low.half[row], low.steps[row]
        half_high, steps_high = high.half[row], high.steps[row]
        along_low, along_high, across = ZERO, ZERO, ZERO
        for column in range(weight.shape[1]):
            given = gradient[row, column]
            place = weight[row, column] * inverse_here
            place_low, place_high = place + half, place + half_high
            along_low += given * _code(place_low, steps)
            along_high += given * _code(place_high, steps_high)
            passed = _inside(place_low, given)
            passed += part * (_inside(place_high, given) - passed)
            across += passed * weight[row, column]
            out[row, column] = passed
        dot_low[row], dot_high[row], pull[row] = along_low, along_high, across
