"""What the application is made of, put together once for the services."""

from __future__ import annotations

from dashboard.backend.case.cases import Cases
from dashboard.backend.case.new_case import CaseMaker
from dashboard.backend.export.bundle_files import BundleFiles
from dashboard.backend.export.bundles import Bundles
from dashboard.backend.export.exports import Exports
from dashboard.backend.queue.jobs import Jobs
from dashboard.backend.queue.supervision import Supervisor
from dashboard.backend.records.artefacts import Artefacts
from dashboard.backend.records.audit_log import AuditLog
from dashboard.backend.records.store import Store
from dashboard.backend.report.reports import Reports
from dashboard.backend.review.notes import Notes
from dashboard.backend.review.reviews import Reviews
from dashboard.backend.run.budget import Budget
from dashboard.backend.run.full_audit import FullAudits
from dashboard.backend.run.pairs import Pairs
from dashboard.backend.run.results import Results
from dashboard.backend.run.runs import Runs
from dashboard.backend.run.sweeps import Sweeps
from dashboard.backend.saliency.maps import SaliencyMaps
from dashboard.backend.settings import Settings


class Parts:
    """The store and everything that works on it; the base of the services."""

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._store = Store(settings)
        self._artefacts = Artefacts(settings.artefacts)
        self._jobs = Jobs(self._store, settings)
        self._supervisor = Supervisor(self._store, settings)
        self._log = AuditLog(self._store, settings.data_folder)
        self._cases = Cases(self._store, settings, self._artefacts)
        self._maker = CaseMaker(self._store, settings, self._artefacts, self._jobs)
        self._results = Results(self._jobs, self._cases, self._artefacts)
        self._exports = Exports(self._jobs, self._artefacts, self._results)
        self._reviews = Reviews(
            self._store, settings, self._artefacts, self._log, self._exports.bound
        )
        self._runs = Runs(self._jobs, self._cases, self._artefacts, self._reviews)
        self._budget = Budget(self._jobs, self._cases, self._artefacts)
        self._pairs = Pairs(self._jobs, self._cases, self._results)
        self._full_audits = FullAudits(self._cases, self._results, self._pairs)
        self._sweeps = Sweeps(self._runs, self._results)
        self._saliency = SaliencyMaps(self._jobs, self._cases, self._artefacts, self._results)
        contents = BundleFiles(self._artefacts, self._jobs, self._exports)
        self._bundles = Bundles(self._store, settings, contents, self._reviews, self._log)
        self._reports = Reports(
            self._jobs, self._cases, self._artefacts, self._results, self._reviews
        )
        self._notes = Notes(self._store)
