"""From measurements to cells: one value per stay, two-hour bin and variable."""

from collections.abc import Collection

import ibis
import ibis.expr.types as ir

from sklar.mimic.rules import Rules
from sklar.mimic.tables import real
from sklar.mimic.variables import BIN_SECONDS, variables


def moments(measurements: ir.Table) -> ir.Table:
    """One row per stay, variable and second: lowest, highest, and the last in string order.

    Args:
        measurements: Of all event tables together.

    Returns:
        (stay_id, subject_id, variable, second, low, high, last), of moments that belong to the stay.
    """
    measurements = measurements.filter(measurements.value.notnull())
    spelt = measurements.spelling.notnull()
    grouped = measurements.group_by("stay_id", "subject_id", "variable", "second").agg(
        low=measurements.value.min(),
        high=measurements.value.max(),
        last=measurements.value.argmax(measurements.spelling, where=spelt),
        own=measurements.own.max(),
    )
    # a moment is a stay's own if any of its measurements is, and then all of them count
    whole = grouped.group_by("stay_id", "second").agg(own=grouped.own.max())
    mine = whole.filter(whole.own == 1)
    return grouped.semi_join(mine, ["stay_id", "second"]).drop("own")


def undecided(moments: ir.Table) -> ir.Table:
    """Subjects whose ties differ as texts and as numbers, and who are not known to have any text.

    Whoever has a category among the measurements has text, and needs no further look.
    """
    # every text of the total score is a number, the texts of eye, motor and verbal are none
    text = [i for i, v in enumerate(variables()) if v.texts and any(not c.isdigit() for c in v.categories)]
    differing = moments.filter(moments["last"] != moments.high).select("subject_id").distinct()
    textual = moments.filter(moments.variable.isin(text)).select("subject_id").distinct()
    return differing.anti_join(textual, "subject_id")


def cells(moments: ir.Table, numeric: Collection[int], rules: Rules) -> ir.Table:
    """The value of the latest moment of each bin.

    Bins are open on the left and closed on the right, but the first, which holds second 0 too.

    Args:
        moments: As `moments` returns them.
        numeric: Subjects all of whose values are numbers.
        rules: How ties are settled.

    Returns:
        (stay_id, bin, variable, value, second), in the order of the first three; ``second`` is when the
        value was measured.
    """
    rows = moments.mutate(value=_settled(moments, numeric, rules))
    later = (rows.second - 1).cast("float64") / real(BIN_SECONDS)
    rows = rows.mutate(bin=ibis.ifelse(rows.second == 0, real(0), later.floor()).cast("int64"))
    found = rows.group_by("stay_id", "bin", "variable").agg(
        value=rows.value.argmax(rows.second), second=rows.second.max()
    )
    # there are millions of them: no wider than they need be
    small = {"bin": "int8", "variable": "int8", "second": "int32"}
    return found.cast(small).order_by("stay_id", "bin", "variable")


def _settled(moments: ir.Table, numeric: Collection[int], rules: Rules) -> ir.FloatingValue:
    if rules.ties == "middle":
        categorical = [index for index, variable in enumerate(variables()) if variable.categories]
        # of two values this is the mean, and unlike a mean it does not depend on the order of addition
        middle = (moments.low + moments.high) / real(2)
        return ibis.ifelse(moments.variable.isin(categorical), moments.low, middle)
    last = moments["last"].coalesce(moments.high)
    if not numeric:
        return last
    return ibis.ifelse(moments.subject_id.isin(list(numeric)), moments.high, last)
