"""Turned copulas: what the battery does not ask, and probabilities of boxes where they are hardest."""

from itertools import combinations, product

import mpmath as mp
import pytest
import torch

from contracts.copula_cases import CORRELATION, interior
from sklar.copulas import Clayton, Copula, Frank, Gaussian, Gumbel, Independence, Joe, Rotated, StudentT

DOUBLE = {"dtype": torch.float64}


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, **DOUBLE)


def cdf(name: str, theta: float):
    """C(u) of numbers with many digits."""
    a = mp.mpf(theta)
    return {
        "clayton": lambda u: (mp.fsum(v**-a for v in u) - len(u) + 1) ** (-1 / a),
        "gumbel": lambda u: mp.exp(-(mp.fsum((-mp.log(v)) ** a for v in u) ** (1 / a))),
        "joe": lambda u: 1 - (1 - mp.fprod(1 - (1 - v) ** a for v in u)) ** (1 / a),
        "frank": lambda u: -mp.log1p(mp.expm1(-a) * mp.fprod(mp.expm1(-a * v) / mp.expm1(-a) for v in u)) / a,
    }[name]


def box(joint, u: list[mp.mpf], flips: tuple[bool, ...]) -> mp.mpf:
    """P(V <= u) by inclusion and exclusion."""
    flipped = [i for i, flip in enumerate(flips) if flip]
    total = mp.mpf(0)
    for size in range(len(flipped) + 1):
        for some in combinations(flipped, size):
            inner = [u[i] for i in range(len(u)) if not flips[i]] + [1 - u[i] for i in some]
            total += (-1) ** size * (joint(inner) if inner else 1)
    return total


FAMILIES_OF = {"clayton": Clayton, "gumbel": Gumbel, "joe": Joe, "frank": Frank}
MEMBERS = [
    ("clayton", 0.2),
    ("clayton", 8.0),
    ("gumbel", 1.3),
    ("gumbel", 10.0),
    ("joe", 3.0),
    ("frank", 5.0),
]


@pytest.mark.parametrize(("name", "theta"), MEMBERS)
@pytest.mark.parametrize("flips", [(True, True), (True, False)], ids=str)
def test_the_cdf_keeps_its_digits_in_every_corner_of_two_modalities(name: str, theta: float, flips):
    points = list(product([-1e-12, -0.3, -20.0, -150.0], repeat=2))
    found = Rotated(FAMILIES_OF[name](scalar(theta)), flips).log_cdf(torch.tensor(points, **DOUBLE))
    with mp.workdps(900):
        for point, value in zip(points, found.tolist(), strict=True):
            expected = mp.log(box(cdf(name, theta), [mp.exp(mp.mpf(v)) for v in point], flips))
            # The quadrature's error is 1e-13; inclusion and exclusion would leave no digit.
            assert abs(value - expected) <= 1e-12 * (1 + abs(expected)), point


@pytest.mark.parametrize(("name", "theta"), MEMBERS[1:4:2])
@pytest.mark.parametrize("flips", [(True, True, True), (True, False, True), (True, False, False)], ids=str)
def test_the_cdf_keeps_its_digits_in_corners_of_three_modalities(name: str, theta: float, flips):
    points = [[-1e-3, -3.0, -150.0], [-3.0, -150.0, -1e-3], [-150.0, -3.0, -3.0]]
    copula = Rotated(FAMILIES_OF[name](scalar(theta), dim=3), flips)
    found = copula.log_cdf(torch.tensor(points, **DOUBLE))
    with mp.workdps(900):
        for point, value in zip(points, found.tolist(), strict=True):
            expected = mp.log(box(cdf(name, theta), [mp.exp(mp.mpf(v)) for v in point], flips))
            assert abs(value - expected) <= 1e-11 * (1 + abs(expected)), point


def test_conditional_boxes_and_their_complements_add_up_to_one():
    copula = Rotated(Gumbel(scalar(2.0), dim=4), (True, False, True, True))
    log_h, log_h_sf = copula.conditional_log_cdf(interior(4).log(), (0, 1, 2), (3,))
    torch.testing.assert_close(log_h.exp() + log_h_sf.exp(), torch.ones_like(log_h), rtol=1e-12, atol=0)


def test_the_complement_keeps_its_digits_where_the_box_is_almost_everything():
    near = torch.full((1, 3), -1e-20, **DOUBLE)  # 1 - u; three failures of 1e-20 each, or fewer together
    copula = Rotated(Clayton(scalar(2.0), dim=4), (True, True, False, False))
    log_u = torch.cat([near, torch.full((1, 1), -0.5, **DOUBLE)], -1)
    log_h, log_h_sf = copula.conditional_log_cdf(log_u, (0, 1, 2), (3,))
    assert -3e-19 < float(log_h) < 0.0
    single = [float(copula.conditional_log_cdf(log_u, i, (3,))[1].exp()) for i in range(3)]
    assert max(single) <= float(log_h_sf.exp()) <= sum(single) * (1 + 1e-12)


