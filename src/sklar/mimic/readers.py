"""New patients' rows, read as the preparation read the raw tables: the same bins, scales and sections."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sklar.data.modalities import Timed
from sklar.data.records import Clock, Content, Reader, owners, read_images, refuse_late, relative_time
from sklar.data.schema import Image, Schema, Text
from sklar.data.tables import as_numbers, column
from sklar.mimic.additions import documents
from sklar.mimic.bins import read_events
from sklar.mimic.notes.text import clean, single_spaced
from sklar.mimic.radiographs.decode import decode
from sklar.mimic.radiographs.sections import sections
from sklar.mimic.rules import Rules

SOURCES = ("mimic-iii", "mimic-iv")


def readers(schema: Schema, about: Mapping[str, Any]) -> dict[str, Reader]:
    """How rows of new patients are read for a model that was trained on a prepared MIMIC folder.

    Args:
        schema: Of the folder.
        about: ``rules`` of its manifest; of a folder from elsewhere there is nothing to read otherwise.

    Returns:
        Per modality its reader, as `sklar.data.cohort.read_cohort` takes them.
    """
    if about.get("source") not in SOURCES:
        return {}
    rules = Rules.recorded(about)
    known: dict[str, Reader] = {
        "ehr": partial(read_events, rules=rules),
        "cxr": partial(read_images, decode=partial(_radiograph, rules=rules)),
        "report": partial(read_report, rules=rules),
        "notes": partial(read_notes, rules=rules),
    }
    return {name: known[name] for name in schema.modalities}


def in_rows(schema: Schema, about: Mapping[str, Any]) -> Schema:
    """The schema as rows of new patients have it: ``<name>_time`` says when a text or picture was taken.

    In hours relative to the moment of prediction, which is 48 hours after the admission to the ICU.
    """
    if about.get("source") not in SOURCES:
        return schema
    placed = {
        name: item.model_copy(update={"time": f"{name}_time"}) if isinstance(item, Timed) else item
        for name, item in schema.modalities.items()
    }
    return schema.model_copy(update={"modalities": placed})


def read_report(
    spec: Text, table: pa.Table, where: str, id_column: str, ids: pa.Array, clock: Clock, rules: Rules
) -> Content:
    """The latest report of each subject, one document per section.

    A text without any of the sections is one document.

    Raises:
        DataError: A subject is unknown, a time is no number, or late and the clock refuses that.
    """
    owner, texts, hours = _in_order(spec, table, where, id_column, ids, clock)
    last = np.diff(owner, append=-1) != 0
    owner, hours = owner[last], hours[last]
    written = texts.filter(pa.array(last)).to_pylist()
    divided = [_divided(text) for text in written]  # one report at a time
    whole = np.array([not any(own.values()) for own in divided], dtype=bool)
    parts = [
        [text] if plain else list(own.values())
        for text, own, plain in zip(written, divided, whole, strict=True)
    ]
    place = np.repeat(np.arange(len(parts)), [len(own) for own in parts])
    cleaned = single_spaced(pa.array([text for own in parts for text in own], pa.string()))
    if rules.blank_text == "drop":
        filled = np.asarray(pc.greater(pc.utf8_length(cleaned), 0))
        cleaned, place = cleaned.filter(pa.array(filled)), place[filled]
    rows, columns = documents(ids.to_pylist(), owner[place], cleaned, hours[place])
    said = ("none of its sections was found: taken as one document", owner[whole])
    return Content(rows, pa.table(columns), {"records": table.num_rows, "used": len(rows)}, remarks=(said,))


def _divided(report: str) -> dict[str, str]:
    """The sections of a report; its lines may lack the space that begins every line of MIMIC's."""
    found = sections(report)
    return found if any(found.values()) else sections("\n" + indent(report, " ", lambda _: True))


def read_notes(
    spec: Text, table: pa.Table, where: str, id_column: str, ids: pa.Array, clock: Clock, rules: Rules
) -> Content:
    """The last notes of each subject that has enough, cleaned.

    Raises:
        DataError: A subject is unknown, a time is no number, or late and the clock refuses that.
    """
    owner, texts, hours = _in_order(spec, table, where, id_column, ids, clock)
    if rules.note_ties == "later":
        last = (np.diff(owner, append=-1) != 0) | (np.diff(hours, append=np.inf) != 0)
        owner, texts, hours = owner[last], texts.filter(pa.array(last)), hours[last]
    _, start, count = np.unique(owner, return_index=True, return_counts=True)
    from_last = np.repeat(start + count, count) - np.arange(len(owner))
    enough = np.repeat(count >= rules.note_least, count)
    said = (f"fewer than {rules.note_least} notes are none", np.unique(owner[~enough]))
    kept = enough & (from_last <= spec.documents)
    cleaned = clean(texts.filter(pa.array(kept)), rules)
    owner, hours = owner[kept], hours[kept]
    if rules.blank_text == "drop":
        filled = np.asarray(pc.greater(pc.utf8_length(cleaned), 0))
        cleaned, owner, hours = cleaned.filter(pa.array(filled)), owner[filled], hours[filled]
    rows, columns = documents(ids.to_pylist(), owner, cleaned, hours)
    return Content(
        rows, pa.table(columns), {"records": table.num_rows, "used": len(cleaned)}, remarks=(said,)
    )


def _in_order(
    spec: Text, table: pa.Table, where: str, id_column: str, ids: pa.Array, clock: Clock
) -> tuple[NDArray[np.int64], pa.Array, NDArray[np.float64]]:
    """Subjects, texts and hours in the order of subject, time and place; without those that are late."""
    owner = owners(table, where, id_column, ids)
    hours = relative_time(table, where, owner, clock, spec.unit)
    refuse_late(hours > 0, hours, owner, where, spec.unit, id_column, ids, clock)
    place = as_numbers(column(table, "position", where), where, "position")
    order = np.lexsort((place, hours, owner))
    order = order[hours[order] <= 0]
    return owner[order], column(table, "text", where).take(pa.array(order)), hours[order]


def _radiograph(source: str | Path | bytes, spec: Image, where: str, rules: Rules) -> NDArray[np.uint8]:
    return decode(source, spec, rules, where)
