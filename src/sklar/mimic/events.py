"""Measurements of the cohort in the 48 hours before prediction, cleaned, one number each.

Everything is in a subset of SQL that engines agree on: no window counts, no try-cast, no reliance on the
order of rows, texts to codes by cases, and item filters before any cast.
"""

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from sklar.mimic.layout import Layout
from sklar.mimic.rules import Rules
from sklar.mimic.tables import DECIMAL, NA, among, cast, number, real, round_half_even, true, typed, whole
from sklar.mimic.variables import WINDOW_SECONDS, Variable, code, position, variables

SORTED_FROM, SORTED_TO = "+-.0123456789Ee", "0123456789abcde"
"""Spelling numbers with other characters makes every collation sort them as bytes would."""

DAY_SECONDS = 86400

COHORT = ["subject_id", "hadm_id", "stay_id", "intime", "outtime", "in_cohort", "eligible"]
"""What is needed of the stays to say whose events are whose."""


def measurements(table: ir.Table, cohort: ir.Table, name: str, layout: Layout, rules: Rules) -> ir.Table:
    """Measurements of one event table that belong to a row of a task.

    Args:
        table: The raw table, named columns, raw types.
        cohort: `sklar.mimic.cohort.stays`, computed.
        name: Name of the table.
        layout: Tables and columns.
        rules: How to read values.

    Returns:
        (stay_id, subject_id, variable, second, value, spelling, own): ``variable`` counts from 0,
        ``second`` from the admission to the ICU, ``value`` is a number or the code of a category,
        null where the row is unusable;
        ``spelling`` sorts as the raw text does (null where texts do not matter), ``own`` says whether the
        moment belongs to the stay by its id or its bounds.
    """
    # most rows lie outside the window: cleaning comes last
    rows = kept(_mapped(table, name, layout, rules), cohort)
    rows = _cleaned(_windowed(rows, cohort, rules), rules, layout)
    return rows.select("stay_id", "subject_id", "variable", "second", "value", "spelling", "own")


def subjects_with_text(
    table: ir.Table, cohort: ir.Table, subjects: Sequence[int] | None, name: str, layout: Layout, rules: Rules
) -> ir.Table:
    """Which of the subjects (None: of all) have a value that is no number, in any item of an event table.

    The benchmark's ties depend on it: pandas reads a subject's values as numbers when all of them are.
    """
    rows = table if subjects is None else table.filter(among(table.subject_id, subjects))
    rows = rows.filter(given(rows.value, rules) & ~true(rows.value.re_search(PANDAS_NUMBER)))
    columns = [key for key in ("subject_id", "hadm_id", "stay_id") if key in rows.columns]
    rows = typed(rows, layout.tables[name], columns)
    if "stay_id" not in rows.columns:
        rows = rows.mutate(stay_id=ibis.null("int64"))
    return kept(rows, cohort).select("subject_id").distinct()


PANDAS_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+|inf|infinity|Infinity|Inf)([eE][+-]?\d+)?\s*$"


def _mapped(table: ir.Table, name: str, layout: Layout, rules: Rules) -> ir.Table:
    """Rows of mapped items, in the types of their columns."""
    items = [item for variable in variables() for item in _items(variable, name, rules)]
    rows = table.filter(among(table.itemid, items))
    for flag in ("error", "warning"):
        if rules.errors == "drop" and flag in rows.columns:
            rows = rows.filter((cast(rows[flag], "number") != real(1)).fill_null(True))
    rows = typed(rows, layout.tables[name])
    if "stay_id" not in rows.columns:
        rows = rows.mutate(stay_id=ibis.null("int64"))
    return rows


def _items(variable: Variable, name: str, rules: Rules) -> tuple[int, ...]:
    laboratory = name == "labevents"
    items = variable.lab if laboratory else variable.chart
    if rules.items == "extended":
        # laboratory items begin with 5, chart items do not reach that far but for MetaVision's
        items += tuple(item for item in variable.extended if (50000 <= item < 52000) == laboratory)
    left_out = variable.not_blood if rules.specimens == "blood" else ()
    if rules.units == "item":
        left_out += variable.of_unit("oz")  # the ounces of a weight whose pounds are another row
    return tuple(item for item in items if item not in left_out)


