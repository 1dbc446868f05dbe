"""The bit stream: b bits per weight and no more, readable by standard ONNX operators.

Layout of one layer, codes (C, K) with one width per output channel:

- channels in the order of their widths, 8 down to 2, stable; pruned channels (0 bits) are left out;
- per width, its bit planes, most significant first: 8 = 4+4, 7 = 4+2+1, 6 = 4+2, 5 = 4+1, 4 = 4,
  3 = 2+1, 2 = 2 bits. A plane of p bits holds 8 / p codes per byte, the first in the highest bits,
  row after row of that width's channels; each plane is padded to a byte with zeros;
- codes are two's complement of b bits. Decoding puts the planes into the top bits of a byte, so the
  byte read as int8 is ``code * 2^(8-b)``: no sign extension is needed, only a scale of 2^-(8-b).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fairquant_core.errors import ExportError
from fairquant_core.quantization.plan import LEGAL_WIDTHS, PLANES, stream_bytes


def packed_size(widths: np.ndarray, weights_per_channel: int) -> int:
    """Return the bytes of the stream of one layer.

    Examples
    --------
    >>> packed_size(np.array([4, 0, 2]), 5)  # 5 codes of 4 bits, 5 of 2 bits
    5
    """
    return stream_bytes(np.asarray(widths), weights_per_channel)


def pack_codes(codes: np.ndarray, widths: np.ndarray) -> bytes:
    """Return the stream of one layer.

    Parameters
    ----------
    codes : (C, K) int8, each from -2^(b-1) to 2^(b-1) - 1 of its channel's width; zeros where pruned.
    widths : (C,) bits per channel, 0 or 2 to 8.

    Raises
    ------
    ExportError
        A shape does not fit or a code does not fit its width.

    Examples
    --------
    >>> pack_codes(np.array([[1, -1]], dtype=np.int8), np.array([4])).hex()
    '1f'
    """
    widths = _checked_widths(widths)
    codes = np.asarray(codes)
    if codes.dtype != np.int8 or codes.ndim != 2 or len(codes) != len(widths):
        raise ExportError(
            f"Codes must be int8 with one row per channel ({len(widths)}), got {codes.dtype} "
            f"{codes.shape}."
        )
    if not codes.shape[1]:
        raise ExportError("A channel without weights cannot be packed.")
    _check_range(codes, widths)
    parts = []
    for width, channels in _channels_by_width(widths):
        rows = codes if len(channels) == len(widths) else codes[channels]
        top_aligned = rows.reshape(-1).view(np.uint8) << np.uint8(8 - width)
        for position, plane in enumerate(PLANES[width]):
            if position:
                top_aligned <<= np.uint8(PLANES[width][position - 1])
            parts.append(_pack_plane(top_aligned, plane))
    return b"".join(part.tobytes() for part in parts)


def unpack_codes(
    stream: bytes | np.ndarray, widths: np.ndarray, weights_per_channel: int
) -> np.ndarray:
    """Return the codes of one layer.

    Parameters
    ----------
    stream : what :func:`pack_codes` made, as bytes or uint8 array.
    widths : (C,) bits per channel.
    weights_per_channel : K.

    Returns
    -------
    (C, K) int8.

    Raises
    ------
    ExportError
        The stream has not exactly the length that the widths ask for.
    """
    widths = _checked_widths(widths)
    data = np.frombuffer(stream, dtype=np.uint8)
    expected = packed_size(widths, weights_per_channel)
    if len(data) != expected:
        raise ExportError(
            f"The packed stream has {len(data)} bytes; its widths ask for {expected}. "
            "The file is cut off or was edited."
        )
    codes = np.zeros((len(widths), weights_per_channel), dtype=np.int8)
    start = 0
    for width, channels in _channels_by_width(widths):
        count = len(channels) * weights_per_channel
        top_aligned, consumed = np.zeros(count, dtype=np.uint8), 0
        for plane in PLANES[width]:
            stop = start + -(-count * plane // 8)
            values = _EXPANDED[plane][data[start:stop]].view(np.uint8)[:count]
            top_aligned |= values >> np.uint8(consumed)
            consumed += plane
            start = stop
        signed = top_aligned.view(np.int8) >> np.int8(8 - width)
        codes[channels] = signed.reshape(len(channels), weights_per_channel)
    return codes


def _expansion_table(plane: int) -> np.ndarray:
    """Return, for each byte, its 8 / plane codes, each in the top bits of a byte, as one number."""
    shifts = np.arange(0, 8, plane, dtype=np.uint8)
    mask = np.uint8(256 - (1 << (8 - plane)))
    codes = (np.arange(256, dtype=np.uint8)[:, None] << shifts) & mask
    return np.ascontiguousarray(codes).view(f"u{len(shifts)}")[:, 0]


_EXPANDED = {plane: _expansion_table(plane) for plane in (1, 2, 4)}


def _pack_plane(top_aligned: np.ndarray, plane: int) -> np.ndarray:
    """Return the top ``plane`` bits of every byte, packed."""
    mask = np.uint8(256 - (1 << (8 - plane)))
    per_byte = 8 // plane
    whole = len(top_aligned) // per_byte * per_byte
    packed = np.zeros(-(-len(top_aligned) // per_byte), dtype=np.uint8)
    if plane == 1:
        return np.packbits(top_aligned >> np.uint8(7))
    for place in range(per_byte):
        shift = np.uint8(place * plane)
        packed[: whole // per_byte] |= (top_aligned[place:whole:per_byte] & mask) >> shift
        if whole + place < len(top_aligned):
            packed[-1] |= (top_aligned[whole + place] & mask) >> shift
    return packed


def _channels_by_width(widths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each width in use, 8 down to 2, with its channels in order."""
    for width in sorted(PLANES, reverse=True):
        channels = np.flatnonzero(widths == width)
        if channels.size:
            yield width, channels


def _checked_widths(widths: np.ndarray) -> np.ndarray:
    widths = np.asarray(widths)
    if widths.ndim != 1 or not np.isin(widths, LEGAL_WIDTHS).all():
        raise ExportError(
            f"Widths must be one number per channel out of {LEGAL_WIDTHS}, got {widths!r}."
        )
    return widths.astype(np.uint8)


def _check_range(codes: np.ndarray, widths: np.ndarray) -> None:
    below = (1 << np.maximum(widths.astype(np.int16) - 1, 0)) - (widths == 0)
    above = np.maximum(below - 1, 0)
    lowest, highest = codes.min(axis=1), codes.max(axis=1)
    wrong = np.flatnonzero((lowest < -below) | (highest > above))
    if wrong.size:
        channel = int(wrong[0])
        raise ExportError(
            f"Channel {channel} holds codes from {lowest[channel]} to {highest[channel]}, which do not fit "
            f"{widths[channel]} bits (from {-below[channel]} to {above[channel]})."
        )
