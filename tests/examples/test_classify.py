"""examples/classify.py, run as a person runs it, says what the audit said."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fairquant_core.data.images import load_array
from fairquant_core.models.inference import predict
from tests.conftest import MixedDemo

PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "classify.py"
ROW = re.compile(r" *([0-9.]+)%  (.+)")


def classify(*arguments: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it somewhere else, without anything of this program on the path."""
    command = [sys.executable, "-I", str(PROGRAM), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def shares(model: Path, picture: Path, cwd: Path) -> dict[str, float]:
    """Class to share, in the order that was printed."""
    done = classify(model, picture, cwd=cwd)
    assert done.returncode == 0, done.stderr
    rows = [ROW.fullmatch(line) for line in done.stdout.splitlines()]
    return {row[2]: float(row[1]) / 100 for row in rows if row}


def audited(demo: MixedDemo, picture: Path) -> dict[str, float]:
    """What the audited network itself says, computed with torch."""
    classifier = demo.compressed.classifier
    image = load_array(picture, classifier.preprocessing)
    probabilities = predict(classifier, image[None], batch_size=1)[0].tolist()
    return dict(zip(classifier.classes, probabilities, strict=True))


def compare(demo: MixedDemo, picture: Path, cwd: Path) -> str:
    """The class that both name."""
    found, expected = shares(demo.onnx, picture, cwd), audited(demo, picture)
    likely = max(expected, key=expected.__getitem__)
    assert list(found)[0] == likely
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found == pytest.approx(expected, abs=1e-5)
    return likely


def test_it_says_what_the_audit_said(mixed_demo: MixedDemo, tmp_path: Path) -> None:
    pictures = mixed_demo.one_of_each_class()
    answers = {compare(mixed_demo, picture, tmp_path) for picture in pictures}
    assert len(answers) > 1, "pictures of one class prove little"


def test_a_large_turned_photo_and_a_translucent_picture_too(
    mixed_demo: MixedDemo, tmp_path: Path
) -> None:
    source = Image.open(mixed_demo.one_of_each_class()[1])
    turned, translucent = tmp_path / "turned.jpg", tmp_path / "translucent.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    source.resize((1300, 1000)).save(turned, exif=exif, quality=90)
    layer = source.convert("RGBA")
    layer.putalpha(Image.linear_gradient("L").resize(layer.size))
    layer.save(translucent)
    compare(mixed_demo, turned, tmp_path)
    compare(mixed_demo, translucent, tmp_path)


def test_wrong_use_is_told_in_words(mixed_demo: MixedDemo, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(mixed_demo.onnx.read_bytes()[:5000])
    picture = mixed_demo.one_of_each_class()[0]
    for arguments, words in (
        ((mixed_demo.onnx,), "python classify.py model.onnx photo.jpg"),
        ((mixed_demo.onnx, text), "cannot identify image file"),
        ((mixed_demo.onnx, tmp_path / "absent.jpg"), "No such file"),
        ((damaged, picture), "damaged.onnx"),
    ):
        done = classify(*arguments, cwd=tmp_path)
        assert done.returncode != 0 and words in done.stderr


def test_it_stays_short() -> None:
    code = PROGRAM.read_text(encoding="utf-8").split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 32
