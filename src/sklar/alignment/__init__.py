"""Alignment of latents through a copula, and imputation of the missing ones from the same joint."""

from sklar.alignment.impute import GRADIENTS, IMPUTATIONS, Gradient, Imputed, Request
from sklar.alignment.joint import CopulaAlignment
from sklar.alignment.monitor import Ailment, ailments, effective_rank, shuffled, uniformity
from sklar.alignment.noise import Noise
from sklar.alignment.pit import PITS
from sklar.alignment.standardise import Standardise, UnitLength
from sklar.alignment.terms import TERMS

__all__ = [
    "GRADIENTS",
    "IMPUTATIONS",
    "PITS",
    "TERMS",
    "Ailment",
    "CopulaAlignment",
    "Gradient",
    "Imputed",
    "Noise",
    "Request",
    "Standardise",
    "UnitLength",
    "ailments",
    "effective_rank",
    "shuffled",
    "uniformity",
]
