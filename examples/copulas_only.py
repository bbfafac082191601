"""Copulas alone: choose a family for data, fit it, sample it, ask what one variable says of another."""

from dataclasses import dataclass

import torch

from sklar.copulas import FAMILIES, Copula, Gumbel, pseudo_observations

CANDIDATES = ("independence", "gumbel", "clayton", "frank", "joe", "gaussian", "student_t")


@dataclass(frozen=True)
class Found:
    """What was found in the data.

    Attributes:
        chosen: The family with the highest held-out log density.
        held_out: Of every candidate, mean log density of held-out rows, in nats.
        copula: The chosen family, fitted.
        sampled: (N, 2) rows drawn from it.
        upper: Upper tail dependence: the limit of P(both extreme | one extreme).
        median: Median of the second variable's uniform, given that the first is at its 90th percentile.
        covered: Share of held-out rows whose second value is below its conditional 90th percentile.
    """

    chosen: str
    held_out: dict[str, float]
    copula: Copula
    sampled: torch.Tensor
    upper: float
    median: float
    covered: float


def observations(rows: int) -> torch.Tensor:
    """Two markers that are high together: exponential and normal margins, a Gumbel copula of theta 2."""
    u = Gumbel(torch.tensor(2.0, dtype=torch.float64)).sample((rows,), torch.Generator().manual_seed(0))
    return torch.stack([-torch.log1p(-u[:, 0]), torch.special.ndtri(u[:, 1])], -1)


def main(rows: int = 4000) -> Found:
    """Read the dependence in the first half of the rows, judge it on the second."""
    u = pseudo_observations(observations(rows))  # ranks: the margins do not matter
    seen, held_out = u[: rows // 2], u[rows // 2 :]
    fitted = {name: FAMILIES[name].fit(seen) for name in CANDIDATES}
    scores = {name: float(copula.log_prob(held_out).mean()) for name, copula in fitted.items()}
    chosen = max(scores, key=lambda name: scores[name])
    copula = fitted[chosen]

    half, ninety = torch.tensor([0.5, 0.9], dtype=torch.float64).log()
    median = copula.conditional_icdf(half, target=1, given={0: ninety}).exp()
    bound = copula.conditional_icdf(ninety.expand(len(held_out)), target=1, given={0: held_out[:, 0].log()})
    return Found(
        chosen,
        scores,
        copula,
        copula.sample((rows,), torch.Generator().manual_seed(1)),
        float(copula.tail_dependence()[1]),
        float(median),
        float((held_out[:, 1].log() <= bound).double().mean()),
    )


if __name__ == "__main__":
    print(main())
