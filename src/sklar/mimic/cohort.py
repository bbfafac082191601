"""Which stays are in the cohort, and their outcomes, as one expression over six small tables."""

from collections.abc import Callable

import ibis
import ibis.expr.types as ir

from sklar.mimic.layout import Layout
from sklar.mimic.rules import Rules
from sklar.mimic.tables import real, true, typed, whole

Tables = Callable[[str], ir.Table]
"""Raw table by name."""

READMISSION_SECONDS = 30 * 86400

LEAST_HOURS = 48 - 1e-6
"""Shortest stay; the tolerance is the benchmark's."""


def stays(table: Tables, layout: Layout, rules: Rules) -> ir.Table:
    """Every ICU stay with what decides about it, one row each.

    Steps, in order, each a boolean column: ``same_unit`` (no transfer), ``admitted`` (its admission and
    patient exist), ``alone`` (the only remaining stay of its admission), ``adult``; together they make
    ``in_cohort``. ``diagnosed`` and ``long_enough`` decide whether it is a row of a task (``eligible``).

    Outcomes: ``died`` in hospital, and ``readmitted`` as the rules define it, null where unknown.
    Also ``died_after`` for death within 30 days of discharge alive, and ``age`` in years.
    """
    base = _joined(table, layout, rules)
    base = base.mutate(alone=_alone(base), age=_age(base, layout, rules))
    base = base.mutate(adult=true(base.age >= real(18)))
    base = base.mutate(in_cohort=base.same_unit & base.admitted & base.alone & base.adult)
    diagnosed = _diagnosed(table, layout)
    base = base.left_join(diagnosed, base.hadm_id == diagnosed.diagnosed_hadm).drop("diagnosed_hadm")
    base = base.mutate(
        diagnosed=true(base.has_diagnosis == 1),
        long_enough=true(base.los * real(24) >= real(LEAST_HOURS)),
        died=true(_died(base, rules)),
    )
    base = base.mutate(eligible=base.in_cohort & base.long_enough & _diagnosis_rule(base, rules))
    return _with_readmission(base, table, layout, rules)


def _joined(table: Tables, layout: Layout, rules: Rules) -> ir.Table:
    stay = typed(table("icustays"), layout.tables["icustays"])
    same = stay.first_careunit == stay.last_careunit
    if layout.source == "mimic-iii":
        same = same & (stay.first_wardid == stay.last_wardid)
    stay = stay.select("stay_id", "subject_id", "hadm_id", "intime", "outtime", "los", same_unit=true(same))
    admission = typed(table("admissions"), layout.tables["admissions"])
    patient = typed(table("patients"), layout.tables["patients"])
    joined = stay.left_join(admission, ["subject_id", "hadm_id"]).drop("subject_id_right", "hadm_id_right")
    joined = joined.left_join(patient.mutate(known=ibis.literal(1)), "subject_id").drop("subject_id_right")
    admitted = true(joined.known == 1) & joined.admittime.notnull()
    if rules.clock == "check":
        admitted = admitted & true(joined.dischtime >= joined.admittime)
    return joined.mutate(admitted=admitted).drop("known")


def _alone(base: ir.Table) -> ir.BooleanValue:
    """Whether a stay is the only one of its admission that is left; a count, joined back."""
    left = base.filter(base.same_unit & base.admitted)
    counts = left.group_by("hadm_id").agg(stays=left.count())
    return base.hadm_id.isin(counts.filter(counts.stays == 1).hadm_id)


def _age(base: ir.Table, layout: Layout, rules: Rules) -> ir.FloatingValue:
    if layout.source == "mimic-iii":
        years = base.intime.delta(base.dob, unit="second").cast("float64") / real(3600 * 24) / real(365)
    elif rules.age == "admission":
        years = base.anchor_age + base.intime.year().cast("float64") - base.anchor_year
    else:
        years = base.anchor_age
    return ibis.ifelse(years < real(0), real(90), years)


def _diagnosed(table: Tables, layout: Layout) -> ir.Table:
    """Admissions with a diagnosis that the dictionary knows."""
    given = typed(table("diagnoses_icd"), layout.tables["diagnoses_icd"])
    known = typed(table("d_icd_diagnoses"), layout.tables["d_icd_diagnoses"])
    found = given.semi_join(known, "icd_code").select(diagnosed_hadm=ibis._.hadm_id).distinct()
    return found.mutate(has_diagnosis=ibis.literal(1))


def _diagnosis_rule(base: ir.Table, rules: Rules) -> ir.BooleanValue:
    return base.diagnosed if rules.diagnosis == "known" else ibis.literal(True)


def _died(base: ir.Table, rules: Rules) -> ir.BooleanValue:
    if rules.mortality == "hospital":
        return (base.hospital_expire_flag == real(1)) | base.deathtime.notnull()
    within_dates = true((base.dod >= base.admittime) & (base.dod <= base.dischtime))
    within_times = true((base.deathtime >= base.admittime) & (base.deathtime <= base.dischtime))
    return within_dates | within_times


def _with_readmission(base: ir.Table, table: Tables, layout: Layout, rules: Rules) -> ir.Table:
    """The outcome after discharge, from the next stay of the cohort or from the next admission."""
    if rules.readmission == "cohort":
        rows = base.filter(base.in_cohort).select("subject_id", "stay_id", "admittime", "dischtime")
        key = "stay_id"
    else:
        rows = typed(table("admissions"), layout.tables["admissions"])
        rows = rows.filter(rows.dischtime >= rows.admittime)
        key = "hadm_id"
    following = rows.group_by("subject_id").order_by(["admittime", "dischtime", key])
    rows = following.mutate(next_admittime=rows.admittime.lead()).select(
        row_key=rows[key], next_admittime=ibis._.next_admittime
    )
    base = base.left_join(rows, base[key] == rows.row_key).drop("row_key")
    gap = base.next_admittime.delta(base.dischtime, unit="second")
    again = true(gap < READMISSION_SECONDS)
    after = true(base.dod.delta(base.dischtime, unit="second") <= READMISSION_SECONDS) & ~base.died
    if rules.readmission == "cohort":
        readmitted = whole(again | base.died)
    else:
        readmitted = ibis.ifelse(base.died, ibis.null("int64"), whole(again))
    return base.mutate(readmitted=readmitted, died_after=after)
