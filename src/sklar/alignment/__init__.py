"""Alignment of latents through a copula, and imputation of the missing ones from the same joint."""

from sklar.alignment.impute import GRADIENTS, IMPUTATIONS, Gradient, Imputed, Request
from sklar.alignment.joint import CopulaAlignment
from sklar.alignment.monitor import effective_rank, shuffled, uniformity
from sklar.alignment.noise import Noise
from sklar.alignment.standardise import Standardise

__all__ = [
    "GRADIENTS",
    "IMPUTATIONS",
    "CopulaAlignment",
    "Gradient",
    "Imputed",
    "Noise",
    "Request",
    "Standardise",
    "effective_rank",
    "shuffled",
    "uniformity",
]
