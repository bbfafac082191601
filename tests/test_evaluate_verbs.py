"""`sklar evaluate`, `compare` and `card` on finished runs, by command line."""

import csv
import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

from run_folders import GAINS, cohort, predicted, write_run, write_runs
from sklar.cli import app
from sklar.errors import DataError, UserError
from sklar.evaluation import calibration_slope, delong, holm, ici
from sklar.report import TRIPOD, contest_runs, write_card

MODELS = ("cm2", "medfuse", "text", "gradient_boosting")
FAST = ("--resamples", "200")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"), MODELS)


def call(*arguments, code=0):
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=code == 0)
    assert done.exit_code == code, done.output
    return done.stdout


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


def score(model):
    return predicted(cohort(), GAINS[model], MODELS.index(model))["probability"]


def test_compare_ranks_every_model_against_the_best(runs):
    found = last_json(call("compare", *runs, *FAST, "--json"))
    assert found["test"] == {"rows": 600, "events": int(cohort()["target"].sum()), "groups": 370}
    best = found["best"]["auroc"]
    assert best in found["tied"]["auroc"]
    assert "text" not in found["tied"]["auroc"]
    assert set(found["models"]) == set(MODELS)
    assert set(found["models"]["text"]["to_best"]) == {"auroc", "average_precision", "brier"}
    assert "auroc" not in found["models"][best]["to_best"]
    assert found["models"]["text"]["to_best"]["auroc"]["high"] < 0


def test_compare_tests_by_delong_within_groups_and_adjusts(runs):
    found = last_json(call("compare", *runs, *FAST, "--metrics", "auroc", "--json"))
    rows, best = cohort(), found["best"]["auroc"]
    others = [model for model in MODELS if model != best]
    p = [delong(rows["target"], score(m), score(best), rows["group"]).p_value for m in others]
    wanted = dict(zip(others, holm(p), strict=True))
    for model, value in wanted.items():
        assert found["models"][model]["delong_p_holm"] == pytest.approx(value)
    assert found["models"][best]["delong_p_holm"] is None


def test_compare_prints_a_table_for_a_terminal(runs):
    text = call("compare", *runs, *FAST)
    assert "Gradient boosting" in text
    assert "best" in text
    assert "contains zero" in re.sub(r"\s+", " ", text)


def test_compare_writes_markdown_with_what_is_tied_in_bold(runs):
    text = call("compare", *runs, *FAST, "--format", "markdown")
    tied = contest_runs(runs, resamples=200).rankings["auroc"].tied
    for line in text.splitlines()[2:6]:
        name, auroc = (cell.strip() for cell in line.strip("| ").split("|")[:2])
        assert auroc.startswith("**") == (name != "Text")
    assert len(tied) == 3


def test_compare_writes_latex_that_escapes(runs):
    text = call("compare", *runs, *FAST, "--format", "latex")
    assert r"CM\textsuperscript{2} & \textbf{" in text
    body = text[: text.index(r"\end{tabular}")]
    assert body.count(r"\\") == 5
    assert "²" not in body
    assert "\N{MINUS SIGN}" not in body


def test_compare_writes_csv_that_reads_back(runs, tmp_path):
    out = tmp_path / "deep" / "table.csv"
    told = call("compare", *runs, *FAST, "--format", "csv", "-o", out)
    assert str(out) in told
    rows = list(csv.reader(io.StringIO(out.read_text())))
    assert len({len(row) for row in rows}) == 1
    assert len(rows) == 5
    assert [path.name for path in out.parent.iterdir()] == ["table.csv"]


def test_the_papers_test_is_offered_by_name_with_a_warning(runs):
    done = CliRunner().invoke(app, ["compare", *map(str, runs), *FAST, "--paper-t-test", "--json"])
    assert "no evidence of a difference" in done.stderr
    found = last_json(done.stdout)
    assert found["models"]["text"]["paper_t_test"]["auroc"] < 1e-10


def test_a_run_alone_is_its_own_best(runs):
    found = contest_runs(runs[:1], resamples=20)
    assert found.models == ("cm2",)
    assert found.delong == {}


@pytest.mark.parametrize("metrics", [("auroc", "accuracy"), ()])
def test_unknown_metrics_are_refused(runs, metrics):
    with pytest.raises(UserError, match="choose among auroc, average_precision"):
        contest_runs(runs, metrics)


def rewrite(folder, **columns):
    """The run folder of cm2 with other columns in its test predictions."""
    rows = cohort()
    path = write_run(folder, "cm2", rows, 1)
    table = rows | predicted(rows, 1, 0) | columns
    parquet.write_table(pa.table(table), path / "predictions_test.parquet")
    return path


def test_too_few_events_are_refused(tmp_path):
    target = np.zeros(600)
    target[:3] = 1
    with pytest.raises(DataError, match="3 events: 3 events, fewer than 5; that is too few for intervals"):
        contest_runs([rewrite(tmp_path / "run", target=target)])


