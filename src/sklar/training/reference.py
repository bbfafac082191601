"""What a user would pick instead: boosted trees and logistic regression on summaries of every modality.

A comparison without them says little: on clinical tables they are hard to beat.
"""

import warnings
from collections.abc import Iterator
from itertools import repeat
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import adaptive_avg_pool2d

from sklar.data.pixels import to_pixels
from sklar.data.preprocess import numbers
from sklar.data.store import PreparedData
from sklar.training.validation import judge

FIELDS = 8
"""Fields along each side of a picture that the references read."""


class GradientBoostingConfig(BaseModel):
    """Settings of the boosted trees; the number of trees is chosen on validation AUROC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["gradient_boosting"] = "gradient_boosting"
    learning_rate: float = Field(default=0.05, gt=0)
    max_trees: int = Field(default=300, ge=1)
    leaves: int = Field(default=15, ge=2)
    min_leaf: int = Field(default=20, ge=1)
    l2: float = Field(default=1.0, ge=0)


class LogisticRegressionConfig(BaseModel):
    """Settings of the L2 logistic regression; the penalty is chosen on validation AUROC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["logistic_regression"] = "logistic_regression"
    inverse_penalties: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)


ReferenceConfig = GradientBoostingConfig | LogisticRegressionConfig

REFERENCES: dict[str, type[ReferenceConfig]] = {
    "gradient_boosting": GradientBoostingConfig,
    "logistic_regression": LogisticRegressionConfig,
}
"""Reference models by name."""


def fit_predict(
    config: ReferenceConfig,
    data: PreparedData,
    weight: NDArray[np.float64],
    seed: int,
    selection: NDArray[np.int64],
) -> tuple[NDArray[np.float64], float]:
    """Fit on the labelled training rows, choose on validation rows, predict every row.

    Args:
        config: Which reference, and its settings.
        data: The prepared folder.
        weight: (N,) case weights of the fit.
        seed: Of the trees.
        selection: Positions of the validation rows to choose on.

    Returns:
        (N,) probabilities, of several outputs (N, K), and the validation AUROC, of those their mean.
    """
    x, y, schema = Features(data).matrix(), data.target, data.schema
    train = data.rows("train")
    if isinstance(config, GradientBoostingConfig):
        # the trees cannot bin a column without any value, such as a variable that a hospital never measured
        x[:, np.isnan(x[train]).all(0)] = 0.0

    def fitted(column: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        rows = train[~np.isnan(column[train])]
        return _candidates(config, x, column, rows, weight, seed, len(schema.classes or (0, 1)))

    def judged(probability: NDArray[np.float64]) -> float:
        own = probability[selection].reshape(len(selection), -1)
        return judge(schema.task, y[selection], own, weight[selection])["valid_auroc"]

    found: Iterator[NDArray[np.float64]]
    match schema.task:
        case "binary":
            found = (p[:, 1] for p in fitted(y))
        case "multiclass":
            found = fitted(y)
        case "multilabel":  # one by one, and chosen together
            labels = zip(*(fitted(column) for column in y.T), strict=True)
            found = (np.stack([p[:, 1] for p in own], axis=1) for own in labels)
    best = next(found)
    highest = judged(best)
    for candidate in found:
        if (value := judged(candidate)) > highest:
            best, highest = candidate, value
    return best, highest


def _candidates(
    config: ReferenceConfig,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    rows: NDArray[np.int64],
    weight: NDArray[np.float64],
    seed: int,
    classes: int,
) -> Iterator[NDArray[np.float64]]:
    """(N, C) probabilities of every number of trees, or of every penalty, one after the other."""
    if len(found := np.unique(y[rows])) == 1:  # nothing to learn: what all training rows say
        constant = np.zeros((len(x), classes))
        constant[:, int(found[0])] = 1.0
        yield from repeat(constant, _stages(config))
    elif isinstance(config, GradientBoostingConfig):
        trees = HistGradientBoostingClassifier(
            learning_rate=config.learning_rate,
            max_iter=config.max_trees,
            max_leaf_nodes=config.leaves,
            min_samples_leaf=config.min_leaf,
            l2_regularization=config.l2,
            early_stopping=False,
            random_state=seed,
        ).fit(x[rows], y[rows], sample_weight=weight[rows])
        yield from (_of_all(p, trees.classes_, classes) for p in trees.staged_predict_proba(x))
    else:
        for inverse in config.inverse_penalties:
            model = _logistic(inverse).fit(x[rows], y[rows], logisticregression__sample_weight=weight[rows])
            yield _of_all(model.predict_proba(x), model.classes_, classes)


def _stages(config: ReferenceConfig) -> int:
    """How many candidates there are."""
    if isinstance(config, GradientBoostingConfig):
        return config.max_trees
    return len(config.inverse_penalties)


def _of_all(probability: NDArray[np.float64], own: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """(N, C) with a zero for each class that no training row has."""
    if len(own) == classes:
        return probability
    whole = np.zeros((len(probability), classes))
    whole[:, own.astype(np.intp)] = probability
    return whole


def _logistic(inverse_penalty: float) -> Pipeline:
    return make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=inverse_penalty, max_iter=2000),
    )


