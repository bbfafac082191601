"""The raw tables of MIMIC-III and MIMIC-IV: where they lie, what they must hold, what we call it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from sklar.errors import DataError, UserError

Source = Literal["mimic-iii", "mimic-iv"]
Kind = Literal["id", "time", "number", "text"]

SUFFIXES = (".parquet", ".csv", ".csv.gz")
"""Formats in the order of preference."""

FOLDERS = ("", "hosp", "icu", "core")
"""Where tables lie below the raw folder: flat, or as MIMIC-IV is distributed."""


@dataclass(frozen=True)
class Columns:
    """Columns of one table under our own names, all required unless said otherwise.

    Attributes:
        kinds: Our name to what it holds.
        renamed: Our name to the table's, where they differ.
        optional: Columns that some versions lack.
        former: Our name to the table's in an earlier version, where that differs.
    """

    kinds: Mapping[str, Kind]
    renamed: Mapping[str, str]
    optional: frozenset[str] = frozenset()
    former: Mapping[str, str] = field(default_factory=dict)

    def raw(self, name: str) -> str:
        """The table's own name of a column."""
        return self.renamed.get(name, name)

    def present(self, columns: Collection[str]) -> dict[str, str]:
        """Our name to the table's, of those of our columns that a table with these columns has."""
        names = ((own, raw) for own in self.kinds for raw in (self.former.get(own, ""), self.raw(own)))
        return {own: raw for own, raw in names if raw in columns}


@dataclass(frozen=True)
class Layout:
    """One data set.

    Attributes:
        source: Its name in calls.
        title: Its name in reports.
        tables: Table name, lower case, to its columns.
        events: The tables that hold measurements, in order.
        versions: Rows of the table of ICU stays to the published version.
        notes: Further tables that clinical notes need; empty where the data set has none.
    """

    source: Source
    title: str
    tables: Mapping[str, Columns]
    events: tuple[str, ...]
    versions: Mapping[int, str]
    notes: Mapping[str, Columns] = field(default_factory=dict)

    def with_notes(self) -> "Layout":
        """The same with the tables of notes.

        Raises:
            UserError: It has none.
        """
        if not self.notes:
            raise UserError(
                f"{self.title} has no table of notes; its notes are another data set. Leave --notes out"
            )
        return replace(self, tables={**self.tables, **self.notes})


_STAY: dict[str, Kind] = {
    "subject_id": "id",
    "hadm_id": "id",
    "stay_id": "id",
    "first_careunit": "text",
    "last_careunit": "text",
    "intime": "time",
    "outtime": "time",
    "los": "number",
}
_ADMISSION: dict[str, Kind] = {
    "subject_id": "id",
    "hadm_id": "id",
    "admittime": "time",
    "dischtime": "time",
    "deathtime": "time",
    "hospital_expire_flag": "number",
    "race": "text",
    "insurance": "text",
}
_ABOUT = frozenset({"sex", "race", "insurance"})
"""What no rule and no model reads, only an evaluation by subgroup; it may be missing."""

_CHART: dict[str, Kind] = {
    "subject_id": "id",
    "hadm_id": "id",
    "stay_id": "id",
    "itemid": "id",
    "charttime": "time",
    "value": "text",
    "valueuom": "text",
    "storetime": "time",
}
_LAB: dict[str, Kind] = {
    "subject_id": "id",
    "hadm_id": "id",
    "itemid": "id",
    "charttime": "time",
    "value": "text",
    "valueuom": "text",
}
_THREE = {"stay_id": "icustay_id"}

MIMIC_III = Layout(
    source="mimic-iii",
    title="MIMIC-III",
    tables={
        "patients": Columns(
            {"subject_id": "id", "dob": "time", "dod": "time", "sex": "text"}, {"sex": "gender"}, _ABOUT
        ),
        "admissions": Columns(_ADMISSION, {"race": "ethnicity"}, _ABOUT),
        "icustays": Columns({**_STAY, "first_wardid": "text", "last_wardid": "text"}, _THREE),
        "diagnoses_icd": Columns({"hadm_id": "id", "icd_code": "text"}, {"icd_code": "icd9_code"}),
        "d_icd_diagnoses": Columns({"icd_code": "text"}, {"icd_code": "icd9_code"}),
        "chartevents": Columns({**_CHART, "error": "number"}, _THREE, frozenset({"error", "storetime"})),
        "labevents": Columns(_LAB, {}),
    },
    events=("chartevents", "labevents"),
    versions={61532: "1.4", 136: "demo 1.4"},
    notes={
        "noteevents": Columns(
            {
                "row_id": "id",
                "subject_id": "id",
                "hadm_id": "id",
                "charttime": "time",
                "storetime": "time",
                "category": "text",
                "iserror": "number",
                "text": "text",
            },
            {},
        ),
        "outputevents": Columns(
            {"subject_id": "id", "hadm_id": "id", "stay_id": "id", "charttime": "time"}, _THREE
        ),
    },
)

