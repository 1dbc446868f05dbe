"""Every error that FairQuant raises on purpose. The message is a sentence for a person.

A message says what is wrong, where (row, file or field), and what to do about it. Errors that do not derive
from :class:`FairQuantError` are defects of the program.
"""

from __future__ import annotations


class FairQuantError(Exception):
    """Base of all expected errors; the dashboard shows ``str(error)`` to the person as it is."""


class CohortError(FairQuantError):
    """The table of images cannot be used: columns, labels, groups, ids or the split."""


class ImageError(FairQuantError):
    """One or more image files are missing, unreadable or too large."""


class ClassifierError(FairQuantError):
    """The classifier does not fit: unknown architecture, wrong classes, nothing to quantise."""


class CheckpointError(FairQuantError):
    """A weights file cannot be loaded safely or does not fit the architecture."""


class BudgetError(FairQuantError):
    """The bit budget cannot be met with the given menu, floors and pins."""


class TrainingError(FairQuantError):
    """Training cannot start or cannot go on, for example because the loss is not a number."""


class EvaluationError(FairQuantError):
    """Predictions cannot be scored, for example because two tables hold different images."""


class ExportError(FairQuantError):
    """A file that should leave the tool cannot be written or does not verify."""


class NotApproved(ExportError):
    """Export was asked for a run that no authorised person has approved."""


class Cancelled(FairQuantError):
    """The person cancelled the work; nothing is wrong."""
