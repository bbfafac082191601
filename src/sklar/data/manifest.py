"""The manifest of a prepared folder: what it holds, how it was made, and how to check it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from pydantic import (
    ConfigDict,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)
from pydantic.dataclasses import dataclass

from sklar.data.schema import Schema
from sklar.errors import DataError

FORMAT = 1
"""Version of the layout of a prepared folder; a reader accepts its own version only."""

FILE = "manifest.json"

Statistics = dict[str, dict[str, dict[str, float]]]
"""Per modality and variable: {"mean", "sd", "cells"} over the observed training cells, after log(1 + x)."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class File:
    """Size and SHA-256 of one file of the folder."""

    bytes: int
    sha256: str


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Tally:
    """Of one of several outputs: rows in which it is known, and those in which it happened."""

    labelled: int
    events: int


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Count:
    """How many rows there are, and what is known of their outcome.

    Attributes:
        subjects: Rows.
        labelled: Rows with an outcome; of several labels, with any.
        events: Rows in which it is 1; of several labels, any of them. None of classes.
        without_modality: Rows that have no modality.
        outputs: Per label or class its own; empty where there is one label.
    """

    subjects: int
    labelled: int
    events: int | None
    without_modality: int
    outputs: dict[str, Tally] = field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return content if self.outputs else {key: own for key, own in content.items() if key != "outputs"}

    def as_dict(self) -> dict[str, Any]:
        """Plain types, as the manifest has them."""
        content: dict[str, Any] = _COUNT.dump_python(self, mode="json")
        return content


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Step:
    """One step of the attrition: rows and events that remain after it; None where not known yet."""

    step: str
    subjects: int
    events: int | None = None


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Manifest:
    """Everything about a prepared folder but its arrays.

    Attributes:
        format: Version of the layout.
        name: Name of the data set, for reports.
        schema: Columns, modalities and units.
        counts: Under "all", "train", "valid" and "test".
        presence: Per modality the fraction of rows that have it.
        records: Per modality how many records were used, and left out for which reason.
        attrition: How the rows were chosen, in order.
        statistics: What the preprocessor needs; fitted on training rows only.
        risk: "complete_case" is the event rate among labelled rows, where there is one label; a source may
            add "kaplan_meier".
        rules: How the source was read, by name.
        notes: Sentences that a report prints.
        restricted: True when the data may not leave the machine.
        seed: Seed of the split, None when the split was given.
        tasks: Outcomes that the index holds, the schema's label first; empty where it is the only one.
        files: Per file name its size and hash.
        configuration: Fingerprint of everything that went in; equal inputs have equal fingerprints.
        hash: One hash over schema, statistics and all files.
    """

    format: int
    name: str
    schema: Schema
    counts: dict[str, Count]
    presence: dict[str, float]
    records: dict[str, dict[str, int | dict[str, int]]]
    attrition: tuple[Step, ...]
    statistics: Statistics
    risk: dict[str, float]
    files: dict[str, File]
    configuration: str
    hash: str
    rules: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    restricted: bool = False
    seed: int | None = None
    tasks: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write ``manifest.json`` into ``folder``."""
        text = json.dumps(
            _ADAPTER.dump_python(self, mode="json"), indent=2, allow_nan=False, ensure_ascii=False
        )
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read and check ``manifest.json`` of ``folder``.

        Raises:
            DataError: It is missing, unreadable, or of another format version.
        """
        path = folder / FILE
        if not path.is_file():
            raise DataError(
                f"{folder}: no {FILE}, so this is not a prepared folder. Make one with `sklar prepare`"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path}: not JSON ({error}). Prepare the folder again") from None
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise DataError(f"{path}: format {found!r}, this sklar reads {FORMAT}. Prepare the folder again")
        try:
            return _ADAPTER.validate_python(content)
        except ValidationError as error:
            raise DataError(f"{path}: {error}. Prepare the folder again") from None


_ADAPTER: TypeAdapter[Manifest] = TypeAdapter(Manifest)
_COUNT: TypeAdapter[Count] = TypeAdapter(Count)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hash(schema: Schema, statistics: Statistics, files: Mapping[str, File]) -> str:
    """One SHA-256 over the schema, the statistics and the hashes of all files."""
    content = [
        schema.model_dump(mode="json"),
        statistics,
        {name: files[name].sha256 for name in sorted(files)},
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
