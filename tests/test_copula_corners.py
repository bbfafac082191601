"""The log density where it is hardest, against mpmath, which differentiates the generators numerically."""

from functools import cache
from itertools import combinations_with_replacement

import mpmath as mp
import pytest
import torch

from sklar.copulas import AMH, BB1, Clayton, Copula, Frank, Gaussian, Gumbel, Joe, StudentT

VALUES = ("-1e-30", "-1e-8", "-0.3", "-20", "-5000")
POINTS = [
    *combinations_with_replacement(VALUES, 2),
    *combinations_with_replacement(VALUES[::2], 3),
    *combinations_with_replacement(VALUES[::2], 4),
    *combinations_with_replacement(VALUES[1::2], 4),
]
DIGITS = 160


def archimedean(psi, phi, step, log_u: list[mp.mpf]) -> mp.mpf:
    """Log of psi^(M)(sum phi(u)) prod phi'(u), by numerical differentiation with many digits."""
    u = [mp.exp(value) for value in log_u]
    t = mp.fsum(phi(value) for value in u)
    density = mp.diff(psi, t, len(u), h=step(t))
    for value in u:
        density *= mp.diff(phi, value, h=min(value, 1 - value) * mp.mpf(10) ** -40)
    return mp.log(abs(density))


def gumbel(theta: str, log_u: list[mp.mpf]) -> mp.mpf:
    power = mp.mpf(theta)
    return archimedean(
        lambda t: mp.exp(-(t ** (1 / power))),
        lambda u: (-mp.log(u)) ** power,
        lambda t: t * mp.mpf(10) ** -25,
        log_u,
    )


def clayton(theta: str, log_u: list[mp.mpf]) -> mp.mpf:
    a, d = mp.mpf(float(theta)), len(log_u)  # the density itself: psi has elementary derivatives
    total = 1 + mp.fsum(mp.expm1(-a * value) for value in log_u)
    if total <= 0:
        return -mp.inf
    constant = mp.fsum(mp.log(1 + k * a) for k in range(d))
    return constant - (1 + a) * mp.fsum(log_u) - (d + 1 / a) * mp.log(total)


def amh(theta: str, log_u: list[mp.mpf]) -> mp.mpf:
    a = mp.mpf(float(theta))
    return archimedean(
        lambda t: (1 - a) / (mp.exp(t) - a),
        lambda u: mp.log((1 - a * (1 - u)) / u),
        lambda t: min(t + (1 - a), mp.mpf(1)) * mp.mpf(10) ** -25,
        log_u,
    )


def bb1(theta_delta: tuple[str, str], log_u: list[mp.mpf]) -> mp.mpf:
    a, d = (mp.mpf(float(value)) for value in theta_delta)
    return archimedean(
        lambda t: (1 + t ** (1 / d)) ** (-1 / a),
        lambda u: mp.expm1(-a * mp.log(u)) ** d,
        lambda t: t * mp.mpf(10) ** -25,
        log_u,
    )


def frank(theta: str, log_u: list[mp.mpf]) -> mp.mpf:
    a = mp.mpf(theta)
    if a < 0:  # the bivariate density itself, whose formula holds for either sign
        u, v = (mp.exp(value) for value in log_u)
        bottom = -mp.expm1(-a) - mp.expm1(-a * u) * mp.expm1(-a * v)
        return mp.log(-a * mp.expm1(-a) * mp.exp(-a * (u + v)) / bottom**2)
    p = -mp.expm1(-a)
    return archimedean(
        lambda t: -mp.log1p(-p * mp.exp(-t)) / a,
        lambda u: -mp.log(-mp.expm1(-a * u) / p),
        lambda t: min(t + mp.exp(-a), mp.mpf(1)) * mp.mpf(10) ** -25,
        log_u,
    )


