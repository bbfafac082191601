"""The tables of MIMIC-IV, in the layouts of versions 2.2 and 1.0."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sklar.mimic.hospital.files import Tables
from sklar.mimic.hospital.spelling import Numbers, Rows, stamps
from sklar.mimic.hospital.stays import Stays
from sklar.mimic.hospital.three import CODES, ETHNICITIES, UNKNOWN, insurers, numbered, places, sexes

CARE_UNITS = (
    "Medical Intensive Care Unit (MICU)",
    "Surgical Intensive Care Unit (SICU)",
    "Coronary Care Unit (CCU)",
    "Cardiac Vascular Intensive Care Unit (CVICU)",
    "Trauma SICU (TSICU)",
)
"""The names of `sklar.mimic.hospital.stays.UNITS` here."""


def write_persons(tables: Tables, stays: Stays, numbers: Numbers, *, first_version: bool) -> None:
    """Patients, admissions, stays and the two tables of diagnoses."""
    folder = "core" if first_version else "hosp"
    tables.write(f"{folder}/patients", _patients(stays, numbers))
    tables.write(f"{folder}/admissions", _admissions(stays, numbers, first_version))
    tables.write("icu/icustays", _icustays(stays, numbers))
    at = stays.first_of_admission
    code = pa.array(np.array(CODES)[stays.patient[at] % len(CODES)])
    unknown = pa.array([UNKNOWN] * len(at))
    diagnoses = {
        "subject_id": numbers.patient[at],
        "hadm_id": numbers.admission[at],
        "seq_num": np.ones(len(at), np.int64),
        "icd_code": pc.if_else(pa.array(stays.diagnosed[at]), code, unknown),
        "icd_version": np.full(len(at), 9),
    }
    tables.write("hosp/diagnoses_icd", pa.table(diagnoses))
    known = {"icd_code": list(CODES), "icd_version": [9] * len(CODES)}
    tables.write(
        "hosp/d_icd_diagnoses", pa.table({**known, "long_title": [f"Diagnosis {code}" for code in CODES]})
    )


def write_events(tables: Tables, chart: Rows, lab: Rows, *, first_version: bool) -> None:
    """Rows of chartevents and labevents."""
    carer = {} if first_version else {"caregiver_id": _number(chart, 40_000, 9_000)}
    tables.write(
        "icu/chartevents",
        pa.table(
            {
                "subject_id": chart.subject,
                "hadm_id": chart.hadm,
                "stay_id": chart.stay,
                **carer,
                "charttime": chart.time,
                "storetime": chart.stored,
                "itemid": chart.item,
                "value": chart.value,
                "valuenum": chart.number,
                "valueuom": chart.unit,
                "warning": chart.error,
            }
        ),
    )
    count = len(lab)
    first = tables.rows.get("hosp/labevents", 0) + 1
    nothing = pa.nulls(count, pa.string())
    provider = {} if first_version else {"order_provider_id": nothing}
    tables.write(
        "hosp/labevents",
        pa.table(
            {
                "labevent_id": numbered(count, first),
                "subject_id": lab.subject,
                "hadm_id": lab.hadm,
                "specimen_id": numbered(count, 100 + first),
                "itemid": lab.item,
                **provider,
                "charttime": lab.time,
                "storetime": lab.stored,
                "value": lab.value,
                "valuenum": lab.number,
                "valueuom": lab.unit,
                "ref_range_lower": pa.nulls(count, pa.float64()),
                "ref_range_upper": pa.nulls(count, pa.float64()),
                "flag": nothing,
                "priority": pa.array(["STAT"] * count, pa.string()),
                "comments": pa.array(["___"] * count, pa.string()),
            }
        ),
    )


def write_output(tables: Tables, stays: Stays, numbers: Numbers, *, first_version: bool) -> None:
    """Outputevents, one row per stay; no variable is made of it."""
    count, time = len(stays), pa.array(stays.intime + 4 * 3600)
    carer = {} if first_version else {"caregiver_id": numbers.stay % 9_000 + 40_000}
    columns = {
        "subject_id": numbers.patient, "hadm_id": numbers.admission, "stay_id": numbers.stay, **carer,
        "charttime": time, "storetime": time, "itemid": np.full(count, 226_559),
        "value": np.full(count, 120), "valueuom": pa.array(["ml"] * count),
    }  # fmt: skip
    tables.write("icu/outputevents", pa.table(columns))


def _number(rows: Rows, first: int, count: int) -> np.ndarray:
    return np.asarray(rows.time.cast(pa.int64())) // 60 % count + first


def _patients(stays: Stays, numbers: Numbers) -> pa.Table:
    at = stays.first_of_patient
    # every patient of MIMIC-IV is an adult, and 91 stands for everyone beyond 89
    age = np.where(stays.old[at], 91, np.maximum(stays.age[at].astype(np.int64), 18))
    year = stays.first_admit[at].astype("datetime64[Y]").astype(np.int64) + 1970
    return pa.table(
        {
            "subject_id": numbers.patient[at],
            "gender": sexes(stays.female[at]),
            "anchor_age": age,
            "anchor_year": year,
            "anchor_year_group": pa.array(["2011 - 2013"] * len(at)),
            "dod": pa.array(stays.dod[at].astype("datetime64[D]")),
        }
    )


def _admissions(stays: Stays, numbers: Numbers, first_version: bool) -> pa.Table:
    at = stays.first_of_admission
    own, count = stays[at], len(at)
    provider = {} if first_version else {"admit_provider_id": pa.array(["P49AFC"] * count)}
    return pa.table(
        {
            "subject_id": numbers.patient[at],
            "hadm_id": numbers.admission[at],
            "admittime": stamps(own.admit),
            "dischtime": stamps(own.discharge),
            "deathtime": stamps(own.death),
            "admission_type": pa.array(["EW EMER."] * count),
            **provider,
            "admission_location": pa.array(["EMERGENCY ROOM"] * count),
            "discharge_location": places(own.died, "DIED", "HOME"),
            "insurance": insurers(own),
            "language": pa.array(["ENGLISH"] * count),
            "marital_status": pa.array(["MARRIED"] * count),
            "ethnicity" if first_version else "race": pa.array(
                np.array(ETHNICITIES)[own.patient % len(ETHNICITIES)]
            ),
            "edregtime": pa.nulls(count, pa.timestamp("s")),
            "edouttime": pa.nulls(count, pa.timestamp("s")),
            "hospital_expire_flag": own.died.astype(np.int64),
        }
    )


def _icustays(stays: Stays, numbers: Numbers) -> pa.Table:
    names = np.array(CARE_UNITS)
    return pa.table(
        {
            "subject_id": numbers.patient,
            "hadm_id": numbers.admission,
            "stay_id": numbers.stay,
            "first_careunit": pa.array(names[stays.unit]),
            "last_careunit": pa.array(names[stays.last_unit]),
            "intime": stamps(stays.intime),
            "outtime": stamps(np.where(stays.dated, stays.outtime, np.datetime64("NaT", "s"))),
            "los": pa.array(stays.los, mask=~stays.dated),
        }
    )
