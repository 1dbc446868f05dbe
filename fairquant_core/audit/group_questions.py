"""Would the answer be another with other groups: finer, by another annotator, crossed with sex?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from fairquant_core.audit.agreement import agreement
from fairquant_core.audit.bootstrap import Bootstrap
from fairquant_core.audit.grouping import UNKNOWN, Grouping
from fairquant_core.audit.limits import Limits
from fairquant_core.audit.metrics import group_accuracy
from fairquant_core.audit.predictions import Predictions
from fairquant_core.audit.summary_parts import accuracy_json, comparison
from fairquant_core.data.skin_tone import SCHEMES, assign, default_scheme, ordered

#: A column with more values (an age in years, a site) makes groups too small to cross with.
MOST_VALUES = 8

SAME_VERDICT = "With the groups of {other} the verdict stays {verdict}."
OTHER_VERDICT = "With the groups of {other} the verdict is {there} instead of {here}."
GROUPS_DIFFER = " It differs for {groups}."


class GroupQuestions:
    """Asks the same question of one predictions table with different groups.

    Parameters
    ----------
    predictions:
        The judged images.
    reference, candidate:
        Names of two models; without a candidate there are figures but no verdicts.
    limits:
        Those of the case; with other groups than the case's, all known groups must pass.
    """

    def __init__(
        self,
        predictions: Predictions,
        reference: str,
        candidate: str | None,
        limits: Limits,
        *,
        level: float = 0.95,
        resamples: int = 2000,
        seed: int = 0,
    ) -> None:
        self.predictions = predictions
        self.reference = reference
        self.candidate = candidate
        self.limits = limits
        self._level, self._resamples, self._seed = level, resamples, seed

    def about(self, column: str, scheme: str) -> dict[str, Any]:
        """All questions that the columns of the table allow, around the grouping of the case.

        Returns
        -------
        dict
            "schemes", "intersections" and "annotators" (lists), "unknown", "left_out" (columns that
            cannot be used, with the reason).
        """
        own = _family(scheme)
        found: dict[str, Any] = {"schemes": [], "intersections": [], "annotators": []}
        left_out = []
        tones = {column: own} if own else {}
        for other in self.predictions.group_columns:
            if other == column:
                continue
            family = _family(default_scheme(self.predictions.frame[other]))
            if family and family == own:
                found["annotators"].append(self.by_annotator(column, other, scheme))
            elif family:
                tones[other] = family
            elif reason := self._cannot_cross(other):
                left_out.append({"column": other, "reason": reason})
            else:
                found["intersections"].append(self.crossed(column, scheme, other))
        for tone, family in tones.items():
            for name in _schemes(family):
                answer = self.by_scheme(tone, name)
                if sum(row["n"] > 0 for row in _known_rows(answer, self.reference)) < 2:
                    reason = f"fewer than two groups hold images ({SCHEMES[name].title})"
                    left_out.append({"column": tone, "reason": reason})
                else:
                    found["schemes"].append(answer)
        return found | {"unknown": self.unknown(column, scheme), "left_out": left_out}

    def by_scheme(self, column: str, scheme: str) -> dict[str, Any]:
        """The verdict with the groups of one column and one scheme."""
        groups = self.predictions.groups(column, scheme)
        answer = self._answer(groups, _order(groups, scheme))
        return {"column": column, "scheme": scheme, "title": SCHEMES[scheme].title} | answer

    def crossed(self, column: str, scheme: str, other: str) -> dict[str, Any]:
        """The verdict for every combination of two groupings, such as tone and sex."""
        first = self.predictions.groups(column, scheme)
        second = self.predictions.groups(other, "values")
        known = (first != UNKNOWN) & (second != UNKNOWN)
        joined = (first + ", " + second).where(known, UNKNOWN)
        seconds = [name for name in ordered(second, "values") if name != UNKNOWN]
        order = [
            f"{one}, {two}" for one in _order(first, scheme) if one != UNKNOWN for two in seconds
        ]
        about = {"columns": [column, other], "scheme": scheme}
        return about | {"title": f"{column} and {other}"} | self._answer(joined, order)

    def by_annotator(self, column: str, other: str, scheme: str) -> dict[str, Any]:
        """The verdict with another annotator's groups, and how far the two annotators agree."""
        here, there = (self.by_scheme(name, scheme) for name in (column, other))
        clusters = self.predictions.frame["cluster"].to_numpy()
        agreed = {}
        finest = max(_schemes(_family(scheme)), key=lambda name: len(SCHEMES[name].groups))
        for key, name in (("types", finest), ("groups", scheme)):
            one, two = (self.predictions.groups(each, name) for each in (column, other))
            agreed[key] = {"scheme": name} | agreement(
                one,
                two,
                SCHEMES[name].groups,
                clusters=clusters,
                level=self._level,
                resamples=self._resamples,
                seed=self._seed,
            )
        result: dict[str, Any] = {"column": column, "other": other, "scheme": scheme}
        result |= {"agreement": agreed, "answer": there}
        if self.candidate is None:
            return result | {"changes": None, "groups": [], "sentence": ""}
        pairs = [
            {
                "group": one["group"],
                "here": str(one["verdict"]),
                "there": str(two["verdict"]),
                "changes": one["verdict"] != two["verdict"],
            }
            for one, two in zip(here["verdicts"], there["verdicts"], strict=True)
        ]
        template = SAME_VERDICT if here["verdict"] == there["verdict"] else OTHER_VERDICT
        sentence = template.format(
            other=other, verdict=here["verdict"], here=here["verdict"], there=there["verdict"]
        )
        if moved := [str(pair["group"]) for pair in pairs if pair["changes"]]:
            sentence += GROUPS_DIFFER.format(groups=", ".join(moved))
        return result | {
            "verdict_here": here["verdict"],
            "verdict_there": there["verdict"],
            "changes": bool(moved) or here["verdict"] != there["verdict"],
            "groups": pairs,
            "sentence": sentence,
        }

    def unknown(self, column: str, scheme: str) -> dict[str, Any]:
        """Images without a known group: how many, and how well they are classified."""
        groups = self.predictions.groups(column, scheme)
        count = int((groups == UNKNOWN).sum())
        rows = {}
        for model in self.predictions.models:
            table = group_accuracy(
                self.predictions,
                model,
                groups,
                order=[UNKNOWN],
                level=self._level,
                resamples=1,
            )
            row = table.by_group[table.by_group["group"] == UNKNOWN].iloc[0]
            names = ("n", "correct", "accuracy", "low", "high", "estimable")
            rows[model] = {name: row[name] for name in names}
        return {"n": count, "share": count / len(groups), "accuracy": rows}

    def _answer(self, groups: pd.Series, order: Sequence[str]) -> dict[str, Any]:
        table = self.predictions
        grouping = Grouping.build(groups, len(table), order)
        bootstrap = Bootstrap(
            grouping.codes,
            table.frame["cluster"].to_numpy(),
            resamples=self._resamples,
            seed=self._seed,
        )
        chosen = [self.reference, *([self.candidate] if self.candidate else [])]
        answer: dict[str, Any] = {
            "groups": list(grouping.known),
            "unknown": int((grouping.codes == len(grouping.known)).sum()),
            "accuracy": {
                model: accuracy_json(
                    group_accuracy(
                        table,
                        model,
                        groups,
                        order=order,
                        minimum=self.limits.minimum_images,
                        level=self._level,
                        seed=self._seed,
                        bootstrap=bootstrap,
                    )
                )
                for model in chosen
            },
        }
        if self.candidate:
            limits = self.limits
            if set(limits.groups) - set(grouping.known):
                limits = replace(limits, groups=())
            answer |= comparison(
                table,
                self.reference,
                self.candidate,
                groups,
                grouping,
                limits,
                bootstrap,
                level=self._level,
            )
        return answer

    def _cannot_cross(self, column: str) -> str:
        values = assign(self.predictions.frame[column], "values")
        known = np.unique(values[values != UNKNOWN].to_numpy(object))
        if len(known) < 2:
            return "fewer than two known values"
        if len(known) > MOST_VALUES:
            return f"{len(known)} different values, more than {MOST_VALUES}"
        return ""


def _known_rows(answer: dict[str, Any], model: str) -> list[dict]:
    return [row for row in answer["accuracy"][model]["by_group"] if row["group"] != UNKNOWN]


def _family(scheme: str) -> str:
    """Letters of its name: "fst" for all groupings of Fitzpatrick types; "" for values as they are."""
    return scheme.rstrip("0123456789") if SCHEMES[scheme].groups else ""


def _schemes(family: str) -> list[str]:
    """All groupings of one scale, the finest first."""
    names = [name for name in SCHEMES if SCHEMES[name].groups and _family(name) == family]
    return sorted(names, key=lambda name: -len(SCHEMES[name].groups))


def _order(groups: pd.Series, scheme: str) -> list[str]:
    """All groups of the scheme, also those without an image: absence must be seen."""
    return ordered({*SCHEMES[scheme].groups, *groups}, scheme)