def given(value: ir.StringValue, rules: Rules) -> ir.BooleanValue:
    """Whether pandas would read a text as a value."""
    return value.notin([*NA, "None"] if rules.na_none == "pandas2" else list(NA)).fill_null(False)


def kept(events: ir.Table, cohort: ir.Table) -> ir.Table:
    """Events of admissions of the cohort that name its stay or none."""
    stays = cohort.filter(cohort.in_cohort).select(
        subject_id="subject_id", hadm_id="hadm_id", own_stay="stay_id"
    )
    rows = events.inner_join(stays, ["subject_id", "hadm_id"])
    return rows.filter(rows.stay_id.isnull() | (rows.stay_id == rows.own_stay))


def _windowed(events: ir.Table, cohort: ir.Table, rules: Rules) -> ir.Table:
    """Events of a subject within 48 hours of a stay that is a row of a task, once for each such stay."""
    targets = cohort.filter(cohort.eligible).select(
        row_stay="stay_id", subject_id="subject_id", intime="intime", outtime="outtime"
    )
    both = events.inner_join(targets, "subject_id")
    both = both.mutate(second=both.charttime.delta(both.intime, unit="second"))
    both = both.filter((both.second >= 0) & (both.second <= WINDOW_SECONDS))
    if rules.late == "drop" and "storetime" in both.columns:
        entered = both.storetime.delta(both.intime, unit="second")
        both = both.filter((entered <= WINDOW_SECONDS).fill_null(True))
    if rules.clock == "check":
        after = both.charttime.delta(both.outtime, unit="second")
        both = both.filter((after <= DAY_SECONDS).fill_null(True))
    own = (both.own_stay == both.row_stay) | true(both.charttime <= both.outtime)
    return both.select(
        "subject_id", "itemid", "second", "value", "valueuom", stay_id="row_stay", own=whole(own)
    )


def _cleaned(rows: ir.Table, rules: Rules, layout: Layout) -> ir.Table:
    """With ``variable``, ``value`` (null where there is none) and ``spelling``.

    What pandas reads as a gap spells no number and no category, but for "None".
    """
    branches = [
        (rows.itemid.isin(list(every)), ibis.literal(index, "int64"))
        for index, variable in enumerate(variables())
        if (every := (*variable.chart, *variable.lab, *variable.extended))
    ]
    rows = rows.mutate(variable=ibis.cases(*branches), spelt=number(rows.value))
    rows = rows.mutate(value=_value(rows, rules, layout), text=rows.value)
    rows = rows.mutate(value=_plausible(rows)) if rules.outliers == "range" else rows
    spelling: ir.StringValue = ibis.null("string")
    if rules.ties == "text":
        spelled = [i for i, v in enumerate(variables()) if v.texts and not v.categories]
        spelling = ibis.ifelse(
            rows.variable.isin(spelled), rows.text.translate(SORTED_FROM, SORTED_TO), spelling
        )
    return rows.mutate(spelling=spelling)


def _value(rows: ir.Table, rules: Rules, layout: Layout) -> ir.FloatingValue:
    """The number that a row stands for, by variable; null where it stands for none."""
    x, text = rows.spelt, rows.value
    uom = rows.valueuom.lower().fill_null("")
    # the benchmark overwrites MIMIC-IV's units with numbers, so that no unit is ever found there
    unit = ibis.literal("") if rules.units == "item" or layout.source == "mimic-iv" else uom
    branch = {
        "Capillary refill rate": _refill(text, rules),
        "Diastolic blood pressure": _pressure(text, x, 2),
        "Systolic blood pressure": _pressure(text, x, 1),
        "Fraction inspired oxygen": _oxygen_fraction(x, unit, rules),
        "Oxygen saturation": _saturation(number(text, DECIMAL)),
        "Glucose": number(text, DECIMAL),
        "pH": number(text, DECIMAL),
        "Temperature": _temperature(x, rows.itemid, rules),
        "Weight": _weight(x, unit, rows.itemid),
        "Height": _height(x, unit, rows.itemid, rules, layout),
    }
    cases = [(rows.variable == position(name), value) for name, value in branch.items()]
    for index, variable in enumerate(variables()):
        if variable.categories and variable.name not in branch:
            known = [own for own in variable.categories if own != "None" or rules.na_none == "pandas1"]
            codes = [(text == own, real(code(variable, own, rules.merged))) for own in known]
            cases.append((rows.variable == index, ibis.cases(*codes)))
    return ibis.cases(*cases, else_=x)


