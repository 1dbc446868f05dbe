"""The check before a file may leave: figures that were measured, and objections where there are some."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from fairquant_core.errors import Cancelled, ExportError
from fairquant_core.export.onnx import latency as latency_module
from fairquant_core.export.onnx.check import (
    ExportCheck,
    Size,
    _objections,
    _warnings,
    check_export,
)
from fairquant_core.export.onnx.exact import export_onnx
from fairquant_core.export.onnx.file import read_onnx
from fairquant_core.export.onnx.int8 import export_int8
from fairquant_core.export.onnx.latency import (
    Latency,
    compare_latency,
    median_interval,
    opening_cost,
)
from fairquant_core.export.onnx.runtimes import Executed, runtime_table
from fairquant_core.export.onnx.size import ideal_bytes
from fairquant_core.export.parity import Parity, compare_logits
from tests.core.export.onnx.networks import (
    compress_randomly,
    compressed_of,
    network_of,
    pictures,
)

GROUPS = ["FST I-II", "FST V-VI"] * 4


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exact") / "model.onnx"
    export_onnx(compressed_of("tiny", 16), path, network=network_of("tiny", 16))
    return path


@pytest.fixture(scope="module")
def checked(exact: Path) -> ExportCheck:
    return check_export(
        exact,
        compressed_of("tiny", 16),
        pictures(8, 16),
        GROUPS,
        bits_requested=4.5,
        network=network_of("tiny", 16),
        rounds=9,
        threads=1,
    )


def test_an_exact_file_may_be_offered(checked: ExportCheck, exact: Path) -> None:
    assert checked.may_be_offered and not checked.needs_own_audit, checked.objections
    assert [(part.group, part.images) for part in checked.parity.by_group] == [
        ("FST I-II", 4),
        ("FST V-VI", 4),
    ]
    plan = compressed_of("tiny", 16).plan
    assert checked.size.on_disk == exact.stat().st_size
    assert checked.size.ideal == ideal_bytes(read_onnx(exact)[0])
    assert (checked.size.bits_requested, checked.size.bits_achieved) == (4.5, plan.average_bits)
    assert checked.opening.seconds > 0 and checked.opening.bytes_after > 0
    assert checked.latency.low <= checked.latency.ratio <= checked.latency.high
    assert checked.runtimes[0].computes_in == "float32"
    assert checked.runtimes[0].checked == "on this machine"
    assert "opened" in checked.runtimes[0].weights


def test_a_file_larger_than_its_limit_is_said_and_not_refused(checked: ExportCheck) -> None:
    """In a network of some hundred weights nearly everything is graph."""
    size = checked.size
    assert size.limit == 1.05 and size.on_disk > size.limit * size.ideal
    (sentence,) = checked.warnings
    assert f"{size.on_disk / size.ideal:.3f} times its ideal size" in sentence
    assert f"{size.on_disk - size.ideal} of its {size.on_disk} bytes" in sentence
    assert sentence in checked.to_json()["notes"]
    assert checked.may_be_offered


@pytest.mark.parametrize(
    ("ideal", "limit", "words"), [(1000, 1.05, 0), (1000, 1.02, 1), (1000, None, 0)]
)
def test_warnings(ideal: int, limit: float | None, words: int) -> None:
    assert len(_warnings(Size(1050, ideal, limit, 4000, None, 4.0))) == words


def test_it_can_be_written_as_json(checked: ExportCheck) -> None:
    content = checked.to_json()
    assert json.loads(json.dumps(content)) == content
    assert content["may_be_offered"] is True
    assert content["parity"]["overall"]["images"] == 8


def test_the_file_of_another_classifier_is_refused(exact: Path) -> None:
    other = compress_randomly(compressed_of("tiny", 16).classifier, menu=(2,))
    with pytest.raises(ExportError, match="made from the classifier"):
        check_export(exact, other, pictures(8, 16), GROUPS, network=network_of("tiny", 16))


def test_a_damaged_file_is_refused(exact: Path, tmp_path: Path) -> None:
    content = bytearray(exact.read_bytes())
    content[len(content) // 3] ^= 1
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ExportError, match="is damaged"):
        check_export(tmp_path / "model.onnx", compressed_of("tiny", 16), pictures(8, 16), GROUPS)


def test_a_check_can_be_cancelled(exact: Path) -> None:
    with pytest.raises(Cancelled):
        check_export(exact, compressed_of("tiny", 16), pictures(8, 16), GROUPS, cancel=lambda: True)


LATENCY = Latency(1.0, 2.0, 0.5, 0.4, 0.6, 9, 1)
SLOW = replace(LATENCY, ratio=1.2, low=0.9, high=1.4)


def parity(difference: float, other_class: bool = False) -> Parity:
    reference = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = reference + [[difference, 0], [0, 0]]
    return compare_logits(reference, found[::-1] if other_class else found, ["a", "b"])


@pytest.mark.parametrize(
    ("kind", "difference", "latency", "rounded", "decodes", "words"),
    [
        ("exact", 1e-6, SLOW, False, False, []),
        ("exact", 1e-3, LATENCY, False, False, ["logits differ"]),
        ("exact", 1e-3, LATENCY, True, False, []),
        ("exact", 1e-6, LATENCY, False, True, ["decodes the weights"]),
        ("int8", 1e-1, LATENCY, False, False, []),
        ("int8", 1e-1, SLOW, False, False, ["1.20 x (0.90 to 1.40) the time"]),
    ],
)
def test_objections(
    kind: str,
    difference: float,
    latency: Latency,
    rounded: bool,
    decodes: bool,
    words: list[str],
) -> None:
    found = _objections(kind, parity(difference), latency, rounded, decodes)
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))


def test_another_class_is_an_objection() -> None:
    found = _objections("exact", parity(0.0, other_class=True), LATENCY, False, False)
    assert "2 of 2 images get another class" in found[0]


class Sleeper:
    """A session that takes a known time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, *_: Any) -> None:
        time.sleep(self.seconds)


