"""Own tables to a prepared folder, written whole or not at all."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.data.cohort import Cohort, read_cohort
from sklar.data.folder import existing_folder, write_folder
from sklar.data.manifest import FORMAT, Manifest, Step
from sklar.data.outcome import check_training, count, event_rate, index_columns
from sklar.data.preprocess import fit_statistics
from sklar.data.records import Content, OnLate
from sklar.data.schema import Schema
from sklar.data.split import SPLITS, check_split, split_by_group
from sklar.data.store import PreparedData
from sklar.data.tables import as_names, as_numbers, as_strings, as_table, column, first
from sklar.errors import DataError

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction that is done already."""


def write(
    out: str | os.PathLike[str],
    schema: Schema,
    subjects: Any,
    series: Mapping[str, Any] | None = None,
    texts: Mapping[str, Any] | None = None,
    images: Mapping[str, Any] | None = None,
    *,
    split: str | None = None,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    weight: str | None = None,
    name: str = "own tables",
    attrition: Sequence[Mapping[str, Any]] = (),
    risk: Mapping[str, float] | None = None,
    rules: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    restricted: bool = False,
    on_late: OnLate = "drop",
    progress: Progress | None = None,
) -> PreparedData:
    """Check own tables, split them by group, and write a prepared folder.

    The folder appears under its name only when it is complete. When ``out`` holds the folder of the very
    same inputs and options already, that one is returned as it is.

    Args:
        out: Folder to make.
        schema: Names, units and modalities.
        subjects: One row per subject; see `sklar.data.cohort.read_cohort`.
        series: Per time series a long table (id, time, variable, value).
        texts: Per text a long table (id, text), optionally with time and position.
        images: Per image a table (id, image), optionally with time; see `sklar.data.cohort.read_cohort`.
        split: Column of ``subjects`` that says train, valid or test; None draws a split.
        fractions: Shares of a drawn split: train, valid, test.
        seed: Seed of a drawn split.
        weight: Column of ``subjects`` with sampling weights (inverse probability of censoring, say);
            None gives every row weight 1.
        name: Name of the data set, for reports.
        attrition: How the rows were chosen: {"step", "subjects", "events"} each.
        risk: More estimates of the event rate, such as {"kaplan_meier": 0.05}.
        rules: How the source was read, by name; kept in the manifest.
        notes: Sentences that reports print.
        restricted: True when the data may not leave the machine.
        on_late: See `sklar.data.cohort.read_cohort`.
        progress: Called with a stage and the fraction done.

    Returns:
        The prepared folder, opened.

    Raises:
        UserError: ``out`` holds something else, or tables and schema do not name the same modalities.
        DataError: A table breaks its contract, or a modality is absent in every training row.
    """
    say = progress or _silent
    say("reading tables", 0.0)
    people = as_table(subjects, "subjects")
    series = {key: as_table(frame, f"series {key!r}") for key, frame in (series or {}).items()}
    texts = {key: as_table(frame, f"text {key!r}") for key, frame in (texts or {}).items()}
    images = {key: as_table(frame, f"image {key!r}") for key, frame in (images or {}).items()}
    about: dict[str, Any] = {
        "name": name,
        "attrition": [dict(step) for step in attrition],
        "risk": dict(risk or {}),
        "rules": dict(rules or {}),
        "notes": list(notes),
        "restricted": restricted,
        "seed": None if split else seed,
    }
    options = {"format": FORMAT, "schema": schema.model_dump(mode="json"), "weight": weight, "split": split}
    options |= {"fractions": list(fractions), "about": about}
    options |= {"tables": [list(series), list(texts), list(images)]}
    configuration = _fingerprint(options, [people, *series.values(), *texts.values(), *images.values()])
    target = Path(out)
    existing = existing_folder(target, configuration)
    if existing is not None and (on_late == "drop" or not _dropped(existing)):
        say("found the same folder", 1.0)
        return existing

    say("checking tables", 0.1)
    cohort = read_cohort(schema, people, series, texts, images, on_late=on_late)
    say("splitting", 0.6)
    parts = _split(cohort, split, fractions, seed)
    _check_training(cohort, parts == SPLITS[0])
    weights = _weights(cohort, weight)
    say("writing", 0.7)
    contents = {"index": _index(cohort, parts, weights)}
    contents |= {key: item.values for key, item in cohort.content.items()}
    write_folder(target, _describe(cohort, parts, about, configuration), contents)
    say("done", 1.0)
    return PreparedData.open(target)