@pytest.mark.parametrize(
    "copula",
    [Gaussian(CORRELATION[:3, :3]), StudentT(CORRELATION[:3, :3], scalar(3.0)), Gumbel(scalar(2.0), dim=3)],
    ids=lambda c: c.name,
)
def test_densities_are_those_at_the_turned_point(copula: Copula):
    u, flips = interior(3), torch.tensor([True, False, True])
    found = Rotated(copula, flips.tolist()).log_prob(u)
    torch.testing.assert_close(found, copula.log_prob(torch.where(flips, 1.0 - u, u)), rtol=1e-9, atol=1e-11)


def test_two_turns_are_none():
    base = Clayton(scalar(2.0), dim=3)
    once = Rotated(base, (True, False, True))
    twice = Rotated(once, (True, False, True))
    assert twice.copula is base
    assert twice.flips == (False, False, False)
    torch.testing.assert_close(twice.log_cdf(interior(3).log()), base.log_cdf(interior(3).log()))


def test_tails_of_a_survival_copula_change_places():
    base = Joe(scalar(3.0), dim=3)
    lower, upper = base.tail_dependence()
    assert Rotated(base, (True, True, True)).tail_dependence() == (upper, lower)
    partial = Rotated(base, (True, True, False)).tail_dependence()  # one pair of three has both flipped
    torch.testing.assert_close(torch.stack(partial), torch.stack([upper / 3.0, lower / 3.0]))


def test_a_flipped_student_pair_has_the_tails_of_the_opposite_correlation():
    pair = torch.eye(2, **DOUBLE) + 0.5 * (1.0 - torch.eye(2, **DOUBLE))
    turned = Rotated(StudentT(pair, scalar(4.0)), (True, False)).tail_dependence()
    mirror = StudentT(2.0 * torch.eye(2, **DOUBLE) - pair, scalar(4.0)).tail_dependence()
    torch.testing.assert_close(torch.stack(turned), torch.stack(mirror))


@pytest.mark.parametrize("measure", ["kendall_tau", "spearman_rho"])
def test_dependence_changes_sign_between_flipped_and_unflipped(measure: str):
    base = Gumbel(scalar(2.0), dim=3)
    value = float(getattr(base, measure)())
    assert float(getattr(Rotated(base, (True, True, True)), measure)()) == pytest.approx(value, abs=1e-12)
    partial = getattr(Rotated(base, (True, False, False)), measure)()
    assert float(partial) == pytest.approx(-value / 3.0, abs=1e-12)  # two pairs of three


def test_a_batch_of_copulas_turns_together():
    base = Clayton(torch.tensor([0.5, 1.0, 4.0], **DOUBLE), dim=3)
    copula = Rotated(base, (True, True, False))
    log_u = interior(9, 5).log().reshape(5, 3, 3)
    whole = copula.log_cdf(log_u)
    assert whole.shape == (5, 3)
    for j in range(3):
        alone = Rotated(Clayton(base.theta[j], dim=3), copula.flips).log_cdf(log_u[:, j])
        torch.testing.assert_close(whole[:, j], alone)
    assert copula.marginal((2, 0)).flips == (False, True)
    assert copula.rsample_log((4,)).shape == (4, 3, 3)
    wider = Rotated(Clayton(scalar(1.0), dim=3), copula.flips).expand((3,))
    assert wider.log_density(log_u).shape == (5, 3)


def test_single_precision_answers_in_kind():
    copula = Rotated(Joe(torch.tensor(2.0)), (True, True))
    log_u = torch.tensor([[-300.0, -290.0], [-1e-8, -0.5]])
    assert copula.log_cdf(log_u).dtype == torch.float32
    assert bool(torch.isfinite(copula.log_cdf(log_u)).all())
    assert bool(torch.isfinite(copula.log_density(log_u)).all())


def test_independence_turned_is_independence():
    log_u = interior(3).log()
    torch.testing.assert_close(
        Rotated(Independence(3), (True, False, True)).log_cdf(log_u), Independence(3).log_cdf(log_u)
    )


def test_what_a_turn_cannot_do_is_named():
    with pytest.raises(ValueError, match=r"one flip per modality, 2 .*got 3"):
        Rotated(Clayton(scalar(1.0)), (True, True, False))
    for refused in (
        lambda: Rotated.from_tau(0.5, 2),
        lambda: Rotated.fit(interior(2)),
        lambda: Rotated.estimate(interior(2).log()),
        lambda: Rotated.from_raw(torch.zeros(1), 2, None),
        lambda: Rotated.raw_size(2),
    ):
        with pytest.raises(TypeError, match="Build that first"):
            refused()
