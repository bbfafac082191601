"""Copula families on log-uniforms, in any dimension.

Adding one: a file with a class of the ``Copula`` interface, and its line in ``FAMILIES``; the contract
tests then run on it.
"""

from sklar.copulas.amh import AMH
from sklar.copulas.base import Copula
from sklar.copulas.bb1 import BB1
from sklar.copulas.clayton import Clayton
from sklar.copulas.conditional import ConditionalCopula
from sklar.copulas.elliptical import Elliptical
from sklar.copulas.fitting import pseudo_observations
from sklar.copulas.frank import Frank
from sklar.copulas.gaussian import Gaussian
from sklar.copulas.gumbel import Gumbel
from sklar.copulas.independence import Independence
from sklar.copulas.joe import Joe
from sklar.copulas.learned import LearnedCopula
from sklar.copulas.rotated import Rotated
from sklar.copulas.student import StudentT

FAMILIES: dict[str, type[Copula]] = {
    family.name: family
    for family in (Independence, Gumbel, Clayton, Frank, Joe, AMH, BB1, Gaussian, StudentT)
}

__all__ = [
    "AMH",
    "BB1",
    "FAMILIES",
    "Clayton",
    "ConditionalCopula",
    "Copula",
    "Elliptical",
    "Frank",
    "Gaussian",
    "Gumbel",
    "Independence",
    "Joe",
    "LearnedCopula",
    "Rotated",
    "StudentT",
    "pseudo_observations",
]
