"""A question to several models over several seeds: each answer is kept, and all stand in one Markdown table.

What was answered already is not asked again, so that an interrupted comparison goes on. This is the frame of
ptbxl.py and uci_mfeat.py.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from sklar import MultimodalClassifier, Schema, __version__, runs
from sklar.data.split import split_by_group
from sklar.data.wide import write_wide
from sklar.evaluation import auroc, average_precision
from sklar.training.config import resolve

FUSIONS = ("cm2", "daft", "drfuse", "interleaved", "late", "lsmt", "medfuse", "mmtm", "unified")
"""The models of several modalities."""

OWN: Mapping[str, Mapping[str, Any]] = {
    "lsmt": {
        "model.width": 64,
        "model.head_width": 16,
        "model.mlp": 64,
        "model.layers": 2,
        "model.perceiver.latents": 16,
        "model.perceiver.width": 32,
        "model.perceiver.depth": 3,
        "model.perceiver.cross_width": 32,
        "model.perceiver.head_width": 8,
    }
}
"""Sizes that a model has beside those that all share. LSMT's published ones are made for tens of thousands of
rows: thirteen layers of up to 384 numbers a token, where the others have 32 here."""

REFERENCE = "gradient_boosting"


@dataclass(frozen=True)
class Question:
    """What is asked of every model.

    Attributes:
        name: Of the folder with the answers.
        schema: Of both tables.
        seen: The rows as training sees them.
        shown: The same rows as a model sees them that is tested on them.
        parts: Rows of which those of the test are judged by themselves too, by name.
        singles: Modalities that get a model of their own.
        fractions: Shares of the groups for training, validation and test.
        settings: Of every network.
        max_epochs: Of every network.
    """

    name: str
    schema: Schema
    seen: pa.Table
    shown: pa.Table
    parts: Mapping[str, NDArray[np.bool_]]
    singles: tuple[str, ...]
    fractions: tuple[float, float, float]
    settings: Mapping[str, Any]
    max_epochs: int

    @property
    def models(self) -> tuple[str, ...]:
        """All that are compared."""
        return (*FUSIONS, *[f"single {name}" for name in self.singles], REFERENCE)

    def settings_of(self, model: str) -> dict[str, Any]:
        """Those of all networks and the model's own."""
        return {**self.settings, **OWN.get(model, {})}

    def key(self, model: str) -> str:
        """Of everything that decides a model's answer but its name and the seed."""
        settings = self.settings_of(model)
        content = [__version__, self.schema.model_dump(mode="json"), self.fractions, settings]
        tables = [hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest() for table in self.tables]
        return hashlib.sha256(json.dumps([*content, self.max_epochs, tables]).encode()).hexdigest()[:12]

    @property
    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Both."""
        return self.seen, self.shown

    def split(self, seed: int) -> NDArray[np.str_]:
        """(N,) train, valid or test, the same for all rows of a group."""
        groups = np.array(self.seen[self.schema.group or self.schema.id].to_pylist(), dtype=np.str_)
        return split_by_group(groups, self.fractions, seed)


def answer(question: Question, model: str, seed: int, folder: Path) -> NDArray[np.float64]:
    """(test rows, classes) probabilities of a model that has seen the training rows."""
    part = question.split(seed)
    if model == REFERENCE:
        return _of_reference(question, part, seed, folder)
    fusion, _, modality = model.partition(" ")
    settings = question.settings_of(model) | ({"model.modality": modality} if modality else {})
    network = MultimodalClassifier(
        question.schema,
        fusion,
        settings=settings,
        max_epochs=question.max_epochs,
        random_state=seed,
    )
    train, valid = (question.seen.filter(pa.array(part == name)) for name in ("train", "valid"))
    network.fit(train, valid=valid)
    return network.predict_proba(question.shown.filter(pa.array(part == "test")))


def _of_reference(question: Question, part: NDArray[np.str_], seed: int, folder: Path) -> NDArray[np.float64]:
    """The boosted trees read one prepared folder, in which test rows are as they are shown."""
    test = pa.array(part == "test")
    table = pa.concat_tables([question.seen.filter(pa.array(part != "test")), question.shown.filter(test)])
    parts = np.concatenate([part[part != "test"], part[part == "test"]]).astype(object)
    table = table.append_column("part", pa.array(parts))
    data = write_wide(folder / f"data-{seed}", question.schema, table, split="part")
    run = runs.train(resolve(REFERENCE, seed=seed), data, folder / f"{REFERENCE}-{seed}", resume=True)
    found = run.predictions()
    ids = question.shown.filter(test)[question.schema.id].to_pylist()
    place = {name: row for row, name in enumerate(found.ids)}
    probability = found.probability[[place[str(name)] for name in ids]]
    return probability if probability.ndim == 2 else np.stack([1 - probability, probability], axis=1)


def judge(y: NDArray[np.int64], probability: NDArray[np.float64], classes: int) -> dict[str, float]:
    """AUROC and average precision of an event; of classes accuracy and mean AUROC, each against the rest."""
    if classes == 2:
        return {
            "AUROC": auroc(y, probability[:, 1]),
            "average precision": average_precision(y, probability[:, 1]),
        }
    each = [auroc((y == k).astype(np.int64), probability[:, k]) for k in range(classes)]
    return {"accuracy": float((probability.argmax(1) == y).mean()), "AUROC": float(np.mean(each))}


def score(question: Question, model: str, seed: int, out: Path) -> dict[str, float]:
    """The metrics of a model on the test rows of a seed, kept in a file."""
    folder = out / f"{question.name}-{question.key(model)}"
    file = folder / f"{model.replace(' ', '-')}-{seed}.json"
    if file.is_file():
        kept: dict[str, float] = json.loads(file.read_text())
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    probability = answer(question, model, seed, folder)
    test = question.split(seed) == "test"
    label, classes = question.seen[str(question.schema.label)].to_pylist(), question.schema.classes
    names = classes or (0, 1)
    y = np.array([names.index(own) for own in label])[test]
    found = judge(y, probability, len(names))
    for name, rows in question.parts.items():
        own = rows[test]
        metric, value = next(iter(judge(y[own], probability[own], len(names)).items()))
        found[f"{metric} {name}"] = value
    partial = file.with_suffix(".part")
    partial.write_text(json.dumps(found))
    partial.replace(file)
    return found


def compare(
    question: Question,
    out: Path,
    models: Sequence[str] = (),
    seeds: Sequence[int] = range(5),
    announce: Callable[[str], None] = lambda _: None,
) -> dict[str, list[dict[str, float]]]:
    """Per model the metrics of every seed; a seed draws the split and all that is random in the model."""
    found: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:  # so that an interrupted comparison has whole seeds
        for model in models or question.models:
            announce(f"{question.name}: {model}, seed {seed}")
            found.setdefault(model, []).append(score(question, model, seed, out))
    return found


def interval(values: NDArray[np.float64]) -> str:
    """Mean and its 95 % t interval over seeds, whose test rows overlap: it is narrower than the truth."""
    mean, count = values.mean(), len(values)
    if count < 2:
        return f"{mean:.3f}"
    half = stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / count**0.5
    return f"{mean:.3f} ({mean - half:.3f} to {mean + half:.3f})"


def markdown(found: Mapping[str, Sequence[Mapping[str, float]]], than: str = "cm2") -> str:
    """The table, best model first, with the difference to one model, paired by seed."""
    metrics = list(next(iter(found.values()))[0])
    values = {
        model: np.array([[own[key] for key in metrics] for own in kept]) for model, kept in found.items()
    }
    lines = [
        f"| model | {' | '.join(metrics)} | {metrics[0]}, difference to {than} |",
        "|---" * (len(metrics) + 2) + "|",
    ]
    for model in sorted(values, key=lambda name: -values[name][:, 0].mean()):
        cells = [interval(column) for column in values[model].T]
        gap = "" if model == than else interval(values[model][:, 0] - values[than][:, 0])
        lines.append(f"| {model} | {' | '.join(cells)} | {gap} |")
    return "\n".join(lines)


def data_folder(name: str) -> Path:
    """Where the data are: a folder of the one that ``SKLAR_TEST_DATA`` names, by default ``../shared``."""
    folder = Path(os.environ.get("SKLAR_TEST_DATA", "../shared")) / "data" / name
    if not folder.is_dir():
        raise SystemExit(f"{folder} does not exist: set SKLAR_TEST_DATA to the folder that holds data/{name}")
    return folder


def main(description: str, question: Callable[[], Question]) -> None:
    """The command line of a comparison: prints its table."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("runs/examples"), help="where answers are kept")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=(), help="by default all of them")
    arguments = parser.parse_args()
    asked = question()
    found = compare(asked, arguments.out, arguments.models, range(arguments.seeds), print)
    print(markdown(found, "cm2" if "cm2" in found else next(iter(found))))
