"""What is to be predicted, between a user's classes and the codes that a model learns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite, column_or_1d

from sklar.data.schema import Schema
from sklar.errors import DataError, UserError


@dataclass(frozen=True)
class Outcome:
    """Classes of one label, or several labels.

    Attributes:
        classes: (K,) values of one label in the order of their codes, or names of several labels.
        several: Whether they are labels, of which a row may have any.
    """

    classes: NDArray[Any]
    several: bool = False

    @classmethod
    def of(cls, y: Any) -> "Outcome":
        """What the values of ``y`` say: two classes or more, or a column of 0 and 1 per label.

        Raises:
            DataError: There is one class only.
        """
        if _is_indicator(y):
            return cls(np.arange(np.asarray(y).shape[1]), several=True)
        classes = np.unique(_classes_of(y))
        if len(classes) < 2:
            raise DataError(
                f"y has one class only ({classes.tolist()}); a classifier needs rows of two classes or more"
            )
        return cls(classes)

    @classmethod
    def named(cls, schema: Schema) -> "Outcome":
        """What a schema says, whose label columns are in the table."""
        if schema.task == "binary":
            return cls(np.array([0, 1]))
        return cls(np.array(schema.outputs), several=schema.task == "multilabel")

    def schema(self, schema: Schema) -> Schema:
        """A schema with this outcome."""
        if self.several:
            names = schema.labels
            if len(names) != len(self.classes):
                names = tuple(f"{names[0]}_{place}" for place in range(len(self.classes)))
            # a single column of indicators is one label
            return schema.model_copy(update={"label": names if len(names) > 1 else names[0], "classes": None})
        classes = None if len(self.classes) == 2 else self.names
        return schema.model_copy(update={"label": schema.labels[0], "classes": classes})

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as texts."""
        return tuple(str(own) or f"class {place}" for place, own in enumerate(self.classes))

    def columns(self, y: Any, schema: Schema) -> dict[str, pa.Array]:
        """``y`` as the label columns of a schema that `schema` returned.

        Raises:
            DataError: There is a class that was not there before.
        """
        if self.several:
            values = np.asarray(y)
            return {name: pa.array(values[:, place]) for place, name in enumerate(schema.labels)}
        values = _classes_of(y)
        code = np.searchsorted(self.classes, values).clip(max=len(self.classes) - 1)
        if (lost := self.classes[code] != values).any():
            raise DataError(
                f"y has class {values[lost].tolist()[0]!r}, which is none of those that the model "
                f"knows ({self.classes.tolist()})"
            )
        codes = pa.array(code)
        named = codes if schema.classes is None else pa.array(schema.classes, pa.string()).take(codes)
        return {schema.labels[0]: named}

    def place(self, output: Any, count: int) -> int:
        """Which of a model's ``count`` outputs a class or label is; None is the only one.

        Raises:
            UserError: There is none of that name, or none was named of several.
        """
        names = self.classes.tolist() if count > 1 else self.classes.tolist()[-1:]
        if output is None and count == 1:
            return 0
        if output not in names:
            raise UserError(f"output is {output!r}; name one of {', '.join(map(repr, names))}")
        return int(names.index(output))

    def decide(self, probability: NDArray[np.float64]) -> NDArray[Any]:
        """(N,) the likeliest class of (N, K) probabilities; (N, L) 0 or 1 of several labels."""
        if self.several:
            return (probability > 0.5).astype(np.int64)
        return np.asarray(self.classes[probability.argmax(axis=1)])

    def spread(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, C) probabilities of all classes, from (N,) of one event, which has two, or (N, K) of K."""
        if probability.ndim == 1:
            return np.stack([1 - probability, probability], axis=1)
        return probability


def _is_indicator(y: Any) -> bool:
    return bool(np.asarray(y).ndim == 2 and type_of_target(y, input_name="y") == "multilabel-indicator")


def _classes_of(y: Any) -> NDArray[Any]:
    values = np.asarray(column_or_1d(y, warn=True))
    assert_all_finite(values, input_name="y")
    check_classification_targets(values)
    return values