def joe(theta: str, log_u: list[mp.mpf]) -> mp.mpf:
    power = mp.mpf(theta)

    def log_complement(a: mp.mpf) -> mp.mpf:
        """log(1 - e^a) for a < 0."""
        return mp.log1p(-mp.exp(a)) if a < -1 else mp.log(-mp.expm1(a))

    return archimedean(
        lambda t: -mp.expm1(log_complement(-t) / power),
        lambda u: -log_complement(power * mp.log1p(-u)),
        lambda t: min(t, mp.mpf(1)) * mp.mpf(10) ** -25,
        log_u,
    )


def gaussian(rho: list[list[str]], log_u: list[mp.mpf]) -> mp.mpf:
    matrix = mp.matrix([[mp.mpf(value) for value in row] for row in rho])
    z = mp.matrix([normal_quantile(value) for value in log_u])
    inverse = matrix**-1
    form = (z.T * inverse * z)[0] - mp.fsum(value**2 for value in z)
    return -mp.log(mp.det(matrix)) / 2 - form / 2


def normal_quantile(log_u: mp.mpf) -> mp.mpf:
    """Newton on the log of the smaller tail, from the double precision quantile of torch's normal."""
    other = mp.log(-mp.expm1(log_u))
    tail, sign = (log_u, 1) if log_u < other else (other, -1)
    z = -mp.sqrt(-2 * tail)
    for _ in range(200):
        p = mp.erfc(-z / mp.sqrt(2)) / 2
        move = (mp.log(p) - tail) * p * mp.sqrt(2 * mp.pi) * mp.exp(z * z / 2)
        z -= move
        if abs(move) < mp.mpf(10) ** -60:
            break
    return sign * z


def student(parameter: tuple[str, list[list[str]]], log_u: list[mp.mpf]) -> mp.mpf:
    nu, matrix = mp.mpf(parameter[0]), mp.matrix([[mp.mpf(v) for v in row] for row in parameter[1]])
    d, x = len(log_u), mp.matrix([student_quantile(nu, value) for value in log_u])
    form = (x.T * matrix**-1 * x)[0]
    constant = mp.loggamma((nu + d) / 2) + (d - 1) * mp.loggamma(nu / 2) - d * mp.loggamma((nu + 1) / 2)
    margins = mp.fsum(mp.log1p(value**2 / nu) for value in x)
    joint = mp.log(mp.det(matrix)) / 2 + (nu + d) / 2 * mp.log1p(form / nu)
    return constant - joint + (nu + 1) / 2 * margins


@cache
def student_quantile(nu: mp.mpf, log_u: mp.mpf) -> mp.mpf:
    """Newton on the log of the tail in y = asinh(x / sqrt(nu)), concave, from its power-law end."""
    other = mp.log1p(-mp.exp(log_u))
    tail, sign = (log_u, -1) if log_u < other else (other, 1)
    scale = 1 / mp.beta(nu / 2, mp.mpf(1) / 2)
    y = (mp.log(scale * 2**nu / nu) - tail) / nu + 1
    for _ in range(200):
        density = scale * mp.sech(y) ** nu
        p = student_tail(nu, y)
        move = (mp.log(p) - tail) * p / density
        y = max(y + move, mp.mpf(0))
        if abs(move) < mp.mpf(10) ** -60:
            break
    return sign * mp.sqrt(nu) * mp.sinh(y)


def student_tail(nu: mp.mpf, y: mp.mpf) -> mp.mpf:
    """P(Y > y) by the all-positive series in sech^2 y far out, and by quadrature next to the centre."""
    v = mp.sech(y) ** 2
    if v > 0.9:
        inner = mp.quad(lambda s: mp.sech(s) ** nu, [0, y])
        return mp.mpf(1) / 2 - inner / mp.beta(nu / 2, mp.mpf(1) / 2)
    front = v ** (nu / 2) * mp.tanh(y) / (nu * mp.beta(nu / 2, mp.mpf(1) / 2))
    return front * mp.hyp2f1((nu + 1) / 2, 1, nu / 2 + 1, v)


