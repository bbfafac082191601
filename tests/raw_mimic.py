"""Tiny raw MIMIC folders written by hand, for facts that need a known event and nothing else."""

import csv
import gzip
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2150, 3, 1, 12, 0, 0)
"""Admission to the ICU of every stay."""

Row = dict[str, Any]

THREE = {
    "PATIENTS": "SUBJECT_ID DOB DOD",
    "ADMISSIONS": "SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME HOSPITAL_EXPIRE_FLAG",
    "ICUSTAYS": "SUBJECT_ID HADM_ID ICUSTAY_ID FIRST_CAREUNIT LAST_CAREUNIT FIRST_WARDID LAST_WARDID "
    "INTIME OUTTIME LOS",
    "DIAGNOSES_ICD": "SUBJECT_ID HADM_ID ICD9_CODE",
    "D_ICD_DIAGNOSES": "ICD9_CODE",
    "CHARTEVENTS": "SUBJECT_ID HADM_ID ICUSTAY_ID ITEMID CHARTTIME STORETIME VALUE VALUEUOM ERROR",
    "LABEVENTS": "SUBJECT_ID HADM_ID ITEMID CHARTTIME VALUE VALUEUOM",
    "OUTPUTEVENTS": "SUBJECT_ID HADM_ID ICUSTAY_ID ITEMID CHARTTIME VALUE",
    "NOTEEVENTS": "ROW_ID SUBJECT_ID HADM_ID CHARTTIME STORETIME CATEGORY ISERROR TEXT",
}

FOUR = {
    "PATIENTS": "SUBJECT_ID ANCHOR_AGE ANCHOR_YEAR DOD",
    "ADMISSIONS": THREE["ADMISSIONS"],
    "ICUSTAYS": "SUBJECT_ID HADM_ID STAY_ID FIRST_CAREUNIT LAST_CAREUNIT INTIME OUTTIME LOS",
    "DIAGNOSES_ICD": "SUBJECT_ID HADM_ID ICD_CODE",
    "D_ICD_DIAGNOSES": "ICD_CODE",
    "CHARTEVENTS": "SUBJECT_ID HADM_ID STAY_ID ITEMID CHARTTIME STORETIME VALUE VALUEUOM WARNING",
    "LABEVENTS": "SUBJECT_ID HADM_ID ITEMID CHARTTIME STORETIME VALUE VALUEUOM",
}
RENAMED = {"ICUSTAY_ID": "STAY_ID", "ICD9_CODE": "ICD_CODE", "ERROR": "WARNING", "DOB": "ANCHOR_YEAR"}


def at(hours: float = 0, seconds: int = 0) -> str:
    """A time relative to the admission to the ICU, as the files spell it."""
    return (START + timedelta(hours=hours, seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")


class Hospital:
    """Rows of every table of MIMIC-III; stays are numbered from 1, five of them unless said otherwise."""

    def __init__(self, stays: int = 5) -> None:
        self.tables: dict[str, list[Row]] = {name: [] for name in THREE}
        self.tables["D_ICD_DIAGNOSES"].append({"ICD9_CODE": "4019"})
        for number in range(1, stays + 1):
            self.stay(number)

    def stay(self, number: int, subject: int | None = None, **changes: Any) -> None:
        """A stay of 72 hours with one heart rate at hour 1; changes go to the table that has the column."""
        subject = number if subject is None else subject
        keys = {"SUBJECT_ID": subject, "HADM_ID": 100 + number, "ICUSTAY_ID": 200 + number}
        units = dict.fromkeys(("FIRST_CAREUNIT", "LAST_CAREUNIT"), "MICU")
        wards = dict.fromkeys(("FIRST_WARDID", "LAST_WARDID"), 5)
        rows: dict[str, Row] = {
            "PATIENTS": {"DOB": "2100-01-01 00:00:00"},
            "ADMISSIONS": {"ADMITTIME": at(-5), "DISCHTIME": at(100), "HOSPITAL_EXPIRE_FLAG": number % 2},
            "ICUSTAYS": {**units, **wards, "INTIME": at(), "OUTTIME": at(72), "LOS": "3.0"},
            "DIAGNOSES_ICD": {"ICD9_CODE": "4019"},
        }
        if number % 2:
            rows["ADMISSIONS"]["DEATHTIME"] = at(90)
        for name, row in rows.items():
            known = THREE[name].split()
            own = {key: value for key, value in {**keys, **changes}.items() if key in known}
            if name != "PATIENTS" or all(p["SUBJECT_ID"] != subject for p in self.tables[name]):
                self.tables[name].append({**row, **own})
        self.chart(number, 211, "80", 1, subject=subject)

    def chart(
        self, number: int, item: int, value: str, hours: float, unit: str = "", seconds: int = 0, **more: Any
    ) -> None:
        """A chart row of a stay, with any column changed by name."""
        subject = more.pop("subject", number)
        row = {"SUBJECT_ID": subject, "HADM_ID": 100 + number, "ICUSTAY_ID": 200 + number, "ITEMID": item}
        row |= {"CHARTTIME": at(hours, seconds), "STORETIME": at(hours, seconds), "VALUE": value}
        self.tables["CHARTEVENTS"].append({**row, "VALUEUOM": unit, "ERROR": 0, **more})

    def lab(self, number: int, item: int, value: str, hours: float) -> None:
        """A laboratory row of a stay."""
        row = {"SUBJECT_ID": number, "HADM_ID": 100 + number, "ITEMID": item, "CHARTTIME": at(hours)}
        self.tables["LABEVENTS"].append({**row, "VALUE": value, "VALUEUOM": ""})

    def note(self, number: int, hours: float, text: str = "Stable.", **more: Any) -> None:
        """A note of a stay, with any column changed by name."""
        row = {"ROW_ID": len(self.tables["NOTEEVENTS"]) + 1, "SUBJECT_ID": number, "HADM_ID": 100 + number}
        row |= {"CHARTTIME": at(hours), "STORETIME": at(hours), "CATEGORY": "Nursing", "TEXT": text}
        self.tables["NOTEEVENTS"].append({**row, **more})

    def write_four(self, folder: Path) -> Path:
        """Write the same as MIMIC-IV, in which item 211 is 220045."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, columns in FOUR.items():
            rows = [{RENAMED.get(key, key): value for key, value in row.items()} for row in self.tables[name]]
            if name == "PATIENTS":
                rows = [{**row, "ANCHOR_AGE": 60, "ANCHOR_YEAR": START.year} for row in rows]
            if name == "CHARTEVENTS":
                rows = [{**row, "ITEMID": 220045 if row["ITEMID"] == 211 else row["ITEMID"]} for row in rows]
            known = columns.split()
            write_csv(
                folder / f"{name.lower()}.csv",
                [column.lower() for column in known],
                [{key.lower(): value for key, value in row.items() if key in known} for row in rows],
            )
        return folder

    def write(self, folder: Path, suffix: str = ".csv") -> Path:
        """Write every table; ".csv.gz" compresses."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in self.tables.items():
            write_csv(folder / f"{name}{suffix}", THREE[name].split(), rows)
        return folder


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
