"""The tables of MIMIC-III 1.4."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.mimic.hospital.files import Tables
from sklar.mimic.hospital.spelling import Numbers, Rows, stamps
from sklar.mimic.hospital.stays import UNITS, Stays

CODES = ("4019", "42731", "5849", "51881", "V5861", "E8798")
"""Diagnoses of the dictionary."""

UNKNOWN = "99999"
"""A code that the dictionary lacks."""

ETHNICITIES = ("WHITE", "BLACK/AFRICAN AMERICAN", "HISPANIC OR LATINO", "ASIAN", "UNKNOWN/NOT SPECIFIED")


def write_persons(tables: Tables, stays: Stays, numbers: Numbers) -> None:
    """PATIENTS, ADMISSIONS, ICUSTAYS and the two tables of diagnoses."""
    tables.write("PATIENTS", _patients(stays, numbers))
    tables.write("ADMISSIONS", _admissions(stays, numbers))
    tables.write("ICUSTAYS", _icustays(stays, numbers))
    tables.write("DIAGNOSES_ICD", _diagnoses(stays, numbers))
    titles = [f"Diagnosis {code}" for code in CODES]
    columns = {"ICD9_CODE": list(CODES), "SHORT_TITLE": titles, "LONG_TITLE": titles}
    tables.write("D_ICD_DIAGNOSES", pa.table({"ROW_ID": numbered(len(CODES)), **columns}))


def write_events(tables: Tables, chart: Rows, lab: Rows) -> None:
    """Rows of CHARTEVENTS and LABEVENTS, and one of OUTPUTEVENTS, of which no variable is made."""
    nothing = pa.nulls(len(chart), pa.string())
    flag = np.zeros(len(chart), np.int64)
    tables.write(
        "CHARTEVENTS",
        pa.table(
            {
                "ROW_ID": _next(tables, "CHARTEVENTS", len(chart)),
                "SUBJECT_ID": chart.subject,
                "HADM_ID": chart.hadm,
                "ICUSTAY_ID": chart.stay,
                "ITEMID": chart.item,
                "CHARTTIME": chart.time,
                "STORETIME": chart.stored,
                "CGID": _caregiver(chart),
                "VALUE": chart.value,
                "VALUENUM": chart.number,
                "VALUEUOM": chart.unit,
                "WARNING": flag,
                "ERROR": chart.error,
                "RESULTSTATUS": nothing,
                "STOPPED": nothing,
            }
        ),
    )
    tables.write(
        "LABEVENTS",
        pa.table(
            {
                "ROW_ID": _next(tables, "LABEVENTS", len(lab)),
                "SUBJECT_ID": lab.subject,
                "HADM_ID": lab.hadm,
                "ITEMID": lab.item,
                "CHARTTIME": lab.time,
                "VALUE": lab.value,
                "VALUENUM": lab.number,
                "VALUEUOM": lab.unit,
                "FLAG": pa.nulls(len(lab), pa.string()),
            }
        ),
    )


def write_output(tables: Tables, stays: Stays, numbers: Numbers) -> None:
    """OUTPUTEVENTS, one row per stay; no variable is made of it."""
    count, time = len(stays), pa.array(stays.intime + 4 * 3600)
    nothing = pa.nulls(count, pa.string())
    columns = {
        "ROW_ID": numbered(count), "SUBJECT_ID": numbers.patient, "HADM_ID": numbers.admission,
        "ICUSTAY_ID": numbers.stay, "CHARTTIME": time, "ITEMID": np.full(count, 40055),
        "VALUE": np.full(count, 120), "VALUEUOM": pa.array(["ml"] * count), "STORETIME": time,
        "CGID": numbers.stay % 900 + 15_000, "STOPPED": nothing, "NEWBOTTLE": nothing, "ISERROR": nothing,
    }  # fmt: skip
    tables.write("OUTPUTEVENTS", pa.table(columns))


def numbered(count: int, first: int = 1) -> NDArray[np.int64]:
    """Row numbers."""
    return np.arange(first, first + count)


def _next(tables: Tables, name: str, count: int) -> NDArray[np.int64]:
    return numbered(count, tables.rows.get(name, 0) + 1)


def _caregiver(rows: Rows) -> NDArray[np.int64]:
    return np.asarray(rows.time.cast(pa.int64())) // 60 % 900 + 15_000


def _patients(stays: Stays, numbers: Numbers) -> pa.Table:
    at = stays.first_of_patient
    days = (stays.age[at] * 365.25).astype("timedelta64[D]") + np.where(stays.old[at], 300 * 365, 0)
    born = (stays.first_admit[at] - days).astype("datetime64[D]").astype("datetime64[s]")
    dod = stays.dod[at]
    hospital = np.zeros(len(at), dtype=bool)
    hospital[stays.patient[stays.died]] = True
    return pa.table(
        {
            "ROW_ID": numbered(len(at)),
            "SUBJECT_ID": numbers.patient[at],
            "GENDER": sexes(stays.female[at]),
            "DOB": stamps(born),
            "DOD": stamps(dod),
            "DOD_HOSP": stamps(np.where(hospital, dod, np.datetime64("NaT", "s"))),
            "DOD_SSN": stamps(np.where(hospital, np.datetime64("NaT", "s"), dod)),
            "EXPIRE_FLAG": (~np.isnat(dod)).astype(np.int64),
        }
    )


def _admissions(stays: Stays, numbers: Numbers) -> pa.Table:
    at = stays.first_of_admission
    own = stays[at]
    text = [
        ("ADMISSION_TYPE", "EMERGENCY"), ("ADMISSION_LOCATION", "EMERGENCY ROOM ADMIT"),
        ("DISCHARGE_LOCATION", "HOME"), ("INSURANCE", None), ("LANGUAGE", "ENGL"),
        ("RELIGION", None), ("MARITAL_STATUS", "MARRIED"),
    ]  # fmt: skip
    words = {name: pa.array([word] * len(at), pa.string()) for name, word in text}
    words["INSURANCE"] = insurers(own)
    words["DISCHARGE_LOCATION"] = places(own.died, "DEAD/EXPIRED", "HOME")
    return pa.table(
        {
            "ROW_ID": numbered(len(at)),
            "SUBJECT_ID": numbers.patient[at],
            "HADM_ID": numbers.admission[at],
            "ADMITTIME": stamps(own.admit),
            "DISCHTIME": stamps(own.discharge),
            "DEATHTIME": stamps(own.death),
            **words,
            "ETHNICITY": pa.array(np.array(ETHNICITIES)[own.patient % len(ETHNICITIES)]),
            "EDREGTIME": pa.nulls(len(at), pa.timestamp("s")),
            "EDOUTTIME": pa.nulls(len(at), pa.timestamp("s")),
            "DIAGNOSIS": pa.array(["SEPSIS, SEVERE"] * len(at)),
            "HOSPITAL_EXPIRE_FLAG": own.died.astype(np.int64),
            "HAS_CHARTEVENTS_DATA": own.charted.astype(np.int64),
        }
    )


def _icustays(stays: Stays, numbers: Numbers) -> pa.Table:
    names = np.array(UNITS)
    return pa.table(
        {
            "ROW_ID": numbered(len(stays)),
            "SUBJECT_ID": numbers.patient,
            "HADM_ID": numbers.admission,
            "ICUSTAY_ID": numbers.stay,
            "DBSOURCE": places(stays.metavision, "metavision", "carevue"),
            "FIRST_CAREUNIT": pa.array(names[stays.unit]),
            "LAST_CAREUNIT": pa.array(names[stays.last_unit]),
            "FIRST_WARDID": stays.ward,
            "LAST_WARDID": stays.last_ward,
            "INTIME": stamps(stays.intime),
            "OUTTIME": stamps(np.where(stays.dated, stays.outtime, np.datetime64("NaT", "s"))),
            "LOS": pa.array(stays.los, mask=~stays.dated),
        }
    )


def _diagnoses(stays: Stays, numbers: Numbers) -> pa.Table:
    at = stays.first_of_admission
    code = pa.array(np.array(CODES)[stays.patient[at] % len(CODES)])
    unknown = pa.array([UNKNOWN] * len(at))
    columns = {
        "ROW_ID": numbered(len(at)),
        "SUBJECT_ID": numbers.patient[at],
        "HADM_ID": numbers.admission[at],
        "SEQ_NUM": np.ones(len(at), np.int64),
        "ICD9_CODE": pa.compute.if_else(pa.array(stays.diagnosed[at]), code, unknown),
    }
    return pa.table(columns)


def sexes(female: NDArray[np.bool_]) -> pa.Array:
    """F or M."""
    return places(female, "F", "M")


def insurers(stays: Stays) -> pa.Array:
    """Medicare from 65 years on, else one of two."""
    others = np.where(stays.patient % 3 == 0, "Medicaid", "Private")
    return pa.array(np.where(stays.old | (stays.age >= 65), "Medicare", others))


def places(which: NDArray[np.bool_], yes: str, no: str) -> pa.Array:
    """One of two texts."""
    return pa.array(np.where(which, yes, no))
