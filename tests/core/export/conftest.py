"""A signed bundle, made once and copied by the tests that damage it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairquant_core.export.bundle import write_bundle
from fairquant_core.export.signing import SigningKey, local_key
from fairquant_core.export.verification import Verification, verify
from tests.core.export.made_bundle import (
    RUN,
    Files,
    Make,
    with_decisions,
    write_cohort,
    write_run,
)


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """The key of an installation."""
    return local_key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """The key of somebody else."""
    return local_key(tmp_path_factory.mktemp("other keys"))


@pytest.fixture(scope="session")
def audited_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images that the run was audited on."""
    return write_cohort(tmp_path_factory.mktemp("audited") / "cohort")


@pytest.fixture(scope="session")
def run_files(tmp_path_factory: pytest.TempPathFactory, audited_cohort: Path) -> Files:
    """What a run leaves; nothing is decided yet."""
    return write_run(tmp_path_factory.mktemp("run"), audited_cohort)


@pytest.fixture(scope="session")
def whole_bundle(
    tmp_path_factory: pytest.TempPathFactory, run_files: Files, signing_key: SigningKey
) -> Path:
    """An approved and signed bundle; read only."""
    path = tmp_path_factory.mktemp("bundle") / "bundle.zip"
    write_bundle(path, with_decisions(run_files), {"run": RUN}, key=signing_key)
    return path


@pytest.fixture
def small_bundle(tmp_path: Path, signing_key: SigningKey) -> Path:
    """Signed, of a few kilobytes; nothing in it means anything."""
    path = tmp_path / "small.zip"
    files: Files = {"model.onnx": bytes(range(60)), "report/a.html": b"<p>", "empty.txt": b""}
    write_bundle(path, files, {"run": RUN}, key=signing_key)
    return path


@pytest.fixture
def signed(tmp_path: Path, signing_key: SigningKey) -> Make:
    """Sign some contents and verify the bundle: what the holder of the key could have written."""

    def make(files: Files) -> Verification:
        path = tmp_path / "made.zip"
        write_bundle(path, files, {"run": RUN}, key=signing_key)
        return verify(path, key=signing_key.public_path)

    return make
