"""The README's lines for one's own table, and the pages about one's own data, as they are written."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sklar.data.samples import samples_table
from sklar.data.schema import Schema, Text
from sklar.data.wide import read_wide
from sklar.errors import DataError, UserError
from test_cli import run
from wide_tables import wide_table

ROOT = Path(__file__).parents[1]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.slow
def test_ten_lines_from_a_table_of_a_thousand_rows_to_probabilities_within_a_minute():
    (block,) = [own for own in blocks("README.md") if "MultimodalClassifier" in own]
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) <= 10
    new = wide_table(200, seed=1)
    names = {"train": wide_table(1000), "new": new}
    started = time.process_time()  # of all threads, and blind to what else the machine does
    exec(block, names)
    assert time.process_time() - started < 60
    assert names["risk"].shape == (200,)
    assert (names["low"] <= names["high"]).all()
    died = new["died"].to_numpy() == 1
    assert np.median(names["risk"][died]) > np.median(names["risk"][~died])


def test_the_page_about_own_data_runs_and_its_path_for_pytorch_has_twenty_lines(
    capsys, tmp_path, monkeypatch
):
    page = (ROOT / "docs/how-to/own-data.md").read_text()
    first, files, second = re.findall(r"```\{run\}\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(first, names)
    assert names["model"].predict_proba(names["stays"]).shape == (300, 2)
    exec(files, names)
    (prepare,) = re.findall(r"^sklar (prepare table stays.csv .*)$", page, re.MULTILINE)
    assert "vitals is present in 100.0%" in run(*prepare.split()).stdout
    lines = [line for line in second.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(lines) <= 20
    exec(second, names)
    assert "[[" in capsys.readouterr().out


class Stand:
    """What PyHealth's SampleDataset is to its readers: a length, and mappings by position."""

    samples = (
        {"patient_id": "p1", "visit_id": "v1", "conditions": ["C1", "C2"], "label": 0},
        {"patient_id": "p2", "visit_id": "v2", "conditions": [], "label": 1},
    )

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def test_samples_of_pyhealth_are_rows():
    schema = Schema(
        id="visit_id",
        label="label",
        group="patient_id",
        modalities={"codes": Text(column="conditions", documents=9)},
    )
    cohort = read_wide(schema, samples_table(Stand(), id="visit_id"), labelled=True)
    assert cohort.content["codes"].values["documents"].to_pylist() == [["C1", "C2"]]
    assert cohort.groups.to_pylist() == ["p1", "p2"]


def test_samples_hold_tensors_arrays_and_gaps():
    class Mixed(Stand):
        samples = (
            {"x": torch.ones(2, 3), "y": np.float32(1.5), "z": [{"time": np.int64(1)}]},
            {"x": None, "z": None},
        )

    assert samples_table(Mixed()).to_pylist() == [
        {"sample": 0, "x": [[1.0] * 3] * 2, "y": 1.5, "z": [{"time": 1}]},
        {"sample": 1, "x": None, "y": None, "z": None},
    ]


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ((), DataError, "no samples"),
        (((1, 2),), UserError, "samples are tuple"),
        (({"x": 1}, {"x": "a"}), DataError, "samples: 'x' cannot be a column"),
    ],
)
def test_samples_that_are_no_rows(samples, error, message):
    stand = Stand()
    stand.samples = samples
    with pytest.raises(error, match=message):
        samples_table(stand)
