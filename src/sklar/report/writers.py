"""Results as a dictionary for JSON, as Markdown, and as a table for a terminal."""

from dataclasses import asdict
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from sklar.evaluation import METRICS, Comparison, Estimate
from sklar.report.formats import TextTable
from sklar.report.tables import RANKED, Pattern, Results, Row, display
from sklar.types import Predictions

BOLD = "Bold: the best, and models whose paired interval to it, at Holm's level, contains zero."
CENSORING = {"complete": "complete cases, unweighted", "ipcw": "weighted for censoring (IPCW)"}


def as_dict(results: Results) -> dict[str, Any]:
    """Plain types only, ready for ``json.dumps``."""
    return {
        "reference": results.reference,
        "censoring": results.censoring,
        "resamples": results.resamples,
        "test": {"rows": results.test_rows, "events": results.events},
        "models": {row.model: _row(row) for row in results.rows},
        "tied": {name: sorted(models) for name, models in results.tied.items()},
        "sensitivity": {
            "censoring": results.other_censoring,
            "models": {row.model: _row(row) for row in results.sensitivity},
        }
        if results.sensitivity
        else None,
        "patterns": [_pattern(pattern) for pattern in results.patterns],
    }


def markdown(results: Results) -> str:
    """The results table and the patterns, as Markdown."""
    parts = [_markdown_models(results, results.rows, CENSORING[results.censoring])]
    if results.sensitivity:
        parts.append(_markdown_models(results, results.sensitivity, CENSORING[results.other_censoring]))
    parts.append(_markdown_patterns(results))
    return "\n\n".join(parts) + "\n"


def console_table(results: Results) -> Table:
    """The results table for a terminal; bold is what cannot be told from the best of a column."""
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        title=f"{results.test_rows:,} test rows, {results.events:,} events; {CENSORING[results.censoring]}",
        caption=f"95 % intervals from {results.resamples:,} group bootstrap resamples. "
        f"Differences are to {display(results.reference)}. {BOLD}",
    )
    for heading in _headings()[:-1]:
        table.add_column(heading, justify="left" if heading == "Model" else "right", no_wrap=True)
    for row in results.rows:
        # intervals go on a second line, so that the table fits a terminal of 80 columns
        cells = _cells(row, results, "[bold]{}[/bold]")[:-1]
        table.add_row(*(cell.replace(" (", "\n[dim]").replace(")", "[/dim]") for cell in cells))
    return table


def rich_table(table: TextTable) -> Table:
    """A table of text cells for a terminal."""
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, caption=escape(table.note))
    for index, heading in enumerate(table.headings):
        shown.add_column(escape(heading), justify="right" if index else "left")
    for row in table.rows:
        # intervals go on a second line, so that the table fits a terminal of 80 columns
        texts = [escape(cell.text).replace(" (", "\n(", 1) for cell in row]
        shown.add_row(*(f"[bold]{t}[/bold]" if c.bold else t for t, c in zip(texts, row, strict=True)))
    return shown


def patients_table(predictions: Predictions, count: int = 6) -> Table:
    """The first row of each of at most ``count`` patterns of presence, for a terminal.

    Of several outputs each has a column, and the last one says which happened.
    """
    _, first = np.unique(predictions.present, axis=0, return_index=True)
    rows, outputs = sorted(first)[:count], predictions.outputs
    table = Table(title="A few patients (imputation interval: what the missing leaves open, in 95 of 100)")
    for name in ("patient", *predictions.modalities):
        table.add_column(name)
    if not outputs:
        table.add_column("p(event)")
        table.add_column("imputation interval")
    for name in outputs:
        table.add_column(escape(f"p({name})"))
    table.add_column("outcome" if outputs else "event")
    for row in rows:
        table.add_row(
            escape(str(predictions.ids[row])),
            *("x" if there else "-" for there in predictions.present[row]),
            *_risks(predictions, row),
            escape(_happened(predictions, row)),
        )
    return table


