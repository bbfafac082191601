"""Explanations of a run's rows, and the file that keeps them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sklar.data.folder import PRIVATE
from sklar.data.outcome import labelled
from sklar.data.store import PreparedData
from sklar.errors import DataError, UserError, nearest
from sklar.evaluation import spread
from sklar.explanation.explain import Explanation, explain
from sklar.explanation.features import COLUMNS
from sklar.runs import Run
from sklar.training.files import whole

EXPLANATION = "explanation.parquet"
"""Where a run folder keeps the explanation that its report shows, of a run that predicts one event."""
_ABOUT = b"sklar"


def kept_at(run: Run, output: str | None = None) -> Path:
    """Where a run folder keeps the explanation of its event, or of one of several outputs, for its report.

    Raises:
        UserError: The output is not one, or is not named.
    """
    place = _place(run, output)
    return run.path / (EXPLANATION if output is None else f"explanation-{place}.parquet")


def explain_run(
    run: Run,
    data: PreparedData,
    split: str = "test",
    count: int = 6,
    ids: Sequence[str] | None = None,
    output: str | None = None,
) -> Explanation:
    """Explain rows of a prepared folder by a run's model.

    Args:
        run: A finished run of a model; references keep none.
        data: A prepared folder with the same modalities.
        split: Which rows to choose from.
        count: So many rows, spread evenly over the predicted risk; all where there are no more.
        ids: Names of the rows instead, of any split.
        output: Which label or class, of a model with several.

    Raises:
        UserError: The run is a reference model, a row is not there, or the output is not one or is not named.
        DataError: The folder has other modalities.
    """
    model, place_of = run.model, _place(run, output)
    own, documents = run.ready(data)
    if ids is not None:
        place = {str(name): position for position, name in enumerate(own.ids)}
        if lost := [name for name in ids if name not in place]:
            raise UserError(f"no row {lost[0]!r} in {data.path}; ids are those of its subjects' table")
        rows = np.array([place[name] for name in ids], dtype=np.int64)
    else:
        rows = own.rows(split)
        risk = run.predict(data, split).probability.reshape(len(rows), -1)[:, place_of]
        target = own.target[rows]
        known = labelled(target[:, place_of] if target.ndim > 1 else target)
        rows = rows[spread(risk, count, own.present[rows].any(1) & known)]
    counts = run.data["counts"]["train"]
    counts = counts["outputs"][output] if output is not None else counts
    return explain(
        model, own, rows, documents, run.tokenizers,
        base=counts["events"] / counts["labelled"],
        draws=run.config.training.draws, seed=run.config.seed, output=place_of,
    )  # fmt: skip


def _place(run: Run, output: str | None) -> int:
    """Position of an output among the model's."""
    known = () if run.schema.task == "binary" else run.schema.outputs
    if output is None and known:
        raise UserError(f"{run.path} predicts {', '.join(known)}: name the one to explain")
    if output is not None and output not in known:
        what = ", ".join(known) or "one event"
        raise UserError(f"{run.path} has no output {output!r}; it predicts {what}{nearest(output, known)}")
    return 0 if output is None else known.index(output)


def write_explanation(path: Path, found: Explanation, private: bool) -> None:
    """Write the features of every row as Parquet, and what is known of the rows as JSON beside it.

    The same stands in the metadata of the Parquet file, which can be read alone.

    Args:
        path: The Parquet file; each file appears whole or not at all.
        found: What to write.
        private: The rows are restricted: nobody else may read the files.
    """
    about = json.dumps(explanation_dict(found), indent=1).encode()
    table = found.features.replace_schema_metadata({_ABOUT: about})
    names = pa.array(found.ids[table["row"].to_numpy()])
    buffer = pa.BufferOutputStream()
    pq.write_table(table.add_column(0, "id", names), buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, content in ((path.with_suffix(".json"), about), (path, buffer.getvalue().to_pybytes())):
        with whole(file) as temporary:
            temporary.touch(mode=PRIVATE & 0o666 if private else 0o666)
            temporary.write_bytes(content)


def read_explanation(path: Path) -> Explanation:
    """Read what ``write_explanation`` wrote.

    Raises:
        DataError: The file is damaged, or something else.
    """
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[_ABOUT])
        return _explanation(about, table.drop_columns("id").replace_schema_metadata(None).cast(COLUMNS))
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no explanation, or damaged ({error!r}): sklar explain writes one"
        ) from error


def _explanation(about: Mapping[str, Any], features: pa.Table) -> Explanation:
    """The inverse of `explanation_dict`; errors are those of Python."""
    rows, modalities = about["rows"], tuple(about["modalities"])
    if not np.isin(features["row"], np.arange(len(rows))).all():
        raise ValueError("features of rows that are not there")

    def column(name: str) -> NDArray[np.float64]:
        return np.array([row[name] for row in rows], dtype=np.float64)

    return Explanation(
        ids=np.array([row["id"] for row in rows], dtype=np.str_),
        modalities=modalities,
        present=np.array([[name in row["present"] for name in modalities] for row in rows]),
        probability=column("probability"),
        baseline=column("baseline"),
        gap=column("gap"),
        shapley=np.array([[row["shapley"][name] for name in modalities] for row in rows], dtype=np.float64),
        base=float(about["base"]),
        features=features,
    )


def largest(found: Explanation, count: int = 10) -> list[tuple[str, str, float]]:
    """Modality, feature and mean size of what the most influential features contribute, over the rows."""
    table = found.features
    pairs = zip(table["modality"].to_pylist(), table["feature"].to_pylist(), strict=True)
    names = [f"{modality}\n{feature}" for modality, feature in pairs]
    kinds, code = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
    cell = code * len(found.ids) + table["row"].to_numpy()
    total = np.bincount(cell, table["contribution"].to_numpy(), minlength=len(kinds) * len(found.ids))
    size = np.abs(total.reshape(len(kinds), len(found.ids))).mean(1)
    order = np.argsort(-size, kind="stable")[:count]
    return [(*str(kinds[index]).split("\n", 1), float(size[index])) for index in order]  # type: ignore[misc]


def explanation_dict(found: Explanation) -> dict[str, Any]:
    """Plain types, ready for JSON; features are in the table."""
    return {
        "modalities": list(found.modalities),
        "base": found.base,
        "shapley": found.modality_shapley,
        "largest_gap": float(np.abs(found.gap).max()),
        "rows": [
            {
                "id": str(name),
                "present": [m for m, there in zip(found.modalities, seen, strict=True) if there],
                "probability": float(p),
                "baseline": float(start),
                "gap": float(gap),
                "shapley": dict(zip(found.modalities, shares.tolist(), strict=True)),
            }
            for name, seen, p, start, gap, shares in zip(
                found.ids, found.present, found.probability, found.baseline, found.gap, found.shapley,
                strict=True,
            )
        ],
    }  # fmt: skip
