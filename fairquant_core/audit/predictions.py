"""The one table that every figure of an audit is computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fairquant_core.data.skin_tone import assign
from fairquant_core.errors import EvaluationError
from fairquant_core.files import atomic_path

IMAGE_COLUMNS = ("id", "label", "split", "cluster")
#: Softmax in float32 over a few hundred classes stays within 1e-5; a wrong table does not.
SUM_TOLERANCE = 1e-3
LEAST_CHANCE = 1e-12
FORMAT = 1
_METADATA_KEY = b"fairquant"

MISSING_COLUMNS = "the predictions table lacks the columns {columns}; write it again with this tool"
DUPLICATE_IDS = "the predictions table holds image ids more than once: {ids}; ids must be unique"
UNKNOWN_LABELS = (
    "labels {labels} are not among the classes of the classifier ({classes}); "
    "rename the labels of the cohort or leave these images out"
)
NOT_A_NUMBER = (
    "model '{model}' has probabilities that are not a number for {count} images (first: {ids}); "
    "its weights or its inputs are broken"
)
NOT_PROBABILITIES = (
    "model '{model}': the values of {count} images (first: {ids}) are not probabilities between 0 "
    "and 1 that sum to 1; apply softmax to the logits first"
)
NO_ID = (
    "{count} images of the predictions table have no id (first in row {row}); every image needs one"
)
NO_CLUSTER = (
    "{count} images have no value in the column 'cluster' (first: {ids}); "
    "give an image that stands alone its own id as cluster"
)
DIFFERENT_IMAGES = (
    "the two tables do not hold the same images: {left} are only in the first (e.g. {left_ids}), "
    "{right} only in the second (e.g. {right_ids}); score both models on the same cohort and split"
)
DIFFERENT_VALUES = (
    "the two tables have different {column}s for the same images; score both models on one cohort"
)


@dataclass(frozen=True)
class Predictions:
    """One row per image, class probabilities of one or more models side by side.

    Attributes
    ----------
    frame:
        Columns "id", "label", "split", "cluster", the raw group columns (text), then one float32
        column "model:class" per model and class. The row index is 0..N-1.
    classes:
        Order of the classes in the classifier's output.
    models:
        Names such as "full precision", "uniform 4-bit", "candidate".

    Raises
    ------
    EvaluationError
        Missing columns, duplicate ids, labels that are no class, NaN, or rows that do not sum to 1.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    models: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_names("class", self.classes)
        _check_names("model", self.models)
        if bad := [model for model in self.models if ":" in model]:
            raise EvaluationError(f"model names must not contain ':', but {_some(bad)} do")
        wanted = [*IMAGE_COLUMNS, *(c for m in self.models for c in self._columns(m))]
        if missing := [column for column in wanted if column not in self.frame.columns]:
            raise EvaluationError(MISSING_COLUMNS.format(columns=_some(missing)))
        if self.frame.columns.has_duplicates:
            twice = self.frame.columns[self.frame.columns.duplicated()].tolist()
            raise EvaluationError(f"the predictions table has columns twice: {_some(twice)}")
        object.__setattr__(self, "frame", self.frame.reset_index(drop=True))
        nameless = _blank(self.frame["id"])
        if nameless.any():
            raise EvaluationError(NO_ID.format(count=nameless.sum(), row=nameless.argmax() + 1))
        duplicated = self.frame["id"].duplicated()
        if duplicated.any():
            ids = self.frame.loc[duplicated, "id"].unique().tolist()
            raise EvaluationError(DUPLICATE_IDS.format(ids=_some(ids)))
        labels = self.frame["label"]
        if len(strange := labels[~labels.isin(self.classes)]):
            raise EvaluationError(
                UNKNOWN_LABELS.format(
                    labels=_some(strange.unique().tolist()), classes=_some(self.classes)
                )
            )
        alone = _blank(self.frame["cluster"])
        if alone.any():
            ids = self.frame.loc[alone, "id"].tolist()
            raise EvaluationError(NO_CLUSTER.format(count=alone.sum(), ids=_some(ids)))
        for model in self.models:
            _check_probabilities(model, self.probabilities(model), self.frame["id"])

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def build(
        cls,
        table: pd.DataFrame,
        classes: Sequence[str],
        probabilities: Mapping[str, np.ndarray],
    ) -> Predictions:
        """Join a cohort table with the output of the models.

        Parameters
        ----------
        table:
            Rows of a cohort table; the file column is left out, so no path leaves the machine.
        probabilities:
            Model name -> probabilities in the order of the rows. Shapes: (N, C).
        """
        base = table.drop(columns=["file"], errors="ignore").reset_index(drop=True)
        parts = [base]
        for model, values in probabilities.items():
            parts.append(_block(model, tuple(classes), values, len(base)))
        frame = pd.concat(parts, axis=1)
        return cls(frame, tuple(classes), tuple(probabilities))

    @property
    def group_columns(self) -> tuple[str, ...]:
        """Raw group columns, such as the two annotators' skin types."""
        own = {*IMAGE_COLUMNS, *(c for model in self.models for c in self._columns(model))}
        return tuple(column for column in self.frame.columns if column not in own)

    @property
    def labels(self) -> np.ndarray:
        """Position of each image's label in `classes`. Shapes: (N,) int64."""
        return pd.Index(self.classes).get_indexer(pd.Index(self.frame["label"])).astype(np.int64)

    def probabilities(self, model: str) -> np.ndarray:
        """Class probabilities. Shapes: (N, C) float32."""
        self._require(model)
        return self.frame[self._columns(model)].to_numpy(dtype=np.float32)

    def predicted_codes(self, model: str) -> np.ndarray:
        """Position of the most probable class; the first one where classes tie. Shapes: (N,)."""
        return self.probabilities(model).argmax(axis=1)

    def predicted(self, model: str) -> pd.Series:
        """Name of the most probable class; the first in `classes` where classes tie."""
        names = np.asarray(self.classes, dtype=object)[self.predicted_codes(model)]
        return pd.Series(names, index=self.frame.index, name=model, dtype="str")

    def correct(self, model: str) -> np.ndarray:
        """Whether the most probable class is the label. Shapes: (N,) bool."""
        return self.predicted_codes(model) == self.labels

    def losses(self, model: str, least: float = LEAST_CHANCE) -> np.ndarray:
        """What the model's probability of the label costs, per image. Shapes: (N,) float64. Units: nats.

        Parameters
        ----------
        least
            A smaller probability counts as this, so that the loss stays finite.
        """
        chances = self.probabilities(model)[np.arange(len(self)), self.labels]
        return -np.log(np.maximum(chances.astype(np.float64), least))

    def is_any_of(self, model: str, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Whether the label, and whether the predicted class, is one of `names`. Shapes: (N,)."""
        if not names or (strange := [name for name in names if name not in self.classes]):
            raise EvaluationError(
                f"{_some(strange) if names else 'an empty list'} cannot be scored; "
                f"choose from the classes {_some(self.classes)}"
            )
        codes = [self.classes.index(name) for name in names]
        return np.isin(self.labels, codes), np.isin(self.predicted_codes(model), codes)

    def groups(self, column: str, scheme: str) -> pd.Series:
        """Group of every image by one raw column and one scheme of `data.skin_tone`."""
        if column not in self.group_columns:
            raise EvaluationError(
                f"the predictions table has no group column '{column}'; "
                f"it has {_some(self.group_columns) or 'none'}"
            )
        return assign(self.frame[column], scheme)

    def part(self, split: str) -> Predictions:
        """Images of one split ("train", "validation" or "audit")."""
        rows = self.frame[self.frame["split"] == split]
        if rows.empty:
            raise EvaluationError(
                f"no image of the predictions table is in the split '{split}'; "
                f"it holds {_some(self.frame['split'].unique().tolist()) or 'no image at all'}"
            )
        return Predictions(rows, self.classes, self.models)

    def with_model(
        self, name: str, probabilities: np.ndarray, ids: Sequence[str] | None = None
    ) -> Predictions:
        """Same images with one more model (or the model of that name replaced).

        Parameters
        ----------
        probabilities:
            Shapes: (N, C), in the order of the rows, or in the order of `ids`.
        ids:
            Image ids of the rows of `probabilities`; they must be exactly the images of the table.
        """
        if ids is not None:
            probabilities = np.asarray(probabilities)[self._positions(pd.Index(list(ids)))]
        if name in self.models:
            kept = self.frame.drop(columns=self._columns(name))
            models = self.models
        else:
            kept, models = self.frame, (*self.models, name)
        block = _block(name, self.classes, probabilities, len(self))
        return Predictions(pd.concat([kept, block], axis=1), self.classes, models)

    def joined(self, other: Predictions) -> Predictions:
        """Add the models of another table over the same images (in any order)."""
        if other.classes != self.classes:
            raise EvaluationError(
                f"the two tables have different classes ({_some(self.classes)} and "
                f"{_some(other.classes)}); only classifiers of the same classes can be compared"
            )
        order = self._positions(pd.Index(other.frame["id"]))
        for column in ("label", "split"):
            if (other.frame[column].to_numpy()[order] != self.frame[column].to_numpy()).any():
                raise EvaluationError(DIFFERENT_VALUES.format(column=column))
        result = self
        for model in other.models:
            if model in self.models:
                raise EvaluationError(f"both tables hold a model called '{model}'; rename one")
            result = result.with_model(model, other.probabilities(model)[order])
        return result

    def save(self, path: Path) -> None:
        """Write Parquet, bit-exact and all or nothing."""
        facts = {"format": FORMAT, "classes": self.classes, "models": self.models}
        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), _METADATA_KEY: json.dumps(facts).encode()}
        with atomic_path(Path(path)) as part:
            pq.write_table(table.replace_schema_metadata(metadata), part)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read a table that `save` wrote.

        Raises
        ------
        EvaluationError
            The file is missing, no Parquet, or not a predictions table.
        """
        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise EvaluationError(f"there is no predictions table at {path}") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise EvaluationError(f"{path} is not a readable Parquet file: {error}") from error
        facts = json.loads((table.schema.metadata or {}).get(_METADATA_KEY, b"{}"))
        if facts.get("format") != FORMAT:
            raise EvaluationError(
                f"{path} is not a predictions table of format {FORMAT} of this tool"
            )
        return cls(table.to_pandas(), tuple(facts["classes"]), tuple(facts["models"]))

    def _columns(self, model: str) -> list[str]:
        return [f"{model}:{name}" for name in self.classes]

    def _require(self, model: str) -> None:
        if model not in self.models:
            raise EvaluationError(
                f"the predictions table has no model '{model}'; it has {_some(self.models)}"
            )

    def _positions(self, ids: pd.Index) -> np.ndarray:
        """Where each image of this table is in `ids`."""
        if ids.has_duplicates:
            twice = ids[ids.duplicated()].unique().tolist()
            raise EvaluationError(DUPLICATE_IDS.format(ids=_some(twice)))
        own = pd.Index(self.frame["id"])
        left, right = own.difference(ids), ids.difference(own)
        if len(left) or len(right):
            raise EvaluationError(
                DIFFERENT_IMAGES.format(
                    left=len(left),
                    left_ids=_some(left) or "none",
                    right=len(right),
                    right_ids=_some(right) or "none",
                )
            )
        return ids.get_indexer(own)


def _block(model: str, classes: tuple[str, ...], values: np.ndarray, rows: int) -> pd.DataFrame:
    values = np.asarray(values)
    if values.shape != (rows, len(classes)):
        raise EvaluationError(
            f"model '{model}' gave an array of shape {values.shape}, but {rows} images and "
            f"{len(classes)} classes need ({rows}, {len(classes)})"
        )
    columns = [f"{model}:{name}" for name in classes]
    return pd.DataFrame(values.astype(np.float32), columns=columns)


def _blank(values: pd.Series) -> pd.Series:
    """Whether nothing is said. Shapes: (N,) bool."""
    return values.isna() | (values.astype(str) == "")


def _check_names(kind: str, names: tuple[str, ...]) -> None:
    if not names or len(set(names)) < len(names) or not all(isinstance(n, str) for n in names):
        raise EvaluationError(f"{kind} names must be one or more different texts, not {names}")


def _check_probabilities(model: str, values: np.ndarray, ids: pd.Series) -> None:
    bad = np.isnan(values).any(axis=1)
    if bad.any():
        raise EvaluationError(
            NOT_A_NUMBER.format(model=model, count=bad.sum(), ids=_some(ids[bad].tolist()))
        )
    outside = (values < -SUM_TOLERANCE).any(axis=1) | (values > 1 + SUM_TOLERANCE).any(axis=1)
    bad = outside | (np.abs(values.sum(axis=1, dtype=np.float64) - 1) > SUM_TOLERANCE)
    if bad.any():
        raise EvaluationError(
            NOT_PROBABILITIES.format(model=model, count=bad.sum(), ids=_some(ids[bad].tolist()))
        )


def _some(values: Sequence[object] | pd.Index, shown: int = 5) -> str:
    """First few values as text, so that a message stays one sentence."""
    head = ", ".join(f"'{value}'" for value in list(values)[:shown])
    return head + (f" and {len(values) - shown} more" if len(values) > shown else "")
