"""Draws of absent normal scores given present ones, per copula family, without a branch on the data."""

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from sklar.alignment.impute import QUARTILES
from sklar.copulas import Clayton, Copula, Gaussian
from sklar.errors import UserError
from sklar.export.normal import log_tails, normal_score

MOST = 10
"""Modalities up to which every pattern of presence gets its own regression."""


class Conditional(nn.Module, ABC):
    """Normal scores of absent modalities from noise, given those of the present ones.

    Args:
        copula: What is drawn from, with parameters that stay.

    Raises:
        UserError: These parameters cannot be exported.
    """

    @abstractmethod
    def __init__(self, copula: Copula) -> None:
        super().__init__()

    @abstractmethod
    def forward(
        self,
        score: Float[Tensor, "b m d"],
        present: Bool[Tensor, "b m"],
        noise: Float[Tensor, "s m d"],
    ) -> tuple[Float[Tensor, "s b m d"], Float[Tensor, "b m d"]]:
        """Scores of S draws, and the distance of the conditional quartiles as a share of the normal one.

        The noise is normal scores as well, independent between modalities.

        Present scores may be returned as they are or changed: nobody reads them. Rows with nothing present
        get independent draws.
        """


@final
class Independent(Conditional):
    """Whatever is present says nothing."""

    def __init__(self, copula: Copula) -> None:
        super().__init__(copula)

    def forward(self, score: Tensor, present: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return noise.unsqueeze(1).expand(-1, len(score), -1, -1), torch.ones_like(score)


@final
class GaussianConditional(Conditional):
    """The regression of absent on present scores, one matrix for each pattern of presence.

    With the present ones O and the absent ones U, the draw is $R_{UO} R_{OO}^{-1} s_O + L e$ where $L L^T$ is
    the conditional covariance and e the noise: what drawing one absent modality after
    the other gives, in one step.
    """

    slope: Tensor
    factor: Tensor
    deviation: Tensor
    bits: Tensor

    def __init__(self, copula: Copula) -> None:
        super().__init__(copula)
        assert isinstance(copula, Gaussian), "the table of families says so"
        r = copula.correlation.detach().double()
        r = r.reshape(-1, *r.shape[-2:])  # one matrix, or one per coordinate
        count = r.shape[-1]
        if count > MOST:
            raise UserError(
                f"export has a matrix for each pattern of presence, up to {MOST} modalities; got {count}"
            )
        slope, factor = r.new_zeros(2, 2**count, *r.shape)
        deviation = r.new_ones(2**count, len(r), count)
        factor[0] = torch.eye(count)
        for code in range(1, 2**count):
            known = [m for m in range(count) if code >> m & 1]
            lost = [m for m in range(count) if m not in known]
            if not lost:
                continue
            across = r[:, lost][:, :, known]
            weights = torch.linalg.solve(r[:, known][:, :, known], across.mT).mT
            left = r[:, lost][:, :, lost] - weights @ across.mT
            rows, columns = torch.tensor(lost)[:, None], torch.tensor(known)
            slope[code][:, rows, columns] = weights
            factor[code][:, rows, torch.tensor(lost)] = torch.linalg.cholesky(left)
            deviation[code][:, lost] = left.diagonal(dim1=1, dim2=2).sqrt()
        self.register_buffer("slope", slope.float())
        self.register_buffer("factor", factor.float())
        self.register_buffer("deviation", deviation.float())
        self.register_buffer("bits", 2 ** torch.arange(count), persistent=False)

    def forward(self, score: Tensor, present: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        code = (present.long() * self.bits).sum(1)
        known = score * present.unsqueeze(2)
        mean = (self.slope[code] * known.mT.unsqueeze(2)).sum(3).mT
        loose = (self.factor[code].unsqueeze(0) * noise.mT[:, None, :, None]).sum(4).mT
        return mean + loose, self.deviation[code].mT.expand_as(score)


@final
class ClaytonConditional(Conditional):
    r"""One absent modality after the other, in closed form.

    With k present ones and $T = \sum_j u_j^{-\theta} - k + 1$, the quantile of the next at w is
    $u^{-\theta} = 1 + T (w^{-\theta / (1 + k\theta)} - 1)$; all in logs.
    """

    theta: Tensor

    def __init__(self, copula: Copula) -> None:
        super().__init__(copula)
        assert isinstance(copula, Clayton), "the table of families says so"
        theta = copula.theta.detach().float()
        if not bool((theta > 1e-4).all()):
            raise UserError(
                f"a Clayton copula with theta {float(theta.min()):.3g} has no exportable inverse: it needs "
                "theta > 0.0001. Train with --set model.alignment.family=gaussian, which has negative "
                "dependence, or independence"
            )
        self.register_buffer("theta", theta)

    def forward(self, score: Tensor, present: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        count = present.shape[1]
        log_u, _ = log_tails(score)
        raised = torch.where(present.unsqueeze(2), -self.theta * log_u, -torch.inf)
        known = present.sum(1, keepdim=True).to(score.dtype)
        total = raised.logsumexp(1)  # -inf with nothing present
        alone = known == 0
        quartiles = score.new_tensor([0.25, 0.75])[:, None, None]
        low, high = normal_score(*self._quantile(quartiles.log(), total, known)).unbind(0)
        spread = torch.where(alone, 1.0, (high - low) / QUARTILES)
        drawn, total = [], total.expand(len(noise), -1, -1)
        for column in range(count):
            free = log_tails(noise[:, column].unsqueeze(1))
            pair = self._quantile(free[0], total, known)
            log_u, log_sf = (torch.where(alone, one, other) for one, other in zip(free, pair, strict=True))
            drawn.append(normal_score(log_u, log_sf))
            joins = ~present[:, column : column + 1] & ~alone
            total = torch.where(joins, torch.logaddexp(total, -self.theta * log_u), total)
            known = known + joins.to(known.dtype)
        return torch.stack(drawn, 2), spread.unsqueeze(1).expand_as(score)

    def _quantile(self, log_w: Tensor, total: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Log u and log(1 - u) of the next modality; ``total`` is the log of the sum of powers."""
        log_t = total + torch.log1p(-(known - 1) * torch.exp(-total))
        power = -self.theta * log_w / (1 + known * self.theta)
        # log(exp(power) - 1)
        rise = power + torch.log(-torch.expm1(-power))
        log_u = -functional.softplus(log_t + rise, threshold=40.0) / self.theta
        return log_u, torch.log(-torch.expm1(log_u))


CONDITIONALS: dict[str, type[Conditional]] = {
    "clayton": ClaytonConditional,
    "gaussian": GaussianConditional,
    "independence": Independent,
}
"""Families whose conditional quantile is a fixed sequence of operations, for any number of modalities."""
