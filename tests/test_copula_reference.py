"""Every published high-precision value of the families in the table: values, conditionals, derivatives."""

import json
import os
from itertools import combinations
from pathlib import Path

import pytest
import torch

from sklar.copulas import FAMILIES, Copula, Gaussian, StudentT

REFERENCE = (
    Path(os.environ.get("SKLAR_TEST_DATA", Path(__file__).parents[1] / ".." / "shared")).resolve()
    / "reference"
    / "copula_reference.json"
)
pytestmark = pytest.mark.skipif(
    not REFERENCE.exists(), reason=f"no copula reference values in {REFERENCE}; set SKLAR_TEST_DATA"
)
CONTENT = (
    json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {"entries": [], "measures": [], "points": []}
)
OURS = {"student": "student_t"}  # the file's name of a family, where it is not ours
# The file's tau of this member is off by 2e-9: the digamma formula and 40-digit quadrature of
# 1 + 4 int phi / phi' both give this.
CORRECTED_TAU = {("joe", "12"): "8.4901763190532361363e-1"}
POINTS = {point["id"]: point for point in CONTENT["points"]}


def groups() -> dict[str, list[dict]]:
    """Entries of one parameter setting together, so that one batch evaluates them."""
    grouped: dict[str, list[dict]] = {}
    for entry in CONTENT["entries"]:
        if ours(entry) in FAMILIES:
            key = f"{entry['family']}-{entry['M']}-{'-'.join(map(str, flat(entry['params'])))}"
            grouped.setdefault(key, []).append(entry)
    return grouped


def ours(entry: dict) -> str:
    return OURS.get(entry["family"], entry["family"])


def flat(params: dict) -> list[str]:
    return [value for item in params.values() for value in (item if isinstance(item, list) else [item])]


def build(entries: list[dict], dtype: torch.dtype) -> tuple[Copula, dict[str, torch.Tensor]]:
    """The copula, with one differentiable parameter per entry so that gradients stay apart."""
    first = entries[0]
    values = {
        name: torch.full((len(entries),), float(value), dtype=dtype, requires_grad=True)
        for name, value in zip(names(first), flat(first["params"]), strict=True)
    }
    if "R" not in first["params"]:
        return FAMILIES[first["family"]](**values, dim=first["M"]), values
    rows = [[torch.ones(len(entries), dtype=dtype)] * first["M"] for _ in range(first["M"])]
    for i, j in combinations(range(first["M"]), 2):
        rows[i][j] = rows[j][i] = values[f"rho{i + 1}{j + 1}"]
    matrix = torch.stack([torch.stack(row, -1) for row in rows], -2)
    return StudentT(matrix, values["nu"]) if "nu" in values else Gaussian(matrix), values


def names(entry: dict) -> list[str]:
    pairs = [f"rho{i + 1}{j + 1}" for i, j in combinations(range(entry["M"]), 2)]
    return [name for key in entry["params"] for name in (pairs if key == "R" else [key])]


