"""All candidates on one board: figures against scikit-learn, means over seeds, the front, what is compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from fairquant_core.audit.board import AS_GIVEN, Board, Candidate, on_front
from fairquant_core.audit.board_text import board_text, board_values, candidate_line
from fairquant_core.audit.predictions import Predictions
from fairquant_core.errors import EvaluationError

MakePredictions = Callable[..., Predictions]
CLASSES = ("melanoma", "nevus", "keratosis")
RIGHT = {"qat": 0.85, "ptq": 0.6, "full_precision": 0.9, AS_GIVEN: 0.88}


@pytest.fixture
def candidates(make_predictions: MakePredictions) -> list[Candidate]:
    """Two methods at 3 and 4 bits with three seeds, the control and the start with two."""
    rng = np.random.default_rng(0)
    labels = rng.choice(CLASSES, 200)
    tones = rng.choice(["1", "2", "3", "4", "5", "-1"], 200)
    tones[0] = "6"
    split = np.where(np.arange(200) < 40, "validation", "audit")
    found = []
    for method, bits, seeds in (
        ("qat", 4.0, 3),
        ("qat", 3.0, 3),
        ("ptq", 4.0, 3),
        ("full_precision", None, 2),
        (AS_GIVEN, None, 2),
    ):
        for seed in range(seeds):
            share = RIGHT[method] - (0.1 if bits == 3.0 else 0)
            answers = np.where(rng.random(200) < share, labels, rng.choice(CLASSES, 200))
            table = make_predictions(labels, tones, split=split, candidate=answers)
            size = 10_000_000 if bits is None else int(bits * 250_000)
            found.append(
                Candidate(method, method.upper(), bits, seed, table, "candidate", size, bits, 1.5)
            )
    return found


@pytest.fixture
def board(candidates: list[Candidate]) -> Board:
    return Board(candidates, group_column="tone", scheme="fst3", resamples=400)


def test_rows_agree_with_scikit_learn(board: Board, candidates: list[Candidate]) -> None:
    frame = board.frame()
    for row, candidate in zip(frame.to_dict("records"), candidates, strict=True):
        part = candidate.predictions.part("audit")
        answers = part.predicted("candidate")
        assert row["accuracy"] == pytest.approx(accuracy_score(part.frame["label"], answers))
        probabilities = part.probabilities("candidate").astype(float)
        expected = log_loss(part.labels, probabilities, labels=range(3))
        assert row["loss"] == pytest.approx(expected, rel=1e-5)
        groups = part.groups("tone", "fst3")
        by_tone = [
            log_loss(part.labels[inside], probabilities[inside], labels=range(3))
            for name in ("FST I-II", "FST III-IV", "FST V-VI")
            if (inside := groups == name).any()
        ]
        assert row["worst_loss"] == pytest.approx(max(by_tone), rel=1e-5)
        by_group = {
            name: accuracy_score(part.frame["label"][groups == name], answers[groups == name])
            for name in ("FST I-II", "FST III-IV", "FST V-VI")
        }
        for name, accuracy in by_group.items():
            assert row[f"accuracy: {name}"] == pytest.approx(accuracy)
        assert row["worst"] == pytest.approx(min(by_group.values()))
        assert row["worst_group"] == min(by_group, key=lambda name: by_group[name])
        assert row["gap"] == pytest.approx(max(by_group.values()) - row["worst"])
        assert row["worst_low"] < row["worst"] < row["worst_high"]
    assert board.images == 160 and "accuracy: unknown" not in frame


def test_means_are_taken_over_seeds_after_each_figure(board: Board) -> None:
    frame, summary = board.frame(), board.summary()
    assert summary["bits"].isna().tolist() == [True, True, False, False, False]
    assert summary["bits"].tolist()[2:] == [3.0, 4.0, 4.0]
    row = summary[(summary["method"] == "qat") & (summary["bits"] == 4)].iloc[0]
    own = frame[(frame["method"] == "qat") & (frame["bits"] == 4)]
    assert row["seeds"] == 3 and row["size_bytes"] == 1_000_000
    for name in ("accuracy", "worst", "gap", "loss", "worst_loss", "accuracy: FST V-VI"):
        assert row[name] == pytest.approx(np.mean(own[name]))
        assert row[f"{name}_sd"] == pytest.approx(np.std(own[name], ddof=1))
    groups_mean = own[[f"accuracy: FST {name}" for name in ("I-II", "III-IV", "V-VI")]].mean()
    assert row["worst"] <= groups_mean.min()


def test_differences_are_at_equal_budget_over_shared_seeds(board: Board) -> None:
    summary = board.summary("qat")
    rows = {(row["method"], row["bits"]): row for row in summary.to_dict("records")}
    better, worse = rows["qat", 4.0], rows["ptq", 4.0]
    assert worse["accuracy_difference"] == pytest.approx(worse["accuracy"] - better["accuracy"])
    assert worse["accuracy_low"] < worse["accuracy_difference"] < worse["accuracy_high"] < 0
    # Full precision has no budget, and qat has two: nothing says which one would be meant.
    missing = summary[summary["method"] == "full_precision"].iloc[0]
    assert missing["paired_seeds"] == 0 and np.isnan(missing["worst_difference"])
    control = board.differences("full_precision")
    control = control[(control["figure"] == "accuracy") & control["bits"].notna()]
    assert control["seeds"].tolist() == [2, 2, 2]
    with pytest.raises(EvaluationError, match="'static_qat'.*There are: qat, ptq"):
        board.differences("static_qat")


def test_small_groups_are_shown_but_never_the_worst(candidates: list[Candidate]) -> None:
    board = Board(candidates, group_column="tone", scheme="fst6", minimum_images=20, resamples=10)
    frame = board.frame()
    assert "accuracy: FST VI" not in frame  # its only image is in the validation split
    sizes = dict(zip(board.grouping.names, board.grouping.sizes, strict=True))
    assert all(sizes[name] >= 20 for name in frame["worst_group"])


def test_the_split_decides_what_is_looked_at(candidates: list[Candidate]) -> None:
    board = Board(candidates, group_column="tone", scheme="fst3", split="validation", resamples=10)
    part = candidates[0].predictions.part("validation")
    assert board.images == 40
    assert board.frame()["accuracy"].iloc[0] == part.correct("candidate").mean()


def test_another_order_of_images_changes_nothing(candidates: list[Candidate]) -> None:
    one = candidates[0].predictions
    turned = Predictions(one.frame.iloc[::-1], one.classes, one.models)
    pair = [candidates[0], Candidate("turned", "Turned", 4.0, 0, turned)]
    changes = Board(pair, group_column="tone", scheme="fst3", resamples=10).differences("qat")
    assert (changes["changed"] == 0).all() and (changes["difference"] == 0).all()


def test_other_images_are_refused(
    candidates: list[Candidate], make_predictions: MakePredictions
) -> None:
    other = make_predictions(["nevus"] * 30, ["1"] * 30, candidate=["nevus"] * 30)
    pair = [candidates[1], Candidate("other", "Other", 4.0, 1, other)]
    with pytest.raises(EvaluationError, match="'Other' .seed 1. was not scored on the same images"):
        Board(pair, group_column="tone", scheme="fst3")
    one = candidates[1].predictions
    labels = one.frame.assign(label="nevus")
    pair = [
        candidates[1],
        replace(candidates[1], predictions=Predictions(labels, one.classes, one.models)),
    ]
    with pytest.raises(EvaluationError, match="was not scored on the same images"):
        Board(pair, group_column="tone", scheme="fst3")
    with pytest.raises(EvaluationError, match="No candidate is finished"):
        Board([], group_column="tone", scheme="fst3")


def test_seeds_with_images_of_their_own(candidates: list[Candidate]) -> None:
    """Figures of a seed are of its images alone; what is drawn for the intervals are the images of all."""
    pairs = [one for one in candidates if one.bits == 4.0 and one.seed < 2]
    halved = []
    for one in pairs:
        frame = one.predictions.frame
        part = frame.iloc[: 150 if one.seed == 0 else None].iloc[0 if one.seed == 0 else 100 :]
        table = Predictions(part, one.predictions.classes, one.predictions.models)
        halved.append(replace(one, predictions=table))
    board = Board(halved, group_column="tone", scheme="fst3", resamples=3000, minimum_images=5)
    assert board.images == 160 and not board.same_images
    alone = [
        Board([one], group_column="tone", scheme="fst3", resamples=1, minimum_images=5).frame()
        for one in halved
    ]
    joined = board.frame()
    for name in ("images", "accuracy", "worst", "gap", "loss", "worst_loss"):
        assert joined[name].tolist() == pytest.approx([row[name].iloc[0] for row in alone])
    assert board.summary()["images"].tolist() == [round((110 + 100) / 2)] * 2

    # The interval against one drawn image by image and seed by seed.
    changes = board.differences("qat")
    row = changes[(changes["method"] == "ptq") & (changes["figure"] == "accuracy")].iloc[0]
    rng = np.random.default_rng(3)
    audit = [one.predictions.part("audit") for one in halved]
    right = [
        dict(zip(t.frame["id"], t.correct("candidate").astype(float), strict=True)) for t in audit
    ]
    groups = {}
    for table in audit:
        groups |= dict(zip(table.frame["id"], table.groups("tone", "fst3"), strict=True))
    strata = [[i for i, g in groups.items() if g == name] for name in sorted(set(groups.values()))]
    drawn = []
    for _ in range(1500):
        ids = [i for own in strata for i in rng.choice(own, len(own))]
        (seed,) = rng.integers(0, 2, 1)  # one of two
        qat, ptq = (
            right[[(o.method, o.seed) for o in halved].index((m, seed))] for m in ("qat", "ptq")
        )
        drawn.append(np.mean([ptq[i] - qat[i] for i in ids if i in qat]))
    assert [row["low"], row["high"]] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.012)


def test_front_against_a_loop_over_pairs(board: Board) -> None:
    rng = np.random.default_rng(1)
    size, quality = rng.integers(1, 12, 60).astype(float), rng.integers(1, 12, 60).astype(float)
    size[3], quality[4] = np.nan, np.nan
    expected = []
    for i in range(60):
        beaten = any(
            size[j] <= size[i]
            and quality[j] >= quality[i]
            and (size[j] < size[i] or quality[j] > quality[i])
            for j in range(60)
        )
        expected.append(not beaten and i not in (3, 4))
    assert on_front(size, quality).tolist() == expected
    shown = board.pareto()
    assert len(shown) == len(board.frame()) and 0 < shown["on_front"].sum() < len(shown)


def test_text_and_values_say_the_same(board: Board) -> None:
    text = board_text(board, ["full_precision", "static_qat"])
    summary = board.summary()
    row = summary[summary["method"] == "ptq"].iloc[0]
    assert f"{100 * row['worst']:.1f} +-{100 * row['worst_sd']:.1f}" in text
    assert "No candidate of 'static_qat' is finished" in text and "With 3 seed(s)" in text
    values = json.loads(json.dumps(board_values(board, ["full_precision"]), allow_nan=False))
    assert values["summary"][0]["bits"] is None and len(values["candidates"]) == 13
    assert len(values["differences"]["full_precision"]) == 5 * 8
    assert candidate_line(board).startswith("as_given seed 1: accuracy")
    changes = board.differences("full_precision")
    change = changes[(changes["method"] == "ptq") & (changes["figure"] == "worst_loss")].iloc[0]
    assert f"{change['difference']:+.2f} [{change['low']:+.2f}, {change['high']:+.2f}]" in text
