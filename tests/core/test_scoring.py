"""Scoring: labels must be known, and no image is judged that training may have seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fairquant_core.data.adapters import read_cohort
from fairquant_core.errors import EvaluationError
from fairquant_core.models.zoo import create
from fairquant_core.scoring import check_split, fingerprints, label_codes, score, training_data


@pytest.fixture(scope="module")
def cohort(small_cohort_folder: Path):
    return read_cohort(small_cohort_folder)


@pytest.fixture(scope="module")
def classifier(cohort):
    return create("mobilenetv3_small_050", cohort.classes, size=32)


def test_same_images_in_another_split_are_refused(cohort, classifier, small_cohort_folder) -> None:
    classifier = classifier.copy()
    classifier.origin = {**fingerprints(cohort), "groups": "fitzpatrick", "split_seed": 0}
    check_split(cohort, classifier)
    other = read_cohort(small_cohort_folder, seed=7)
    with pytest.raises(EvaluationError, match="groups: fitzpatrick, split seed: 0"):
        check_split(other, classifier)


def test_a_classifier_of_unknown_origin_is_not_refused(cohort, classifier) -> None:
    check_split(cohort, classifier)


def test_labels_that_the_classifier_does_not_know_are_named(cohort) -> None:
    other = create("mobilenetv3_small_050", ("benign", "unclear"), size=32)
    with pytest.raises(EvaluationError, match="Missing in the classifier: malignant"):
        label_codes(cohort, other)


def test_second_epoch_decodes_nothing(cohort, classifier, tmp_path, monkeypatch) -> None:
    arguments = {"group_column": "fitzpatrick", "scheme": "fst3", "cache": tmp_path}
    first = training_data(cohort, classifier, **arguments)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was decoded again"))
    second = training_data(cohort, classifier, **arguments)
    assert (first.images == second.images).all()


def test_splits_scored_together_or_alone_give_the_same_bits(cohort, classifier, tmp_path) -> None:
    data = training_data(
        cohort, classifier, group_column="fitzpatrick", scheme="fst3", cache=tmp_path
    )
    both = score(cohort, {"candidate": classifier}, data).part("audit")
    alone = score(cohort, {"candidate": classifier}, data, splits=("audit",))
    assert (both.probabilities("candidate") == alone.probabilities("candidate")).all()
