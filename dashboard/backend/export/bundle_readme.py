"""The README.txt of a bundle: what is in it, who approved it, how to check it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from dashboard.backend.records.schema import Case, Job
from dashboard.backend.views import ReviewView
from fairquant_core.export.signing import HOW_TO_VERIFY

README_FILE = "README.txt"
README = """\
FairQuant Audit: bundle of an approved run
==========================================

Case:      {case}
Run:       {run} ({identifier})
Verdict:   {verdict}
Approved:  by {person} ({role}) on {time}; the name was typed and not authenticated.
Override:  {override}

Read report.pdf first.

Files
-----
{files}

Check that every byte is what was approved, who signed it, and that nobody touched the decisions:

    python -m fairquant_core verify {bundle}

Score the model on any cohort with the same classes (on the cohort it was made with, this gives
exactly the predictions of the audit):

    python -m fairquant_core evaluate --model {bundle} --cohort FOLDER --out predictions.parquet

{tablet}{signature}
The approval binds these bytes (SHA-256):
{hashes}
"""
TABLET = "tablet/"
TABLET_PAGE = "tablet/index.html"
TRY_IT = """\
Try it on your tablet: unpack the bundle and run, in its folder,

    python tablet/serve.py

then open the address that it prints, here. (Opening index.html as a file does not work: browsers
forbid it.) To reach a tablet there are three ways:

- Put the folder tablet/ on any web server with https and open its address on the tablet once.
- Add --network and open the second address on a tablet in the same network. Over plain http
  browsers forbid the live camera picture and offline use; the page then takes photos with the
  tablet's camera app. With --certificate FILE --key FILE it is https.
- Join an Android tablet by USB cable, run "adb reverse tcp:8000 tcp:8000", and open
  http://localhost:8000/ on it.

Over https or localhost the page stays on the tablet after the first visit: it then needs neither
this machine nor a network. Photos never leave the tablet. It is no diagnosis.

"""
WORDS = {
    "model.onnx": "the exact file: opens in any stock ONNX Runtime, predicts what was audited",
    "export.json": "its check: same predictions per group, size, time to open, latency, programs",
    "model_audit.json": "the audit of the exact file, because it cannot agree to the last bit",
    "model_predictions.parquet": "its own predictions",
    "model.safetensors": "the compressed classifier, packed with its real bit widths",
    "plan.json": "bits of every output channel of every layer",
    "sensitivity.npz": "predicted damage per channel, width and group",
    "sensitivity.json": "the same per layer, for programs that do not read .npz",
    "audit.json": "all figures of the audit, the limits and the verdict",
    "predictions.parquet": "class probabilities of every audited image, before and after; no image",
    "epochs.json": "figures of every training epoch",
    "fast.onnx": "the fast file: computes with whole numbers, another classifier than the exact one",
    "fast.json": "what was measured about the fast file, also where it stayed behind",
    "fast_audit.json": "the audit and the verdict of the fast file",
    "fast_predictions.parquet": "its own predictions",
    "MODEL_CARD.md": "model card in the format of model hubs",
    "report.html": "the report for the board",
    "report.pdf": "the same for print",
    "report.json": "the same for programs",
    "label.pdf": "the facts on one page",
    "checklist.json": "reporting checklist, item by item, with where each is shown",
    "decisions.json": "who decided what about this run, with the hashes of the decision log",
    "classify.py": "classifies a photograph: python classify.py model.onnx photo.jpg",
    "environment.json": "programs and versions that made it",
    TABLET: "a page that classifies a photo on the tablet itself, without a network",
}


def has_tablet_page(bundle: Path) -> bool:
    """Whether a bundle brings the page along; False for anything that is no zip."""
    try:
        with zipfile.ZipFile(bundle) as opened:
            return TABLET_PAGE in opened.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def readme(
    case: Case, run: Job, review: ReviewView, bundle: str, files: Iterable[str], fingerprint: str
) -> str:
    """The text; files are named in the order of `WORDS`, those of the tablet page as one.

    `fingerprint`: of the key that signs.
    """
    names = {TABLET if name.startswith(TABLET) else name for name in files}
    approval = review.decisions[-1]
    return README.format(
        case=case.title,
        run=run.title,
        identifier=run.id,
        verdict=review.overall_verdict,
        person=approval.person,
        role=approval.role,
        time=approval.time,
        override=approval.override or "none needed",
        files="\n".join(f"{name:26} {words}" for name, words in WORDS.items() if name in names),
        bundle=bundle,
        tablet=TRY_IT if TABLET in names else "",
        signature=HOW_TO_VERIFY.format(fingerprint=fingerprint),
        hashes="\n".join(f"    {key:12} {value}" for key, value in review.hashes.items()),
    )
