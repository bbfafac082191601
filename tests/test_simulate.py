"""Simulated data: dependence, missingness, inputs that can be inverted, folders, and the command line."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import kendalltau, kstest

from cohorts import TINY
from sklar import runs
from sklar.copulas import FAMILIES
from sklar.data.simulate import (
    Dependence,
    ImageMap,
    Missingness,
    ObservationMap,
    Scenario,
    SeriesMap,
    TableMap,
    TextMap,
    draw,
    scenario_of,
    simulate,
    write_simulation,
)
from sklar.data.store import PreparedData
from sklar.errors import DataError, UserError
from sklar.evaluation import auroc
from sklar.training.config import resolve
from test_cli import last_json, run

TAUS = {"independence": 0.0, "amh": 0.2}
"""What every family reaches for three modalities; 0.5 for those that are not named."""


def latents(family: str, rows: int = 20_000, rank: int = 2, modalities: int = 3) -> np.ndarray:
    dependence = Dependence(modalities, family, TAUS.get(family, 0.5))
    return dependence.draw(rows, rank, torch.Generator().manual_seed(1)).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_severities_have_the_asked_kendall_tau(family: str) -> None:
    z = latents(family)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        # the standard error of tau is below 2/3 / sqrt(20,000) = .005
        assert kendalltau(z[:, one, 0], z[:, other, 0])[0] == pytest.approx(TAUS.get(family, 0.5), abs=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_coordinates_of_a_latent_are_independent(family: str) -> None:
    z = latents(family)
    assert abs(kendalltau(z[:, 0, 0], z[:, 1, 1])[0]) < 0.02


@pytest.mark.parametrize("family", FAMILIES)
def test_latents_are_standard_normal(family: str) -> None:
    z = latents(family)
    assert min(kstest(column, "norm").pvalue for column in z.reshape(len(z), -1).T) > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_correlation_of_latents_is_the_samples(family: str) -> None:
    z = latents(family, rows=100_000, rank=1, modalities=2)[:, :, 0]
    exact = Dependence(2, family, TAUS.get(family, 0.5)).correlation[0, 1]
    # four standard errors of a correlation, with room for heavier fourth moments
    assert np.corrcoef(z.T)[0, 1] == pytest.approx(float(exact), abs=0.015)


def test_tau_zero_is_independence_in_every_family() -> None:
    assert bool((Dependence(3, "gumbel", 0.0).correlation == torch.eye(3)).all())


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_rates_of_absence_are_the_asked_ones_in_training_and_test(mechanism: str) -> None:
    truth = draw(
        Scenario(
            rows=40_000, mechanism=mechanism, missing={"series": 0.2, "text": 0.6}, missing_test=0.8,
            slope=-1.5, fractions=(0.4, 0.1, 0.5), label="table",
        )
    )  # fmt: skip
    test = truth.rows("test")
    # 4.5 standard errors of a rate on 20,000 rows
    np.testing.assert_allclose((~truth.present[~test]).mean(0), [0.2, 0.6, 0.0], atol=0.016)
    np.testing.assert_allclose((~truth.present[test]).mean(0), [0.8, 0.8, 0.0], atol=0.016)


def test_absence_at_random_follows_the_anchor_and_nothing_else() -> None:
    truth = draw(Scenario(rows=40_000, mechanism="mar", tau=0.0, label="table"))
    s, absent = truth.severities, ~truth.present[:, 0]
    assert s[absent, 2].mean() > 0.5  # the anchor, table
    assert abs(s[absent, 0].mean()) < 0.03


@pytest.mark.parametrize(("slope", "sign"), [(1.0, 1), (-1.0, -1)])
def test_absence_not_at_random_hides_the_severe_or_the_mild(slope: float, sign: int) -> None:
    truth = draw(Scenario(rows=5000, mechanism="mnar", slope=slope, label="table"))
    assert sign * truth.severities[~truth.present[:, 0], 0].mean() > 0.4


@pytest.mark.parametrize("mechanism", ["mcar", "mnar"])
def test_no_row_loses_everything(mechanism: str) -> None:
    generator = torch.Generator().manual_seed(0)
    severities = torch.empty(20_000, 3, dtype=torch.float64).normal_(generator=generator)
    present = Missingness(mechanism).draw(severities, torch.full_like(severities, 0.8), generator)
    assert bool(present.any(1).all())
    # independent severities: .8 minus a third of .8^3; 4.5 standard errors
    np.testing.assert_allclose((~present).double().mean(0), 0.8 - 0.8**3 / 3, atol=0.016)


def test_a_higher_rate_hides_more_of_the_same_rows_and_changes_nothing_else() -> None:
    low, high = (simulate(Scenario(rows=300, missing=rate)) for rate in (0.3, 0.6))
    assert (low.truth.present | ~high.truth.present).all()
    assert low.truth.present.sum() > high.truth.present.sum()
    assert (low.truth.latents == high.truth.latents).all()
    assert (low.truth.labels == high.truth.labels).all()
    assert (low.inputs["text"] == high.inputs["text"]).all()


def test_equal_scenarios_give_equal_data_and_another_seed_does_not() -> None:
    scenario = Scenario(rows=40, modalities=("series", "image", "text", "table"), family="frank")
    one, other = simulate(scenario), simulate(scenario)
    for name in scenario.names:
        np.testing.assert_array_equal(one.inputs[name], other.inputs[name])
    np.testing.assert_array_equal(one.truth.bayes, other.truth.bayes)
    another = simulate(Scenario(rows=40, seed=1)).truth
    assert (one.truth.labels != another.labels).any()


def maps(rank: int) -> list[ObservationMap]:
    rng = np.random.default_rng(0)
    return [
        SeriesMap(rank, rng, variables=rank + 2, visits=0.3),
        SeriesMap(rank, rng, variables=rank, steps=1),
        TableMap(rank, rng, columns=rank + 2),
        TextMap(rank),
        ImageMap(rank),
    ]


@pytest.mark.parametrize("rank", [1, 4, 16])
@pytest.mark.parametrize("which", range(5), ids=["series", "one_step", "table", "text", "image"])
def test_every_observation_map_can_be_inverted(which: int, rank: int) -> None:
    item = maps(rank)[which]
    z = np.random.default_rng(1).normal(size=(400, rank))
    found = item.recover(item.observe(z, np.random.default_rng(2)))
    assert np.abs(found - z).max() <= item.tolerance
    assert item.tolerance <= (0.05 if which == 4 else 1e-6)  # an image is rounded to bytes


def test_what_maps_add_says_nothing_about_the_latent() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20_000, 1))
    item = TableMap(1, rng, columns=4)
    rest = item.observe(z, rng)
    rest = rest - rest @ item.loadings @ item.loadings.T
    assert rest.std() > 0.5
    assert np.abs(rest.T @ z / len(z)).max() < 0.03  # four standard errors


def test_a_text_refuses_a_latent_that_it_cannot_spell() -> None:
    with pytest.raises(UserError, match=r"a latent of 8\.5: text spells values between -8 and 8 only"):
        TextMap(1).observe(np.array([[0.0], [8.5]]), np.random.default_rng(0))


def test_it_takes_the_shape_of_a_real_cohort() -> None:
    scenario = Scenario(
        rows=10_676,
        modalities={"labs": "series", "events": "text", "demographics": "table"},
        missing={"labs": 0.195, "events": 0.421},
        prevalence=0.0685,
        steps=20,
        variables=6,
        columns=5,
        visits=0.26,
    )
    done = simulate(scenario)
    assert done.inputs["labs"].shape == (10_676, 20, 6)
    assert done.inputs["demographics"].shape == (10_676, 5)
    assert np.isnan(done.inputs["labs"]).mean() == pytest.approx(
        0.74 * 0.95, abs=0.01
    )  # the last step is there
    np.testing.assert_allclose((~done.truth.present).mean(0), [0.195, 0.421, 0.0], atol=0.02)
    assert done.truth.labels.mean() == pytest.approx(0.0685, abs=0.01)
    assert done.truth.auroc(expected=True, split=None) > 0.85


def test_two_modalities_may_be_of_one_kind() -> None:
    done = simulate(Scenario(rows=50, modalities={"a": "series", "b": "series"}))
    assert (done.inputs["a"] != done.inputs["b"]).any()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "data"
    write_simulation(out, Scenario(rows=240, rank=2, missing={"table": 0.3, "text": 0.5, "series": 0.4}))
    return out


@pytest.mark.parametrize(
    ("options", "outputs"), [({"labels": 2}, ("label_0", "label_1")), ({"classes": 3}, ("0", "1", "2"))]
)
def test_a_folder_holds_several_outputs(
    options: dict[str, int], outputs: tuple[str, ...], tmp_path: Path
) -> None:
    scenario = Scenario(rows=120, rank=2, modalities=("table", "text"), **options)
    data, done = write_simulation(tmp_path / "data", scenario)
    assert data.schema.outputs == outputs
    np.testing.assert_array_equal(data.target, done.truth.labels)
    kept = pq.read_table(tmp_path / "data" / "truth.parquet")
    best = np.stack([kept[f"bayes_{name}"].to_numpy() for name in outputs], axis=1)
    np.testing.assert_array_equal(best, done.truth.bayes)
    assert "mean AUROC" in data.manifest.notes[1]


def test_a_folder_holds_what_was_drawn(folder: Path) -> None:
    data = PreparedData.open(folder, verify=True)
    done = simulate(Scenario(rows=240, rank=2, missing={"table": 0.3, "text": 0.5, "series": 0.4}))
    truth = done.truth
    np.testing.assert_array_equal(data.present, truth.present)
    np.testing.assert_array_equal(data.target, truth.labels)
    series, text, table = truth.present.T
    # series are stored in single precision
    found = done.maps["series"].recover(data.raw_series("series"))
    np.testing.assert_allclose(found, truth.latents[series, 0], atol=1e-6)
    words = np.array([own[0] for own in data.documents("text", np.flatnonzero(text))])
    np.testing.assert_allclose(done.maps["text"].recover(words), truth.latents[text, 1], atol=1e-6)
    cells = np.stack(
        [data.table("table")[column].to_numpy() for column in data.schema.tables["table"].columns], 1
    )
    np.testing.assert_allclose(done.maps["table"].recover(cells), truth.latents[table, 2], atol=1e-9)


def test_a_folder_says_that_it_is_synthetic_and_open(folder: Path) -> None:
    manifest = PreparedData.open(folder).manifest
    assert manifest.rules["synthetic"] is True
    assert manifest.rules["scenario"]["tau"] == 0.5
    assert not manifest.restricted
    assert "no patient is behind any row" in manifest.notes[0]


def test_the_truth_lies_beside_the_folder(folder: Path) -> None:
    table = pq.read_table(folder / "truth.parquet")
    data = PreparedData.open(folder)
    assert table["id"].to_pylist() == data.ids.tolist()
    assert {"bayes", "skip", "complete", "error", "latent_series_0", "latent_text_1"} <= set(
        table.column_names
    )
    assert "truth.parquet" not in data.manifest.files


def test_writing_the_same_scenario_again_gives_the_same_folder(folder: Path) -> None:
    before = PreparedData.open(folder).hash
    scenario = Scenario(rows=240, rank=2, missing={"table": 0.3, "text": 0.5, "series": 0.4})
    assert write_simulation(folder, scenario)[0].hash == before
    with pytest.raises(UserError, match="other options"):
        write_simulation(folder, Scenario(rows=240))


def test_cm2_trains_on_a_simulated_folder(folder: Path, tmp_path: Path) -> None:
    config = resolve("cm2", [*TINY, "training.max_epochs=1"], seed=0)
    done = runs.train(config, PreparedData.open(folder), tmp_path / "run")
    assert 0 < done.metrics["validation"]["valid_auroc"] < 1


@pytest.mark.slow
def test_a_linear_model_of_the_folder_comes_close_to_the_best_possible(tmp_path: Path) -> None:
    scenario = Scenario(rows=8000, modalities=("series", "text"), missing=0.3, fractions=(0.5, 0.1, 0.4))
    data, done = write_simulation(tmp_path / "data", scenario)
    trained = runs.train(resolve("logistic_regression", (), seed=0), data, tmp_path / "run")
    predictions = trained.predictions("test")
    reached = auroc(predictions.target, predictions.probability)
    # it cannot weigh a modality differently where the other is absent, and 3,200 rows leave noise of .006
    assert done.truth.auroc() - 0.02 < reached < done.truth.auroc() + 0.005


def test_a_modality_that_training_never_sees_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'series' is absent in all"):
        write_simulation(tmp_path / "x", Scenario(rows=50, missing={"series": 1.0}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": "series"}, "'series'|at least two"),
        ({"modalities": "series,sound"}, "of kind 'sound'"),
        ({"modalities": "text,text"}, "listed twice"),
        ({"family": "gumble"}, "choose one of independence, gumbel"),
        ({"family": "gumbel", "tau": -0.2}, "tau -0.2 with family 'gumbel'"),
        ({"tau": 1.0}, "tau 1.0"),
        ({"missing": "1.5"}, "missing 1.5"),
        ({"missing": "image=0.5"}, "modalities are series, text, table"),
        ({"missing": "many"}, "valid number"),
        ({"mechanism": "mnra"}, "'mcar', 'mar' or 'mnar'"),
        ({"mechanism": "mar", "incomplete": "series,text,table"}, "Leave one out of the incomplete"),
        ({"label": "imge"}, "label 'imge'"),
        ({"label": "text=0"}, "a weight other than 0"),
        ({"label": "missing", "incomplete": "[]"}, "a weight other than 0"),
        ({"prevalence": "1.0"}, "strictly between"),
        ({"prevalence": "0.2", "classes": "3"}, "one share per class"),
        ({"labels": "2", "classes": "3"}, "not both"),
        ({"rows": "5"}, "rows 5: at least 10"),
        ({"rank": "0"}, "rank 0"),
        ({"rank": "8", "columns": "4"}, "columns 4: at least the rank, 8"),
        ({"fractions": "0.5,0.5,0.5"}, "sum 1"),
        ({"visits": "0"}, "visits 0"),
        ({"slope": ".inf", "mechanism": "mnar"}, "slope inf"),
        ({"rnk": "2"}, "did you mean rank"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_said(options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        write_simulation(tmp_path / "x", scenario_of(options))
    assert not (tmp_path / "x").exists()


def test_options_are_words_lists_and_tables() -> None:
    options = {"modalities": "a=series,b=text,c=table", "missing": "a=0.2,b=0.5", "tau": None}
    scenario = scenario_of(options, ["rank=2", "fractions=0.6,0.2,0.2", "label=b"])
    assert scenario.kinds == {"a": "series", "b": "text", "c": "table"}
    assert scenario.absentees == ("a", "b")
    assert (scenario.rank, scenario.fractions, scenario.tau) == (2, (0.6, 0.2, 0.2), 0.5)
    assert scenario.weights == {"a": 0.0, "b": 1.0, "c": 0.0}


def test_the_command_writes_a_folder_and_prints_what_is_possible(tmp_path: Path) -> None:
    done = run(
        "simulate", "scenario", tmp_path / "d", "--rows", 400, "--modalities", "series,table",
        "--family", "frank", "--tau", 0.6, "--missing", 0.3, "--missing-test", 0.7, "--mechanism", "mnar",
        "--label", "missing",
        "--seed", 3, "--set", "slope=-1", "--json",
    )  # fmt: skip
    content = last_json(done)
    assert content["counts"]["all"][0] == 400
    auroc = content["auroc"]
    assert auroc["complete"]["all"] > auroc["bayes"]["all"] > auroc["skip"]["all"]
    assert auroc["skip"]["missing"] == 0.5  # the label is in the missing modality
    assert "done" in done.stderr
    assert PreparedData.open(tmp_path / "d").manifest.rules["scenario"]["slope"] == -1


def test_a_mistake_on_the_command_line_ends_in_one_line(tmp_path: Path) -> None:
    done = run("simulate", "scenario", tmp_path / "d", "--family", "gumble", code=2)
    assert "error: copula family 'gumble': choose one of" in done.stderr
    assert "Traceback" not in done.stderr
