"""ONNX files that say what they are: written whole or not at all, and no changed byte goes unnoticed."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairquant_core.errors import ExportError
from fairquant_core.export.onnx.file import METADATA_KEY, describe_onnx, read_onnx, write_onnx
from fairquant_core.export.onnx.network import build_model
from fairquant_core.export.onnx.session import open_session

ABOUT: dict[str, Any] = {
    "kind": "exact",
    "name": "ein Prüfling",
    "architecture": "tiny",
    "classes": ["benign", "malignant"],
    "preprocessing": {"size": 8},
    "fingerprint": "abc",
}


def model(weight: float = 2.0) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["images", "weight"], ["logits"])],
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.float32(weight), "weight")],
    )
    return build_model(graph, [])


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    write_onnx(model(), path, ABOUT)
    return path


def test_what_was_written_is_read_and_run(written: Path) -> None:
    content, about = read_onnx(written)
    assert about | ABOUT == about
    assert content.graph == model().graph
    session = open_session(written)
    shown = session.get_modelmeta().custom_metadata_map
    assert json.loads(shown[METADATA_KEY]) == about
    assert session.run(None, {"images": np.ones(2, np.float32)})[0].tolist() == [2, 2]


def test_equal_contents_give_equal_bytes(written: Path, tmp_path: Path) -> None:
    first = write_onnx(model(), tmp_path / "again.onnx", ABOUT)
    assert (tmp_path / "again.onnx").read_bytes() == written.read_bytes()
    assert write_onnx(model(3.0), tmp_path / "other.onnx", ABOUT) != first


def test_every_flipped_byte_is_found(written: Path) -> None:
    original = written.read_bytes()
    unnoticed = []
    for place in range(len(original)):
        changed = bytearray(original)
        changed[place] ^= 1 << (place % 8)
        written.write_bytes(changed)
        try:
            describe_onnx(written)
        except ExportError:
            continue
        unnoticed.append(place)
    assert unnoticed == []


def test_every_cut_is_found(written: Path) -> None:
    original = written.read_bytes()
    for length in range(len(original)):
        written.write_bytes(original[:length])
        with pytest.raises(ExportError):
            describe_onnx(written)


def test_bytes_added_at_the_end_are_found(written: Path) -> None:
    written.write_bytes(written.read_bytes() + model(5.0).SerializeToString())
    with pytest.raises(ExportError, match="SHA-256 does not match"):
        describe_onnx(written)


def rewrite(path: Path, text: str | None) -> None:
    content = onnx.load(path)
    del content.metadata_props[:]
    if text is not None:
        content.metadata_props.add(key=METADATA_KEY, value=text)
    onnx.save(content, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["malignant", "benign"]}, "SHA-256 does not match"),
        ({"graph_bytes": 3}, "SHA-256 does not match"),
        ({"graph_bytes": "all"}, "lacks graph_bytes"),
        ({"version": 2}, "newer version"),
        ({"version": None}, "newer version"),
        ({"format": "else"}, "holds no description"),
    ],
    ids=str,
)
def test_an_edited_description_is_an_export_error(
    written: Path, change: dict[str, object], message: str
) -> None:
    rewrite(written, json.dumps(describe_onnx(written) | change))
    with pytest.raises(ExportError, match=message):
        describe_onnx(written)


@pytest.mark.parametrize("key", ["fingerprint", "classes", "sha256", "preprocessing"])
def test_a_description_without_its_parts_is_an_export_error(written: Path, key: str) -> None:
    about = describe_onnx(written)
    del about[key]
    rewrite(written, json.dumps(about))
    with pytest.raises(ExportError, match=f"lacks {key}"):
        describe_onnx(written)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "holds no description"), ("[]", "holds no description"), ("{", "is damaged")],
)
def test_other_files_are_not_ours(written: Path, text: str | None, message: str) -> None:
    rewrite(written, text)
    with pytest.raises(ExportError, match=message):
        describe_onnx(written)


def test_an_absent_file_is_an_export_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="not found"):
        describe_onnx(tmp_path / "absent.onnx")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written.read_bytes()

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as handle:
            handle.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError, match="No space left on device"):
        write_onnx(model(3.0), written, ABOUT)
    assert written.read_bytes() == before
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_a_graph_that_is_no_onnx_is_not_written(tmp_path: Path) -> None:
    wrong = model()
    wrong.graph.node[0].op_type = "Multiply"
    with pytest.raises(ExportError, match="did not become a valid ONNX file"):
        write_onnx(wrong, tmp_path / "model.onnx", ABOUT)
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_that_refuses_a_file_is_an_export_error(written: Path) -> None:
    with pytest.raises(ExportError, match="cannot open the model"):
        open_session(written.read_bytes()[:30])
    with pytest.raises(ExportError, match="cannot open"):
        open_session(written.with_name("absent.onnx"))
