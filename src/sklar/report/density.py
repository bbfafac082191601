"""The density of a fitted copula, as a figure shows it."""

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from sklar.errors import DataError

if TYPE_CHECKING:
    from sklar.copulas import Copula

REACH = 3.2
"""Half the width of the picture, in standard normal units: 99.9 % of each margin."""


def densities(copula: Mapping[str, Any], points: int = 81) -> dict[tuple[str, str], NDArray[np.float64]]:
    """For each pair of modalities the (P, P) density under standard normal margins; rows are the second.

    Normal margins show tails that the unit square squeezes into its corners: under independence the
    contours are circles. A copula for each latent coordinate is shown as the mean of their densities, which
    is a copula density too.
    """
    axis = norm.cdf(np.linspace(-REACH, REACH, points))
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    margin = np.outer(*[norm.pdf(norm.ppf(axis))] * 2)
    names = tuple(copula["modalities"])
    return {
        (names[i], names[j]): margin * _pair_density(copula, (i, j), grid)
        for i, j in combinations(range(len(names)), 2)
    }


def fitted(copula: Mapping[str, Any]) -> "Copula":
    """The copula of a family's name and parameters, as metrics.json and copulas.json hold them."""
    import torch

    from sklar.copulas import FAMILIES

    family = copula["family"]
    if family not in FAMILIES:
        raise DataError(f"metrics.json names the copula {family!r}; known are {', '.join(sorted(FAMILIES))}")
    parameters = {
        name: torch.as_tensor(value, dtype=torch.float64) for name, value in copula["parameters"].items()
    }
    extent = {} if "correlation" in parameters else {"dim": len(copula["modalities"])}
    # Any: each family names its own parameters
    make: Any = FAMILIES[family]
    built: Copula = make(**parameters, **extent)
    return built


def _pair_density(
    copula: Mapping[str, Any], pair: tuple[int, int], u: NDArray[np.float64]
) -> NDArray[np.float64]:
    import torch

    both = fitted(copula).marginal(pair)
    batch = tuple(both.batch_shape)
    points = torch.from_numpy(u).reshape(*u.shape[:-1], *(1 for _ in batch), 2)
    density = both.log_prob(points).exp().reshape(*u.shape[:-1], -1).mean(-1)
    return np.asarray(density.detach().numpy())
