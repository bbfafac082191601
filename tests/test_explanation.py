"""What predictions were made from: complete, exact where a closed form exists, and named as measured."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Generator, nn
from typer.testing import CliRunner

from batches import SOME, some_batch
from cohorts import TINY, small_cohort
from contracts.test_models import make
from sklar import runs
from sklar.cli import app
from sklar.data.store import PreparedData
from sklar.errors import DataError, TrainingError, UserError
from sklar.evaluation import spread
from sklar.explanation import (
    Explanation,
    explain_run,
    integrated_gradients,
    largest,
    read_explanation,
    write_explanation,
)
from sklar.models import Ensemble, FusionModel
from sklar.training.config import resolve
from sklar.types import Batch, Output

CASES = (
    "cm2-gaussian", "cm2-gumbel", "cm2-frank", "cm2-mean", "cm2-unconditional", "cm2-skip", "daft", "drfuse",
    "interleaved", "late", "lsmt", "medfuse", "mmtm", "single-notes", "unified",
)  # fmt: skip


def bold(case: str, seed: int = 0) -> FusionModel:
    """A model whose predictions differ from row to row."""
    model = make(case, seed=seed).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2)
    return model


class Straight(FusionModel):
    """The logit is a plain sum of what is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def forward(self, batch: Batch) -> Output:
        table = batch.inputs["table"]
        logits = (table.numeric @ self.weight).unsqueeze(1)
        return Output(logits, {}, {}, {})


@pytest.mark.parametrize("case", CASES)
def test_contributions_add_up_to_the_difference_from_the_baseline(case: str) -> None:
    batch = some_batch(SOME)
    found = integrated_gradients(bold(case), batch, draws=3)
    total = sum(field.flatten(1).sum(1) for field in found.fields.values())
    torch.testing.assert_close(total, found.probability - found.baseline, atol=1e-3, rtol=0)
    assert found.gap.abs().max() <= 1e-3
    assert (found.probability - found.baseline).abs().max() > 0.02


@pytest.mark.parametrize("case", ["cm2-gaussian", "drfuse", "mmtm", "interleaved"])
def test_what_is_absent_contributes_nothing(case: str) -> None:
    batch = some_batch(SOME)
    found = integrated_gradients(bold(case), batch, draws=3)
    for (name, _), field in found.fields.items():
        assert (field[~batch.has(name)] == 0).all()


def test_along_a_line_contributions_are_shares_of_the_logit() -> None:
    """Of p(w x) they are (p(1) - p(0)) w_i x_i / w x, whatever p."""
    model, batch = Straight().eval(), some_batch(SOME)
    found = integrated_gradients(model, batch, tolerance=1e-6)
    numeric = batch.inputs["table"].numeric
    parts = numeric * model.weight.detach()
    share = parts / parts.sum(1, keepdim=True)
    wanted = share * (torch.sigmoid(parts.sum(1)) - 0.5).unsqueeze(1)
    moved = parts.abs().sum(1) > 0
    torch.testing.assert_close(found.fields["table", "numeric"][moved], wanted[moved], atol=1e-5, rtol=1e-4)
    assert (found.fields["labs", "values"] == 0).all()


def test_captum_finds_the_same() -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    model, batch = bold("cm2-gaussian"), some_batch(SOME[:4])
    labs, notes, table = batch.inputs.values()

    def forward(values, strength, numeric, level):
        times = len(values) // len(batch)
        many = batch.rows(torch.arange(len(batch)).repeat(times))
        inputs = {
            "labs": replace(many.inputs["labs"], values=values),
            "notes": replace(many.inputs["notes"], strength=strength),
            "table": replace(many.inputs["table"], numeric=numeric, strength=level),
        }
        drawn = model.predict_draws(replace(many, inputs=inputs), 3, Generator().manual_seed(0))
        return drawn.mean(0)[:, 0]

    ends = labs.values, notes.attention.float(), table.numeric, (table.categories > 0).float()
    starts = [torch.zeros_like(end) for end in ends]
    starts[0][..., 3:] = labs.values[..., 3:]
    theirs = captum.IntegratedGradients(forward).attribute(ends, tuple(starts), n_steps=200)
    ours = integrated_gradients(model, batch, draws=3, tolerance=1e-4).fields
    for one, other in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(one, other.to(one), atol=2e-3, rtol=0)