def numbers(strings: list[str], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor([float(value) for value in strings], dtype=dtype)


def coordinates(entries: list[dict], key: str, dtype: torch.dtype) -> torch.Tensor:
    return torch.stack([numbers(POINTS[entry["point"]][key], dtype) for entry in entries])


def error(found: torch.Tensor, reference: torch.Tensor, scale: torch.Tensor | float = 0.0) -> float:
    finite = torch.isfinite(reference)
    assert torch.equal(found.detach().double()[~finite], reference[~finite])
    gap = (found.detach().double() - reference).abs() / (1.0 + reference.abs() + scale)
    return float(gap[finite].max())


def bounds(dtype: torch.dtype, log_u: torch.Tensor) -> tuple[float, torch.Tensor | float]:
    """Tolerance and the extra scale: float32 cannot do better than eps times the logs it is given."""
    if dtype == torch.float64:
        return 1e-12, 0.0
    return 64 * torch.finfo(dtype).eps, log_u.detach().double().abs().sum(-1)


GROUPS = groups()


def inside(key: str) -> list[dict]:
    """Outside the support only the density is published: it is zero."""
    return [entry for entry in GROUPS[key] if entry["log_pdf"] != "-inf"]


BOTH = [pytest.param(torch.float64, id="float64"), pytest.param(torch.float32, id="float32")]


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("key", GROUPS)
def test_log_density(key: str, dtype: torch.dtype):
    entries = GROUPS[key]
    copula, _ = build(entries, dtype)
    log_u = coordinates(entries, "log_u", dtype)
    tolerance, scale = bounds(dtype, log_u)
    reference = numbers([entry["log_pdf"] for entry in entries])
    assert error(copula.log_density(log_u), reference, scale) <= tolerance
    log_sf = coordinates(entries, "log_1mu", dtype)
    assert error(copula.log_density(log_u, log_sf), reference, scale) <= tolerance


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("key", GROUPS)
def test_derivatives_of_the_log_density(key: str, dtype: torch.dtype):
    entries = inside(key)
    copula, parameters = build(entries, dtype)
    log_u = coordinates(entries, "log_u", dtype).requires_grad_()
    tolerance = 1e-10 if dtype == torch.float64 else 1e-3
    inner, *outer = torch.autograd.grad(copula.log_density(log_u).sum(), [log_u, *parameters.values()])
    assert error(inner, torch.stack([numbers(e["dlogpdf_dlogu"]) for e in entries])) <= tolerance
    for name, gradient in zip(parameters, outer, strict=True):
        assert error(gradient, numbers([e["dlogpdf_dparam"][name] for e in entries])) <= tolerance


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("key", GROUPS)
def test_log_cdf(key: str, dtype: torch.dtype):
    entries = inside(key)
    copula, _ = build(entries, dtype)
    log_u = coordinates(entries, "log_u", dtype)
    tolerance, scale = bounds(dtype, log_u)
    if isinstance(copula, Gaussian | StudentT):
        tolerance = max(tolerance, 1e-10)  # quadrature
    reference = numbers([entry["log_cdf"] for entry in entries])
    with torch.no_grad():
        assert error(copula.log_cdf(log_u), reference, scale) <= tolerance


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("key", GROUPS)
def test_conditional_cdf(key: str, dtype: torch.dtype):
    entries = inside(key)
    copula, _ = build(entries, dtype)
    log_u = coordinates(entries, "log_u", dtype)
    tolerance, scale = bounds(dtype, log_u)
    for label in entries[0]["h"]:
        target, given = (tuple(int(digit) - 1 for digit in part) for part in label.split("|"))
        quadrature = isinstance(copula, Gaussian | StudentT) and len(target) > 1
        allowed = max(tolerance, 1e-10) if quadrature else tolerance
        with torch.no_grad():
            log_h, log_h_sf = copula.conditional_log_cdf(log_u, target, given)
        assert error(log_h.exp(), numbers([e["h"][label]["h"] for e in entries]), scale) <= allowed
        assert error(log_h, numbers([e["h"][label]["log_h"] for e in entries]), scale) <= allowed
        assert error(log_h_sf, numbers([e["h"][label]["log_1mh"] for e in entries]), scale) <= allowed


@pytest.mark.parametrize(
    "measure",
    [m for m in CONTENT["measures"] if ours(m) in FAMILIES],
    ids=lambda m: f"{m['family']}-{'-'.join(flat(m['params']))}",
)
def test_tau_and_tails(measure: dict):
    entry = {"family": measure["family"], "M": 2, "params": measure["params"]}
    if len(measure["params"].get("R", ())) > 1:
        pytest.skip("the measures are of one pair")
    copula, _ = build([entry], torch.float64)
    with torch.no_grad():
        tau, (lower, upper) = copula.kendall_tau(), copula.tail_dependence()
    reference = CORRECTED_TAU.get((measure["family"], *flat(measure["params"])), measure["tau"])
    assert float(tau) == pytest.approx(float(reference), abs=1e-12)
    assert float(lower) == pytest.approx(float(measure["lambda_L"]), abs=1e-12)
    assert float(upper) == pytest.approx(float(measure["lambda_U"]), abs=1e-12)
