"""Imputation in a scikit-learn Pipeline: each column is a modality of width one, any cell may be missing."""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from sklar import CopulaAlignment

COLUMNS = (0, 1, 4, 6, 20, 24)  # means of radius, texture, smoothness, concavity; largest radius, smoothness

UPDATES = 200  # each moves the moments by 2 %: what they started from counts for less than that in the end


class CopulaImputer(TransformerMixin, BaseEstimator):
    """Fills NaN with the conditional mean given what the row has, under a copula and mixture margins.

    Args:
        family: Key of `sklar.copulas.FAMILIES`.
        components: Normal components of each column's margin.
    """

    def __init__(self, family: str = "gaussian", components: int = 3) -> None:
        self.family = family
        self.components = components

    def fit(self, X: NDArray[np.float64], y: object = None) -> Self:  # noqa: N803
        """Fit margins by EM, and the copula by the moments of the rows' normal scores."""
        X = validate_data(self, X, ensure_all_finite="allow-nan", ensure_min_features=2)  # noqa: N806
        names = [str(column) for column in range(X.shape[1])]
        self.joint_ = CopulaAlignment(
            dict.fromkeys(names, 1), self.family, self.components, term="none", warmup=len(X), cache=len(X)
        )
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)  # of the mixtures' first centres
            for _ in range(UPDATES):  # the first fits the margins, the others move the copula's moments
                self.joint_.loss(*self._split(X))
        self.joint_.eval()
        return self

    def transform(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
        """Fill the gaps; what is there stays as it is."""
        check_is_fitted(self)
        X = validate_data(self, X, ensure_all_finite="allow-nan", reset=False)  # noqa: N806
        with torch.no_grad():
            filled = self.joint_.impute(*self._split(X), method="mean").latents
        guess = torch.cat([part[0] for part in filled.values()], 1).numpy()
        return np.where(np.isnan(X), guess, X)

    def _split(self, X: NDArray[np.float64]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:  # noqa: N803
        z = torch.tensor(X, dtype=torch.float32)
        present = ~z.isnan()
        columns = z.nan_to_num().unsqueeze(2).unbind(1)
        return dict(zip(self.joint_.modalities, columns, strict=True)), present


def measurements(missing: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """569 tumours: standardised, the same with cells removed at random, and whether they are malignant."""
    table, benign = load_breast_cancer(return_X_y=True)
    whole = StandardScaler().fit_transform(np.log1p(table[:, COLUMNS]))
    gone = np.random.default_rng(0).random(whole.shape) < missing
    return whole, np.where(gone, np.nan, whole), 1 - benign


def main(missing: float = 0.4) -> dict[str, dict[str, float]]:
    """Per imputer, error of the filled cells in standard deviations and cross-validated AUROC after it."""
    whole, holes, malignant = measurements(missing)
    gone = np.isnan(holes)
    results = {}
    for name, imputer in {"mean": SimpleImputer(), "copula": CopulaImputer()}.items():
        filled = imputer.fit_transform(holes)
        pipeline = make_pipeline(imputer, LogisticRegression())
        results[name] = {
            "rmse": float(np.sqrt(np.mean((filled - whole)[gone] ** 2))),
            "auroc": float(cross_val_score(pipeline, holes, malignant, scoring="roc_auc", cv=4).mean()),
        }
    return results


if __name__ == "__main__":
    print(main())