def test_a_file_that_takes_three_times_as_long_is_found_to(
    exact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = iter([Sleeper(0.015), Sleeper(0.005)])
    monkeypatch.setattr(latency_module, "LONG_ENOUGH", 0.0)
    monkeypatch.setattr(latency_module, "open_session", lambda *_, **__: next(sessions))
    found = compare_latency(exact, exact, rounds=9)
    assert 1.3 < found.low <= found.ratio <= found.high
    assert found.ratio < 4 and not found.faster
    assert found.milliseconds > 14


@pytest.mark.parametrize("count", [6, 9, 15, 30, 60])
def test_the_interval_covers_the_median_as_often_as_it_says(count: int) -> None:
    low, high = median_interval(count)
    covered = binom.cdf(high, count, 0.5) - binom.cdf(low, count, 0.5)
    narrower = binom.cdf(high - 1, count, 0.5) - binom.cdf(low + 1, count, 0.5)
    assert covered >= 0.95 > narrower


def test_opening_is_measured_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file needs little, wherever the program was started; the libraries do not count."""
    path = tmp_path / "model.onnx"
    export_onnx(compressed_of("tiny", 16), path, network=network_of("tiny", 16))
    monkeypatch.chdir(tmp_path)
    cost = opening_cost(path, threads=1)
    assert 0 < cost.seconds < 5
    assert cost.bytes_after < 20e6


def test_opening_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ExportError, match="could not be opened in a fresh process"):
        opening_cost(tmp_path / "model.onnx")


def test_the_table_says_what_runs_as_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "fast.onnx"
    export_int8(compressed_of("tiny", 16), path, pictures(8, 16), network=network_of("tiny", 16))
    table, decodes = runtime_table(path)
    assert table[0].computes_in == "int8 in 3 convolutions, float32 in the rest"
    assert not decodes
    assert any("saturate" in row.computes_in for row in table)


def test_a_graph_that_decodes_while_classifying_is_recognised() -> None:
    assert Executed({"Conv": 3, "BitShift": 1}).decodes_while_classifying
    assert not Executed({"Conv": 3, "Gemm": 1}).decodes_while_classifying
