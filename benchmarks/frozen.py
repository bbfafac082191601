"""What keeping the encodings of a frozen text encoder saves: processor time of whole runs, in one go.

A cohort of a table and notes, and a BERT of six layers with random weights, of the size of small sentence
encoders. Three runs of CM² that differ in nothing else: encoded in every batch, encoded once, and read from
what the run before left. The last is what a trial of a search costs.

    python benchmarks/frozen.py [--rows 600] [--epochs 5]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from transformers import BertConfig, BertModel

from sklar import runs
from sklar.data.frame import write
from sklar.data.schema import Schema, Tabular, Text
from sklar.data.store import PreparedData
from sklar.training.config import resolve

WORDS = [f"word{n}" for n in range(500)]
LENGTH = 64
RATIO = 10.0
"""How many times faster a run with encodings is to be."""


def cohort(folder: Path, rows: int) -> PreparedData:
    """Notes of sixty words, half of which speak of the outcome."""
    rng = np.random.default_rng(0)
    severity = rng.normal(size=rows)
    ids = np.array([f"p{i}" for i in range(rows)])
    words = np.where(rng.random((rows, 60)) < 0.5, (severity > 0)[:, None], rng.integers(0, 500, (rows, 60)))
    notes = pa.table({"id": ids, "text": [" ".join(WORDS[word] for word in row) for row in words]})
    died = (severity + rng.normal(size=rows) > 0).astype(int)
    schema = Schema(id="id", label="died", modalities={"table": Tabular(numeric=("age",)), "notes": Text()})
    return write(folder, schema, pa.table({"id": ids, "died": died, "age": severity}), texts={"notes": notes})


def bert(folder: Path) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    settings = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=LENGTH, **sizes)
    BertModel(settings, add_pooling_layer=False).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data, weights = cohort(folder / "data", asked.rows), bert(folder / "bert")
        settings = [
            f"model.encoders.text={{pretrained: {weights}, freeze: true, length: {LENGTH}}}",
            f"training.max_epochs={asked.epochs}",
            "training.patience=100",
            "training.accelerator=cpu",
        ]
        plain = resolve("cm2", [*settings, "training.cache_encodings=false"])
        cached = resolve("cm2", settings)
        seconds = {}
        for name, config in {"in every batch": plain, "once": cached, "before": cached}.items():
            start = time.process_time()
            runs.train(config, data, folder / name.replace(" ", "-"))
            seconds[name] = time.process_time() - start
            print(
                f"encoded {name}: {seconds[name]:.1f} s of processor time for a run of {asked.epochs} epochs"
            )
    ratio = seconds["in every batch"] / seconds["before"]
    print(f"{asked.rows} rows, ratio {ratio:.0f} (at least {RATIO:.0f})")


if __name__ == "__main__":
    main()