@pytest.mark.parametrize("case", ["cm2-gaussian", "cm2-gumbel", "cm2-frank", "cm2-mean"])
def test_a_prediction_has_its_whole_derivative_through_what_is_imputed(case: str) -> None:
    """Against differences, in double precision: draws, their centre and their spread all move with x."""
    model = bold(case).double()
    batch = some_batch(torch.tensor([[0, 0, 1], [0, 1, 1]], dtype=torch.bool))

    def predict(numeric: torch.Tensor) -> torch.Tensor:
        table = replace(batch.inputs["table"], numeric=numeric, observed=torch.ones(2, 3, dtype=torch.bool))
        labs = replace(batch.inputs["labs"], values=batch.inputs["labs"].values.double())
        moved = replace(batch, inputs={**batch.inputs, "labs": labs, "table": table})
        return model.predict_draws(moved, 4, Generator().manual_seed(0)).mean(0).sum()

    # no knot of the piecewise linear basis lies within a step of these
    x = torch.tensor([[0.3, -1.1, 1.7], [0.9, 0.4, -0.6]], dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(predict(x), x)[0]
    step = 1e-5 * torch.eye(6, dtype=torch.float64).reshape(6, 2, 3)
    with torch.no_grad():
        differences = torch.stack([(predict(x + h) - predict(x - h)) / 2e-5 for h in step]).reshape(2, 3)
    torch.testing.assert_close(slope, differences, rtol=1e-4, atol=1e-7)


def test_strength_one_is_the_plain_input_and_zero_a_blank_one() -> None:
    model, batch = bold("late"), some_batch(SOME)
    notes, table = batch.inputs["notes"], batch.inputs["table"]

    def logits(words: float, levels: float) -> torch.Tensor:
        inputs = {
            **batch.inputs,
            "notes": replace(notes, strength=torch.full(notes.ids.shape, words)),
            "table": replace(table, strength=torch.full(table.categories.shape, levels)),
        }
        return model(replace(batch, inputs=inputs)).logits

    torch.testing.assert_close(logits(1.0, 1.0), model(batch).logits)
    gaps = replace(table, categories=torch.zeros_like(table.categories))
    padding = replace(notes, ids=torch.zeros_like(notes.ids))
    blank = replace(batch, inputs={**batch.inputs, "notes": padding, "table": gaps})
    torch.testing.assert_close(logits(0.0, 0.0), model(blank).logits)


def test_an_ensemble_is_explained_by_the_mean_of_its_members() -> None:
    members, batch = [bold("mmtm", seed) for seed in (0, 1)], some_batch(SOME)
    together = integrated_gradients(Ensemble(members).eval(), batch, tolerance=1e-4)
    alone = [integrated_gradients(member, batch, tolerance=1e-4) for member in members]
    for field, value in together.fields.items():
        mean = (alone[0].fields[field] + alone[1].fields[field]) / 2
        torch.testing.assert_close(value, mean, atol=5e-4, rtol=0)


def test_a_model_that_diverged_is_refused() -> None:
    model = Straight().eval()
    with torch.no_grad():
        model.weight.fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"8 rows are not finite.*train it again"):
        integrated_gradients(model, some_batch(SOME))


def test_rows_are_spread_over_the_risk() -> None:
    risk = np.random.default_rng(0).random(101)
    chosen = spread(risk, 6)
    assert (np.diff(risk[chosen]) > 0).all()
    assert risk[chosen[0]] < 0.1 < 0.9 < risk[chosen[-1]]
    assert len(spread(risk[:3], 6)) == 3
    among = risk > 0.5
    assert (risk[spread(risk, 4, among)] > 0.5).all()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data", rows=400)


