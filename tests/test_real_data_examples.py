"""The comparisons on public data: what they hide at test, what they keep, and that each runs."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.compute as pc
import pytest

from sklar.models import MODELS

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def five_seeds(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import five_seeds

    yield five_seeds
    for name in ("five_seeds", "ptbxl", "uci_mfeat"):
        sys.modules.pop(name, None)


@pytest.fixture
def ptbxl(five_seeds: ModuleType, test_data: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("SKLAR_TEST_DATA", str(test_data))
    import ptbxl

    return ptbxl


@pytest.fixture
def uci_mfeat(five_seeds: ModuleType, test_data: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("SKLAR_TEST_DATA", str(test_data))
    import uci_mfeat

    return uci_mfeat


def test_no_patient_with_several_electrocardiograms_is_on_two_sides_of_the_split(ptbxl: ModuleType):
    question = ptbxl.question()
    patients = np.array(question.seen["patient_id"].to_pylist())
    assert len(set(patients)) < len(patients)
    for seed in range(3):
        part = question.split(seed)
        sides = {patient: set(part[patients == patient]) for patient in patients}
        assert all(len(side) == 1 for side in sides.values())
        assert set(part) == {"train", "valid", "test"}


def test_the_report_that_names_the_diagnosis_is_absent_from_tested_rows_and_nothing_else_is(
    ptbxl: ModuleType,
):
    question = ptbxl.question()
    assert question.seen["report"].null_count == 0
    assert question.shown["report"].null_count == len(question.shown)
    assert question.seen.drop_columns("report").equals(question.shown.drop_columns("report"))


def test_the_ages_that_some_versions_write_as_300_would_become_gaps(ptbxl: ModuleType):
    question = ptbxl.question()
    low, high = question.schema.tables["person"].limits["age"]
    assert low <= pc.min(question.seen["age"]).as_py()
    assert pc.max(question.seen["age"]).as_py() <= high < 300


def test_the_label_leaves_out_records_without_a_diagnostic_statement(ptbxl: ModuleType):
    label = ptbxl.question().seen["abnormal"].to_pylist()
    assert len(label) == 488
    assert sum(label) == 198


def test_half_of_the_digits_have_no_picture_and_all_have_the_series(uci_mfeat: ModuleType):
    question = uci_mfeat.question()
    gone = question.seen["picture"].is_null().to_numpy()
    assert 0.45 < gone.mean() < 0.55
    assert (gone == question.parts["without picture"]).all()
    assert question.seen["fourier"].null_count == 0
    assert pc.max(pc.list_flatten(pc.list_flatten(question.seen["picture"]))).as_py() <= 255


def test_answers_are_kept_and_asked_once(
    five_seeds: ModuleType, uci_mfeat: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    question = uci_mfeat.question()
    asked = []

    def guess(question: object, model: str, seed: int, folder: Path) -> np.ndarray:
        asked.append((model, seed))
        rows = int((uci_mfeat.question().split(seed) == "test").sum())
        return np.random.default_rng(seed).dirichlet(np.ones(10), rows)

    monkeypatch.setattr(five_seeds, "answer", guess)
    first = five_seeds.compare(question, tmp_path, ("cm2", "late"), range(2))
    assert asked == [("cm2", 0), ("late", 0), ("cm2", 1), ("late", 1)]
    assert five_seeds.compare(question, tmp_path, ("cm2", "late"), range(2)) == first
    assert len(asked) == 4
    five_seeds.compare(replace(question, max_epochs=1), tmp_path, ("cm2",), range(1))
    assert len(asked) == 5
    assert first["cm2"][0]["accuracy"] == pytest.approx(0.1, abs=0.05)
    monkeypatch.setattr(five_seeds, "OWN", {"late": {"model.encoders.dim": 16}})
    five_seeds.compare(question, tmp_path, ("cm2", "late"), range(1))
    assert asked[5:] == [("late", 0)]  # whose sizes changed


def test_every_model_of_several_modalities_is_compared(five_seeds: ModuleType):
    assert set(five_seeds.FUSIONS) == MODELS.keys() - {"single"}
    assert five_seeds.OWN.keys() <= MODELS.keys()


def test_the_table_puts_the_best_first_and_pairs_differences_by_seed(five_seeds: ModuleType):
    found = {
        "cm2": [{"AUROC": 0.7}, {"AUROC": 0.8}, {"AUROC": 0.9}],
        "late": [{"AUROC": 0.8}, {"AUROC": 0.9}, {"AUROC": 1.0}],
    }
    table = five_seeds.markdown(found).splitlines()
    assert table[0] == "| model | AUROC | AUROC, difference to cm2 |"
    assert table[2].startswith("| late | 0.900 (")
    assert table[2].endswith("| 0.100 (0.100 to 0.100) |")
    half = 4.302653 * 0.1 / 3**0.5  # the 97.5th percentile of t with two degrees of freedom
    assert table[3] == f"| cm2 | 0.800 ({0.8 - half:.3f} to {0.8 + half:.3f}) |  |"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ptbxl", "uci_mfeat"])
def test_an_example_runs_with_one_seed_and_two_models(
    five_seeds: ModuleType,
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    question = replace(request.getfixturevalue(name).question(), max_epochs=3)
    models = ["--models", "cm2", "gradient_boosting"]
    monkeypatch.setattr(sys, "argv", ["", "--out", str(tmp_path), "--seeds", "1", *models])
    five_seeds.main("A comparison.", lambda: question)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert {line.split(" | ")[0] for line in lines[1:]} == {"| cm2", "| gradient_boosting"}
    kept = {file.stem: json.loads(file.read_text()) for file in tmp_path.glob("*/*-0.json")}
    assert set(kept) == {"cm2-0", "gradient_boosting-0"}
    assert all(own["AUROC"] > 0.6 for own in kept.values())
