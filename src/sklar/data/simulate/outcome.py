"""The label: a thresholded score of the severities of chosen modalities, plus standard normal noise."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from sklar.data.simulate.dependence import Dependence

_CALIBRATION_ROWS = 1 << 17
"""Leaves a prevalence with a standard error below 0.0014, where it has no closed form."""


@dataclass(frozen=True)
class Outcome:
    r"""L labels, each one of K + 1 ordered classes.

    Label l reads one coordinate of the latents, j = l mod rank, which is its severity:
    $y_l = \#\{k : \sum_m w_m z_{mj} + \varepsilon_l > t_k\}$ with $\varepsilon_l \sim N(0, 1)$, so
    $P(y_l \ge k \mid z) = \Phi(\sum_m w_m z_{mj} - t_k)$. Given the latents, labels are independent.

    Attributes:
        weights: (M,) w, scaled so that the score has standard deviation ``signal``.
        cuts: (L, K) t, ascending.
    """

    weights: Float[Tensor, " modality"]
    cuts: Float[Tensor, "label cut"]

    @classmethod
    def calibrated(
        cls,
        dependence: Dependence,
        weights: Float[Tensor, " modality"],
        signal: float,
        exceeded: Float[Tensor, "label cut"],
    ) -> "Outcome":
        """Scale the weights, and place the cuts where the labels get the asked frequencies.

        Args:
            dependence: Of the latents.
            weights: How much each modality counts, up to scale.
            signal: Standard deviation of the score; the noise has one.
            exceeded: (L, K) P(y_l >= k). Met exactly when the score is normal (Gaussian family, or one
                modality with weight), else up to the error of 131,072 draws with a seed of their own.
        """
        scaled = weights * (signal / float(weights @ dependence.correlation @ weights) ** 0.5)
        if dependence.gaussian or int((weights != 0).sum()) == 1:
            return cls(scaled, torch.special.ndtri(1.0 - exceeded) * (1.0 + signal**2) ** 0.5)
        generator = torch.Generator().manual_seed(0)
        score = dependence.draw(_CALIBRATION_ROWS, 1, generator)[..., 0] @ scaled
        cuts = [_cut(score, float(share)) for share in exceeded.flatten()]
        return cls(scaled, torch.tensor(cuts, dtype=torch.float64).view_as(exceeded))

    def coordinates(self, rank: int) -> list[int]:
        """(L,) the coordinate that each label reads."""
        return [label % rank for label in range(len(self.cuts))]

    def scores(self, latents: Float[Tensor, "n modality rank"]) -> Float[Tensor, "n label"]:
        """The score of every label."""
        return torch.einsum("nml,m->nl", latents[..., self.coordinates(latents.shape[-1])], self.weights)

    def draw(
        self, latents: Float[Tensor, "n modality rank"], noise: Float[Tensor, "n label"]
    ) -> NDArray[np.int64]:
        """(N,) labels of a single outcome, (N, L) of several."""
        above = (self.scores(latents) + noise).unsqueeze(-1) > self.cuts
        labels = above.sum(-1).numpy().astype(np.int64)
        return labels[:, 0] if len(self.cuts) == 1 else labels

    def probabilities(self, exceedance: Float[Tensor, "n label cut"]) -> NDArray[np.float64]:
        """From P(y >= k) to what a classifier predicts.

        Returns:
            (N,) P(y = 1) of one binary label, (N, L) of several, (N, K + 1) of the classes of one label.
        """
        table = exceedance.numpy()
        if self.cuts.shape[1] == 1:
            return np.asarray(table[:, 0, 0] if len(self.cuts) == 1 else table[:, :, 0])
        ends = np.ones((len(table), 1)), np.zeros((len(table), 1))
        return np.asarray(-np.diff(np.concatenate([ends[0], table[:, 0], ends[1]], axis=1), axis=1))


def _cut(score: Tensor, share: float) -> float:
    """T with mean Phi(score - t) = share."""

    def excess(cut: float) -> float:
        return float(torch.special.ndtr(score - cut).mean()) - share

    reach = float(score.abs().max()) + 10.0
    return float(brentq(excess, -reach, reach, xtol=1e-12))
