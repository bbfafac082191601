"""Alignment of latents through a copula, and imputation of the missing ones from the same joint."""

from sklar.alignment.impute import IMPUTATIONS, Imputed
from sklar.alignment.joint import CopulaAlignment
from sklar.alignment.monitor import effective_rank, shuffled, uniformity
from sklar.alignment.standardise import Standardise

__all__ = [
    "IMPUTATIONS",
    "CopulaAlignment",
    "Imputed",
    "Standardise",
    "effective_rank",
    "shuffled",
    "uniformity",
]
