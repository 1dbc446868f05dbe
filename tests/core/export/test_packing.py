"""The bit stream: an independent, slow packer, written from the layout's words, agrees with it."""

from __future__ import annotations

import numpy as np
import pytest

from fairquant_core.errors import ExportError
from fairquant_core.export.packing import pack_codes, packed_size, unpack_codes

PLANES = {8: "44", 7: "421", 6: "42", 5: "41", 4: "4", 3: "21", 2: "2"}


def slow_pack(codes: np.ndarray, widths: np.ndarray) -> bytes:
    """Bit by bit, from the words of the layout."""
    stream = b""
    for width in (8, 7, 6, 5, 4, 3, 2):
        words = [
            format(int(code) & (2**width - 1), f"0{width}b")
            for row, own in zip(codes, widths, strict=True)
            if own == width
            for code in row
        ]
        start = 0
        for plane in map(int, PLANES[width]):
            text = "".join(word[start : start + plane] for word in words)
            text += "0" * (-len(text) % 8)
            stream += bytes(int(text[place : place + 8], 2) for place in range(0, len(text), 8))
            start += plane
    return stream


def random_codes(rng: np.random.Generator, widths: np.ndarray, weights: int) -> np.ndarray:
    kept = widths[:, None] > 0
    above = np.where(kept, 2 ** np.maximum(widths.astype(int)[:, None] - 1, 0), 1)
    return rng.integers(np.where(kept, -above, 0), above, (len(widths), weights)).astype(np.int8)


@pytest.mark.parametrize("seed", range(25))
def test_stream_is_the_described_one_and_comes_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    widths = rng.choice([0, 2, 3, 4, 5, 6, 7, 8], size=rng.integers(1, 30)).astype(np.uint8)
    weights = int(rng.integers(1, 40))
    codes = random_codes(rng, widths, weights)
    stream = pack_codes(codes, widths)
    assert stream == slow_pack(codes, widths)
    assert len(stream) == packed_size(widths, weights)
    np.testing.assert_array_equal(unpack_codes(stream, widths, weights), codes)


@pytest.mark.parametrize("width", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize(("channels", "weights"), [(1, 1), (1, 7), (3, 5), (16, 9), (5, 64)])
def test_one_width_round_trip_with_extreme_codes(width: int, channels: int, weights: int) -> None:
    largest = 2 ** (width - 1) - 1
    widths = np.full(channels, width)
    codes = np.tile(np.array([largest, -largest - 1, 0], dtype=np.int8), channels * weights)
    codes = codes[: channels * weights].reshape(channels, weights)
    stream = pack_codes(codes, widths)
    assert len(stream) <= channels * weights * width / 8 + 3
    np.testing.assert_array_equal(unpack_codes(stream, widths, weights), codes)


def test_a_wholly_pruned_layer_takes_no_byte() -> None:
    codes, widths = np.zeros((4, 9), dtype=np.int8), np.zeros(4, dtype=np.uint8)
    assert pack_codes(codes, widths) == b""
    np.testing.assert_array_equal(unpack_codes(b"", widths, 9), codes)


def test_input_is_left_as_it_was() -> None:
    rng = np.random.default_rng(0)
    widths = np.full(6, 7)
    codes = random_codes(rng, widths, 11)
    before = codes.copy()
    pack_codes(codes, widths)
    np.testing.assert_array_equal(codes, before)


def test_top_aligned_planes_are_the_code_times_a_power_of_two() -> None:
    # What the ONNX decoder relies on: plane bits put back from the top are code << (8 - width).
    codes, widths = np.array([[3, -4, 7, -7]], dtype=np.int8), np.array([4])
    high, low = pack_codes(codes, widths)
    nibbles = np.array([high >> 4, high & 15, low >> 4, low & 15], dtype=np.uint8)
    np.testing.assert_array_equal((nibbles << 4).view(np.int8), codes[0] * 16)


@pytest.mark.parametrize(
    ("codes", "widths", "message"),
    [
        (
            np.array([[8]], dtype=np.int8),
            [4],
            r"codes from 8 to 8, which do not fit 4 bits \(from -8 to 7\)",
        ),
        (np.array([[-9, 7]], dtype=np.int8), [4], "codes from -9 to 7"),
        (np.array([[1]], dtype=np.int8), [0], "do not fit 0 bits"),
        (np.array([[1]], dtype=np.int16), [4], "must be int8"),
        (np.array([[1]], dtype=np.int8), [4, 4], "one row per channel"),
        (np.array([[1]], dtype=np.int8), [1], "Widths must be"),
        (np.zeros((1, 0), dtype=np.int8), [4], "without weights"),
    ],
)
def test_codes_that_cannot_be_packed_are_refused(
    codes: np.ndarray, widths: list[int], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        pack_codes(codes, np.array(widths))


def test_a_stream_of_another_length_is_refused() -> None:
    with pytest.raises(ExportError, match="has 3 bytes; its widths ask for 4"):
        unpack_codes(b"abc", np.array([4, 4]), 4)