def test_a_patient_in_validation_and_test_is_refused(tmp_path):
    path = rewrite(tmp_path / "run")
    parquet.write_table(
        pa.table({"group": ["g00001", cohort()["group"][0]]}), path / "predictions_valid.parquet"
    )
    with pytest.raises(DataError, match="1 groups have rows in both valid and test"):
        contest_runs([path])


def test_runs_of_other_rows_are_refused(tmp_path, runs):
    other = rewrite(tmp_path / "other", id=np.array([f"x{i}" for i in range(600)]))
    with pytest.raises(DataError, match="different rows"):
        contest_runs([runs[1], other])


def test_evaluate_tells_calibration_thresholds_and_patterns(runs):
    found = last_json(call("evaluate", *runs[:2], *FAST, "--thresholds", "0.1,0.3", "--json"))
    detail = found["details"]["medfuse"]
    y, p = cohort()["target"], score("medfuse")
    assert detail["calibration"]["calibration_slope"]["value"] == calibration_slope(y, p)
    assert detail["ici"] == ici(y, p)
    assert detail["thresholds"]["threshold"] == [0.1, 0.3]
    assert detail["thresholds"]["sensitivity"][0] == pytest.approx((p[y == 1] >= 0.1).mean())
    assert sum(part["rows"] for part in detail["patterns"]) == 600
    assert found["models"]["medfuse"]["auroc"]["value"] > 0.5


def test_evaluate_writes_nothing_undefined_as_a_number(runs):
    text = call("evaluate", runs[2], *FAST, "--thresholds", "0.99", "--json")
    assert "NaN" not in text
    assert last_json(text)["details"]["text"]["thresholds"]["ppv"] == [None]


@pytest.mark.parametrize("style", ["text", "markdown", "latex", "csv"])
def test_evaluate_prints_tables_in_every_format(runs, style):
    text = call("evaluate", *runs[:2], *FAST, "--format", style)
    for heading in ("Slope", "Sensitivity", "Observed"):
        assert heading in text


def numbers(tree):
    """All whole numbers and texts in a tree of JSON."""
    if isinstance(tree, dict):
        return [found for part in tree.values() for found in numbers(part)]
    if isinstance(tree, list):
        return [found for part in tree for found in numbers(part)]
    return [tree] if isinstance(tree, int | str) and not isinstance(tree, bool) else []


def test_what_is_shared_names_no_row_and_shows_no_small_cell(runs):
    found = last_json(call("evaluate", runs[0], *FAST, "--json", "--share-safe"))
    patterns = [*found["patterns"], *found["details"]["cm2"]["patterns"]]
    counts = [part[key] for part in patterns for key in ("rows", "events")]
    assert None in counts
    assert all(count is None or count >= 20 for count in counts)
    assert not [text for text in numbers(found) if "patient-" in str(text)]
    plain = last_json(call("evaluate", runs[0], *FAST, "--json"))
    assert any(part["rows"] < 20 for part in plain["patterns"])


def test_the_card_says_what_is_known_and_what_is_open(runs, tmp_path):
    out = tmp_path / "card.md"
    made = last_json(call("card", runs[0], *FAST, "-o", out, "--json"))
    text = out.read_text()
    assert text.startswith("# Model card: CM²")
    assert "death within five years" in text
    assert set(made["ticked"]) | set(made["unticked"]) == set(TRIPOD)
    assert text.count("- [x]") == len(made["ticked"])
    assert text.count("- [ ]") == len(made["unticked"])
    assert "17" in made["unticked"]  # nobody but people can say that a board approved
    assert "not recalibrated" in text
    assert "patient-" not in text


def test_the_card_lies_in_the_run_by_default_and_lists_what_is_open(runs):
    told = call("card", runs[1], *FAST)
    assert (runs[1] / "model_card.md").is_file()
    assert "open: 17. Ethical approval" in told


def test_the_card_states_recalibration(tmp_path):
    path = rewrite(tmp_path / "run")
    metrics = json.loads((path / "metrics.json").read_text())
    metrics["calibration"] = {"recalibration": {"kind": "isotonic"}, "rows": 150, "kept": False}
    (path / "metrics.json").write_text(json.dumps(metrics))
    made = write_card(path, tmp_path / "card.md", resamples=20)
    assert made.ticked["24"] == "isotonic recalibration on 150 rows"
    assert "used the rows that also selected the model" in made.text


def test_a_folder_is_no_place_for_a_card(runs, tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        write_card(runs[0], tmp_path, resamples=20)


def test_thresholds_are_numbers(runs):
    done = CliRunner().invoke(app, ["evaluate", str(runs[0]), "--thresholds", "low"])
    assert isinstance(done.exception, UserError)