class Features:
    """One row of numbers per subject: summaries of the series, words of the texts, the table as it is.

    Series: last, mean, minimum, maximum, first, standard deviation and count of every variable over its
    observed cells, NaN where there is none. Texts: presence of each word or phrase of the training rows.
    Images: mean grey of each field of an 8 x 8 grid over the centre that models see. Tables: numbers with
    NaN for gaps, one indicator per level. And whether each modality is present.
    """

    def __init__(self, data: PreparedData) -> None:
        self._data = data

    def matrix(self) -> NDArray[np.float64]:
        """(N, F) features of every row of the index."""
        data = self._data
        blocks = [data.present.astype(np.float64)]
        series = (*data.schema.series, *data.schema.grids)
        blocks += [self._spread(name, _summaries(data.raw_series(name))) for name in series]
        blocks += [self._spread(name, self._fields(name)) for name in data.schema.images]
        blocks += [self._words(name) for name in data.schema.texts]
        blocks += [self._spread(name, self._table(name)) for name in data.schema.tables]
        return np.concatenate(blocks, axis=1)

    def _spread(self, name: str, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows of a modality put at their positions in the index, NaN elsewhere."""
        out = np.full((len(self._data.ids), own.shape[1]), np.nan)
        out[self._data.present[:, self._data.modalities.index(name)]] = own
        return out

    def _fields(self, name: str) -> NDArray[np.float64]:
        spec, stored = self._data.schema.images[name], self._data.pictures(name)
        fields = np.zeros((len(stored), FIELDS**2))
        for start in range(0, len(stored), 512):  # of a mapped file, no more than this in memory
            pixels = to_pixels(torch.from_numpy(stored[start : start + 512].copy()), spec).mean(1)
            fields[start : start + 512] = adaptive_avg_pool2d(pixels, FIELDS).flatten(1).numpy()
        return fields

    def _words(self, name: str) -> NDArray[np.float64]:
        documents = self._data.documents(name)
        texts = ["; ".join(own) for own in documents]
        rows = self._data.rows("train")
        train = [texts[row] for row in rows]
        # phrases between semicolons where documents are lists of them, else words
        listed = any(";" in text for row in rows for text in documents[row])
        pattern = r"[^;\s][^;]*" if listed else r"\w+"
        counter = CountVectorizer(binary=True, token_pattern=pattern, max_features=2000)
        if not any(text.strip() for text in train):
            return np.zeros((len(texts), 0))
        counter.fit(train)
        return np.asarray(counter.transform(texts).toarray(), dtype=np.float64)

    def _table(self, name: str) -> NDArray[np.float64]:
        spec, table = self._data.schema.tables[name], self._data.table(name)
        codes = self._data.preprocessor.table(name, table).categories
        indicators = [
            codes[:, [j]] == np.arange(1, len(levels) + 1)
            for j, levels in enumerate(spec.categorical.values())
        ]
        return np.concatenate([numbers(spec, table, name), *indicators], axis=1, dtype=np.float64)


def _summaries(raw: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, 7V) last, mean, min, max, first, sd and count of (N, T, V) with NaN for gaps."""
    x = np.asarray(raw, dtype=np.float64)
    seen = ~np.isnan(x)
    steps = x.shape[1]
    first = seen.argmax(1)
    last = steps - 1 - seen[:, ::-1].argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an all-NaN slice is a NaN summary
        parts = (
            np.take_along_axis(x, last[:, None], 1)[:, 0],
            np.nanmean(x, 1),
            np.nanmin(x, 1),
            np.nanmax(x, 1),
            np.take_along_axis(x, first[:, None], 1)[:, 0],
            np.nanstd(x, 1),
            seen.sum(1).astype(np.float64),
        )
    return np.concatenate(parts, axis=1)
