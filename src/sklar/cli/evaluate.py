"""`sklar evaluate`, `compare`, `card` and `report`: what is read from finished runs."""

import enum
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sklar.cli.options import AsJson, Censoring, Reference, Resamples, Runs, Weighting
from sklar.cli.output import first_name, note, progress_bar, show, show_json, show_results, show_rich
from sklar.errors import UserError

if TYPE_CHECKING:
    from sklar.report import Results, TextTable
    from sklar.stress import Stress


class Format(enum.StrEnum):
    """How a table is written."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


Style = Annotated[Format, typer.Option("--format", help="Of the table.")]
ShareSafe = Annotated[
    bool, typer.Option("--share-safe", help="Name no row, and withhold cells of fewer than 20 rows.")
]


By = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMNS",
        help="Columns that tell subgroups apart, with commas, a number also with the cuts between its bands: "
        "sex,age=40,65. By default all categories.",
    ),
]


Output = Annotated[str | None, typer.Option(help="One of several outputs: a label, or a class.")]


def evaluate(
    runs: Runs,
    reference: Reference = "",
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    thresholds: Annotated[
        str, typer.Option(help="Predicted risks to act on, with commas.")
    ] = "0.05,0.1,0.2,0.3,0.5",
    data: Annotated[
        Path | None, typer.Option("--data", help="Also hide modalities of this folder's test rows.")
    ] = None,
    style: Style = Format.text,
    by: By = None,
    output: Output = None,
    share_safe: ShareSafe = False,
    as_json: AsJson = False,
) -> None:
    """Judge the test predictions of finished runs: intervals, calibration, thresholds, subgroups."""
    from sklar import report

    columns = None if by is None else _divisions(by)
    named = reference or first_name(runs)
    ask = _Question(runs, named, resamples, censoring, _numbers(thresholds), columns, share_safe)
    outputs = report.outputs_of(runs)
    if output is not None and data is not None:
        raise UserError("--data hides modalities from all outputs together: leave --output out")
    stressed = {} if data is None else _stress(runs, data, resamples, censoring, columns)
    stress = {name: report.stress_dict(own) for name, own in stressed.items()} or None
    if outputs and output is None:
        _evaluate_outputs(ask, style, as_json, stress)
    else:
        content, tables, results = ask.answer(output)
        if as_json:
            show_json(content | {"stress": stress})
            return
        if style is Format.text:
            show_results(results, as_json=False)
        _tables(tables, style)
    if not as_json:
        _tables([table for name, own in stressed.items() for table in report.stress_tables(name, own)], style)


@dataclass(frozen=True)
class _Question:
    """What `evaluate` was asked."""

    runs: list[Path]
    reference: str
    resamples: int
    censoring: Censoring
    cuts: list[float]
    by: dict[str, list[float]] | None
    share_safe: bool

    def answer(self, output: str | None) -> tuple[dict[str, Any], list["TextTable"], "Results"]:
        """Of one event, or of one of several outputs: plain types, tables, and the numbers of models."""
        from sklar import report

        runs, count, safe = self.runs, self.resamples, self.share_safe
        censoring: Literal["complete", "ipcw"] = self.censoring.value
        results = report.compare_runs(runs, self.reference, count, censoring, output)
        found = report.detail_runs(runs, count, censoring, self.cuts, safe, output)
        divided = report.subgroup_runs(runs, self.by, count, censoring, safe, output)
        content = report.as_dict(results)
        if safe:
            content = report.withhold(content, next(d for d in found if d.model == results.reference))
        content["details"] = {detail.model: report.detail_dict(detail) for detail in found}
        content["subgroups"] = {name: report.subgroup_dict(own) for name, own in divided.items()}
        tables = [report.calibration_table(found), *map(report.threshold_table, found)]
        tables += [report.pattern_table(detail) for detail in found if detail.model == results.reference]
        tables += [
            report.subgroup_table(name, own)
            for name, own in divided.items()
            if own and name == results.reference
        ]
        return content, tables, results


def _evaluate_outputs(ask: _Question, style: Format, as_json: bool, stress: dict[str, Any] | None) -> None:
    """All outputs together, then each of those with enough events."""
    from sklar import report

    found = report.average_runs(
        ask.runs, ask.reference, resamples=ask.resamples, censoring=ask.censoring.value
    )
    least = report.SMALLEST if ask.share_safe else 0
    hidden = report.withheld_outputs(found, least)
    told = [name for name in found.judged if not hidden[name]]  # of the others, details would tell counts
    if as_json:
        each = {name: ask.answer(name)[0] for name in told}
        show_json(report.averages_dict(found, least) | {"details": each, "stress": stress})
        return
    _tables([report.averages_table(found, least), report.outputs_table(found, smallest=least)], style)
    if style is not Format.text:
        note("calibration, thresholds and subgroups are of one output: name it with --output")
        return
    for name in told:
        _, tables, results = ask.answer(name)
        show(f"\nOutput: {name}")
        show_results(results, as_json=False)
        _tables(tables, style)


def compare(
    runs: Runs,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Names with commas; by default auroc,average_precision,brier, of several outputs means."
        ),
    ] = None,
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    paper_t_test: Annotated[
        bool, typer.Option("--paper-t-test", help="Also the paper's test of replicates, which is invalid.")
    ] = False,
    style: Style = Format.text,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the table to a file.")] = None,
    output: Output = None,
    share_safe: ShareSafe = False,
    as_json: AsJson = False,
) -> None:
    """Set every run against the best: paired intervals, DeLong's test, adjusted by Holm's method."""
    from sklar import report

    several = output is None and bool(report.outputs_of(runs))
    names = _names(metrics) if metrics is not None else list(report.AVERAGES if several else report.CONTESTED)
    least = report.SMALLEST if share_safe else 0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        if several:
            if paper_t_test:
                raise UserError("--paper-t-test is of one event: name an output with --output")
            found = report.average_runs(runs, first_name(runs), names, resamples, censoring.value)
            table, content = report.averages_table(found, least), report.averages_dict(found, least)
        else:
            result = report.contest_runs(runs, names, resamples, censoring.value, paper_t_test, output)
            table, content = report.contest_table(result, least), report.contest_dict(result, least)
    for message in {str(warning.message) for warning in told}:
        note(f"warning: {message}")
    if out is not None:
        report.write_text(out, report.FORMATS["markdown" if style is Format.text else style.value](table))
    if as_json:
        show_json(content | {"out": None if out is None else str(out)})
    elif out is None:
        _tables([table], style)
    else:
        show(f"table: {out}")


def card(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="By default RUN/model_card.md.")] = None,
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    as_json: AsJson = False,
) -> None:
    """Write a model card: intended use, results, limits, and what of TRIPOD+AI is still open."""
    from sklar import report

    path = out or run / "model_card.md"
    made = report.write_card(run, path, resamples, censoring.value)
    if as_json:
        show_json({"card": str(path), "ticked": list(made.ticked), "unticked": list(made.unticked)})
        return
    show(f"card: {path}")
    for item in made.unticked:
        show(f"open: {item}. {report.TRIPOD[item]}")


def write_report(
    runs: Runs,
    out: Annotated[Path, typer.Option("-o", "--out", help="The HTML file to write.")] = Path("report.html"),
    reference: Reference = "",
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    by: By = None,
    output: Output = None,
    share_safe: ShareSafe = False,
    show_examples: Annotated[
        bool, typer.Option("--show-examples", help="Show a few rows although the data are restricted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page about finished runs."""
    from sklar import report

    chosen, named = reference or first_name(runs), None if by is None else _divisions(by)
    shown: dict[str, Any] = {"share_safe": share_safe, "show_examples": show_examples, "by": named}
    if output is None and report.outputs_of(runs):
        found = report.write_outputs(runs, out, chosen, resamples, censoring.value, **shown)
        least = report.SMALLEST if share_safe else 0
        if as_json:
            show_json(report.averages_dict(found, least) | {"report": str(out)})
        else:
            tables = [report.averages_table(found, least), report.outputs_table(found, smallest=least)]
            _tables(tables, Format.text)
    else:
        results = report.write(runs, out, chosen, resamples, censoring.value, output=output, **shown)
        show_results(results, as_json, report=str(out))
    if not as_json:
        show(f"report: {out}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _divisions(text: str) -> dict[str, list[float]]:
    """``sex,age=40,65`` as columns with their cuts, none where none are given."""
    found: dict[str, list[float]] = {}
    cut = None
    for part in _names(text):
        name, given, value = part.partition("=")
        if given:
            cut = found[name] = []
        elif cut is None or not _is_number(part):
            cut, found[part] = None, []
            continue
        if not _is_number(number := value if given else part):
            raise UserError(f"--by {text}: {number!r} is no number; cuts are numbers with commas: age=40,65")
        cut.append(float(number))
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--thresholds takes numbers with commas, such as 0.1,0.2; got {text!r}") from error


def _stress(
    runs: list[Path], data: Path, resamples: int, censoring: Censoring, by: dict[str, list[float]] | None
) -> dict[str, "Stress"]:
    from sklar.data.store import PreparedData
    from sklar.runs import Run
    from sklar.stress import stress
    from sklar.training.reference import REFERENCES

    opened, found = PreparedData.open(data), {}
    for folder in runs:
        run = Run.open(folder)
        if run.config.model.name in REFERENCES:
            note(f"{folder} keeps no model, so nothing can be hidden from it")
            continue
        with progress_bar() as progress:
            found[first_name([folder])] = stress(
                run,
                opened,
                resamples=resamples,
                weighted=censoring is Censoring.ipcw,
                progress=progress,
                by=by,
            )
    return found


def _tables(tables: Iterable["TextTable"], style: Format) -> None:
    from sklar import report

    for table in tables:
        if style is Format.text:
            show_rich(report.rich_table(table))
        else:
            show(report.FORMATS[style.value](table))
