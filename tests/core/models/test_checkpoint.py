from __future__ import annotations

import json
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fairquant_core.data.images import Preprocessing
from fairquant_core.errors import CheckpointError
from fairquant_core.models import checkpoint, weights_file
from fairquant_core.models.checkpoint import (
    load_classifier,
    read_description,
    register_format,
    save_classifier,
)
from fairquant_core.models.zoo import Classifier

Rewrite = Callable[..., Path]


@pytest.fixture
def saved(classifier: Classifier, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_classifier(classifier, path)
    return path


@pytest.fixture
def rewrite(saved: Path) -> Rewrite:
    """Change tensors or the description of a saved file."""

    def change(tensors: dict[str, torch.Tensor | None] | None = None, **about: object) -> Path:
        content = load_file(saved) | (tensors or {})
        description = read_description(saved) | about
        save_file(
            {key: value for key, value in content.items() if value is not None},
            saved,
            metadata={checkpoint.METADATA_KEY: json.dumps(description)},
        )
        return saved

    return change


def message(path: Path, **arguments: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_classifier(path, **arguments)
    return str(caught.value)


def test_everything_comes_back(classifier: Classifier, tmp_path: Path) -> None:
    classifier.preprocessing = Preprocessing(32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 0.9, "bilinear")
    path = tmp_path / "new folder" / "model.safetensors"
    save_classifier(classifier, path)
    back = load_classifier(path)
    assert back.fingerprint == classifier.fingerprint
    for field in ("name", "architecture", "classes", "preprocessing", "model_arguments"):
        assert getattr(back, field) == getattr(classifier, field)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.safetensors"]


def test_the_description_is_readable_by_anybody(classifier: Classifier, saved: Path) -> None:
    with safe_open(saved, framework="np") as file:
        about = json.loads(file.metadata()["fairquant"])
    assert about["classes"] == ["mole", "scar", "wart"]
    assert about["fingerprint"] == classifier.fingerprint
    assert read_description(saved) == about


def test_a_vision_transformer_comes_back(tmp_path: Path) -> None:
    from fairquant_core.models.zoo import create

    classifier = create("deit_tiny_patch16_224", ("a", "b"), size=32)
    save_classifier(classifier, tmp_path / "vit.safetensors")
    assert load_classifier(tmp_path / "vit.safetensors").fingerprint == classifier.fingerprint


def test_failure_to_write_leaves_the_old_file(
    classifier: Classifier, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(tensors: object, path: str, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointError) as caught:
        save_classifier(classifier, saved)
    assert str(caught.value) == checkpoint.NOT_WRITTEN.format(
        path=saved, reason="No space left on device"
    )
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_threads_that_save_at_once_do_not_mix_their_files(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has written and waits for the others before its file gets the final name."""
    path, start = tmp_path / "c.safetensors", threading.Barrier(3)
    write, parts = checkpoint.save_file, set()

    def write_and_wait(tensors: object, target: str, **more: object) -> None:
        write(tensors, target, **more)
        parts.add(target)
        start.wait()

    monkeypatch.setattr(checkpoint, "save_file", write_and_wait)
    errors: list[Exception] = []

    def save() -> None:
        try:
            save_classifier(classifier, path)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=save) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(parts) == 3
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert load_classifier(path).fingerprint == classifier.fingerprint


def test_absent_file(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    assert message(path) == weights_file.NOT_FOUND.format(path=path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_cut_off_file(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    assert "cannot be read as safetensors" in message(saved)


def test_changed_weights_do_not_match_the_fingerprint(
    classifier: Classifier, rewrite: Rewrite
) -> None:
    bias = classifier.model.state_dict()["classifier.bias"] + 1
    assert "these are not the weights that were saved" in message(
        rewrite({"classifier.bias": bias})
    )


def test_changed_class_names_do_not_match_the_fingerprint(rewrite: Rewrite) -> None:
    assert "these are not the weights" in message(rewrite(classes=["wart", "scar", "mole"]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_numbers(rewrite: Rewrite, value: float) -> None:
    path = rewrite({"classifier.bias": torch.tensor([0.0, value, 1.0])})
    assert message(path) == weights_file.NOT_FINITE.format(
        path=path, tensor="classifier.bias", count=1
    )


def test_wrong_shape_names_tensor_and_both_shapes(classifier: Classifier, rewrite: Rewrite) -> None:
    path = rewrite({"conv_stem.weight": torch.zeros(2, 2)})
    assert message(path) == weights_file.WRONG_SHAPE.format(
        path=path,
        tensor="conv_stem.weight",
        architecture=classifier.architecture,
        found=(2, 2),
        expected=tuple(classifier.model.state_dict()["conv_stem.weight"].shape),
    )


def test_absent_and_surplus_tensors(classifier: Classifier, rewrite: Rewrite) -> None:
    path = rewrite({"classifier.bias": None})
    assert message(path) == weights_file.ABSENT_TENSORS.format(
        path=path, count=1, architecture=classifier.architecture, tensors="classifier.bias"
    )
    path = rewrite({"classifier.bias": torch.zeros(3), "extra": torch.zeros(1)})
    assert message(path) == weights_file.SURPLUS_TENSORS.format(
        path=path, count=1, architecture=classifier.architecture, tensors="extra"
    )


@pytest.mark.parametrize(
    "about",
    [
        {"architecture": 3},
        {"classes": 3},
        {"preprocessing": {}},
        {"preprocessing": None},
        {"version": "x"},
        {"model_arguments": 1},
    ],
    ids=str,
)
def test_damaged_description(rewrite: Rewrite, about: dict[str, object]) -> None:
    assert "its description is damaged" in message(rewrite(**about))


def test_description_that_is_no_object(classifier: Classifier, tmp_path: Path) -> None:
    for number, text in enumerate(["{", "[]"]):
        path = tmp_path / f"{number}.safetensors"
        save_file(dict(classifier.model.state_dict()), path, metadata={"fairquant": text})
        assert "its description is damaged" in message(path)


def test_newer_version(rewrite: Rewrite) -> None:
    path = rewrite(version=checkpoint.VERSION + 1)
    assert message(path) == checkpoint.NEWER_FORMAT.format(
        path=path, version=checkpoint.VERSION + 1
    )


def test_wrong_classes(saved: Path) -> None:
    assert load_classifier(saved, classes=("mole", "scar", "wart")).classes[0] == "mole"
    assert message(saved, classes=["wart", "scar", "mole"]) == checkpoint.WRONG_CLASSES.format(
        path=saved, found=["mole", "scar", "wart"], expected=["wart", "scar", "mole"]
    )


def test_other_formats_are_delegated(
    rewrite: Rewrite, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_formats", {})
    path = rewrite(format="fairquant-packed")
    assert message(path) == checkpoint.UNKNOWN_FORMAT.format(path=path, format="fairquant-packed")
    register_format("fairquant-packed", lambda given: classifier)
    assert load_classifier(path) is classifier


class Foreign:
    """A file of somebody else, for three classes at 32 pixels."""

    arguments = {  # noqa: RUF012
        "architecture": "mobilenetv3_small_050",
        "classes": ("mole", "scar", "wart"),
        "size": 32,
    }


def test_foreign_safetensors(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file(dict(classifier.model.state_dict()), path)
    back = load_classifier(path, **Foreign.arguments)
    assert back.fingerprint == classifier.fingerprint
    assert message(path) == checkpoint.NEEDS_ARCHITECTURE.format(path=path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "loss": 0.5},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    ],
    ids=["plain", "state_dict", "model", "module.", "both"],
)
def test_foreign_torch_files(
    classifier: Classifier, tmp_path: Path, wrap: Callable[[dict], dict]
) -> None:
    path = tmp_path / "foreign.pt"
    torch.save(wrap(dict(classifier.model.state_dict())), path)
    assert load_classifier(path, **Foreign.arguments).fingerprint == classifier.fingerprint


def test_foreign_file_with_another_number_of_classes(
    classifier: Classifier, tmp_path: Path
) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file(dict(classifier.model.state_dict()), path)
    arguments = Foreign.arguments | {"classes": ("a", "b", "c", "d")}
    assert message(path, **arguments) == weights_file.CLASS_COUNT.format(
        path=path, found=3, expected=4, tensor="classifier.weight"
    )


class Malicious:
    """Runs a command when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


# Torch warns that it would have used another protocol; a hostile file need not.
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("modern", [True, False], ids=["zip", "plain pickle"])
def test_a_pickle_that_wants_to_execute_code_is_not_opened(tmp_path: Path, modern: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pt"
    content = {"state_dict": {"a": torch.zeros(1)}, "x": Malicious(trace)}
    if modern:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    text = message(path, **Foreign.arguments)
    assert not trace.exists()
    assert text.startswith(f"{path} is a pickle that may execute code (")
    assert "safetensors.torch.save_file" in text


def test_a_whole_pickled_network_is_not_opened(classifier: Classifier, tmp_path: Path) -> None:
    torch.save(classifier.model, tmp_path / "whole.pt")
    assert "may execute code" in message(tmp_path / "whole.pt", **Foreign.arguments)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": [1]}], ids=str)
def test_torch_files_without_tensors(tmp_path: Path, content: object) -> None:
    path = tmp_path / "foreign.pt"
    torch.save(content, path)
    assert message(path, **Foreign.arguments) == weights_file.NO_TENSORS.format(path=path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_cut_off_torch_file(classifier: Classifier, tmp_path: Path, share: float) -> None:
    path = tmp_path / "foreign.pt"
    torch.save(dict(classifier.model.state_dict()), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cannot be read as a torch file" in message(path, **Foreign.arguments)


def test_nothing_is_filled_when_something_is_wrong(classifier: Classifier) -> None:
    before = classifier.fingerprint
    tensors = {k: torch.ones_like(v) for k, v in classifier.model.state_dict().items()}
    tensors["classifier.bias"] = torch.full((3,), float("nan"))
    with pytest.raises(CheckpointError):
        weights_file.fill(classifier.model, tensors, Path("x"), architecture="x")
    assert classifier.fingerprint == before
