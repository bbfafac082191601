"""The margin of one modality's latent vector: a Gaussian mixture with diagonal covariance."""

from sklar.marginals.learned import MixtureMarginal
from sklar.marginals.mixture import GaussianMixture

__all__ = ["GaussianMixture", "MixtureMarginal"]
