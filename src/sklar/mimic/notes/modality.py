"""Clinical notes as a modality of MIMIC-III stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sklar.data.schema import Text
from sklar.errors import DataError
from sklar.mimic.additions import Addition, documents
from sklar.mimic.engines import Engine
from sklar.mimic.events import COHORT
from sklar.mimic.notes import choice
from sklar.mimic.notes.text import clean
from sklar.mimic.rules import Rules
from sklar.mimic.steps import Steps, fingerprint
from sklar.mimic.variables import WINDOW_SECONDS


def note(
    reader: Engine, steps: Steps, stays: pa.Table, own: pa.Table, parts: NDArray[np.str_], rules: Rules,
    inputs: Callable[..., str], say: Callable[[str], None],
) -> Addition:  # fmt: skip
    """The last notes of each stay that has enough.

    Args:
        reader: The engine, with the tables of notes.
        steps: Where finished tables are kept.
        stays: Every ICU stay, as `sklar.mimic.cohort.stays` has them.
        own: Those that are rows, N of them in the order of ``stay_id``.
        parts: (N,) "train", "valid" or "test".
        rules: Which notes count.
        inputs: Hash of what a step depends on, given the event tables that it reads.
        say: Called with each stage.

    Raises:
        DataError: The table of notes is empty, unreadable, or repeats a number, or no stay has enough.
    """
    windows = _windows(reader, steps, stays, own, parts, rules, inputs, say)
    key = fingerprint(
        inputs("noteevents", *choice.EVENTS),
        windows["stay_id"].to_pylist(),
        windows["last_second"].to_pylist(),
    )

    def find(path: Path) -> None:
        table = reader.table("noteevents")
        rows = choice.candidates(table, reader.upload(windows), reader.layout, rules)
        reader.save(rows, path, "noteevents", _quiet)

    say("finding notes")
    found = pq.read_table(steps.file("notes", key, find))
    if not found.num_rows:
        raise DataError(
            f"{reader.where('noteevents')}: no note falls into the window of any of {windows.num_rows:,} "
            "stays (the public demo's table has no rows). Give the full table, or prepare without --notes"
        )
    chosen = choice.chosen(found, rules)
    if not chosen.num_rows:
        raise DataError(
            f"{reader.where('noteevents')}: no stay has {rules.note_least} notes in its window. Ask for "
            "fewer (--rule note_least=1), or prepare without --notes"
        )

    def read(path: Path) -> None:
        wanted = reader.upload(chosen.select(["row_id"]))
        rows = choice.texts(reader.table("noteevents"), wanted, reader.layout)
        reader.save(rows, path, "noteevents", _quiet)

    say("reading notes")
    texts = pq.read_table(steps.file("note_texts", fingerprint(key, "texts"), read))
    return _addition(chosen, _in_order(texts, chosen, reader), own, found, windows, rules)


def _windows(
    reader: Engine, steps: Steps, stays: pa.Table, own: pa.Table, parts: NDArray[np.str_], rules: Rules,
    inputs: Callable[..., str], say: Callable[[str], None],
) -> pa.Table:  # fmt: skip
    """(stay_id, subject_id, hadm_id, intime, last_second) of the rows that may have notes."""
    cohort = stays.filter(stays["in_cohort"])
    place = np.searchsorted(np.sort(cohort["stay_id"].to_numpy()), own["stay_id"].to_numpy())
    episode = choice.episodes(cohort)[np.argsort(cohort["stay_id"].to_numpy())][place]
    among = choice.sampled(own, episode, parts, rules)
    firsts = []
    for name in choice.EVENTS if rules.note_window == "event" else ():

        def write(path: Path, name: str = name) -> None:
            uploaded = reader.upload(cohort.select(COHORT))
            rows = choice.first_event(reader.table(name), uploaded, name, reader.layout)
            reader.save(rows, path, name, _quiet)

        say(f"first events in {name}")
        firsts.append(pq.read_table(steps.file(f"first-{name}", inputs(name), write)))
    last = choice.last_seconds(firsts, own["stay_id"].to_numpy(), rules)
    windows = own.select(["stay_id", "subject_id", "hadm_id", "intime"])
    return windows.append_column("last_second", pa.array(last)).filter(pa.array(among & (last >= 0)))


def _in_order(texts: pa.Table, chosen: pa.Table, reader: Engine) -> pa.Array:
    """The text of each chosen row.

    Raises:
        DataError: A number stands for several rows.
    """
    numbers, counts = np.unique(texts["row_id"].to_numpy(), return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"{reader.where('noteevents')}: column 'row_id': {numbers[counts > 1][0]} is there "
            f"{counts.max()} times. Number the rows, or take NOTEEVENTS as it is"
        )
    order = np.argsort(texts["row_id"].to_numpy())
    place = order[np.searchsorted(numbers, chosen["row_id"].to_numpy())]
    return texts["text"].combine_chunks().take(pa.array(place))


def _quiet(_done: float) -> None:
    return None


def _addition(
    chosen: pa.Table, texts: pa.Array, own: pa.Table, found: pa.Table, windows: pa.Table, rules: Rules
) -> Addition:
    ids = own["stay_id"].to_numpy()
    owner = np.searchsorted(ids, chosen["stay_id"].to_numpy())
    cleaned = clean(texts, rules)
    hours = (chosen["second"].to_numpy() - WINDOW_SECONDS) / 3600
    blank = np.asarray(pc.equal(pc.utf8_length(cleaned), 0))
    if rules.blank_text == "drop":
        cleaned, owner, hours = cleaned.filter(pa.array(~blank)), owner[~blank], hours[~blank]
    rows, columns = documents([str(name) for name in ids], owner, cleaned, hours)
    records: dict[str, Any] = {
        "stays_that_may_have_notes": windows.num_rows,
        "in_their_windows": found.num_rows,
        "blank": int(blank.sum()),
        "used": len(cleaned),
    }
    spec = Text(documents=choice.DOCUMENTS, unit="hours")
    return Addition("notes", spec, rows, {"notes": pa.table(columns)}, records)