MIMIC_IV = Layout(
    source="mimic-iv",
    title="MIMIC-IV",
    tables={
        "patients": Columns(
            {
                "subject_id": "id",
                "anchor_age": "number",
                "anchor_year": "number",
                "dod": "time",
                "sex": "text",
            },
            {"sex": "gender"},
            _ABOUT,
        ),
        "admissions": Columns(_ADMISSION, {}, _ABOUT, {"race": "ethnicity"}),
        "icustays": Columns(_STAY, {}),
        "diagnoses_icd": Columns({"hadm_id": "id", "icd_code": "text"}, {}),
        "d_icd_diagnoses": Columns({"icd_code": "text"}, {}),
        "chartevents": Columns({**_CHART, "warning": "number"}, {}, frozenset({"warning", "storetime"})),
        "labevents": Columns({**_LAB, "storetime": "time"}, {}, frozenset({"storetime"})),
    },
    events=("chartevents", "labevents"),
    versions={76540: "1.0", 76943: "2.0", 73141: "2.1", 73181: "2.2", 94458: "3.1", 140: "demo"},
)

LAYOUTS: Mapping[str, Layout] = {layout.source: layout for layout in (MIMIC_III, MIMIC_IV)}


def layout_of(source: str) -> Layout:
    """The layout of a source.

    Raises:
        UserError: There is no such source.
    """
    if source not in LAYOUTS:
        raise UserError(f"source {source!r}: choose {' or '.join(LAYOUTS)}")
    return LAYOUTS[source]


def find_tables(raw: Path, layout: Layout) -> dict[str, Path]:
    """The file of every table: csv, csv.gz or parquet, in any case, flat or in hosp/, icu/ and core/.

    Raises:
        UserError: The folder does not exist.
        DataError: A table is missing or there twice, or both data sets are in the folder.
    """
    if not raw.is_dir():
        raise UserError(f"{raw}: no such folder. Give the folder with the raw tables of {layout.title}")
    found = {name: path for name in layout.tables if (path := _find(raw, name)) is not None}
    if "icustays" in found and (raw / "icu").is_dir() and found["icustays"].parent == raw:
        raise DataError(
            f"{raw}: icustays lies in the folder and there is an icu/ folder too, so two data sets are "
            f"mixed. Give a folder with {layout.title} alone"
        )
    if missing := [name for name in layout.tables if name not in found]:
        raise DataError(
            f"{raw}: {layout.title} table {missing[0]!r} is missing (looked for {missing[0]}"
            f"{{{','.join(SUFFIXES)}}} in any case, here and in {', '.join(f'{f}/' for f in FOLDERS[1:])}; "
            f"found {', '.join(sorted(found)) or 'no table at all'}). Put the file there, or give "
            "another folder"
        )
    return found


def check_columns(layout: Layout, table: str, found: list[str], where: str) -> None:
    """Check the columns of a table, all in lower case.

    Raises:
        DataError: A required column is missing; the message says so when it looks like the other data set.
    """
    spec = layout.tables[table]
    for name in spec.kinds:
        raw = spec.raw(name)
        if found.count(raw) > 1:
            raise DataError(f"{where}: column {raw!r} is there {found.count(raw)} times; keep one")
        if raw in found or name in spec.optional:
            continue
        others = [
            other
            for other in LAYOUTS.values()
            if other.source != layout.source and _fits(other, table, found)
        ]
        hint = (
            f"This looks like {others[0].title}; use {others[0].source}, and never mix the two in one folder"
            if others
            else "Export the table with all its columns"
        )
        raise DataError(f"{where}: no column {raw!r} (found {', '.join(found)}). {hint}")


def version_of(layout: Layout, stays: int) -> str:
    """The version by the number of ICU stays, else what all versions share."""
    return layout.versions.get(stays, "of an unknown version")


def _fits(layout: Layout, table: str, found: list[str]) -> bool:
    if (spec := layout.tables.get(table)) is None:
        return False
    return all(spec.raw(name) in found for name in spec.kinds if name not in spec.optional)


def _find(raw: Path, table: str) -> Path | None:
    """The file of a table; the first of several formats."""
    for folder in FOLDERS:
        place = raw / folder
        if not place.is_dir():
            continue
        names = {path.name.lower(): path for path in sorted(place.iterdir())}
        for suffix in SUFFIXES:
            if (path := names.get(table + suffix)) is not None:
                return path
    return None
