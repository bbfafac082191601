"""Copula parameters that imputation uses, estimated from what the latents lately were."""

from typing import Protocol, final

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from sklar.alignment.moments import ScoreMoments
from sklar.alignment.ranks import RunningTau
from sklar.alignment.uniforms import Uniforms
from sklar.copulas import FAMILIES, Copula, Elliptical

ESTIMATES = ("moments", "fit", "learned")

SAMPLE = 4096
"""Points that one estimate reads: the standard error of a tau is then about .01."""


class Estimator(Protocol):
    """Sees the pseudo-observations of every training batch, and answers with a copula."""

    def update(self, uniforms: Uniforms, present: Bool[Tensor, "b m"]) -> None:
        """Take note of a batch."""

    def copula(self, like: Copula) -> Copula:
        """A copula of the family and dimension of the learned one, ``like``."""


def estimator(
    estimate: str, family: str, modalities: int, dim: int, batch_shape: tuple[int, ...], init_tau: float
) -> nn.Module:
    """The `Estimator` that ``estimate`` names.

    Args:
        estimate: "moments": running correlations of normal scores for elliptical families, running rank
            correlations for the others; what those do not determine (df, the second parameter) is the learned
            copula's or the family's convention. "fit": ``family.estimate`` on a buffer of complete rows.
            "learned": the learned parameters.
        family: Key of `sklar.copulas.FAMILIES`.
        modalities: M.
        dim: d.
        batch_shape: () for parameters shared by the coordinates, (d,) for one set each.
        init_tau: Kendall's tau to start from.
    """
    if estimate == "learned":
        return Learned()
    if estimate == "fit":
        return LatentFit(family, modalities, dim, batch_shape)
    moments = ScoreMoments if issubclass(FAMILIES[family], Elliptical) else RunningTau
    return moments(modalities, batch_shape, init_tau)


@final
class Learned(nn.Module):
    """The learned parameters themselves."""

    def update(self, uniforms: Uniforms, present: Tensor) -> None:
        """Nothing to note."""

    def copula(self, like: Copula) -> Copula:
        """The learned copula."""
        return like


@final
class LatentFit(nn.Module):
    """All parameters of the family, estimated anew every few batches from the last complete rows.

    Until enough complete rows were seen, the learned parameters serve.

    Args:
        family: Key of `sklar.copulas.FAMILIES`.
        modalities: M.
        dim: d.
        batch_shape: () for one set of parameters, (d,) for one per coordinate.
        rows: Complete rows that the buffer holds.
        every: Batches between two estimates.
    """

    log_u: Tensor
    log_sf: Tensor
    seen: Tensor
    batches: Tensor
    raw: Tensor
    fitted: Tensor

    def __init__(
        self,
        family: str,
        modalities: int,
        dim: int,
        batch_shape: tuple[int, ...],
        rows: int = 256,
        every: int = 20,
    ) -> None:
        super().__init__()
        self.family = FAMILIES[family]
        self.dim, self.shared, self.every = modalities, not batch_shape, every
        self.register_buffer("log_u", torch.zeros(rows, dim, modalities))
        self.register_buffer("log_sf", torch.zeros(rows, dim, modalities))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))
        self.register_buffer("raw", torch.zeros(*batch_shape, self.family.raw_size(modalities)))
        self.register_buffer("fitted", torch.tensor(False))

    @torch.no_grad()
    def update(self, uniforms: Uniforms, present: Bool[Tensor, "b m"]) -> None:
        """Keep the complete rows, and estimate when it is time and the buffer is full."""
        size = len(self.log_u)
        rows = present.all(1).nonzero().squeeze(1)[-size:]
        slots = (int(self.seen) + torch.arange(len(rows), device=rows.device)) % size
        self.log_u[slots] = uniforms.log_u[rows].to(self.log_u)
        self.log_sf[slots] = uniforms.log_sf[rows].to(self.log_sf)
        self.seen += len(rows)
        due = not bool(self.fitted) or int(self.batches) % self.every == 0
        self.batches += 1
        if int(self.seen) >= size and due:
            self._estimate()

    def copula(self, like: Copula) -> Copula:
        """The last estimate; ``like`` before the first one."""
        if not bool(self.fitted):
            return like
        return self.family.from_raw(self.raw, self.dim, None)

    def _estimate(self) -> None:
        log_u, log_sf = self.log_u, self.log_sf
        if self.shared:  # every coordinate of every row is a point of the same copula
            log_u, log_sf = (part.flatten(0, 1) for part in (log_u, log_sf))
            # an odd stride, so that it meets all coordinates
            step = max(1, len(log_u) // SAMPLE) | 1
            log_u, log_sf = log_u[::step], log_sf[::step]
        found = self.family.estimate(log_u.double(), log_sf.double())
        self.raw.copy_(found.to_raw(None))
        self.fitted.fill_(True)
