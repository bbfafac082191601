"""The Bayes predictor of simulated data, against integrals, frequencies and classifiers."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm
from sklearn.ensemble import HistGradientBoostingClassifier

from sklar.copulas import FAMILIES
from sklar.data.simulate import Missingness, Scenario, Truth, bayes, draw
from sklar.data.simulate.posterior import Method
from sklar.data.simulate.truth import Predictor
from sklar.errors import UserError
from sklar.evaluation import auroc, log_loss

PAIR = ("series", "table")
FOUR = ("series", "image", "text", "table")
TAUS = {"independence": 0.0, "amh": 0.2}


def again(truth: Truth, method: Method, missingness: Missingness | None = None, rows: int | None = None):
    """The Bayes predictor of the same rows by another method, or with another idea of absence."""
    scenario = truth.scenario
    rates = [
        [scenario.rate(name, bool(test)) for name in scenario.names] for test in truth.rows("test")[:rows]
    ]
    return bayes(
        truth.dependence,
        truth.outcome,
        missingness or truth.missingness,
        torch.from_numpy(truth.latents[:rows]),
        torch.from_numpy(truth.present[:rows]),
        torch.tensor(rates, dtype=torch.float64),
        method,
    )


def parameters(truth: Truth) -> tuple[np.ndarray, float]:
    return truth.outcome.weights.numpy(), float(truth.outcome.cuts[0, 0])


def deciles(truth: Truth, rows: np.ndarray) -> np.ndarray:
    """Per tenth of the predictions, how many standard errors labels are from them."""
    p, y = truth.bayes[rows], truth.labels[rows]
    order = np.argsort(p)
    tenths = np.array_split(order, 10)
    return np.array([(y[t] - p[t]).sum() / math.sqrt((p[t] * (1 - p[t])).sum()) for t in tenths])


@pytest.mark.parametrize("label", ["all", "missing", "table"])
@pytest.mark.parametrize("family", ["gaussian", "gumbel"])
def test_complete_rows_have_the_closed_form(family: str, label: str) -> None:
    truth = draw(Scenario(rows=300, modalities=PAIR, family=family, label=label))
    weights, cut = parameters(truth)
    full = truth.present.all(1)
    expected = norm.cdf(truth.severities @ weights - cut)
    np.testing.assert_allclose(truth.bayes[full], expected[full], atol=1e-12)
    np.testing.assert_allclose(truth.complete, expected, atol=1e-12)


def test_a_gaussian_row_that_lacks_one_modality_has_the_closed_form() -> None:
    truth = draw(Scenario(rows=300, modalities=PAIR, tau=0.5))
    (absent, seen), cut = parameters(truth)
    rho = math.sin(math.pi / 4)
    z = truth.severities[:, 1]
    expected = norm.cdf((seen * z + absent * rho * z - cut) / math.sqrt(1 + absent**2 * (1 - rho**2)))
    lacking = ~truth.present[:, 0]
    np.testing.assert_allclose(truth.bayes[lacking], expected[lacking], atol=1e-12)


def test_a_gaussian_row_hidden_by_its_severity_is_a_ratio_of_normal_probabilities() -> None:
    scenario = Scenario(rows=60, modalities=PAIR, tau=0.5, mechanism="mnar", slope=1.3, missing=0.4)
    truth = draw(scenario)
    (absent, seen), cut = parameters(truth)
    rho, slope = math.sin(math.pi / 4), 1.3
    intercept = norm.ppf(0.4) * math.sqrt(1 + slope**2)
    spread = 1 - rho**2
    for row in np.flatnonzero(~truth.present[:, 0])[:10]:
        z = truth.severities[row, 1]
        # y = 1 iff one normal variable is below the first bound, absent iff another is below the second
        bounds = [seen * z + absent * rho * z - cut, intercept + slope * rho * z]
        covariance = [
            [1 + absent**2 * spread, absent * slope * spread],
            [absent * slope * spread, 1 + slope**2 * spread],
        ]
        joint = multivariate_normal(np.zeros(2), covariance).cdf(bounds)
        alone = norm.cdf(bounds[1] / math.sqrt(covariance[1][1]))
        assert truth.bayes[row] == pytest.approx(joint / alone, abs=1e-6)  # of scipy's bivariate integral


def test_the_absence_of_a_modality_without_weight_informs_about_the_others() -> None:
    scenario = Scenario(rows=100, tau=0.6, mechanism="mnar", slope=2.0, missing=0.5, label="series")
    truth = draw(scenario)
    weights, cut = parameters(truth)
    rho, slope = math.sin(0.3 * math.pi), 2.0
    # the label, the absence of series and that of text are each one normal variable below its bound
    loads = np.array([[weights[0], 0.0], [slope, 0.0], [0.0, slope]])
    conditional = np.array([[1 - rho**2, rho - rho**2], [rho - rho**2, 1 - rho**2]])
    covariance = loads @ conditional @ loads.T + np.eye(3)
    for row in np.flatnonzero(~truth.present[:, :2].any(1))[:8]:
        mean = rho * truth.severities[row, 2]
        bounds = np.array([-cut, 0.0, 0.0]) + loads @ [mean, mean]
        joint = multivariate_normal(np.zeros(3), covariance, abseps=1e-8).cdf(bounds)
        alone = multivariate_normal(np.zeros(2), covariance[1:, 1:]).cdf(bounds[1:])
        assert truth.bayes[row] == pytest.approx(joint / alone, abs=1e-4)  # of scipy's trivariate integral


def clayton_density(u: float, v: float, theta: float) -> float:
    return (1 + theta) * (u * v) ** (-1 - theta) * (u**-theta + v**-theta - 1) ** (-2 - 1 / theta)


@pytest.mark.parametrize("mechanism", ["mcar", "mnar"])
def test_a_clayton_row_equals_an_adaptive_integral_of_the_textbook_density(mechanism: str) -> None:
    truth = draw(
        Scenario(rows=60, modalities=PAIR, family="clayton", tau=0.5, mechanism=mechanism, slope=-0.8)
    )
    (absent, seen), cut = parameters(truth)
    informs = -0.8 if mechanism == "mnar" else 0.0
    intercept = norm.ppf(0.5) * math.sqrt(1 + informs**2)
    for row in np.flatnonzero(~truth.present[:, 0])[:6]:
        z = truth.severities[row, 1]

        def weight(x: float, z: float = z) -> float:
            density = clayton_density(norm.cdf(x), norm.cdf(z), 2.0)  # tau = theta / (theta + 2)
            return float(density * norm.pdf(x) * norm.cdf(intercept + informs * x))

        def event(x: float, z: float = z) -> float:
            return weight(x, z) * float(norm.cdf(absent * x + seen * z - cut))

        numerator, denominator = (quad(f, -8, 8, points=[z], limit=400)[0] for f in (event, weight))
        assert truth.bayes[row] == pytest.approx(numerator / denominator, abs=1e-7)


@pytest.mark.parametrize("mechanism", ["mcar", "mnar"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_grid_equals_exact_conditional_draws(family: str, mechanism: str) -> None:
    truth = draw(
        Scenario(rows=24, family=family, tau=TAUS.get(family, 0.5), mechanism=mechanism, missing=0.7)
    )
    grid, draws = again(truth, "grid"), again(truth, "draws")
    assert float(grid.error.max()) < 2e-6
    distance = (grid.probability - draws.probability).abs()[:, 0, 0]
    assert bool((distance <= 5 * draws.error + 1e-6).all())
    assert float(draws.error.max()) < 0.01


def test_strong_dependence_does_not_slip_through_the_grid() -> None:
    truth = draw(Scenario(rows=200, tau=0.97, missing=0.7))
    grid = again(truth, "grid")
    np.testing.assert_allclose(grid.probability[:, 0, 0], truth.bayes, atol=2e-6)


def test_many_absent_modalities_are_drawn_with_an_error_that_holds() -> None:
    truth = draw(Scenario(rows=200, modalities=FOUR, missing=0.7))
    lone = torch.from_numpy(truth.present.sum(1) == 1)
    drawn = again(truth, "draws")
    distance = (drawn.probability[:, 0, 0] - torch.from_numpy(truth.bayes)).abs() / drawn.error
    assert lone.any()
    # standard normal in absolute value: mean .8, and beyond 4 once in 16,000
    assert 0.4 < float(distance[lone].mean()) < 1.2
    assert float(distance[lone].max()) < 4


def test_three_absent_modalities_of_a_family_without_closed_form_are_drawn() -> None:
    truth = draw(Scenario(rows=60, modalities=FOUR, family="clayton", missing=0.7))
    lone = truth.present.sum(1) == 1
    assert truth.error[lone].mean() > 1e-4
    assert truth.error[lone].max() < 0.01
    assert (truth.error[~lone] < 2e-6).all()
    with pytest.raises(UserError, match="Choose 'draws' or 'auto'"):
        again(truth, "grid")


def test_the_content_of_an_absent_modality_is_not_read() -> None:
    truth = draw(Scenario(rows=100, mechanism="mnar"))
    z = np.where(truth.present[:, :, None], truth.latents, np.nan)
    hidden = Truth(**{**vars(truth), "latents": z})
    np.testing.assert_array_equal(again(hidden, "auto").probability[:, 0, 0], truth.bayes)


def test_a_row_without_any_modality_is_refused() -> None:
    truth = draw(Scenario(rows=20))
    nothing = Truth(**{**vars(truth), "present": np.zeros_like(truth.present)})
    with pytest.raises(UserError, match="at least one per row"):
        again(nothing, "auto")


CASES = [
    Scenario(rows=40_000, seed=11),
    Scenario(rows=40_000, label="missing", tau=0.7, missing_test=0.9, seed=12),
    Scenario(rows=40_000, mechanism="mar", slope=-1.0, seed=13),
    Scenario(rows=40_000, mechanism="mnar", modalities=PAIR, missing=0.3, missing_test=0.7, seed=14),
    Scenario(rows=20_000, mechanism="mnar", modalities=PAIR, family="gumbel", label="missing", seed=15),
    Scenario(rows=20_000, mechanism="mnar", modalities=PAIR, family="clayton", incomplete=PAIR, seed=16),
    Scenario(rows=40_000, mechanism="mnar", slope=-2.0, modalities=PAIR, incomplete=PAIR, seed=17),
    Scenario(rows=40_000, modalities=PAIR, mechanism="mnar", rank=3, missing=0.8, seed=18),
    Scenario(rows=40_000, label={"series": 1.0, "table": -0.5}, prevalence=0.05, tau=0.3, seed=19),
]
NAMES = [
    "mcar", "shift", "mar", "mnar", "mnar_gumbel", "mnar_all_clayton", "mnar_all", "mnar_rank", "weights"
]  # fmt: skip


@pytest.fixture(scope="module", params=CASES, ids=NAMES)
def large(request: pytest.FixtureRequest) -> Truth:
    return draw(request.param)


def test_predictions_are_calibrated_in_every_tenth(large: Truth) -> None:
    # ten standard normal numbers; the largest of them exceeds 4 once in 1,600 seeds
    assert np.abs(deciles(large, large.rows())).max() < 4


def test_predictions_are_calibrated_in_every_pattern_and_split(large: Truth) -> None:
    for split in ("train", "test"):
        for pattern in np.unique(large.present, axis=0):
            rows = large.rows(split) & (large.present == pattern).all(1)
            p, y = large.bayes[rows], large.labels[rows]
            assert abs((y - p).sum()) < 4 * math.sqrt((p * (1 - p)).sum()) + 1e-9


def test_prevalence_is_the_asked_one(large: Truth) -> None:
    asked = large.scenario.prevalence or 0.3
    # 4 standard errors of a share, and .002 where the cut was found by drawing
    assert large.labels.mean() == pytest.approx(asked, abs=4 * math.sqrt(asked / len(large.labels)) + 0.002)


def test_knowing_more_predicts_better(large: Truth) -> None:
    losses = [log_loss(large.labels, np.clip(p, 1e-9, 1)) for p in (large.complete, large.bayes, large.skip)]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("predictor", ["bayes", "skip", "complete"])
def test_the_expected_auroc_is_the_one_on_drawn_labels(large: Truth, predictor: Predictor) -> None:
    for where in ("all", "missing"):
        drawn, expected = (large.auroc(predictor, None, where, expected) for expected in (False, True))
        # 4 standard errors of an AUROC with some hundred to some thousand events
        events = large.labels[large.rows(where=where)].sum()
        assert drawn == pytest.approx(expected, abs=4 * 0.35 / math.sqrt(events))


def test_no_classifier_with_the_same_inputs_beats_it(large: Truth) -> None:
    seen = np.where(large.present, large.severities, np.nan)  # trees read absence from gaps
    test = large.rows("test")
    # within a split, so that the classifier meets the rates that it is judged on
    rows = np.flatnonzero(test)
    fitted, judged = rows[::2], rows[1::2]
    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, min_samples_leaf=40, random_state=0)
    p = trees.fit(seen[fitted], large.labels[fitted]).predict_proba(seen[judged])[:, 1]
    y = large.labels[judged]
    best = large.bayes[judged]
    # paired difference in log loss: never significantly negative
    own, other = (-np.log(np.where(y == 1, q, 1 - q)) for q in (best, p))
    gain = other - own
    assert gain.mean() > -3 * gain.std() / math.sqrt(len(gain))
    assert auroc(y, p) < auroc(y, best) + 0.005


def test_under_mnar_the_pattern_itself_informs() -> None:
    truth = draw(Scenario(rows=40_000, mechanism="mnar", slope=2.0, modalities=PAIR, label="missing"))
    ignoring = again(truth, "auto", Missingness("mcar")).probability[:, 0, 0].numpy()
    lacking = ~truth.present[:, 0]
    y = truth.labels[lacking]
    assert ignoring[lacking].mean() < y.mean() - 0.1  # the severe are hidden
    assert log_loss(y, truth.bayes[lacking]) < log_loss(y, ignoring[lacking]) - 0.02


def test_under_mar_the_pattern_says_nothing_that_inputs_do_not() -> None:
    truth = draw(Scenario(rows=500, mechanism="mar"))
    ignoring = again(truth, "auto", Missingness("mcar")).probability[:, 0, 0].numpy()
    np.testing.assert_array_equal(ignoring, truth.bayes)


@pytest.mark.parametrize("tau", [0.2, 0.8])
def test_dependence_makes_absent_modalities_cheap(tau: float) -> None:
    truth = draw(Scenario(rows=20_000, tau=tau, modalities=PAIR, label="missing"))
    best, skip = (truth.auroc(p, split=None, where="missing", expected=True) for p in ("bayes", "skip"))
    assert skip == pytest.approx(0.5)  # all rows tie
    assert (best > 0.8) == (tau == 0.8)


def test_without_dependence_skip_is_the_best() -> None:
    truth = draw(Scenario(rows=500, tau=0.0))
    np.testing.assert_allclose(truth.skip, truth.bayes, atol=1e-12)


def test_several_labels_read_their_own_coordinates_and_are_calibrated() -> None:
    truth = draw(
        Scenario(
            rows=20_000, rank=2, labels=3, modalities=PAIR, mechanism="mnar", prevalence=(0.1, 0.3, 0.5),
            family="frank",
        )
    )  # fmt: skip
    assert truth.labels.shape == truth.bayes.shape == (20_000, 3)
    np.testing.assert_allclose(truth.labels.mean(0), [0.1, 0.3, 0.5], atol=0.016)
    lacking = ~truth.present[:, 0]
    error = (truth.labels - truth.bayes)[lacking].sum(0)
    deviation = np.sqrt((truth.bayes * (1 - truth.bayes))[lacking].sum(0))
    assert (np.abs(error) < 4 * deviation).all()
    correlation = np.corrcoef(truth.bayes.T)
    assert correlation[0, 2] > 0.5  # labels 0 and 2 share coordinate 0
    assert abs(correlation[0, 1]) < 0.1


def test_classes_have_their_shares_and_calibrated_probabilities() -> None:
    truth = draw(
        Scenario(rows=20_000, classes=4, prevalence=(0.4, 0.3, 0.2, 0.1), mechanism="mnar", modalities=PAIR)
    )
    assert truth.bayes.shape == (20_000, 4)
    np.testing.assert_allclose(truth.bayes.sum(1), 1.0, atol=1e-12)
    assert truth.bayes.min() >= 0
    np.testing.assert_allclose(np.bincount(truth.labels) / 20_000, [0.4, 0.3, 0.2, 0.1], atol=0.016)
    for wanted in range(4):
        p = truth.bayes[:, wanted]
        assert abs(((truth.labels == wanted) - p).sum()) < 4 * math.sqrt((p * (1 - p)).sum())
    assert 0.6 < truth.auroc() < 1