def _risks(predictions: Predictions, row: int) -> list[str]:
    """The probability and its interval; of several outputs one text each, with the interval below."""
    values = (np.atleast_1d(own[row]) for own in (predictions.probability, predictions.low, predictions.high))
    texts = [(f"{p:.3f}", f"{low:.3f} to {high:.3f}") for p, low, high in zip(*values, strict=True)]
    return ["\n".join(own) for own in texts] if predictions.outputs else list(texts[0])


def _happened(predictions: Predictions, row: int) -> str:
    target, outputs = np.atleast_1d(predictions.target[row]), predictions.outputs
    if np.isnan(target).all():
        return "unknown"
    if predictions.task == "multiclass":
        return outputs[int(target[0])]
    if not outputs:
        return "yes" if target[0] else "no"
    return ", ".join(name for name, own in zip(outputs, target, strict=True) if own == 1) or "none"


def estimate(value: Estimate) -> str:
    """``0.812 (0.780 to 0.841)``."""
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def difference(value: Comparison | None, otherwise: str = "reference") -> str:
    """``+0.012 (-0.004 to +0.020)``, with a true minus sign; ``otherwise`` where nothing is compared."""
    if value is None:
        return otherwise
    return f"{signed(value.difference)} ({signed(value.low)} to {signed(value.high)})"


def p_value(value: float | None) -> str:
    """``0.031``, ``<0.001``, or nothing."""
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def signed(number: float) -> str:
    """``+0.012``, with a true minus sign."""
    return f"{number:+.3f}".replace("-", "\N{MINUS SIGN}")


def _headings() -> list[str]:
    labels = [METRICS[name].label for name in RANKED]
    return ["Model", *labels, METRICS["brier"].label, *(f"Δ {label}" for label in labels)]


def _cells(row: Row, results: Results, emphasis: str) -> list[str]:
    """One line of the results table; ``emphasis`` wraps what cannot be told from the best."""
    values = {name: estimate(row.estimates[name]) for name in RANKED} | {"brier": f"{row.brier:.3f}"}
    shown = [
        emphasis.format(text) if row.model in results.tied.get(name, ()) else text
        for name, text in values.items()
    ]
    return [display(row.model), *shown, *(difference(row.differences.get(name)) for name in RANKED)]


def _markdown_models(results: Results, rows: tuple[Row, ...], how: str) -> str:
    headings = _headings()
    lines = [_line(headings), _line(["---"] + ["---:"] * (len(headings) - 1))]
    lines += [_line(_cells(row, results, "**{}**")) for row in rows]
    title = f"{results.test_rows:,} test rows, {results.events:,} events; {how}."
    note = (
        f"95 % intervals from {results.resamples:,} group bootstrap resamples; differences are paired. {BOLD}"
    )
    return "\n".join([title, "", *lines, "", note])


def _markdown_patterns(results: Results) -> str:
    headings = ["Present", "n", "Events", "Observed", "Predicted", "AUROC"]
    lines = [_line(headings), _line(["---"] + ["---:"] * 5)]
    for pattern in results.patterns:
        found = f"n/a ({pattern.reason})" if pattern.auroc is None else estimate(pattern.auroc)
        risks = (f"{pattern.observed:.3f}", f"{pattern.predicted:.3f}")
        name = " + ".join(pattern.present) or "none"
        lines.append(_line([name, f"{pattern.rows:,}", f"{pattern.events:,}", *risks, found]))
    return "\n".join([f"{display(results.reference)} by present modalities.", "", *lines])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(row: Row) -> dict[str, Any]:
    return {
        **{name: asdict(row.estimates[name]) for name in RANKED},
        "brier": row.brier,
        "difference": {name: asdict(found) for name, found in row.differences.items()} or None,
        "parameters": row.parameters,
        "seconds": row.seconds,
        "peak_memory": row.memory,
    }


def _pattern(pattern: Pattern) -> dict[str, Any]:
    return asdict(pattern) | {"present": list(pattern.present)}
