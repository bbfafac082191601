"""The margin of one modality's latent vector: a Gaussian mixture with diagonal covariance."""

from sklar.marginals.learned import MixtureMarginal
from sklar.marginals.mixture import GaussianMixture
from sklar.marginals.together import inverse_rosenblatt_together, rosenblatt_together

__all__ = ["GaussianMixture", "MixtureMarginal", "inverse_rosenblatt_together", "rosenblatt_together"]
