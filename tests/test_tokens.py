"""Token ids that are made once and shared by runs with equal tokenizers."""

import os
import stat
import time

import numpy as np
import pyarrow as pa
import pytest

from sklar import PreparedData, Schema
from sklar.data.frame import write
from sklar.data.schema import Tabular, Text
from sklar.encoders import EncoderConfig, WordPiece
from sklar.training.files import ABANDONED
from sklar.training.inputs import tokenise
from sklar.training.tokens import TOKENS
from test_cli import run

TEXTS = ["clear lungs", "no change of the heart", "a tube is in place", "clear heart"] * 5


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> PreparedData:
    rows = len(TEXTS)
    subjects = pa.table(
        {
            "id": [str(n) for n in range(rows)],
            "died": [n % 2 for n in range(rows)],
            "age": np.arange(rows) * 1.0,
        }
    )
    schema = Schema(id="id", label="died", modalities={"note": Text(), "who": Tabular(numeric=("age",))})
    texts = {"note": pa.table({"id": [str(n) for n in range(rows - 2)], "text": TEXTS[:-2]})}
    return write(tmp_path_factory.mktemp("tokens") / "data", schema, subjects, texts=texts)


def test_kept_tokens_are_those_that_are_made(data, tmp_path):
    tokenizer, config = {"note": WordPiece.train(TEXTS, 60)}, EncoderConfig()
    made = tokenise(data, tokenizer, config)["note"]
    for _ in range(2):
        kept = tokenise(data, tokenizer, config, tmp_path / TOKENS)["note"]
        for own, wanted in zip(kept, made, strict=True):
            np.testing.assert_array_equal(own, wanted)
            assert own.dtype == wanted.dtype
    assert stat.S_IMODE((tmp_path / TOKENS).stat().st_mode) == 0o700


def test_equal_tokenizers_share_tokens_and_others_do_not(data, tmp_path):
    config = EncoderConfig()
    for vocabulary in (60, 60, 80):
        tokenise(data, {"note": WordPiece.train(TEXTS, vocabulary)}, config, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(data, tmp_path):
    left, fresh = (tmp_path / f".key.ids.npy.{name}.partial" for name in ("0a", "0b"))
    for path in (left, fresh):
        path.write_bytes(b"half")
    long_ago = time.time() - ABANDONED - 60
    os.utime(left, (long_ago, long_ago))
    tokenise(data, {"note": WordPiece.train(TEXTS, 60)}, EncoderConfig(), tmp_path)
    assert not left.exists()
    assert fresh.exists()


def test_another_length_or_other_rows_have_tokens_of_their_own(data, tmp_path):
    tokenizer = {"note": WordPiece.train(TEXTS, 60)}
    short = EncoderConfig(text={"length": 4})
    tokenise(data, tokenizer, EncoderConfig(), tmp_path)
    cut = tokenise(data, tokenizer, short, tmp_path)["note"]
    assert cut[0].shape[-1] == 4
    assert len(list(tmp_path.iterdir())) == 4


def test_a_half_written_file_is_not_taken_for_whole(data, tmp_path):
    tokenizer, config = {"note": WordPiece.train(TEXTS, 60)}, EncoderConfig()
    tokenise(data, tokenizer, config, tmp_path)
    for path in tmp_path.glob("*.attention.npy"):
        path.rename(path.with_name(f"{path.name}.0123abcd"))
    kept = tokenise(data, tokenizer, config, tmp_path)["note"]
    np.testing.assert_array_equal(kept[1], tokenise(data, tokenizer, config)["note"][1])


def test_two_runs_in_one_folder_make_them_once(data, tmp_path):
    options = ("--set", "training.max_epochs=1", "--set", "training.batch_size=8")
    for name in ("a", "b"):
        run("train", "unified", "--data", data.path, "--out", tmp_path / name, *options)
    assert len(list((tmp_path / TOKENS).iterdir())) == 2
    assert (tmp_path / "b" / "metrics.json").is_file()