PAIR = [["1", "0.9999"], ["0.9999", "1"]]
NEGATIVE = [["1", "-0.999"], ["-0.999", "1"]]
SINGULAR = [["1", "0.9", "0.8"], ["0.9", "1", "0.98"], ["0.8", "0.98", "1"]]
FOUR = [
    ["1", "0.5", "-0.25", "0.125"],
    ["0.5", "1", "0.25", "0"],
    ["-0.25", "0.25", "1", "-0.5"],
    ["0.125", "0", "-0.5", "1"],
]
SETTINGS = {
    **{f"gumbel-{theta}": (gumbel, theta, 0) for theta in ("1.000001", "1.5", "50", "200")},
    **{f"clayton-{theta}": (clayton, theta, 0) for theta in ("0.000001", "0.05", "1.5", "100")},
    **{f"clayton-{theta}": (clayton, theta, 2) for theta in ("-0.000001", "-0.3", "-0.9")},
    **{f"amh-{theta}": (amh, theta, 0) for theta in ("0.000001", "0.6", "0.999999999")},
    **{f"amh-{theta}": (amh, theta, 2) for theta in ("-0.000001", "-0.7", "-1")},
    **{
        f"bb1-{theta}-{delta}": (bb1, (theta, delta), 0)
        for theta, delta in (("0.000001", "1.5"), ("0.5", "1"), ("1.5", "2"), ("0.01", "30"), ("20", "10"))
    },
    **{f"frank-{theta}": (frank, theta, 0) for theta in ("0.000001", "3", "100")},
    **{f"joe-{theta}": (joe, theta, 0) for theta in ("1.000001", "1.5", "30", "200")},
    "frank--30": (frank, "-30", 2),
    "gaussian-0.9999": (gaussian, PAIR, 2),
    "gaussian--0.999": (gaussian, NEGATIVE, 2),
    "gaussian-singular": (gaussian, SINGULAR, 3),
    "gaussian-4": (gaussian, FOUR, 4),
    "student-1": (student, ("1", PAIR), 2),
    "student-2.5": (student, ("2.5", NEGATIVE), 2),
    "student-200": (student, ("200", PAIR), 2),
    "student-singular": (student, ("4", SINGULAR), 3),
    "student-4": (student, ("12", FOUR), 4),
}


def build(oracle, parameter, dim: int) -> Copula:
    if oracle in (gumbel, joe):  # eta, so that theta next to one is the same number on both sides
        kind = Gumbel if oracle is gumbel else Joe
        return kind(eta=torch.tensor(float(mp.mpf(parameter) - 1), dtype=torch.float64), dim=dim)
    if oracle is bb1:
        return BB1(*[torch.tensor(float(value), dtype=torch.float64) for value in parameter], dim=dim)
    if oracle in (amh, clayton, frank):
        kind = {amh: AMH, clayton: Clayton, frank: Frank}[oracle]
        return kind(torch.tensor(float(parameter), dtype=torch.float64), dim=dim)
    rows = parameter if oracle is gaussian else parameter[1]
    matrix = torch.tensor([[float(v) for v in row] for row in rows], dtype=torch.float64)
    return Gaussian(matrix) if oracle is gaussian else StudentT(matrix, float(parameter[0]))


@pytest.mark.parametrize("setting", SETTINGS)
def test_log_density_in_the_corners(setting: str):
    oracle, parameter, only = SETTINGS[setting]
    with mp.workdps(DIGITS):
        for point in POINTS:
            if only and len(point) != only:
                continue
            log_u = torch.tensor([float(value) for value in point], dtype=torch.float64)
            exact = [mp.mpf(value) for value in log_u.tolist()]
            if oracle in (gumbel, joe):
                parameter = mp.nstr(1 + mp.mpf(float(mp.mpf(SETTINGS[setting][1]) - 1)), DIGITS)
            expected = oracle(parameter, exact)
            found = float(build(oracle, parameter, len(point)).log_density(log_u))
            if expected == -mp.inf:  # outside the support
                assert found == -torch.inf
                continue
            assert abs(found - expected) <= 1e-11 * (1 + abs(expected)), (point, found, float(expected))
