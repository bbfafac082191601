"""The paper's tables and figures: what they ask for, what is transcribed, and the work that they are."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sklar.cli import app
from sklar.errors import UserError
from sklar.experiments.paper import EXPERIMENTS, published
from sklar.experiments.paper.caveats import caveats
from sklar.experiments.paper.cohorts import Counts
from sklar.experiments.paper.grid import jobs_of, unique
from sklar.experiments.paper.plan import Fit, Outcomes
from sklar.experiments.paper.pvalues import PValues
from sklar.experiments.paper.reproduce import chosen
from sklar.experiments.paper.scales import FULL, SCALES, TINY, configuration
from sklar.experiments.paper.scores import COLUMNS, Row, Scores, judge_row
from sklar.mimic.published import MATCHED, PICTURES, ROWS
from sklar.report import TextTable
from sklar.report.compilation import Section, sections_page
from sklar.report.formats import Cell
from sklar.runs import write_predictions
from sklar.types import Predictions
from waiting import wait_until

PLACES = {f"Table {n}" for n in range(1, 12)} | {f"Figure {n}" for n in range(2, 6)}
SCORES = [own for own in EXPERIMENTS.values() if isinstance(own, Scores)]
FIT = Fit("mimic-iv", "ihm", ("ehr", "cxr"), True, "cm2", preset="paper")


def test_every_table_and_figure_with_results_is_an_experiment_with_its_caveats():
    assert set(EXPERIMENTS) == PLACES
    assert all(caveats(place) for place in EXPERIMENTS)


def test_every_transcribed_number_is_shown_and_lies_in_its_own_interval():
    shown = {(own.place, row.name, column) for own in SCORES for row in own.rows for column in COLUMNS}
    for own in EXPERIMENTS.values():
        if isinstance(own, Counts | PValues):
            rendered = own.render(Outcomes({}, {}, {}, 10)) if isinstance(own, PValues) else None
            shown |= {(r["place"], r["row"], r["column"]) for r in rendered.records} if rendered else {
                (own.place, name, column) for name in own.lines for column in own.columns
            }  # fmt: skip
    assert set(published()) <= shown
    for number in published().values():
        assert number.low is None or number.low < number.value < number.high


@pytest.mark.parametrize("own", SCORES, ids=lambda own: own.place)
def test_rows_of_the_paper_have_their_numbers(own: Scores):
    """A misspelt row would silently be compared with nothing."""
    if own.place.startswith("Figure"):
        return
    beside = ("sklar's settings", "late fusion", "only", "on matched test rows", "draws without gradient")
    unread = {("Table 2", "MIMIC-III"), ("Table 10", "Transformer + ResNet, LSMT"),
              ("Table 10", "Transformer + ResNet, Interleaved")}  # fmt: skip
    for row in own.rows:
        if any(text in row.name for text in beside):
            continue
        lacking = {column for column in COLUMNS if (own.place, row.name, column) not in published()}
        illegible = any(own.place == place and row.name.startswith(name) for place, name in unread)
        assert lacking == ({"ihm auroc"} if illegible else set()), row.name


def test_counts_agree_with_those_that_preparation_is_audited_by():
    three, four = ROWS["mimic-iii", "1.4"], ROWS["mimic-iv", "2.2"]
    notes, cxr = MATCHED["mimic-iii", "1.4"]["notes"], MATCHED["mimic-iv", "2.2"]["cxr"]
    sources = {
        "MIMIC-III": three, "MIMIC-IV": four, "MIMIC-CXR": PICTURES, "matched, MIMIC-III NOTE": notes,
        "matched, MIMIC-IV CXR": cxr, "matched, MIMIC-IV CXR REPORT": cxr,
    }  # fmt: skip
    for name, counts in sources.items():
        for column in ("train", "valid", "test", "all"):
            assert published()["Table 1", name, column].value == counts[column]
    assert published()["Table 8", "matched, MIMIC-IV CXR, readm", "positive"].value == cxr["readm"]
    assert published()["Table 8", "MIMIC-III, ihm", "positive"].value == three["ihm"] - 2


@pytest.mark.parametrize("scale", SCALES)
def test_every_fit_has_a_configuration_and_shared_ones_are_one(scale: str):
    jobs = jobs_of(list(EXPERIMENTS.values()), SCALES[scale], seeds=2)
    different = unique(jobs)
    assert len(different) < len(jobs)
    assert len({job.identity for job in different}) == len(different)
    assert {job.seed for job in different} == {0, 1}
    assert {job.fit.model for job in different} == {
        "cm2", "mmtm", "daft", "unified", "medfuse", "drfuse", "lsmt", "interleaved", "late", "single"
    }  # fmt: skip


def test_the_full_scale_follows_appendix_e():
    batches = Counter()
    for job in jobs_of(list(EXPERIMENTS.values()), FULL, seeds=1):
        training = job.config.training
        assert (training.max_epochs, training.patience, training.weight_decay) == (100, 15, 0)
        batches[job.fit.model == "drfuse", job.fit.cohort, training.batch_size] += 1
    assert set(batches) == {
        (False, "mimic-iii", 16), (False, "mimic-iv", 32), (True, "mimic-iii", 8), (True, "mimic-iv", 8)
    }  # fmt: skip
    assert FULL.resamples == 1000


def test_drfuse_with_an_lstm_is_a_fit_of_its_own_and_with_a_transformer_it_is_that_of_table_2():
    rows = {row.name: set(row.fits) for row in EXPERIMENTS["Table 10"].rows}
    second = set(EXPERIMENTS["Table 2"].fits())
    assert rows["Transformer + ResNet, DrFuse"] <= second
    assert not rows["LSTM + ResNet, DrFuse"] & second
    assert rows["LSTM + ResNet, CM²"] <= second


def test_settings_reach_every_fit():
    config = configuration(FIT, TINY, 0, ["training.max_epochs=1"])
    assert config.training.max_epochs == 1
    assert config.data.matched
    with pytest.raises(UserError, match="max_epoch is unknown"):
        configuration(FIT, TINY, 0, ["training.max_epoch=1"])


def test_a_backbone_that_a_model_does_not_read_makes_no_second_fit():
    names = {row.name: row.fits for row in EXPERIMENTS["Table 10"].rows}
    for model in ("LSMT", "Interleaved"):
        assert names[f"LSTM + ViT, {model}"] == names[f"Transformer + ViT, {model}"]
    assert names["LSTM + ViT, MMTM"] != names["Transformer + ViT, MMTM"]


def test_the_tiny_fits_of_cm2_reach_the_end_of_its_warmup():
    fit = next(own for own in EXPERIMENTS["Figure 5"].fits() if own.matched)
    rows = 300  # of the least hospital that the scale is for
    assert configuration(fit, TINY, 0).model.alignment.warmup <= rows


def test_lists_name_places_that_exist():
    assert [own.place for own in chosen("3,2", "5")] == ["Table 2", "Table 3", "Figure 5"]
    assert len(chosen(None, None)) == len(PLACES)
    with pytest.raises(UserError, match="no experiment 'Table 12'"):
        chosen("12", None)


def _run(folder: Path, seed: int) -> Path:
    target = np.tile([0.0, 1.0, np.nan], 40)
    present = np.stack([np.ones(120, bool), np.arange(120) % 4 < 3], 1)
    noise = np.random.default_rng(seed).normal(size=120)
    probability = 1 / (1 + np.exp(-(np.nan_to_num(target) + noise)))
    folder.mkdir()
    write_predictions(
        folder / "predictions_test.parquet",
        Predictions(
            ids=np.arange(120).astype(str), groups=np.arange(120).astype(str), target=target,
            probability=probability, low=probability, high=probability, present=present,
            modalities=("ehr", "cxr"), weight=np.ones(120),
        ),
    )  # fmt: skip
    return folder


def test_a_cell_averages_seeds_and_may_be_judged_on_matched_rows(tmp_path: Path):
    runs = {FIT: (_run(tmp_path / "a", 0), _run(tmp_path / "b", 1))}
    other = Fit("mimic-iv", "readm", ("ehr", "cxr"), True, "cm2", preset="paper")
    outcomes = Outcomes(runs, {other: "TrainingError: NaN"}, {}, 50)
    row = Row("CM²", (FIT, other))
    both = judge_row(row, outcomes)
    alone = [
        judge_row(Row("CM²", (FIT, other)), Outcomes({FIT: (folder,)}, {}, {}, 50))["ihm auroc"]
        for folder in runs[FIT]
    ]
    values = [own.estimate.value for own in alone]
    assert both["ihm auroc"].estimate.value == pytest.approx(np.mean(values))
    assert both["ihm auroc"].deviation == pytest.approx(np.std(values, ddof=1))
    assert both["ihm auroc"].estimate.low < both["ihm auroc"].estimate.value < both["ihm auroc"].estimate.high
    assert (both["ihm auroc"].rows, both["ihm auroc"].events) == (80, 40)
    assert judge_row(Row("CM²", (FIT,), only_matched=True), outcomes)["ihm auroc"].rows == 60
    assert both["readm auroc"] == "TrainingError: NaN"
    assert alone[0].deviation is None

    shown = Scores("Table 2", "", (Row("MIMIC-IV, CM²", (FIT, other)),)).render(outcomes)
    cell = next(record for record in shown.records if record["column"] == "ihm auroc")
    assert cell["paper"] == 0.827
    assert cell["difference"] == pytest.approx(cell["value"] - 0.827)
    assert cell["paper_inside"] == (cell["low"] <= 0.827 <= cell["high"])
    assert "none; paper 0.737" in shown.table.rows[0][3].text
    assert shown.notes == ("MIMIC-IV, CM²: no number, TrainingError: NaN",)


def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path):
    arguments = ["reproduce", "--tables", "2,4", "--dry-run", "--json", "--seeds", "3"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["needed"] == 3 * (40 + 6)
    assert said["different"] == said["needed"] - 3 * 2  # the copula row is CM² of Table 2
    assert said["finished"] == 0
    assert said["seconds"] > 0
    assert not (tmp_path / "out").exists()


def test_the_full_scale_asks_for_data(tmp_path: Path):
    done = CliRunner().invoke(app, ["reproduce", "--tables", "1", "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, UserError)
    assert "needs --data" in str(done.exception)
    for more in ([], ["--dry-run"]):
        done = CliRunner().invoke(app, ["reproduce", "--tables", "1", "--data", str(tmp_path), *more])
        assert "has no mimic-iii: sklar prepare mimic-iii" in str(done.exception)


def test_the_page_breaks_cells_between_their_parts():
    table = TextTable(("Model", "AUROC"), [[Cell("CM²"), Cell("0.8; paper 0.7, +0.1")]], "A note.")
    page = sections_page("Paper", "Simulated", [Section("Table 2: x", table, {}, ("see `sklar tune`",))])
    assert "<td>0.8<small>paper 0.7, +0.1</small></td>" in page.replace("\n", "")
    assert "<code>sklar tune</code>" in page


@pytest.mark.slow
def test_killed_it_finishes_the_rest_and_run_again_it_fits_nothing(tmp_path: Path):
    out = tmp_path / "out"
    arguments = ["reproduce", "--scale", "tiny", "--out", str(out), "--tables", "1,4", "--figures", "2,3,4"]
    code = [sys.executable, "-c", "from sklar.cli import main; main()", *arguments]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(code, stdout=log, stderr=log)
        wait_until(
            lambda: len(list(out.glob("fits/*/metrics.json"))) >= 2, "two fits are there", process, 0.2
        )
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (out / "index.html").exists()
    finished = len(list(out.glob("fits/*/metrics.json")))

    again = CliRunner().invoke(app, [*arguments, "--json"])
    assert again.exit_code == 0, again.output
    said = json.loads(again.stdout.splitlines()[-1])
    assert said["fits"] == 8
    assert said["fitted"] == 8 - finished
    assert "NOT COMPARABLE" in said["data"]
    assert all(cell["value"] is not None for cell in said["cells"]["Table 4"])
    assert {path.suffix for path in out.glob("table-4.*")} == {".md", ".tex", ".csv"}
    assert len(list(out.glob("figure-*.svg"))) == 5
    page = (out / "index.html").read_text()
    assert "NOT COMPARABLE" in page
    assert page.count("<svg") == 5
    with (out / "fits.csv").open() as file:
        fits = list(csv.DictReader(file))
    assert all(int(fit["tensors_changed"]) > 0 and 0 < float(fit["train_auroc"]) <= 1 for fit in fits)

    third = CliRunner().invoke(app, [*arguments, "--json"])
    said_again = json.loads(third.stdout.splitlines()[-1])
    assert said_again["fitted"] == 0
    assert said_again["cells"] == said["cells"]
