"""Problems of a cohort that a person must see but that do not stop the work."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pandas as pd

from fairquant_core.data import skin_tone
from fairquant_core.data.split import SPLITS

CLASS_ABSENT = "The {split} split has no image of {classes} (in brackets: images in all splits)."
GROUP_EMPTY = (
    "{column}: the {split} split has no image of {groups} (in brackets: images in all splits)."
)
ONE_GROUP = "All images belong to one group of {column}: {group!r}; a comparison needs two groups."
NO_GROUP_KNOWN = "{column} is unknown for every image: no group can be compared."
UNKNOWN_SHARE = "{column} is unknown for {count} of {total} images ({share:.1%})."
DISPUTED = (
    "The annotations {first} and {second} agree exactly on {share:.1%} of the {total} images that "
    "both judged."
)


def find_warnings(
    table: pd.DataFrame,
    group_columns: dict[str, str],
    classes: tuple[str, ...],
    *,
    evaluation_only: bool = False,
) -> list[str]:
    """Sentences about absent classes, empty groups, unknown groups and disputed annotations.

    Units
    -----
    Shares are fractions of images, written as per cent.
    """
    splits = ("audit",) if evaluation_only else SPLITS
    found: list[str] = []
    for split, absent in _absences(table["label"], table["split"], list(classes), splits):
        found.append(CLASS_ABSENT.format(split=split, classes=absent))
    for column, source in group_columns.items():
        found.extend(_group_warnings(table, column, f"{column} ({source})", splits))
    tones = [column for column in group_columns if skin_tone.is_fitzpatrick(table[column])]
    for first, second in combinations(tones, 2):
        one, two = (skin_tone.assign(table[column], "fst6") for column in (first, second))
        both = (one != skin_tone.UNKNOWN) & (two != skin_tone.UNKNOWN)
        if both.any() and (share := float((one[both] == two[both]).mean())) < 1:
            found.append(
                DISPUTED.format(
                    first=group_columns[first],
                    second=group_columns[second],
                    share=share,
                    total=int(both.sum()),
                )
            )
    return found


def _group_warnings(
    table: pd.DataFrame, column: str, title: str, splits: tuple[str, ...]
) -> list[str]:
    scheme = skin_tone.default_scheme(table[column])
    groups = skin_tone.assign(table[column], scheme)
    known = [group for group in skin_tone.ordered(groups, scheme) if group != skin_tone.UNKNOWN]
    found: list[str] = []
    if not known:
        return [NO_GROUP_KNOWN.format(column=title)]
    if unknown := int((groups == skin_tone.UNKNOWN).sum()):
        found.append(
            UNKNOWN_SHARE.format(
                column=title, count=unknown, total=len(table), share=unknown / len(table)
            )
        )
    if len(known) == 1:
        found.append(ONE_GROUP.format(column=title, group=known[0]))
    for split, absent in _absences(groups, table["split"], known, splits):
        found.append(GROUP_EMPTY.format(split=split, column=title, groups=absent))
    return found


def _absences(
    values: pd.Series, split_of: pd.Series, wanted: list[str], splits: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """For each split that lacks wanted values: the split, and "value (images in all splits)"."""
    totals = values.value_counts()
    for split in splits:
        present = set(values[split_of == split])
        absent = [f"{value} ({totals[value]})" for value in wanted if value not in present]
        if absent:
            yield split, ", ".join(absent)
