"""What users would pick instead, on tables with gaps and several documents a row."""

import numpy as np
import pyarrow as pa
import pytest

from sklar.data.frame import write
from sklar.data.schema import Schema, Tabular, Text, TimeSeries
from sklar.data.store import PreparedData
from sklar.training.reference import REFERENCES, Features, fit_predict


@pytest.fixture(scope="module")
def ward(tmp_path_factory) -> PreparedData:
    """The label is a word of the second document; variable "never" has no value in any row."""
    rng = np.random.default_rng(0)
    rows = 300
    ids, died = np.array([f"p{i}" for i in range(rows)]), rng.integers(0, 2, rows)
    schema = Schema(
        id="id",
        label="died",
        modalities={
            "vitals": TimeSeries(variables=("rate", "never"), steps=4, step=1.0),
            "report": Text(documents=2),
            "table": Tabular(numeric=("age",)),
        },
    )
    words = [f"lungs number {i} are {'opaque' if ill else 'clear'} today" for i, ill in enumerate(died)]
    texts = pa.table({"id": np.repeat(ids, 2), "text": [text for own in words for text in ("portable", own)]})
    series = pa.table(
        {"id": ids, "time": np.full(rows, -1.0), "variable": ["rate"] * rows, "value": rng.normal(size=rows)}
    )
    subjects = pa.table({"id": ids, "died": died, "age": rng.normal(60, 5, rows)})
    return write(
        tmp_path_factory.mktemp("ward") / "data", schema, subjects, {"vitals": series}, {"report": texts}
    )


@pytest.mark.parametrize("name", REFERENCES)
def test_a_variable_without_any_value_and_words_of_several_documents_do_not_stop_it(ward, name):
    probability, valid = fit_predict(REFERENCES[name](), ward, np.ones(len(ward.ids)), 0, ward.rows("valid"))
    assert np.isfinite(probability).all()
    assert valid == 1.0
    assert np.isnan(Features(ward).matrix()).all(0).any()
