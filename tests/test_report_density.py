"""The copula density that a report draws."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from sklar.errors import DataError
from sklar.report.density import REACH, densities


def test_gaussian_copula_under_normal_margins_is_the_bivariate_normal():
    correlation = [[1, 0.6, 0.2], [0.6, 1, -0.3], [0.2, -0.3, 1]]
    copula = {"family": "gaussian", "modalities": ["a", "b", "c"], "parameters": {"correlation": correlation}}
    found = densities(copula, points=9)
    axis = np.linspace(-REACH, REACH, 9)
    x, y = np.meshgrid(axis, axis)
    for (first, second), rho in {("a", "b"): 0.6, ("a", "c"): 0.2, ("b", "c"): -0.3}.items():
        expected = multivariate_normal([0, 0], [[1, rho], [rho, 1]]).pdf(np.stack([x, y], axis=-1))
        np.testing.assert_allclose(found[first, second], expected, rtol=1e-9)


def test_gumbel_copula_leans_to_the_upper_tail():
    copula = {"family": "gumbel", "modalities": ["a", "b"], "parameters": {"theta": 2.0}}
    density = densities(copula, points=9)["a", "b"]
    assert density[-1, -1] > 2 * density[0, 0]
    np.testing.assert_allclose(density, density.T, rtol=1e-9)


def test_one_copula_per_coordinate_is_drawn_as_the_mean_density():
    def named(theta):
        return {"family": "gumbel", "modalities": ["a", "b"], "parameters": {"theta": theta}}

    both = densities(named([1.5, 3.0]), points=9)["a", "b"]
    single = [densities(named(theta), points=9)["a", "b"] for theta in (1.5, 3.0)]
    np.testing.assert_allclose(both, np.mean(single, axis=0), rtol=1e-9)


def test_unknown_family_is_refused():
    with pytest.raises(DataError, match=r"the copula 'vine'; known are .*gaussian"):
        densities({"family": "vine", "modalities": ["a", "b"], "parameters": {}})
