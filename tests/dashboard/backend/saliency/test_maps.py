"""Which images saliency maps are drawn of, for which class, and what is read back."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dashboard.backend.saliency.images import LOST
from dashboard.backend.saliency.views import SaliencyChoice
from dashboard.backend.services import Services
from fairquant_core.errors import FairQuantError
from tests.dashboard.backend.made_results import (
    finish_prepare,
    finish_run,
    finish_saliency,
    make_case,
    write_classifier,
    write_cohort,
)

GRAD_CAM = SaliencyChoice("grad_cam")


@pytest.fixture
def run_id(ready_case: str, services: Services, tmp_path: Path) -> str:
    return finished(ready_case, services, tmp_path, bits=2.0, candidate=0.2)


def finished(
    case_id: str, services: Services, folder: Path, bits: float, candidate: float = 0.7
) -> str:
    run_id = services.start_run(case_id, {"method": "uniform_ptq", "bits": bits})
    (folder / run_id).mkdir()
    finish_run(services, run_id, folder / run_id, candidate=candidate)
    return run_id


def test_flips_are_shown_first_and_groups_are_judged_on_the_sample(
    run_id: str, services: Services, tmp_path: Path
) -> None:
    assert services.saliency(run_id, GRAD_CAM) is None
    assert services.last_saliency(run_id) is None
    job_id = services.request_saliency(run_id, GRAD_CAM)
    assert services.request_saliency(run_id, GRAD_CAM) == job_id
    finish_saliency(services, job_id, tmp_path)
    view = services.saliency(run_id, GRAD_CAM)
    assert view is not None
    assert view.pictures.shape == (2, len(view.frame), 28, 28)
    assert view.changes["flip"].iloc[0] == LOST
    assert view.changes["drift"].notna().all()
    assert view.by_group["images"].sum() == view.frame["sampled"].sum()
    assert np.isfinite(view.by_group["drift"]).all()
    assert view.crop == 0.9
    flips = services.comparison(run_id).flips.groupby("group").size()
    assert view.by_group.set_index("group")["flips"].to_dict() == flips.to_dict()
    assert services.saliency(run_id, SaliencyChoice("occlusion")) is None


def counts(services: Services, run_id: str, choice: SaliencyChoice) -> dict[str, tuple[int, int]]:
    """Group -> flips there are, and flips whose maps were asked for."""
    view = services.saliency(run_id, choice)
    assert view is not None and view.flips is not None
    rows = view.flips.itertuples()
    return {row.group: (row.flips, row.asked) for row in rows}


def test_more_flips_are_added_to_what_was_drawn(
    run_id: str, services: Services, tmp_path: Path
) -> None:
    few = SaliencyChoice("grad_cam", per_group=2)
    first = services.request_saliency(run_id, few)
    finish_saliency(services, first, tmp_path)
    flips = services.comparison(run_id).flips.groupby("group").size().to_dict()
    group = max(flips, key=lambda name: flips[name])
    before = counts(services, run_id, few)
    assert {name: there for name, (there, _) in before.items()} == flips
    there, asked = before[group]
    assert 2 <= asked <= 4, "the first two flips, and sampled pictures where they are others"
    assert there > asked + 1

    second = services.request_more_flips(run_id, few, group, 1)
    assert services.saliency(run_id, few) is not None, "the maps of before stay while it is drawn"
    finish_saliency(services, second, tmp_path)
    assert counts(services, run_id, few) == {**before, group: (there, asked + 1)}
    assert set(services.job(first).config["image_ids"]) < set(
        services.job(second).config["image_ids"]
    )

    finish_saliency(services, services.request_more_flips(run_id, few, group), tmp_path)
    assert counts(services, run_id, few)[group] == (there, there)
    with pytest.raises(FairQuantError, match=f"no further flip in the group '{group}'"):
        services.request_more_flips(run_id, few, group)
    with pytest.raises(FairQuantError, match="no further flip in the group 'FST IX'"):
        services.request_more_flips(run_id, few, "FST IX")


def test_flips_of_two_requests_are_both_drawn(
    run_id: str, services: Services, tmp_path: Path
) -> None:
    few = SaliencyChoice("grad_cam", per_group=2)
    finish_saliency(services, services.request_saliency(run_id, few), tmp_path)
    before = counts(services, run_id, few)
    groups = [name for name, (there, asked) in before.items() if asked < there][:2]
    jobs = [services.request_more_flips(run_id, few, group) for group in groups]
    for job_id in jobs:
        finish_saliency(services, job_id, tmp_path)
    after = counts(services, run_id, few)
    assert len(groups) == 2
    assert all(after[group] == (before[group][0], before[group][0]) for group in groups)


def test_flips_that_were_drawn_stay_when_the_sample_grows(
    run_id: str, services: Services, tmp_path: Path
) -> None:
    few, more = (SaliencyChoice("grad_cam", per_group=count) for count in (2, 3))
    finish_saliency(services, services.request_saliency(run_id, few), tmp_path)
    group = next(
        name for name, (there, asked) in counts(services, run_id, few).items() if asked < there
    )
    finish_saliency(services, services.request_more_flips(run_id, few, group), tmp_path)
    finish_saliency(services, services.request_saliency(run_id, more), tmp_path)
    there, asked = counts(services, run_id, more)[group]
    assert asked == there


def test_flips_of_unknown_skin_tone_are_drawn_and_count_in_no_group(
    services: Services, tmp_path: Path
) -> None:
    write_cohort(tmp_path / "cohort", groups=("1", "6", ""))
    write_classifier(tmp_path / "model.safetensors")
    case_id = make_case(services, tmp_path)
    finish_prepare(services, case_id, tmp_path)
    run_id = finished(case_id, services, tmp_path, bits=2.0, candidate=0.2)
    few = SaliencyChoice("grad_cam", per_group=2)
    job_id = services.request_saliency(run_id, few)
    finish_saliency(services, job_id, tmp_path)
    view = services.saliency(run_id, few)
    assert view is not None
    there, asked = counts(services, run_id, few)["unknown"]
    assert (asked, there > 2) == (2, True)
    unknown = view.frame[view.frame["group"] == "unknown"]
    assert len(unknown) == 2 and not unknown["sampled"].any()
    assert "unknown" not in set(view.by_group["group"])
    services.request_more_flips(run_id, few, "unknown")


def test_the_sample_is_the_same_for_every_candidate(
    run_id: str, ready_case: str, services: Services, tmp_path: Path
) -> None:
    other = finished(ready_case, services, tmp_path, bits=4.0)
    samples = [
        services.job(services.request_saliency(one, GRAD_CAM)).config["sampled"]
        for one in (run_id, other)
    ]
    assert samples[0] == samples[1]
    groups = services.cohort_table(ready_case).set_index("id").loc[samples[0], "group"]
    audited = services.predictions(run_id).part("audit")
    known = audited.groups("fitzpatrick", "fst3").value_counts()
    assert groups.value_counts().to_dict() == known.clip(upper=8).to_dict()


def test_other_candidates_stand_beside_in_any_order(
    run_id: str, ready_case: str, services: Services, tmp_path: Path
) -> None:
    others = tuple(finished(ready_case, services, tmp_path, bits=bits) for bits in (4.0, 5.0))
    choice = SaliencyChoice("grad_cam", others=others)
    job_id = services.request_saliency(run_id, choice)
    assert services.last_saliency(run_id) == replace(choice, others=tuple(sorted(others)))
    turned = SaliencyChoice("grad_cam", others=(*others[::-1], run_id))
    assert services.request_saliency(run_id, turned) == job_id
    finish_saliency(services, job_id, tmp_path)
    view = services.saliency(run_id, turned)
    assert view is not None
    assert len(view.candidates) == 3
    assert view.candidates[0] == services.run(run_id).title
    assert view.changes["candidate"].value_counts().tolist() == [len(view.frame)] * 3
    decided = services.predictions(others[0]).part("audit")
    now = dict(zip(decided.frame["id"], decided.predicted("candidate"), strict=True))
    title = services.run(others[0]).title
    mine = view.changes[view.changes["candidate"] == title]
    assert [now[one] for one in mine["id"]] == mine["after"].tolist()


@pytest.mark.parametrize(
    ("choice", "column"),
    [
        (SaliencyChoice("grad_cam", "predicted"), "full precision"),
        (SaliencyChoice("grad_cam", "candidate"), "candidate"),
        (SaliencyChoice("grad_cam", "true"), "label"),
        (SaliencyChoice("grad_cam", "class", "malignant"), "malignant"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.target,
)
def test_the_class_that_is_explained(
    choice: SaliencyChoice, column: str, run_id: str, services: Services, tmp_path: Path
) -> None:
    finish_saliency(services, services.request_saliency(run_id, choice), tmp_path)
    view = services.saliency(run_id, choice)
    assert view is not None
    audited = services.predictions(run_id).part("audit")
    if column == "label":
        wanted = dict(zip(audited.frame["id"], audited.frame["label"], strict=True))
    elif column == "malignant":
        wanted = dict.fromkeys(audited.frame["id"], "malignant")
    else:
        wanted = dict(zip(audited.frame["id"], audited.predicted(column), strict=True))
    assert [wanted[one] for one in view.frame["id"]] == view.frame["target"].tolist()


def test_images_without_maps_keep_their_row_and_reason(
    run_id: str, services: Services, tmp_path: Path
) -> None:
    job_id = services.request_saliency(run_id, GRAD_CAM)
    gone = services.job(job_id).config["image_ids"][0]
    finish_saliency(services, job_id, tmp_path, {gone: "image file a.png not found"})
    view = services.saliency(run_id, GRAD_CAM)
    assert view is not None
    row = view.frame.set_index("id").loc[gone]
    assert (row["place"], row["problem"]) == (-1, "image file a.png not found")
    change = view.changes.set_index("id").loc[gone]
    assert np.isnan(change["drift"])
    assert not change["estimable"]


def test_shares_on_the_lesion_are_read_back_per_image_and_group(
    run_id: str, services: Services, tmp_path: Path
) -> None:
    finish_saliency(services, services.request_saliency(run_id, GRAD_CAM), tmp_path, masks=True)
    view = services.saliency(run_id, GRAD_CAM)
    assert view is not None and view.covers is not None
    first, second = view.frame.iloc[0], view.frame.iloc[1]
    assert np.isnan(first["lesion_area"])
    assert first["mask_problem"] == "the mask m.png shows no lesion"
    assert (second["lesion_area"], second["mask_problem"]) == (0.25, "")
    shown = np.abs(view.pictures[1, int(second["place"])])
    wanted = shown[:7].sum() / shown.sum()
    changes = view.changes.set_index("id")
    assert changes.loc[second["id"], "lesion_after"] == pytest.approx(wanted, abs=1e-6)
    assert np.isnan(changes.loc[first["id"], "lesion_after"])
    assert np.isfinite(view.by_group["lesion_change"]).all()


def test_maps_that_were_drawn_without_masks_still_open(
    run_id: str, services: Services, tmp_path: Path
) -> None:
    finish_saliency(services, services.request_saliency(run_id, GRAD_CAM), tmp_path)
    view = services.saliency(run_id, GRAD_CAM)
    assert view is not None and view.covers is None
    assert view.frame["lesion_area"].isna().all()
    assert "lesion_n" not in view.by_group


def put_masks(services: Services, run_id: str, side: int = 8) -> Path:
    """A mask for every image of the cohort, in its folder of masks."""
    cohort = services._cases.cohort(services.run(run_id).case_id)
    folder = cohort.root / "masks"
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 2, (side, side)).astype(bool)
    for file in cohort.table["file"]:
        Image.fromarray(pixels).save(folder / f"{Path(file).stem}.png")
    return folder


def test_new_masks_make_it_another_question(
    run_id: str, services: Services, tmp_path: Path
) -> None:
    first = services.request_saliency(run_id, GRAD_CAM)
    assert "masks" not in services.job(first).config
    finish_saliency(services, first, tmp_path)
    assert not services.saliency_outdated(run_id, GRAD_CAM)
    put_masks(services, run_id)
    assert services.saliency_outdated(run_id, GRAD_CAM)
    assert services.saliency(run_id, GRAD_CAM) is not None, "the old maps stay readable"
    second = services.request_saliency(run_id, GRAD_CAM)
    assert second != first
    finish_saliency(services, second, tmp_path, masks=True)
    assert not services.saliency_outdated(run_id, GRAD_CAM)
    view = services.saliency(run_id, GRAD_CAM)
    assert view is not None and view.covers is not None


def test_masks_that_are_taken_away_bring_back_the_maps_without(
    run_id: str, services: Services, tmp_path: Path
) -> None:
    first = services.request_saliency(run_id, GRAD_CAM)
    finish_saliency(services, first, tmp_path)
    folder = put_masks(services, run_id)
    finish_saliency(services, services.request_saliency(run_id, GRAD_CAM), tmp_path, masks=True)
    shutil.rmtree(folder)
    assert services.saliency_job(run_id, GRAD_CAM).id == first  # type: ignore[union-attr]
    assert not services.saliency_outdated(run_id, GRAD_CAM)


def test_corrected_masks_are_noticed(run_id: str, services: Services, tmp_path: Path) -> None:
    put_masks(services, run_id)
    finish_saliency(services, services.request_saliency(run_id, GRAD_CAM), tmp_path, masks=True)
    put_masks(services, run_id, side=32)
    assert services.saliency_outdated(run_id, GRAD_CAM)


def test_a_result_that_was_damaged_is_named(
    run_id: str, services: Services, tmp_path: Path
) -> None:
    job_id = services.request_saliency(run_id, GRAD_CAM)
    finish_saliency(services, job_id, tmp_path)
    path = services._artefacts.path(str(services.job(job_id).result_hash), "saliency.npz")
    path.write_bytes(b"not an archive")
    with pytest.raises(FairQuantError, match="draw them again"):
        services.saliency(run_id, GRAD_CAM)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (SaliencyChoice("deep_lift"), "deep_lift"),
        (SaliencyChoice(target="worst"), "no target 'worst'"),
        (SaliencyChoice(target="class", target_class="wart"), "no class 'wart'"),
        (SaliencyChoice(others=("a", "b", "c", "d")), "At most 3"),
        (SaliencyChoice(others=("nobody",)), "nobody"),
        (SaliencyChoice(per_group=1), "2 to 100"),
    ],
    ids=["method", "target", "class", "too many", "unknown run", "sample"],
)
def test_bad_choices(choice: SaliencyChoice, words: str, run_id: str, services: Services) -> None:
    with pytest.raises(FairQuantError, match=words):
        services.request_saliency(run_id, choice)


def test_candidates_of_another_case_are_refused(
    run_id: str, services: Services, tmp_path: Path
) -> None:
    case_id = make_case(services, tmp_path, title="Another case", scheme="fst6")
    finish_prepare(services, case_id, tmp_path)
    stranger = finished(case_id, services, tmp_path, bits=3.0)
    with pytest.raises(FairQuantError, match="another case"):
        services.request_saliency(run_id, SaliencyChoice(others=(stranger,)))


def test_notes_stay_with_the_image_and_the_run(
    run_id: str, ready_case: str, services: Services, tmp_path: Path
) -> None:
    other = finished(ready_case, services, tmp_path, bits=4.0)
    long_id = "x" * 500
    services.add_image_note(run_id, "image-0001", "Carla", "Looks at the ruler.")
    services.add_image_note(run_id, "image-0001", "Kwame", "Agreed.")
    services.add_image_note(run_id, long_id, "", "No name.")
    services.add_image_note(other, "image-0001", "Carla", "Better.")
    found = services.image_notes(run_id, ["image-0001", "image-0002", long_id])
    assert [note.text for note in found["image-0001"]] == ["Looks at the ruler.", "Agreed."]
    assert set(found) == {"image-0001", long_id}
    assert services.notes(run_id) == []
    with pytest.raises(FairQuantError, match="no text"):
        services.add_image_note(run_id, "image-0001", "Carla", " ")
