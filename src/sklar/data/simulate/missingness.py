"""Which modalities a row lacks, completely at random, given what is seen, or given what is not seen."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sklar.errors import UserError
from sklar.special import log_ndtr

Mechanism = Literal["mcar", "mar", "mnar"]
MECHANISMS: tuple[Mechanism, ...] = get_args(Mechanism)


@dataclass(frozen=True)
class Missingness:
    r"""Modality m is absent with probability $\Phi(a_m + b\,x_m)$, independently given the severities.

    Severity is the first coordinate of a modality's latents. Under ``mcar`` b = 0; under ``mar`` x is the
    severity of ``anchor``, a modality that is always there; under ``mnar`` it is the modality's own severity.
    With $a_m = \Phi^{-1}(p_m)\sqrt{1 + b^2}$ the overall rate is exactly $p_m$, because x is standard normal.

    A row that would lose everything keeps one modality, drawn uniformly; only where every modality can be
    absent, and there it lowers the rates, under ``mcar`` from p_m to p_m minus a share 1/M of their product.

    Attributes:
        mechanism: Which of the three.
        slope: b, of either sign; not read under ``mcar``.
        anchor: Position of the modality that ``mar`` reads.

    Raises:
        UserError: Unknown mechanism, a slope that is not finite, or ``mar`` without an anchor.
    """

    mechanism: Mechanism = "mcar"
    slope: float = 1.0
    anchor: int | None = None

    def __post_init__(self) -> None:
        if self.mechanism not in MECHANISMS:
            raise UserError(f"mechanism {self.mechanism!r}: choose one of {', '.join(MECHANISMS)}")
        if not abs(self.slope) < float("inf"):
            raise UserError(f"slope {self.slope}: it must be a finite number")
        if self.mechanism == "mar" and self.anchor is None:
            raise UserError(
                "mechanism 'mar' lets missingness depend on a modality that is always there, but every one "
                "can be missing. Leave one out of the incomplete ones, or choose mcar or mnar"
            )

    @property
    def informative(self) -> bool:
        """Whether absence says something about the absent severity that the observed ones do not."""
        return self.mechanism == "mnar" and self.slope != 0

    def intercepts(self, rates: Float[Tensor, "n modality"]) -> Float[Tensor, "n modality"]:
        """a, infinite where a rate is 0 or 1."""
        steepness = 0.0 if self.mechanism == "mcar" else self.slope
        value: Tensor = torch.special.ndtri(rates) * (1.0 + steepness**2) ** 0.5
        return value

    def chances(
        self, severities: Float[Tensor, "n modality"], rates: Float[Tensor, "n modality"]
    ) -> Float[Tensor, "n modality"]:
        """P(absent) of each modality of each row."""
        if self.mechanism == "mcar":
            return rates
        read = severities[:, [self.anchor]] if self.mechanism == "mar" else severities
        value: Tensor = torch.special.ndtr(self.intercepts(rates) + self.slope * read)
        return value

    def log_chance_of_absence(
        self, intercept: Float[Tensor, "*shape"], severity: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"]:
        """Log P(absent) given the modality's own severity, for ``mnar``."""
        return log_ndtr(intercept + self.slope * severity)

    def draw(
        self,
        severities: Float[Tensor, "n modality"],
        rates: Float[Tensor, "n modality"],
        generator: torch.Generator,
    ) -> Bool[Tensor, "n modality"]:
        """Presence. The same generator and higher rates take away more, never something else."""
        dice = torch.empty_like(severities).uniform_(generator=generator)
        rescue = torch.randint(severities.shape[1], (len(severities),), generator=generator)
        present = dice >= self.chances(severities, rates)
        empty = ~present.any(1)
        present[empty, rescue[empty]] = True
        return present
