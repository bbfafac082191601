"""The copulas that every contract test runs on: each family at several strengths, and unequal pairs."""

from dataclasses import dataclass

import torch

from sklar.copulas import AMH, BB1, FAMILIES, Clayton, Copula, Frank, Gaussian, Gumbel, Joe, Rotated, StudentT

SHARES = (0.1, 0.4, 0.85)  # of the family's largest Kendall's tau


@dataclass(frozen=True)
class Case:
    family: str
    dim: int
    share: float

    def build(self, dtype=torch.float64) -> Copula:
        kind = FAMILIES[self.family]
        return kind.from_tau(torch.tensor(self.share * kind.tau_range[1], dtype=dtype), self.dim)

    def __str__(self) -> str:
        return f"{self.family}-{self.dim}-{self.share}"


def cases(dims=(2, 3, 4), shares=SHARES) -> list[Case]:
    return [
        Case(family, dim, share)
        for family, kind in FAMILIES.items()
        for dim in dims
        for share in (shares if kind.tau_range[1] > 0 else (0.0,))
    ]


CORRELATION = torch.tensor(
    [[1.0, 0.7, -0.3, 0.2], [0.7, 1.0, 0.1, 0.0], [-0.3, 0.1, 1.0, -0.5], [0.2, 0.0, -0.5, 1.0]],
    dtype=torch.float64,
)


def unequal() -> dict[str, Copula]:
    """Members that no tau reaches: unequal pairs, negative dependence, the brink of independence."""
    double = {"dtype": torch.float64}
    return {
        "gaussian-3": Gaussian(CORRELATION[:3, :3]),
        "gaussian-4": Gaussian(CORRELATION),
        "gaussian-negative": Gaussian.from_tau(torch.tensor(-0.4, **double), 2),
        "student_t-3": StudentT(CORRELATION[:3, :3], torch.tensor(2.5, **double)),
        "student_t-4": StudentT(CORRELATION, torch.tensor(12.0, **double)),
        "student_t-cauchy": StudentT.from_tau(torch.tensor(-0.4, **double), 2, torch.tensor(1.0, **double)),
        "student_t-almost-gaussian": StudentT.from_tau(
            torch.tensor(0.3, **double), 2, torch.tensor(500.0, **double)
        ),
        "frank-negative": Frank(torch.tensor(-8.0, **double)),
        "frank-faint": Frank(torch.tensor(1e-6, **double), dim=3),
        "clayton-negative": Clayton(torch.tensor(-0.2, **double)),
        "clayton-none": Clayton(torch.tensor(0.0, **double)),
        "clayton-faint": Clayton(torch.tensor(1e-6, **double), dim=3),
        "clayton-steep": Clayton(torch.tensor(60.0, **double), dim=3),
        "amh-negative": AMH(torch.tensor(-0.8, **double)),
        "amh-lowest": AMH(torch.tensor(-1.0, **double)),
        "amh-highest": AMH(odds=torch.tensor(1e6, **double), dim=3),
        "bb1-lower": BB1(torch.tensor(3.0, **double), torch.tensor(1.1, **double), dim=3),
        "bb1-upper": BB1(torch.tensor(0.1, **double), torch.tensor(4.0, **double), dim=3),
        "bb1-faint": BB1(torch.tensor(1e-6, **double), eta=torch.tensor(1e-6, **double), dim=3),
        "bb1-steep": BB1(torch.tensor(5.0, **double), torch.tensor(8.0, **double), dim=3),
        "gumbel-faint": Gumbel(eta=torch.tensor(1e-6, **double), dim=3),
        "gumbel-steep": Gumbel(torch.tensor(30.0, **double), dim=3),
        "joe-faint": Joe(eta=torch.tensor(1e-6, **double), dim=3),
        "joe-steep": Joe(torch.tensor(30.0, **double), dim=3),
        "rotated-survival": Rotated(Clayton(torch.tensor(2.0, **double)), (True, True)),
        "rotated-90": Rotated(Joe(torch.tensor(2.5, **double)), (True, False)),
        "rotated-negative": Rotated(Frank(torch.tensor(-3.0, **double)), (False, True)),
        "rotated-survival-3": Rotated(Gumbel(torch.tensor(1.6, **double), dim=3), (True, True, True)),
        "rotated-partial-3": Rotated(Clayton(torch.tensor(0.8, **double), dim=3), (True, False, True)),
        "rotated-partial-4": Rotated(Joe(torch.tensor(1.8, **double), dim=4), (False, True, False, False)),
        "rotated-gaussian-3": Rotated(Gaussian(CORRELATION[:3, :3]), (True, False, False)),
    }


def rebuild(copula: Copula, raw: torch.Tensor) -> Copula:
    """The same kind of copula from other unconstrained parameters."""
    if isinstance(copula, Rotated):
        return Rotated(rebuild(copula.copula, raw), copula.flips)
    return copula.from_raw(raw, copula.dim, None)


def interior(dim: int, count: int = 8, seed: int = 0) -> torch.Tensor:
    """Points away from the boundary, (count, dim), in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return 0.03 + 0.94 * torch.rand(count, dim, dtype=torch.float64, generator=generator)
