"""Where the application keeps its data and how it behaves; read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairquant_core.errors import FairQuantError

REPOSITORY = Path(__file__).resolve().parents[2]

DATA_VARIABLE = "FAIRQUANT_DATA"
DATABASE_VARIABLE = "FAIRQUANT_DATABASE"
ASSETS_VARIABLE = "FAIRQUANT_ASSETS"
FOUR_EYES_VARIABLE = "FAIRQUANT_FOUR_EYES"
IDLE_VARIABLE = "FAIRQUANT_WORKER_IDLE_SECONDS"
JOB_MODULE_VARIABLE = "FAIRQUANT_JOB_MODULE"

# Told by the worker to the process that executes a job.
WORKER_VARIABLE = "FAIRQUANT_WORKER_IDENTITY"
ATTEMPT_VARIABLE = "FAIRQUANT_JOB_ATTEMPT"


@dataclass(frozen=True)
class Settings:
    """All switches of the backend.

    Attributes
    ----------
    data_folder
        Store, artefacts, work folders, caches and logs of this installation.
    database_url
        SQLAlchemy URL; empty means SQLite in the data folder.
    assets_folder
        Folder that holds `demo/`, the built-in case.
    four_eyes
        Whether the person who started or proposed a run is barred from approving it.
    worker_idle_seconds
        The worker ends after this long without a job and without a page being open.
    job_module
        Module that runs one job as `python -m MODULE JOB_ID`; tests put a small one here.
    """

    data_folder: Path
    database_url: str = ""
    assets_folder: Path = REPOSITORY / "assets"
    four_eyes: bool = True
    worker_idle_seconds: float = 300.0
    job_module: str = "dashboard.backend.job"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the variables named above; everything has a default."""
        folder = environment.get(DATA_VARIABLE) or str(Path.home() / ".fairquant-audit")
        idle = environment.get(IDLE_VARIABLE, "300")
        try:
            idle_seconds = float(idle)
        except ValueError:
            raise FairQuantError(
                f"the environment variable {IDLE_VARIABLE} is {idle!r}; give a number of seconds"
            ) from None
        return cls(
            data_folder=Path(folder).expanduser().resolve(),
            database_url=environment.get(DATABASE_VARIABLE, ""),
            assets_folder=Path(environment.get(ASSETS_VARIABLE) or REPOSITORY / "assets"),
            four_eyes=environment.get(FOUR_EYES_VARIABLE, "1").lower() not in ("0", "no", "false"),
            worker_idle_seconds=idle_seconds,
            job_module=environment.get(JOB_MODULE_VARIABLE) or "dashboard.backend.job",
        )

    def to_environment(self) -> dict[str, str]:
        """The variables that make a child process see these settings."""
        return {
            DATA_VARIABLE: str(self.data_folder),
            DATABASE_VARIABLE: self.database_url,
            ASSETS_VARIABLE: str(self.assets_folder),
            FOUR_EYES_VARIABLE: "1" if self.four_eyes else "0",
            IDLE_VARIABLE: repr(self.worker_idle_seconds),
            JOB_MODULE_VARIABLE: self.job_module,
        }

    @property
    def url(self) -> str:
        """The SQLAlchemy URL that is really used."""
        return self.database_url or f"sqlite:///{(self.data_folder / 'store.sqlite3').as_posix()}"

    @property
    def artefacts(self) -> Path:
        """Content-addressed results."""
        return self.data_folder / "artefacts"

    @property
    def cache(self) -> Path:
        """Decoded images and solved plans; may be deleted at any time."""
        return self.data_folder / "cache"

    @property
    def exports(self) -> Path:
        """Bundles of approved runs."""
        return self.data_folder / "exports"

    @property
    def keys(self) -> Path:
        """The key that bundles are signed with; made on first use, never handed out."""
        return self.data_folder / "keys"

    def work(self, job_id: str) -> Path:
        """Folder a job writes into while it runs; holds its checkpoint."""
        return self.data_folder / "work" / job_id

    def job_log(self, job_id: str) -> Path:
        """What the job's process printed."""
        return self.data_folder / "logs" / f"{job_id}.log"

    @property
    def worker_log(self) -> Path:
        """What the worker printed."""
        return self.data_folder / "worker.log"

    def case_folder(self, case_id: str) -> Path:
        """Cohort table and classifier of a case."""
        return self.data_folder / "cases" / case_id