def _describe(
    cohort: Cohort, parts: NDArray[np.str_], about: Mapping[str, Any], configuration: str
) -> Manifest:
    """The manifest, but for the hashes of files that are not written yet."""
    training = parts == SPLITS[0]
    empty = np.asarray((cohort.rows < 0).all(axis=1))
    chosen = {"all": np.ones(len(parts), dtype=bool)} | {part: parts == part for part in SPLITS}
    counts = {name: count(cohort.schema, cohort.target[own], empty[own]) for name, own in chosen.items()}
    steps = [Step(**step) for step in about["attrition"]]
    return Manifest(
        format=FORMAT,
        name=about["name"],
        schema=cohort.schema,
        counts=counts,
        presence={key: len(item.rows) / len(parts) for key, item in cohort.content.items()},
        records={key: {k: _plain(v) for k, v in item.counts.items()} for key, item in cohort.content.items()},
        attrition=tuple(steps or [Step("rows of the subjects' table", len(parts), counts["all"].events)]),
        statistics=fit_statistics(
            cohort.schema, {key: _training_part(item, training) for key, item in cohort.content.items()}
        ),
        risk=event_rate(counts["all"]) | about["risk"],
        files={},
        configuration=configuration,
        hash="",
        rules=about["rules"],
        notes=tuple(about["notes"]),
        restricted=about["restricted"],
        seed=about["seed"],
    )


def _fingerprint(options: Mapping[str, Any], tables: Sequence[pa.Table]) -> str:
    """SHA-256 of the options and of every table as Arrow writes it, whatever its chunks and metadata."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for table in tables:
        plain = table.replace_schema_metadata(None).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, plain.schema) as stream:
            stream.write_table(plain)
        digest.update(sink.getvalue())
    return digest.hexdigest()


def _split(
    cohort: Cohort, split: str | None, fractions: tuple[float, float, float], seed: int
) -> NDArray[np.str_]:
    groups = as_strings(cohort.groups)
    if split is None:
        return split_by_group(groups, fractions, seed)
    parts = as_strings(as_names(column(cohort.subjects, split, "subjects"), "subjects", split))
    check_split(parts, groups, split)
    return parts


def _check_training(cohort: Cohort, training: NDArray[np.bool_]) -> None:
    for name, item in cohort.content.items():
        if not training[item.rows].any():
            raise DataError(
                f"modality {name!r} is absent in all {int(training.sum())} training rows (present in "
                f"{len(item.rows)} of {len(training)} rows); nothing can be learned of it. Take it out of "
                "the schema, check its ids, times and limits, or change the split"
            )
    check_training(cohort.schema, cohort.target[training])


def _weights(cohort: Cohort, name: str | None) -> NDArray[np.float64]:
    if name is None:
        return np.ones(len(cohort.ids))
    weights = as_numbers(column(cohort.subjects, name, "subjects"), "subjects", name)
    if (bad := ~(np.isfinite(weights) & (weights > 0))).any():
        row = first(bad)
        raise DataError(
            f"subjects: weight {name!r} is {weights[row]} in row {row} ({int(bad.sum())} rows); a weight is "
            "a positive number. Drop rows that carry none"
        )
    return weights


def _dropped(data: PreparedData) -> bool:
    """Whether records after the moment of prediction were left out."""
    return any(own.get("after_time_zero") for own in data.manifest.records.values())


def _training_part(item: Content, training: NDArray[np.bool_]) -> NDArray[Any] | pa.Table:
    chosen = training[item.rows]
    return item.values.filter(pa.array(chosen)) if isinstance(item.values, pa.Table) else item.values[chosen]


def _index(cohort: Cohort, parts: NDArray[np.str_], weights: NDArray[np.float64]) -> pa.Table:
    rows = cohort.rows
    columns: dict[str, Any] = {
        "id": cohort.ids,
        "group": cohort.groups,
        "split": pa.array(parts.astype(object), pa.string()),
        **index_columns(cohort.schema, cohort.target),
        "weight": pa.array(weights),
    }
    columns |= {f"present_{name}": pa.array(rows[:, m] >= 0) for m, name in enumerate(cohort.content)}
    columns |= {f"row_{name}": pa.array(rows[:, m]) for m, name in enumerate(cohort.content)}
    columns |= {
        f"time_{name}": pa.array(item.times).take(pa.array(rows[:, m], mask=rows[:, m] < 0))
        for m, (name, item) in enumerate(cohort.content.items())
        if item.times is not None
    }
    return pa.table(columns)


def _plain(count: int | Mapping[str, int]) -> int | dict[str, int]:
    return count if isinstance(count, int) else dict(count)


def _silent(_what: str, _done: float) -> None:
    return None