@pytest.fixture(scope="module")
def run(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    settings = (*TINY, "model.alignment.warmup=200", "training.max_epochs=2")
    return runs.train(resolve("cm2", settings), data, tmp_path_factory.mktemp("runs") / "cm2")


@pytest.fixture(scope="module")
def found(run: runs.Run, data: PreparedData) -> Explanation:
    return explain_run(run, data, count=8)


def test_a_runs_rows_are_explained_as_they_were_predicted(run: runs.Run, found: Explanation) -> None:
    stored = run.predictions("test")
    by_id = dict(zip(stored.ids, stored.probability, strict=True))
    np.testing.assert_allclose(found.probability, [by_id[name] for name in found.ids], atol=1e-6)
    row, contribution = (found.features[name].to_numpy() for name in ("row", "contribution"))
    total = np.bincount(row, contribution, minlength=len(found.ids))
    np.testing.assert_allclose(total, found.probability - found.baseline, atol=1e-3)
    np.testing.assert_allclose(found.shapley.sum(1), found.probability - found.base, atol=1e-6)
    # the rows beside a row may change its last bit
    np.testing.assert_allclose(found.shapley[~found.present], 0, atol=1e-7)


def test_features_are_what_was_measured_said_and_known(
    run: runs.Run, data: PreparedData, found: Explanation
) -> None:
    position = {str(name): index for index, name in enumerate(data.ids)}
    ids, raw, variables = data.series("labs", normalised=False)
    place = {str(name): index for index, name in enumerate(ids)}
    steps = data.schema.series["labs"].times
    for index, name in enumerate(map(str, found.ids)):
        own = [part for part in found.features.to_pylist() if part["row"] == index]
        measured = {(p["feature"], p["step"]): p for p in own if p["modality"] == "labs"}
        wanted = {}
        if name in place:
            cells = np.argwhere(~np.isnan(raw[place[name]]))
            wanted = {(variables[v], t): raw[place[name]][t, v] for t, v in cells}
        assert {key: part["number"] for key, part in measured.items()} == pytest.approx(wanted)
        assert all(part["time"] == steps[part["step"]] for part in measured.values())
        words = [part["feature"] for part in own if part["modality"] == "notes"]
        documents = data.documents("notes", [position[name]])[0]
        assert "".join(words).replace("##", "") == "".join(documents).replace(" ", "")
        table = {p["feature"]: p["number"] or p["text"] for p in own if p["modality"] == "table"}
        assert table["sex"] in ("f", "m")
        assert table["age"] > 10


def test_an_explanation_reads_back(found: Explanation, run: runs.Run, data: PreparedData, tmp_path) -> None:
    arguments = ["explain", str(run.path), "--data", str(data.path), "--rows", "8"]
    out = tmp_path / "deep" / "why.parquet"
    done = CliRunner().invoke(app, [*arguments, "-o", str(out), "--json"], catch_exceptions=False)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["rows"] == 8
    assert said["largest_gap"] <= 1e-3
    assert said["shapley"] == pytest.approx(found.modality_shapley)
    assert [(f["modality"], f["feature"]) for f in said["features"]] == [f[:2] for f in largest(found)]
    again = read_explanation(out)
    assert again.features.equals(found.features)
    np.testing.assert_array_equal(again.shapley, found.shapley)
    assert pq.read_table(out)["id"].to_pylist() == found.ids[found.features["row"].to_numpy()].tolist()
    beside = json.loads(out.with_suffix(".json").read_text())
    assert [row["id"] for row in beside["rows"]] == list(found.ids)


def test_chosen_rows_are_explained_and_none_is_named_on_the_screen(
    run: runs.Run, data: PreparedData, tmp_path: Path
) -> None:
    name, out = str(data.ids[0]), tmp_path / "one.parquet"
    arguments = ["explain", str(run.path), "--data", str(data.path), "-o", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--id", name], catch_exceptions=False)
    assert "share of each modality" in done.stdout
    assert not any(str(row) in done.stdout.split() for row in data.ids)
    assert list(read_explanation(out).ids) == [name]
    with pytest.raises(UserError, match="no row 'nobody'"):
        explain_run(run, data, ids=["nobody"])


def test_restricted_rows_are_kept_from_others(run: runs.Run, data: PreparedData, tmp_path: Path) -> None:
    found = explain_run(run, data, count=1)
    write_explanation(tmp_path / "why.parquet", found, private=True)
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_another_file_is_no_explanation(run: runs.Run) -> None:
    with pytest.raises(DataError, match="is no explanation"):
        read_explanation(run.path / "predictions_test.parquet")


DAMAGE = {
    "no JSON": lambda table, _: table.replace_schema_metadata({"sklar": "{"}),
    "a key less": lambda table, about: _saying(table, {"rows": about["rows"]}),
    "rows that are none": lambda table, about: _saying(table, about | {"rows": 3}),
    "a share less": lambda table, about: _saying(table, about | {"modalities": ["labs", "x_ray"]}),
    "a number that is none": lambda table, about: _saying(table, about | {"base": None}),
    "a row less": lambda table, about: _saying(table, about | {"rows": about["rows"][:-1]}),
    "a column less": lambda table, _: table.drop_columns("contribution"),
    "no names": lambda table, _: table.drop_columns("id"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_explanation_says_so(found: Explanation, tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "why.parquet"
    write_explanation(path, found, private=False)
    table = pq.read_table(path)
    pq.write_table(damage(table, json.loads(table.schema.metadata[b"sklar"])), path)
    with pytest.raises(DataError, match=r"why\.parquet is no explanation, or damaged .*sklar explain writes"):
        read_explanation(path)


def _saying(table: pa.Table, about: dict[str, Any]) -> pa.Table:
    return table.replace_schema_metadata({"sklar": json.dumps(about)})


def test_a_reference_has_nothing_to_explain(data: PreparedData, tmp_path: Path) -> None:
    reference = runs.train(resolve("logistic_regression"), data, tmp_path / "lr")
    with pytest.raises(UserError, match="keeps predictions and no weights"):
        explain_run(reference, data)


def test_the_page_of_open_data_shows_what_its_examples_were_made_from(
    run: runs.Run, data: PreparedData, tmp_path: Path
) -> None:
    call = CliRunner().invoke
    call(app, ["explain", str(run.path), "--data", str(data.path)], catch_exceptions=False)
    shown, shared = tmp_path / "shown.html", tmp_path / "shared.html"
    arguments = ["report", str(run.path), "--resamples", "20"]
    call(app, [*arguments, "-o", str(shown), "--show-examples"], catch_exceptions=False)
    call(app, [*arguments, "-o", str(shared), "--share-safe"], catch_exceptions=False)
    text = shown.read_text()
    assert text.count('<div class="why">') == 6
    for name in read_explanation(run.path / "explanation.parquet").ids:
        assert f"<b>{name}</b>" in text
    assert 'aria-label="Contributions over time, labs: ' in text
    assert '<div class="why">' not in shared.read_text()
