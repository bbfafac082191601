"""Raw MIMIC tables to a prepared folder."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sklar._version import __version__
from sklar.data.folder import existing_folder, write_folder
from sklar.data.frame import Progress
from sklar.data.manifest import FORMAT
from sklar.data.preprocess import Preprocessor
from sklar.data.split import check_split
from sklar.data.store import CHARACTERISTICS, PreparedData
from sklar.errors import DataError, UserError
from sklar.mimic import cells as cell_rules
from sklar.mimic import events
from sklar.mimic.additions import Addition, check_training, join
from sklar.mimic.characteristics import characteristics
from sklar.mimic.cohort import stays as stays_expression
from sklar.mimic.describe import TASKS, describe, index_table, schema_of, stays_table
from sklar.mimic.engines import Engine, disk_full, embedded_failure
from sklar.mimic.grid import chunks_of, normaliser, write_grid
from sklar.mimic.layout import Layout, layout_of
from sklar.mimic.notes.modality import note
from sklar.mimic.open import open_engine
from sklar.mimic.radiographs.decode import SEEN
from sklar.mimic.radiographs.modality import Radiographs, image, pairs, radiographs_of, report
from sklar.mimic.rules import Rules, resolve
from sklar.mimic.splits import Lists, read_lists, split
from sklar.mimic.steps import Steps, fingerprint
from sklar.mimic.synthetic import is_synthetic
from sklar.mimic.variables import STEPS, grid

BYTES_PER_STAY = STEPS * 76 * 12 + 30_000
"""Raw and model-ready array, and the sparse cells."""


@dataclass(frozen=True)
class Options:
    """What a preparation depends on beside the raw tables.

    Attributes:
        layout: The data set.
        tasks: Outcomes, the one that models learn first.
        rules: How the tables are read.
        lists: Published splits, or None for the hash.
        restricted: Whether the result may not leave the machine; None asks the version: demos are open.
        synthetic: Whether raw tables, pictures and reports are simulated.
        radiographs: Where chest radiographs and their reports lie, or None.
        notes: Whether clinical notes are read.
    """

    layout: Layout
    tasks: tuple[str, ...]
    rules: Rules
    lists: Lists | None
    restricted: bool | None
    synthetic: bool
    radiographs: Radiographs | None
    notes: bool

    def as_dict(self) -> dict[str, Any]:
        """For a fingerprint."""
        return {
            "format": FORMAT,
            "sklar": __version__,
            "source": self.layout.source,
            "tasks": self.tasks,
            "rules": self.rules.as_dict(),
            "lists": None if self.lists is None else self.lists.about,
            "restricted": self.restricted,
            "synthetic": self.synthetic,
            "radiographs": None if self.radiographs is None else self.radiographs.as_list(),
            "notes": self.notes,
        }


def prepare(
    source: str,
    raw: str | os.PathLike[str],
    out: str | os.PathLike[str],
    tasks: Sequence[str] = ("ihm", "readm"),
    rules: str | Rules = "compat",
    engine: str = "duckdb",
    *,
    cxr: str | os.PathLike[str] | None = None,
    reports: str | os.PathLike[str] | None = None,
    image_size: int = SEEN,
    notes: bool = False,
    test_list: str | os.PathLike[str] | None = None,
    valid_list: str | os.PathLike[str] | None = None,
    memory_limit: str | None = None,
    threads: int | None = None,
    restricted: bool | None = None,
    progress: Progress | None = None,
) -> PreparedData:
    """Prepare MIMIC-III or MIMIC-IV: 17 variables in 24 bins over the first 48 hours in the ICU.

    The folder appears under its name only when it is complete. Interrupted or failed work keeps its finished
    tables in a hidden folder beside ``out`` and goes on from there. When ``out`` was prepared from the very
    same inputs already, it is returned as it is.

    Args:
        source: "mimic-iii" or "mimic-iv".
        raw: Folder of the raw tables (csv, csv.gz or parquet); for a database its address.
        out: Folder to make.
        tasks: "ihm" (death in hospital), "readm" (readmission within 30 days); models learn the first.
        rules: "compat" (the published benchmark, defects included), "strict", or `Rules`.
        engine: "duckdb", "postgres" or "spark"; for others see `sklar.mimic.compiled`.
        cxr: Folder of MIMIC-CXR-JPG: its metadata table, and the pictures of the paired stays under
            ``files/``. The last bedside picture of a stay becomes modality "cxr".
        reports: Folder or archive (.tar, .tar.gz, .zip) of MIMIC-CXR's reports; goes with ``cxr``. The report
            of that picture becomes "report", one document per section.
        image_size: Side of the square of a picture that models see; smaller ones suit a laptop.
        notes: Whether the last notes of a stay become modality "notes" (MIMIC-III, NOTEEVENTS).
        test_list: Published list of test patients, lines "subject,0 or 1"; goes with ``valid_list``.
        valid_list: Published list of validation patients. Without lists patients are split by a hash.
        memory_limit: Of the embedded engine ("4GB"); what does not fit spills to disk.
        threads: Of the embedded engine; all cores by default.
        restricted: True when the data may not leave the machine; None: everything but the
            public demos and simulated tables.
        progress: Called with a stage and the fraction done.

    Returns:
        The prepared folder, opened.

    Raises:
        UserError: An argument is wrong, or ``out`` holds something else.
        DataError: A table is missing, unreadable or breaks its contract; finished tables are kept.
    """
    layout = layout_of(source)
    synthetic = all(is_synthetic(Path(place)) for place in (raw, cxr, reports) if place is not None)
    options = Options(
        layout.with_notes() if notes else layout,
        _tasks(tasks),
        resolve(rules),
        _lists(test_list, valid_list, layout),
        False if synthetic and restricted is None else restricted,
        synthetic,
        radiographs_of(layout, cxr, reports, image_size),
        notes,
    )
    layout = options.layout
    target = Path(out)
    say = progress or _silent
    say("looking at the raw tables", 0.0)
    reader = open_engine(engine, raw, layout, memory_limit, threads, target)
    try:
        configuration = fingerprint(options.as_dict(), engine, reader.fingerprint())
        if (existing := existing_folder(target, configuration)) is not None:
            say("found the same folder", 1.0)
            return existing
        steps = Steps(target)
        _make(target, reader, steps, options, configuration, say)
    except OSError as error:
        raise disk_full(error, target) or error from error
    finally:
        reader.close()
    steps.remove()
    say("done", 1.0)
    return PreparedData.open(target)


def _make(
    target: Path, reader: Engine, steps: Steps, options: Options, configuration: str, say: Progress
) -> None:
    for name in options.layout.tables:
        reader.table(name)  # a missing column must not come to light after hours of reading
    say("choosing stays", 0.02)
    stays = _stays(reader, steps, options)
    rows = int(np.sum(stays["eligible"].to_numpy()))
    steps.need(rows * BYTES_PER_STAY, f"{rows:,} stays")
    cells, records = _cells(reader, steps, stays, options, say)
    say("filling the grid", 0.85)
    ids = np.unique(cells["stay_id"].to_numpy())
    if not len(ids):
        raise DataError(
            f"{reader.where('icustays')}: no stay qualifies ({stays.num_rows} stays, {rows} in the cohort "
            "for 48 hours, none with a measurement). Check that all tables come from one release"
        )
    keep = np.isin(stays["stay_id"].to_numpy(), ids)
    own = stays.filter(pa.array(keep)).sort_by("stay_id")
    raw_path = steps.folder / "ehr.npy"
    array = write_grid(cells, ids, options.rules, raw_path)
    parts = split(own["subject_id"].to_numpy(), options.layout.source, options.lists)
    check_split(parts, own["subject_id"].to_numpy().astype(str), "split")
    fitted = {"train_valid": ("train", "valid"), "train": ("train",)}[options.rules.normaliser]
    statistics = normaliser(array, np.flatnonzero(np.isin(parts, fitted)))
    added = _added(reader, steps, stays, own, parts, options, say)
    schema = schema_of(options.tasks, grid(options.rules.clip), added)
    say("normalising", 0.94)
    ready_path = _normalised(array, Preprocessor(schema, statistics), steps.folder / "ehr.ready.npy")
    index = join(index_table(own, parts, options.tasks), added)
    manifest = describe(
        schema, index, stays, statistics, records, options.layout, options.rules, options.tasks,
        added=added, lists=options.lists, restricted=options.restricted, synthetic=options.synthetic,
        engine=reader.name, configuration=configuration,
    )  # fmt: skip
    say("writing", 0.97)
    contents = {"index": index, "stays": stays_table(own), "cells": cells}
    contents |= {CHARACTERISTICS: characteristics(own)}
    contents |= {"ehr": raw_path, "ehr.ready": ready_path}
    for addition in added:
        contents |= addition.contents
    write_folder(target, manifest, contents)


def _added(
    reader: Engine, steps: Steps, stays: pa.Table, own: pa.Table, parts: NDArray[np.str_], options: Options,
    say: Progress,
) -> list[Addition]:  # fmt: skip
    """The modalities beside the series, in the order of the schema."""
    rules, added = options.rules, []
    if (place := options.radiographs) is not None:
        say("pairing pictures", 0.86)
        paired, counts = pairs(place.folder, own, rules, options.lists)

        def decoding(done: float) -> None:
            say("decoding pictures", 0.87 + 0.05 * done)

        added.append(image(place, paired, counts, own, rules, steps, decoding))
        if place.reports is not None:
            say("reading reports", 0.92)
            added.append(report(place.reports, paired, own, rules))
    if options.notes:
        inputs = partial(_inputs, reader, options)
        added.append(note(reader, steps, stays, own, parts, rules, inputs, lambda what: say(what, 0.92)))
    for addition in added:
        check_training(addition, parts)
    return added


def _stays(reader: Engine, steps: Steps, options: Options) -> pa.Table:
    """Every ICU stay with what decides about it, each once."""

    def write(path: Path) -> None:
        stays = reader.run(stays_expression(reader.table, options.layout, options.rules), "icustays")
        _check_unique(stays, reader, options.layout)
        pq.write_table(stays, path)

    return pq.read_table(steps.file("stays", _inputs(reader, options), write))


def _inputs(reader: Engine, options: Options, *events: str) -> str:
    """What a step depends on: rules, the small tables, and the named event tables."""
    small = set(options.layout.tables) - {*options.layout.events, *options.layout.notes}
    used = {name: place for name, place in reader.fingerprint().items() if name in small or name in events}
    return fingerprint(__version__, options.layout.source, options.rules.as_dict(), reader.name, used)


def _check_unique(stays: pa.Table, reader: Engine, layout: Layout) -> None:
    ids, counts = np.unique(stays["stay_id"].to_numpy(), return_counts=True)
    if (counts > 1).any():
        column = layout.tables["icustays"].raw("stay_id")
        raise DataError(
            f"{reader.where('icustays')}: column {column!r}: {ids[counts > 1][0]} is there "
            f"{counts.max()} times "
            f"({int((counts > 1).sum())} such stays), or its admission or patient is repeated in "
            f"{reader.where('admissions')} or {reader.where('patients')}. Keep one row each"
        )


def _cells(
    reader: Engine, steps: Steps, stays: pa.Table, options: Options, say: Progress
) -> tuple[pa.Table, dict[str, int]]:
    """One value per stay, bin and variable, and how many rows were used."""
    layout, rules = options.layout, options.rules
    cohort = reader.upload(stays.filter(stays["in_cohort"]).select(events.COHORT))
    paths = []
    shares = _shares(reader, layout)
    for name in layout.events:

        def report(done: float, name: str = name) -> None:
            begin, length = shares[name]
            say(f"reading {name}", begin + length * done)

        def write(path: Path, name: str = name, report: Callable[[float], None] = report) -> None:
            rows = events.measurements(reader.table(name), cohort, name, layout, rules)
            reader.save(rows, path, name, report)

        report(0.0)
        paths.append(steps.file(name, _inputs(reader, options, name), write))

    def settle(path: Path) -> None:
        local = reader.workspace
        rows = local.read_parquet([str(path) for path in paths])
        moments = local.create_table("moments", cell_rules.moments(rows), temp=True, overwrite=True)
        numeric: set[int] = set()
        if rules.ties == "text":
            numeric = _numeric(reader, cohort, cell_rules.undecided(moments).to_pyarrow(), options)
        pq.write_table(cell_rules.cells(moments, sorted(numeric), rules).to_pyarrow(), path)

    say("settling ties", 0.8)
    inputs = _inputs(reader, options, *layout.events)
    try:
        cells = pq.read_table(steps.file("cells", inputs, settle))
    except Exception as error:  # duckdb has no common kind for what it lacks
        raise embedded_failure(error, steps.folder / "cells") or error from error
    records = {"cells": cells.num_rows}
    for name, path in zip(layout.events, paths, strict=True):
        with pq.ParquetFile(path) as file:
            gaps = sum(batch["value"].null_count for batch in file.iter_batches(columns=["value"]))
            records |= {name: file.metadata.num_rows, f"{name}_without_value": gaps}
    return cells, records


def _shares(reader: Engine, layout: Layout) -> dict[str, tuple[float, float]]:
    """Where on the way from 5 to 80 % each event table begins, and how far it goes; by size where known."""
    sizes = np.array([reader.size(name) or 1 for name in layout.events], dtype=np.float64)
    length = 0.75 * sizes / sizes.sum()
    begin = 0.05 + np.cumsum(length) - length
    return dict(zip(layout.events, zip(begin.tolist(), length.tolist(), strict=True), strict=True))


def _numeric(reader: Engine, cohort: Any, undecided: pa.Table, options: Options) -> set[int]:
    """Subjects whose values are all numbers, among those for whom it matters; the smaller table first."""
    left = set(undecided["subject_id"].to_pylist())
    for name in reversed(options.layout.events):
        if left:
            found = events.subjects_with_text(
                reader.table(name), cohort, sorted(left), name, options.layout, options.rules
            )
            left -= set(reader.run(found, name)["subject_id"].to_pylist())
    return left


def _normalised(array: NDArray[np.float64], preprocessor: Preprocessor, path: Path) -> Path:
    ready = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=array.shape)
    for rows, raw in chunks_of(array):
        ready[rows] = preprocessor.grid("ehr", raw)
    ready.flush()
    return path


def _tasks(tasks: Sequence[str]) -> tuple[str, ...]:
    chosen = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(TASKS):
        raise UserError(
            f"tasks {', '.join(chosen) or 'none'}: choose one or more of {', '.join(TASKS)}, each once"
        )
    return chosen


def _lists(
    test: str | os.PathLike[str] | None, valid: str | os.PathLike[str] | None, layout: Layout
) -> Lists | None:
    if (test is None) != (valid is None):
        raise UserError("split lists: give both the test list and the validation list, or neither")
    return None if test is None or valid is None else read_lists(Path(test), Path(valid), layout.source)


def _silent(_what: str, _done: float) -> None:
    return None