def _plausible(rows: ir.Table) -> ir.FloatingValue:
    """Null beyond the outlier bounds, clipped to the valid ones."""
    cases = []
    for index, variable in enumerate(variables()):
        if variable.range is not None:
            lowest, low, high, highest = map(real, variable.range)
            value = rows.value
            inside = ibis.cases(
                ((value < lowest) | (value > highest), ibis.null("float64")),
                (value < low, low),
                (value > high, high),
                else_=value,
            )
            cases.append((rows.variable == index, inside))
    return ibis.cases(*cases, else_=rows.value)


def _refill(text: ir.StringValue, rules: Rules) -> ir.FloatingValue:
    if rules.items == "extended":  # MetaVision spells the same two findings in other words
        lower = text.lower()
        slow = lower.startswith("abnormal") | lower.startswith("delayed")
        quick = lower.startswith("normal") | lower.startswith("brisk")
    else:
        slow, quick = text.isin(["Abnormal >3 secs", "Delayed"]), text.isin(["Normal <3 secs", "Brisk"])
    return ibis.cases((quick, real(0)), (slow, real(1)))


def _pressure(text: ir.StringValue, x: ir.FloatingValue, group: int) -> ir.FloatingValue:
    part = text.re_extract(r"^(\d+)/(\d+)$", group)
    return ibis.ifelse(text.contains("/"), number(part), x)


def _oxygen_fraction(x: ir.FloatingValue, unit: ir.StringValue, rules: Rules) -> ir.FloatingValue:
    if rules.oxygen_fraction == "divide":
        return ibis.ifelse(unit.contains("torr"), x, x / real(100))
    fraction = (x > real(0.2)) & (x <= real(1))
    percentage = (x >= real(20)) & (x <= real(100))
    return ibis.cases((fraction, x), (percentage, x / real(100)))


def _saturation(x: ir.FloatingValue) -> ir.FloatingValue:
    return ibis.ifelse(x <= real(1), x * real(100), x)


def _temperature(x: ir.FloatingValue, item: ir.IntegerValue, rules: Rules) -> ir.FloatingValue:
    celsius = (x - real(32)) * real(5) / real(9)
    if rules.units == "item":
        return ibis.ifelse(item.isin(list(variables()[position("Temperature")].of_unit("F"))), celsius, x)
    return ibis.ifelse(x >= real(79), celsius, x)


def _weight(x: ir.FloatingValue, unit: ir.StringValue, item: ir.IntegerValue) -> ir.FloatingValue:
    weight = variables()[position("Weight")]
    kilograms = real(0.453592)
    ounces = unit.contains("oz") | item.isin(list(weight.of_unit("oz")))
    pounds = unit.contains("lb") | item.isin(list(weight.of_unit("lb")))
    return ibis.cases((ounces, x / real(16) * kilograms), (pounds, x * kilograms), else_=x)


def _height(
    x: ir.FloatingValue, unit: ir.StringValue, item: ir.IntegerValue, rules: Rules, layout: Layout
) -> ir.FloatingValue:
    """Centimetres. The benchmark knows inches by "in" in the unit, or in the label of CareVue's item."""
    centimetres = x * real(2.54)
    if rules.units == "item":
        return ibis.ifelse(item.isin([1394, 226707]), centimetres, x)
    labelled = item == 1394
    return ibis.ifelse(unit.contains("in") | labelled, round_half_even(centimetres), x)
